//! The page, its element and its frame, as Debian's Chromium shows them. What is seen there is checked by the scripts in
//! `tests/clients/page/`.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clients::{chromium_by, node};
use crate::harness::{Daemon, Deadline, Program, TestDir, is_root_or_skip, skip, sources};
use crate::tokens::{keys, token};

/// A browser starts slowly, and some scripts let many lines pass.
const BROWSER: Duration = Duration::from_mins(4);

/// Runs a script with a browser against a daemon. What it prints are figures; `None` where there is no browser.
fn play(script: &str, daemon: &Daemon, more: &str) -> Option<String> {
    let mut command = chromium_by(&format!("page/{script}"))?;
    command.arg(daemon.path("")).args([&daemon.url("/"), more]).stdin(Stdio::null());
    let ended = Program::start(&mut command).ended_by(Deadline::after(BROWSER));
    assert!(ended.status.success(), "{script}: {}", ended.err);
    Some(String::from_utf8(ended.out).unwrap())
}

/// A daemon with these streams, which is also behind a Unix socket.
fn daemon(dir: TestDir, yaml: &str) -> Daemon {
    dir.start(&format!("listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\n{yaml}"))
}

/// The colours, links and groups that the viewer shows.
const COLOURS: &str = "\x1b[31mred\x1b[0m \x1b[38;5;208mpalette\x1b[m \x1b[38;2;1;200;3mtrue\x1b[m \x1b[1mbold\x1b[m \x1b[4munder\x1b[m \
\x1b[44mground\x1b[m \x1b[7minverse\x1b[m \x1b]8;;https://example.com/osc8\x1b\\hyper\x1b]8;;\x1b\\ see https://example.com/a?b=1.
\x1b[1;4:3mcurly\x1b[4:0mstraight\x1b[m \x1b[31;4;58;2;255;0;0mlined\x1b[m \x1b[4;58:2::255:100:0mcolon\x1b[m \x1b[58;5;1mthin\x1b[m \
\x1b[53mover\x1b[m \x1b[38:2:1:200:3mshort\x1b[m \x1b[21mdouble\x1b[24mnone\x1b[m \x1b[8mconcealed\x1b[28mrevealed\x1b[m
\x1b[32mopened
carried\x1b[39m over
::group::GitHub group
inside github
::endgroup::
\x1b[0Ksection_start:1:a[collapsed=true]\r\x1b[0KGitLab section
inside gitlab
\x1b[0Ksection_end:2:a\r\x1b[0K
##teamcity[blockOpened name='Outer']
##[group]Inner
inside inner
##[endgroup]
##teamcity[blockClosed name='Outer']
::error file=src/a.rs,line=3,col=5,title=It broke::one%0Atwo
##[warning]low disk
##vso[task.setvariable variable=x]secret
travis_fold:start:deps\r\x1b[0Ktravis_time:start:1f\r\x1b[0K$ npm install
inside travis
travis_fold:end:deps\r\x1b[0K
--- :package: Buildkite group
inside buildkite
error: no such package
+++ Tests
inside tests
plain after
";

/// Text in the 16 colours and some others, on each other and inverted; and all colours of the palette. The last line is live.
fn pairs() -> String {
    let colours: Vec<_> =
        (0..16).map(|n| format!("5;{n}")).chain(["5;226", "5;240", "2;128;128;128"].map(str::to_owned)).collect();
    let mut text = String::new();
    for fg in &colours {
        write!(text, "\x1b[38;{fg}mA\x1b[7mB\x1b[m\x1b[48;{fg}mC\x1b[7mD\x1b[m").unwrap();
        for bg in &colours {
            write!(text, "\x1b[38;{fg};48;{bg}mE\x1b[7mF\x1b[m").unwrap();
        }
        text += "\n";
    }
    // All colours of the palette: alone, faint, as a background, and inverted.
    for n in 0..256 {
        write!(text, "\x1b[38;5;{n}mA\x1b[2mB\x1b[m\x1b[48;5;{n}mC\x1b[m\x1b[7;38;5;{n}mD\x1b[m").unwrap();
        text += if n % 16 == 15 { "\n" } else { "" };
    }
    text + "\x1b[2mfaint\x1b[m\nthe last pair\n\x1b[32mlive"
}

/// A process that is soon at 45 %, and then slow.
const JOB: &str = "i=1; while [ $i -le 95 ]; do echo \"[ $i%] Compiling part-$i\"; [ $i -lt 45 ] || sleep 2; i=$((i+1)); done; sleep 1000";

/// Three rows that are drawn again and can still change.
const BLOCK: &str =
    "echo before; printf 'one\\ntwo\\nthree\\n\\033[3A'; printf 'one\\ntwo\\nthree\\n\\033[3A'; exec sleep 1000";

/// Three runs, of which the first and the last say that something failed.
const RUNS: &str = "echo >>runs; n=$(wc -l <runs); echo \"begin $n\"; [ $n = 2 ] || echo \"error: in run $n\"; seq 300; [ $n = 3 ] || exit 1; \
echo at last; exec sleep 1000";

/// Lines `line 0` and so on, some with more behind them.
fn lines(count: usize, more: impl Fn(usize) -> &'static str) -> String {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "line {number}{}", more(number)).unwrap();
    }
    text
}

#[test]
fn the_viewer_shows_and_searches_a_stream() {
    let dir = TestDir::new();
    let more = |number| match number {
        1234 => " error: the first",
        500 | 2500 => " needle",
        _ => "",
    };
    dir.write("app.log", lines(3000, more));
    let marks = |number| match number {
        1 | 1001 | 2001 => " error: bad",
        _ if number % 2 == 0 => " warning: low",
        _ => "",
    };
    dir.write("marks.log", lines(3000, marks));
    dir.write("colours.log", COLOURS);
    let daemon = daemon(
        dir,
        &format!(
            "streams:\n  app: {{ file: app.log, from: start, progress: off }}\n  colours: {{ file: colours.log, from: start }}\n  \
             marks: {{ file: marks.log, from: start }}\n  grouped: {{ command: [sh, -c, 'echo ::group::Upload; exit 1'], restart: never }}\n  job: {{ command: [sh, -c, {JOB:?}] }}\n  none: {{ file: none.log }}\n  \
             runs: {{ command: [sh, -c, {RUNS:?}], directory: ., restart: {{ when: on-failure, backoff: 100ms..100ms }} }}"
        ),
    );
    daemon.follow("app").query("tail=all").take(3000);
    play("viewer.cjs", &daemon, "");
}

#[test]
fn one_run_of_a_process_can_be_chosen() {
    let dir = TestDir::new();
    dir.write("app.log", lines(10, |_| ""));
    let daemon = daemon(
        dir,
        &format!(
            "streams:\n  app: {{ file: app.log, from: start }}\n  \
             runs: {{ command: [sh, -c, {RUNS:?}], directory: ., restart: {{ when: on-failure, backoff: 100ms..100ms }} }}"
        ),
    );
    daemon.follow("runs").query("tail=all").until("the third run", |message| message.data == "at last");
    play("runs.cjs", &daemon, "");
}

/// Runs a script with the page's modules by Node.js, without a browser.
fn play_modules(script: &str, arguments: &[&Path]) {
    let Some(mut command) = node(script) else { return };
    let dir = TestDir::new();
    dir.write("package.json", "{\"type\": \"module\"}");
    for module in std::fs::read_dir(sources("src/http/page")).unwrap() {
        let path = module.unwrap().path();
        dir.write(path.file_name().unwrap().to_str().unwrap(), std::fs::read(&path).unwrap());
    }
    command.arg(dir.path("")).args(arguments).stdin(Stdio::null());
    let ended = Program::start(&mut command).ended_by(Deadline::new());
    assert!(ended.status.success(), "{}", ended.err);
}

#[test]
fn the_page_shows_what_markers_mean() {
    play_modules("page/markers.mjs", &[&sources("tests/clients/page/markers.json")]);
}

#[test]
fn the_page_words_durations_as_the_commands_do() {
    play_modules("page/durations.mjs", &[&sources("tests/clients/page/durations.json")]);
}

#[test]
fn the_page_says_once_how_a_run_ended() {
    play_modules("page/ends.mjs", &[]);
}

#[test]
fn the_page_understands_each_server_sent_event() {
    play_modules("page/reader.mjs", &[]);
}

#[test]
fn a_malicious_log_does_no_harm_in_the_page() {
    let dir = TestDir::new();
    let mut bad = "<script>alert(1)</script>\n<img src=x onerror=alert(2)> <a href=javascript:alert(3)>x</a>\n\
        \x1b]8;;javascript:alert(3)\x1b\\click me\x1b]8;;\x1b\\ \x1b]8;;data:text/html,x\x07or me\x1b]8;;\x07 https://example.com/good\n\
        user\u{202e}gnp.exe\nzero\u{200b}width\u{2066}\nbell\x07 and back\x08space\n\x1b]0;owned\x07title\x1b[2J\x1b[999;999H\n"
        .to_owned();
    for number in 0..10_000 {
        write!(bad, "\x1b[38;5;{}m.", number % 256).unwrap();
    }
    bad += "\n";
    bad += &"1 MB ".repeat(200_000);
    bad += "\nthe last line\n";
    dir.write("bad.log", bad);
    let daemon = daemon(dir, "streams: { bad: { file: bad.log, from: start, carriage_return: keep } }");
    daemon.follow("bad").query("tail=all").until("its end", |message| message.data == "the last line");
    play("hostile.cjs", &daemon, "");
}

#[test]
fn clients_with_the_right_type_and_control_from_the_page() {
    let script = "trap 'echo interrupted' INT; echo ready; while :; do if read -r line; then echo \"typed: $line\"; \
        elif [ $? -lt 128 ]; then exit 0; fi; done";
    let daemon = daemon(
        TestDir::new(),
        &format!(
            "streams: {{ shell: {{ command: [bash, -c, {script:?}], input: true, restart: {{ when: never }} }} }}"
        ),
    );
    play("typing.cjs", &daemon, "");
}

#[test]
fn the_page_loses_and_repeats_no_line_when_the_daemon_is_killed() {
    let dir = TestDir::new();
    dir.write("app.log", lines(10, |_| ""));
    let yaml = "state_directory: state\nstreams: { app: { file: app.log, from: start } }";
    let mut running = daemon(dir, yaml);
    if chromium_by("page/restart.cjs").is_none() {
        return;
    }
    thread::scope(|scope| {
        let mut command = chromium_by("page/restart.cjs").unwrap();
        command.arg(running.path("")).arg(running.url("/")).stdin(Stdio::null());
        let browser = scope.spawn(move || Program::start(&mut command).ended_by(Deadline::after(BROWSER)));
        for round in 1..=3 {
            let asked = running.path(&format!("restart-{round}"));
            Deadline::after(BROWSER)
                .until("the browser to ask", || (asked.exists() || browser.is_finished()).then_some(()));
            let dir = running.kill();
            dir.write("app.log", format!("while it was down {round}\n"));
            running = daemon(dir, yaml);
            running.write("app.log", format!("after restart {round}\n"));
        }
        let ended = browser.join().unwrap();
        assert!(ended.status.success(), "{}", ended.err);
    });
}

#[test]
fn the_page_and_the_element_say_that_rtlogd_restarts_and_continue() {
    let dir = TestDir::new();
    dir.write("app.log", lines(10, |_| ""));
    let running = daemon(dir, "state_directory: state\nstreams: { app: { file: app.log, from: start } }");
    let Some(mut command) = chromium_by("page/upgrade.cjs") else { return };
    command.arg(running.path("")).arg(running.url("/")).stdin(Stdio::null());
    thread::scope(|scope| {
        let browser = scope.spawn(move || Program::start(&mut command).ended_by(Deadline::after(BROWSER)));
        for round in 1..=2 {
            let asked = running.path(&format!("upgrade-{round}"));
            Deadline::after(BROWSER)
                .until("the browser to ask", || (asked.exists() || browser.is_finished()).then_some(()));
            let upgraded = running.execute(&["upgrade", "--config", "rtlogd.yaml"]);
            assert!(upgraded.status.success(), "{upgraded:?}");
            running.write("app.log", format!("after upgrade {round}\n"));
        }
        let ended = browser.join().unwrap();
        assert!(ended.status.success(), "{}", ended.err);
    });
}

#[test]
fn an_element_works_on_allowed_pages_only() {
    let dir = TestDir::new();
    dir.write("app.log", lines(50, |_| ""));
    keys(&dir, "keys");
    let tokens: Vec<_> = (0..20).map(|_| token(&dir, "keys", &["--stream", "*", "--expires", "1h"])).collect();
    dir.write("tokens", tokens.join("\n"));
    dir.write("foreign", token(&dir, "keys", &["--stream", "bad", "--expires", "1h"]));
    // The port of the page that is allowed: free now, and soon taken.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let daemon = daemon(
        dir,
        &format!(
            "access: {{ keys: keys }}\norigins: [\"http://127.0.0.1:{port}\"]\nstreams:\n  app: {{ file: app.log, from: start }}\n  job: {{ command: [sh, -c, {JOB:?}] }}\n  bad: {{ command: [sh, -c, 'echo x; exit 3'], restart: never }}"
        ),
    );
    play("element.cjs", &daemon, &port.to_string());
}

#[test]
fn axe_and_a_keyboard_find_nothing_serious() {
    let dir = TestDir::new();
    dir.write("colours.log", COLOURS);
    dir.write("pairs.log", pairs());
    let daemon = daemon(
        dir,
        &format!(
            "streams:\n  pairs: {{ file: pairs.log, from: start }}\n  colours: {{ file: colours.log, from: start, description: All colours }}\n  job: {{ command: [sh, -c, {JOB:?}] }}\n  \
             shell: {{ command: [cat], input: true }}\n  block: {{ command: [sh, -c, {BLOCK:?}], pty: true }}"
        ),
    );
    daemon.follow("colours").query("tail=all").until("its end", |message| message.data == "plain after");
    play("look.cjs", &daemon, "");
}

/// Groups within groups.
fn steps() -> String {
    let many = |what: &str, numbers: RangeInclusive<u32>| {
        numbers.fold(String::new(), |text, number| text + &format!("{what} {number}\n"))
    };
    [
        "::group::Fetch\n",
        &many("fetching", 1..=40),
        "::endgroup::\n::group::Build\n::group::Parser\n",
        &many("parsing", 1..=40),
        "error: in the parser\n::group::Generated\n",
        &many("generating", 1..=30),
        "::endgroup::\n",
        &many("parsing", 41..=80),
        "::endgroup::\n",
        &many("linking", 1..=50),
        "::endgroup::\n",
        &many("after", 1..=60),
    ]
    .concat()
}

#[test]
fn headings_of_groups_stay_in_sight() {
    let dir = TestDir::new();
    dir.write("steps.log", steps());
    dir.write("long.log", "::group::Only one\n".to_owned() + &lines(31, |_| ""));
    let daemon =
        daemon(dir, "streams:\n  steps: { file: steps.log, from: start }\n  long: { file: long.log, from: start }");
    for (name, last) in [("steps", "after 60"), ("long", "line 30")] {
        daemon.follow(name).query("tail=all").until("its end", |message| message.data == last);
    }
    play("headings.cjs", &daemon, "");
}

#[test]
fn durations_can_be_compared_at_a_glance() {
    let timed = "echo ::group::a; sleep 0.2; echo ::endgroup::; echo ::group::b; sleep 0.3; echo error: x; echo ::endgroup::; \
        echo '::group::c, with a title that is longer'; sleep 0.4; echo ::endgroup::; exit 3";
    let daemon = daemon(
        TestDir::new(),
        &format!(
            "streams:\n  timed: {{ command: [sh, -c, {timed:?}], restart: never }}\n  quick: {{ command: [\"true\"], restart: never }}"
        ),
    );
    play("durations.cjs", &daemon, "");
}

#[test]
fn a_million_lines_and_a_fast_stream_cost_little() {
    let dir = TestDir::new();
    let more = |number| if number == 4321 { " the needle" } else { " and what else there is to say of it" };
    dir.write("million.log", lines(1_000_000, more));
    dir.write("live.log", "");
    let daemon = daemon(
        dir,
        "state_directory: state\nstreams:\n  million: { file: million.log, from: start, progress: off }\n  live: { file: live.log, progress: off }",
    );
    let last = |daemon: &Daemon| {
        let (_, _, body) = daemon.get("/streams/million/poll?tail=1&limit=1", &[]);
        String::from_utf8(body).unwrap().contains("line 999999 ").then_some(())
    };
    Deadline::after(BROWSER).until("a million lines", || last(&daemon));
    if let Some(figures) = play("load.cjs", &daemon, "") {
        eprintln!("{figures}");
    }
}

/// Lines of logfmt whose times are those of their numbers, in seconds.
fn timed(name: &str, seconds: impl Iterator<Item = u32>) -> String {
    let mut text = String::new();
    for second in seconds {
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let level = if matches!((name, second), ("even", 2222) | ("odd", 3333)) { " level=error" } else { "" };
        writeln!(text, "time=2026-11-28T{hour:02}:{minute:02}:{:02}Z msg=\"{name} at {second}\"{level}", second % 60)
            .unwrap();
    }
    text
}

#[test]
fn several_streams_are_merged_by_time() {
    let dir = TestDir::new();
    dir.write("even.log", timed("even", (0..6000).step_by(2)));
    dir.write("odd.log", timed("odd", (1..6000).step_by(2)));
    dir.write("rare.log", timed("rare", (0..4500).step_by(1500)));
    let stream = |name: &str| format!("  {name}: {{ file: {name}.log, from: start, format: logfmt, progress: off }}\n");
    let daemon = daemon(dir, &format!("streams:\n{}", ["even", "odd", "rare"].map(stream).concat()));
    for (name, count) in [("even", 3000), ("odd", 3000), ("rare", 3)] {
        daemon.follow(name).query("tail=all").take(count);
    }
    play("merged.cjs", &daemon, "");
}

#[test]
fn a_proxy_that_cuts_connections_costs_no_line() {
    let dir = TestDir::new();
    dir.write("app.log", lines(10, |_| ""));
    dir.write("other.log", "from the other stream\n");
    let daemon =
        daemon(dir, "streams:\n  app: { file: app.log, from: start }\n  other: { file: other.log, from: start }");
    play("cuts.cjs", &daemon, "");
}

const NGINX: &str = "/usr/sbin/nginx";

/// nginx as people write it at first, which passes no WebSocket on, and one that also holds back Server-Sent Events.
#[test]
fn behind_a_proxy_without_websockets_the_page_reads_by_http() {
    if !is_root_or_skip("start nginx") {
        return;
    }
    if !Path::new(NGINX).exists() {
        skip("nginx is not installed");
        return;
    }
    let dir = TestDir::new();
    dir.write("app.log", lines(10, |_| ""));
    let daemon = daemon(
        dir,
        "streams: { app: { file: app.log, from: start }, job: { command: [echo, written by a run], restart: never } }",
    );
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (plain, buffering) = (free(), free());
    let behind = daemon.url("");
    let place = daemon.path("");
    daemon.write(
        "nginx.conf",
        format!(
            "user root; worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.log; events {{}}\nhttp {{ access_log off; \
             client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             server {{ listen 127.0.0.1:{plain}; location / {{ proxy_pass {behind}; }} }}\n\
             server {{ listen 127.0.0.1:{buffering}; location / {{ proxy_pass {behind}; proxy_ignore_headers X-Accel-Buffering; }} }} }}\n",
            place.display()
        ),
    );
    let mut command = Command::new(NGINX);
    command.args(["-g", "daemon off;", "-c"]).arg(daemon.path("nginx.conf")).stdin(Stdio::null());
    let _nginx = Program::start(&mut command);
    Deadline::new().until("nginx", || TcpStream::connect(("127.0.0.1", plain)).is_ok().then_some(()));
    play("fallback.cjs", &daemon, &format!("http://127.0.0.1:{plain}/ http://127.0.0.1:{buffering}/"));
}

/// The parts of the page, as they come: what may keep them, who may show and use them.
#[test]
fn the_headers_of_the_page_restrict_caching_and_embedding() {
    let daemon = Daemon::start("origins: [\"https://dash.example.com\"]\nstreams: { app: { file: app.log } }");
    let header = |headers: &[(String, String)], name: &str| {
        headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let (status, headers, body) = daemon.get("/", &[]);
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    let policy = header(&headers, "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(header(&headers, "cache-control").unwrap(), "no-cache");
    let tag = header(&headers, "etag").unwrap();
    let (status, headers, again) = daemon.get("/", &[("if-none-match", &tag)]);
    assert_eq!((status, again.len()), (304, 0));
    assert_eq!(header(&headers, "etag").unwrap(), tag);

    let script = body.split('"').find(|part| part.ends_with("main.js")).unwrap();
    let (status, headers, _) = daemon.get(&format!("/{script}"), &[]);
    assert_eq!(status, 200);
    assert!(header(&headers, "cache-control").unwrap().contains("immutable"));
    assert_eq!(header(&headers, "content-type").unwrap(), "text/javascript; charset=utf-8");
    assert_eq!(daemon.get("/page/00000000/main.js", &[]).0, 404);

    let (_, headers, element) = daemon.get("/rtlogd.js", &[]);
    assert!(element.len() <= 52 << 10, "{} bytes", element.len());
    assert_eq!(header(&headers, "access-control-allow-origin").unwrap(), "*");
    let (status, headers, _) = daemon.get("/embed/app", &[]);
    assert_eq!(status, 200);
    let policy = header(&headers, "content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'self' https://dash.example.com;"), "{policy}");
    assert_eq!(daemon.get("/embed/no%20name", &[]).0, 404);

    let (_, headers, _) = daemon.get("/streams", &[("origin", "https://dash.example.com")]);
    assert_eq!(header(&headers, "access-control-allow-origin").unwrap(), "https://dash.example.com");
    assert!(header(&headers, "vary").unwrap().contains("origin"));
    let (_, headers, _) = daemon.get("/streams", &[("origin", "https://evil.example")]);
    assert_eq!(header(&headers, "access-control-allow-origin"), None);
}
