//! Tokens from outside: made by `rtlogd token`, shown in each way, over, revoked, and their keys changed.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::http::Response;
use crate::harness::ws::{Channel, Frame, Talk};
use crate::harness::{Daemon, Deadline, Ended, Place};

/// Makes a directory with a key.
pub(crate) fn keys(place: &Place, directory: &str) {
    let made = place.execute(&["token", "--init", "--keys", directory]);
    assert!(made.status.success(), "{}", made.err);
}

/// A token of these keys.
pub(crate) fn token(place: &Place, directory: &str, arguments: &[&str]) -> String {
    let made = place.execute(&[&["token", "--keys", directory], arguments].concat());
    assert!(made.status.success(), "{}", made.err);
    String::from_utf8(made.out).unwrap().trim().to_owned()
}

/// A daemon with keys, and one private stream with a line in it.
fn private() -> Daemon {
    let place = Place::new();
    keys(&place, "keys");
    place.write("app.log", "one\n");
    place.start("access: { keys: keys }\nstreams: { app: { file: app.log, from: start, private: true } }")
}

/// The program at a terminal; what it writes there is what it printed.
fn at_a_terminal(place: Place, arguments: &str) -> Daemon {
    let mut script = Command::new("script");
    let line = format!("exec $RTLOGD {arguments}");
    script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).stdin(Stdio::piped());
    script.env("RTLOGD", env!("CARGO_BIN_EXE_rtlogd")).current_dir(place.path(""));
    place.launch_command(script)
}

/// The token in the URL that a terminal was shown.
fn invited(daemon: &Daemon) -> String {
    Deadline::new().until("the URL with a token", || {
        let printed = daemon.printed();
        let (_, token) = printed.split_once("/?access_token=")?;
        token.lines().next().filter(|_| token.contains('\n')).map(|token| token.trim().to_owned())
    })
}

#[test]
fn whoever_starts_it_at_a_terminal_has_a_url_that_lets_in() {
    let place = Place::new();
    place.write("hidden.log", "one\n");
    std::fs::set_permissions(place.path("hidden.log"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = at_a_terminal(place, "serve hidden.log --listen 127.0.0.1:0");
    assert_eq!(daemon.follow("hidden.log").status(), 404, "without it, what not everybody may read is not there");
    let token = invited(&daemon);
    assert_eq!(daemon.follow(&format!("hidden.log?access_token={token}")).take(1)[0].data, "one");
    let address = daemon.address().tcp();
    daemon.kill();
    Deadline::new().until("its end with the terminal's", || TcpStream::connect(address).err());

    let daemon = at_a_terminal(Place::new(), "run --name job --listen 127.0.0.1:0 -- sleep 600");
    let token = invited(&daemon);
    let stop = |headers: &[(&str, &str)]| {
        Response::request(daemon.address(), "POST", "/streams/job/stop", headers, b"").status
    };
    assert_eq!(stop(&[]), 403);
    assert_eq!(stop(&[("Authorization", &bearer(&token))]), 200);
}

#[test]
fn what_keeps_its_output_gets_no_url() {
    let place = Place::new();
    place.write("hidden.log", "one\n");
    std::fs::set_permissions(place.path("hidden.log"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = place.launch(&["serve", "hidden.log", "--listen", "127.0.0.1:0"], Stdio::null());
    let logged =
        Deadline::new().until("the stream in the log", || Some(daemon.logged()).filter(|log| log.contains("private")));
    assert!(!logged.contains("access_token"), "{logged}");
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_token_lets_in_until_it_is_revoked_and_its_streams_end() {
    let daemon = private();
    let token = token(&daemon, "keys", &["--stream", "app"]);
    assert_eq!(daemon.follow("app").status(), 404, "without one it is not there");
    let mut reader = daemon.follow("app").header("Authorization", &bearer(&token)).open();
    assert_eq!(reader.take(1)[0].data, "one");
    let mut channel = Channel::open_with(daemon.address(), "/control", &[("Authorization", &bearer(&token))]);
    channel.ask("stream.subscribe", &json!({ "stream": "app" }));
    let revoked = daemon.execute(&["token", "--keys", "keys", "--revoke", &token]);
    assert!(revoked.status.success(), "{}", revoked.err);
    let last = reader.until("denied", |message| message.event == "denied").pop().unwrap();
    assert!(last.data.contains("revoked"), "{last:?}");
    let deadline = Deadline::new();
    let closed = loop {
        if let Frame::Close(why) = channel.frame(deadline) {
            break why;
        }
    };
    assert_eq!(closed.map(|(code, _)| code), Some(1008));
    let refused = daemon.follow("app").header("Authorization", &bearer(&token)).response();
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"rtlogd\"");
    assert_eq!(refused.problem()["status"], 401);
}

#[test]
fn a_stream_ends_when_its_token_does() {
    let daemon = private();
    for (format, marker) in
        [("sse", "event: denied\n"), ("ndjson", "\"kind\":\"denied\""), ("text", "--- rtlogd: the token")]
    {
        let token = token(&daemon, "keys", &["--stream", "app", "--expires", "2s"]);
        let path = format!("/streams/app?format={format}&access_token={token}");
        let body = String::from_utf8(daemon.get(&path, &[]).2).unwrap();
        assert!(body.contains("one") && body.contains(marker), "{body}");
    }
    // A poll gives what there is; the next one is refused.
    let token = token(&daemon, "keys", &["--stream", "app", "--expires", "2s"]);
    let path = format!("/streams/app/poll?tail=0&wait=50s&access_token={token}");
    assert_eq!(daemon.get(&path, &[]).0, 200);
    assert_eq!(daemon.get(&path, &[]).0, 401);
}

#[test]
fn keys_are_changed_while_tokens_of_the_one_before_count_on() {
    let daemon = private();
    let status =
        |token: &str| daemon.follow("app").query("follow=false").header("Authorization", &bearer(token)).status();
    let first = token(&daemon, "keys", &["--stream", "*"]);
    assert_eq!(status(&first), 200);
    let rotate = || {
        let done = daemon.execute(&["token", "--keys", "keys", "--rotate"]);
        assert!(done.status.success(), "{}", done.err);
    };
    rotate();
    let second = token(&daemon, "keys", &["--stream", "*"]);
    Deadline::new().until("the new key is read", || (status(&second) == 200).then_some(()));
    assert_eq!(status(&first), 200, "the one before counts on");
    rotate();
    Deadline::new().until("the oldest key is gone", || (status(&first) == 401).then_some(()));
    assert_eq!(status(&second), 200);
}

#[test]
fn a_token_becomes_a_cookie_and_is_taken_back() {
    let daemon = private();
    let token = token(&daemon, "keys", &["--stream", "app"]);
    let own = daemon.url("");
    let login = |origin: &str, body: &str| {
        Response::request(daemon.address(), "POST", "/login", &[("Origin", origin)], body.as_bytes())
    };
    assert_eq!(login("http://evil.example", &token).status, 403, "nobody is logged in by a foreign page");
    assert_eq!(login(&own, "nonsense").status, 401);
    let answer = login(&own, &token);
    assert_eq!(answer.status, 204);
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "over plain HTTP a browser would not take it");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(daemon.follow("app").query("follow=false").header("Cookie", pair).status(), 200);
    // A page that may not read it may not use it either.
    let handshake = |origin: Option<&str>| {
        let mut headers = crate::harness::ws::handshake();
        headers.push(("Cookie", pair));
        headers.extend(origin.map(|origin| ("Origin", origin)));
        Response::get(daemon.address(), "/control", &headers).status
    };
    assert_eq!([handshake(Some("http://evil.example")), handshake(None), handshake(Some(&own))], [403, 403, 101]);
    let out = Response::request(daemon.address(), "POST", "/logout", &[("Origin", &own), ("Cookie", pair)], b"");
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[test]
fn the_commands_show_a_token() {
    let place = Place::new();
    keys(&place, "keys");
    let daemon = place.start(
        "access: { keys: keys }\nstreams: { app: { command: [sh, -c, 'echo one; sleep 1000'], private: true } }",
    );
    let token = token(&daemon, "keys", &["--stream", "app", "--allow", "read,admin", "--name", "ann"]);
    daemon.write("token", format!("{token}\n"));
    let url = daemon.url("");
    let run = |more: &[&str], variable: bool| -> Ended {
        let mut command = daemon.command(&[more[0], "--url", &url]);
        command.args(&more[1..]).env_remove("RTLOGD_TOKEN").env_remove("RTLOGD_TOKEN_FILE");
        if variable {
            command.env("RTLOGD_TOKEN", &token);
        }
        crate::harness::Program::start(command.stdin(std::process::Stdio::null())).ended()
    };
    let listed = |ended: &Ended| String::from_utf8_lossy(&ended.out).contains("app");
    assert!(!listed(&run(&["ls"], false)));
    assert!(listed(&run(&["ls"], true)));
    assert!(listed(&run(&["ls", "--token-file", "token"], false)));
    assert!(run(&["restart", "app"], true).status.success());
    let refused = run(&["send", "app", "hello"], true);
    assert!(
        !refused.status.success() && refused.err.contains("to type into a process or to send lines needs a token"),
        "{}",
        refused.err
    );
    let logged = daemon.logged();
    assert!(logged.contains("ann") && !logged.contains(&token), "{logged}");
}

#[test]
fn keys_that_others_may_read_are_refused() {
    let place = Place::new();
    keys(&place, "keys");
    let key = std::fs::read_dir(place.path("keys")).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    place.configure("access: { keys: keys }");
    for command in [&["serve", "--config", "rtlogd.yaml"][..], &["token", "--config", "rtlogd.yaml", "--stream", "a"]] {
        let ended = place.execute(command);
        assert!(!ended.status.success() && ended.err.contains("chmod 600"), "{}", ended.err);
    }
}

#[test]
fn a_file_that_not_all_may_read_is_private() {
    let place = Place::new();
    keys(&place, "keys");
    let daemon = place.start(
        "access: { keys: keys }\nstreams:\n  some: { file: some.log, from: start }\n  \
         all: { file: some.log, from: start, private: false }",
    );
    assert_eq!(daemon.follow("some").query("follow=false").status(), 200, "there is nothing to hide yet");
    daemon.write("secret", "one\n");
    std::fs::set_permissions(daemon.path("secret"), std::fs::Permissions::from_mode(0o640)).unwrap();
    daemon.rename("secret", "some.log");
    assert_eq!(daemon.follow("all").take(1)[0].data, "one");
    Deadline::new()
        .until("the stream is private", || (daemon.follow("some").query("follow=false").status() == 404).then_some(()));
    let token = token(&daemon, "keys", &["--stream", "some"]);
    assert_eq!(daemon.follow("some").header("Authorization", &bearer(&token)).take(1)[0].data, "one");
}
