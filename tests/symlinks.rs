//! The files that a stream may read where users other than the daemon's write to the directories that it follows.
//!
//! The daemon runs as the user `daemon`; whoever wants more than is his is `nobody`. Both need root, without which these tests
//! have nothing to show.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use serde_json::Value;

use crate::harness::{Daemon, Deadline, TestDir, is_root_or_skip};
use crate::tokens::{keys, token};

const DAEMON: u32 = 1;
const DEPLOY: u32 = 2;
const NOBODY: u32 = 65534;

/// A directory that the daemon may use, and in it `logs` of nobody.
fn dir() -> TestDir {
    let dir = TestDir::new();
    directory(&dir, "", DAEMON, 0o755);
    directory(&dir, "logs", NOBODY, 0o755);
    dir
}

fn directory(dir: &TestDir, path: &str, owner: u32, mode: u32) {
    let path = dir.path(path);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

fn file(dir: &TestDir, path: &str, owner: u32, mode: u32, text: &str) {
    dir.write(path, text);
    fs::set_permissions(dir.path(path), Permissions::from_mode(mode)).unwrap();
    chown(dir.path(path), Some(owner), Some(owner)).unwrap();
}

/// Makes a symlink that is nobody else's for any moment.
fn link(dir: &TestDir, path: &str, to: impl AsRef<Path>, owner: u32) {
    symlink(to, dir.path("new link")).unwrap();
    lchown(dir.path("new link"), Some(owner), Some(owner)).unwrap();
    dir.rename("new link", path);
}

/// Starts the daemon as its user.
fn start(dir: TestDir, yaml: &str) -> Daemon {
    dir.configure(yaml);
    let user = format!("--reuid={DAEMON}");
    dir.launch_by(&["setpriv", &user, "--regid=1", "--clear-groups"], &["serve", "--config", "rtlogd.yaml"])
}

/// All lines of a stream, for whoever asks without a token; the status if there are none for them.
fn shown(daemon: &Daemon, name: &str) -> Result<String, u16> {
    let (status, _, body) = daemon.get(&format!("/streams/{name}?tail=all&follow=false&format=text"), &[]);
    if status == 200 { Ok(String::from_utf8(body).unwrap()) } else { Err(status) }
}

fn wait_for(daemon: &Daemon, name: &str, line: &str) -> String {
    Deadline::new().until(line, || shown(daemon, name).ok().filter(|text| text.contains(line)))
}

/// Waits until a stream is denied, and gives back why.
fn denied(daemon: &Daemon, name: &str) -> String {
    let denied = || Some(daemon.state(name)["source"].clone()).filter(|source| source["state"] == "denied");
    Deadline::new().until(name, denied)["error"].as_str().unwrap().to_owned()
}

fn secrets(dir: &TestDir) {
    directory(dir, "hidden", DAEMON, 0o700);
    file(dir, "hidden/readable.log", DAEMON, 0o644, "SECRET of a hidden directory\n");
    file(dir, "secret.log", DAEMON, 0o600, "SECRET of the daemon's user\n");
    file(dir, "group.log", DAEMON, 0o640, "SECRET of a group\n");
    directory(dir, "app", DEPLOY, 0o755);
    file(dir, "app/app.log", DEPLOY, 0o644, "SECRET of another user\n");
}

const SECRETS: [&str; 4] = ["hidden/readable.log", "secret.log", "group.log", "app/app.log"];

#[test]
fn a_symlink_of_another_user_reveals_no_foreign_file() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    secrets(&dir);
    for (n, secret) in SECRETS.iter().enumerate() {
        link(&dir, &format!("logs/before{n}.log"), dir.path(secret), NOBODY);
    }
    link(&dir, "logs/plain", "../hidden/readable.log", NOBODY);
    link(&dir, "logs/d", "../hidden", NOBODY);
    dir.fifo("hidden/pipe");
    chown(dir.path("hidden/pipe"), Some(DAEMON), None).unwrap();
    link(&dir, "logs/pipe", "../hidden/pipe", NOBODY);
    let mut pipe = OpenOptions::new().read(true).write(true).open(dir.path("hidden/pipe")).unwrap();
    file(&dir, "logs/app.log", NOBODY, 0o644, "");
    let daemon = start(
        dir,
        "streams:\n  apps: { file: 'logs/*.log', from: start }\n  below: { file: 'logs/**/*.log', from: start }\n  \
        next: { file: 'logs/*/*.log', from: start }\n  plain: { file: logs/plain, from: start }\n  \
        through: { file: logs/d/readable.log, from: start }\n  pipe: { file: logs/pipe }\n  \
        within: { file: 'logs/d/*.log', from: start }",
    );
    pipe.write_all(b"SECRET of a pipe\n").unwrap();
    for name in ["plain", "through", "pipe", "within", "next"] {
        let error = denied(&daemon, name);
        // The message names any symlink of the pattern that may be a directory.
        let link = daemon.path(if matches!(name, "plain" | "pipe" | "next") { "logs" } else { "logs/d" });
        let named = format!("the symlink {}", link.display());
        assert!(error.contains(&named) && error.contains("belongs to nobody (uid 65534)"), "{name}: {error}");
        assert!(!error.contains("hidden"), "{name} tells where it leads: {error}");
    }
    for (n, secret) in SECRETS.iter().enumerate() {
        link(&daemon, &format!("logs/after{n}.log"), daemon.path(secret), NOBODY);
    }
    link(&daemon, "logs/e", daemon.path("hidden"), NOBODY);
    link(&daemon, "logs/app.log.1", daemon.path("secret.log"), NOBODY);
    // A file that was followed makes room for a symlink.
    file(&daemon, "logs/app.log", NOBODY, 0o644, "first\n");
    wait_for(&daemon, "apps", "first");
    daemon.rename("logs/app.log", "logs/app.log.2");
    link(&daemon, "logs/app.log", daemon.path("secret.log"), NOBODY);
    file(&daemon, "logs/own.txt", NOBODY, 0o644, "own\n");
    link(&daemon, "logs/own.log", "own.txt", NOBODY);
    for name in ["apps", "below"] {
        // A file of the user nobody is shown, through a symlink too, and a symlink to a private file makes no stream private.
        let text = wait_for(&daemon, name, "own");
        assert!(!text.contains("SECRET"), "{name}: {text}");
        assert_eq!(daemon.state(name)["source"]["state"], "following", "{name}");
    }
    let told = |name: &str| {
        let symlink = format!("cannot open {0}: the symlink {0} belongs", daemon.path(name).display());
        daemon.logged().lines().filter(|line| line.contains(&symlink)).count()
    };
    // Each is told once by each of the two streams.
    Deadline::new()
        .until("a warning of the last", || (told("logs/after3.log") == 2 && told("logs/app.log") == 2).then_some(()));
    assert_eq!((told("logs/before0.log"), told("logs/plain")), (2, 1), "{}", daemon.logged());
    for name in ["apps", "below", "next", "plain", "through", "pipe", "within"] {
        assert_eq!(shown(&daemon, name).map(|text| text.contains("SECRET")), Ok(false), "{name}");
    }
}

#[test]
fn no_stream_shows_keys_or_histories() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    keys(&dir, "keys");
    let key = fs::read_dir(dir.path("keys")).unwrap().next().unwrap().unwrap().path();
    directory(&dir, "keys", DAEMON, 0o700);
    chown(&key, Some(DAEMON), Some(DAEMON)).unwrap();
    directory(&dir, "state", DAEMON, 0o700);
    file(&dir, "vault.log", DAEMON, 0o600, "SECRET in the vault\n");
    let config = |more: &str| {
        format!(
            "access: {{ keys: keys }}\nstate_directory: state\nstreams:\n  vault: {{ file: vault.log, from: start }}\n{more}"
        )
    };
    let daemon = start(dir, &config(""));
    let any = token(&daemon, "keys", &["--stream", "*"]);
    let bearer = format!("Bearer {any}");
    let authorized = [("Authorization", bearer.as_str())];
    let history = daemon.path("state/streams/vault/0000000000000000.rlog");
    Deadline::new()
        .until("a history", || fs::read(&history).ok().filter(|bytes| bytes.windows(6).any(|part| part == b"SECRET")));
    let dir = daemon.kill();
    let names = ["symlink", "hard", "plain_symlink", "plain_hard"];
    for (kind, target) in [("key", &key), ("history", &history)] {
        link(&dir, &format!("logs/{kind}_symlink.log"), target, NOBODY);
        link(&dir, &format!("logs/{kind}_plain_symlink"), target, NOBODY);
        fs::hard_link(target, dir.path(&format!("logs/{kind}_hard.log"))).unwrap();
        fs::hard_link(target, dir.path(&format!("logs/{kind}_plain_hard"))).unwrap();
    }
    link(&dir, "logs/config.log", dir.path("rtlogd.yaml"), NOBODY);
    let mut streams = Vec::new();
    for (name, follow) in [("careful", false), ("trusting", true)] {
        streams.push(format!("  {name}: {{ file: 'logs/*.log', from: start, follow_symlinks: {follow} }}"));
        for file in ["key_plain_symlink", "key_plain_hard", "history_plain_symlink", "history_plain_hard"] {
            streams.push(format!("  {name}_{file}: {{ file: logs/{file}, from: start, follow_symlinks: {follow} }}"));
        }
    }
    streams.push("  direct: { file: ['keys/*', 'state/**/*.rlog', 'rtlogd.yam[l]'], from: start }".to_owned());
    let daemon = start(dir, &config(&streams.join("\n")));
    file(&daemon, "logs/marker.log", NOBODY, 0o644, "marker\n");
    for name in ["careful", "trusting"] {
        wait_for(&daemon, name, "marker");
        for file in ["key", "history"].iter().flat_map(|kind| names.map(|name| format!("{kind}_{name}"))) {
            let stream = format!("{name}_{file}");
            if file.contains("plain") {
                let error = denied(&daemon, &stream);
                let is_own = error.contains("one of rtlogd's own files");
                assert!(is_own || (name == "careful" && error.contains("belongs to nobody")), "{stream}: {error}");
            }
        }
        let text = shown(&daemon, name).unwrap();
        assert!(!["SECRET", "PRIVATE KEY", "state_directory"].iter().any(|word| text.contains(word)), "{name}: {text}");
    }
    denied(&daemon, "direct");
    let (_, _, body) = daemon.get("/streams", &authorized);
    let list: Value = serde_json::from_slice(&body).unwrap();
    for stream in list["streams"].as_array().unwrap_or_else(|| panic!("{list}")) {
        let name = stream["name"].as_str().unwrap();
        if name != "vault" {
            let (status, _, body) = daemon.get(&format!("/streams/{name}?tail=all&follow=false"), &authorized);
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(status == 200 && !text.contains("SECRET") && !text.contains("PRIVATE KEY"), "{name}: {text}");
        }
    }
}

#[test]
fn symlinks_of_root_are_followed_as_on_every_node_of_kubernetes() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    for path in ["containers", "pods/ns_web_uid/web", "docker/abc"] {
        directory(&dir, path, 0, 0o755);
    }
    let line =
        |text: &str| format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-28T10:00:00Z\"}}\n");
    file(&dir, "docker/abc/abc-json.log", 0, 0o644, &line("one"));
    link(&dir, "pods/ns_web_uid/web/0.log", "../../../docker/abc/abc-json.log", 0);
    link(&dir, "containers/web_ns_web-abc.log", dir.path("pods/ns_web_uid/web/0.log"), 0);
    // A symlink that root put among the files of another user.
    link(&dir, "logs/web.log", "../containers/web_ns_web-abc.log", 0);
    let daemon = start(
        dir,
        "streams:\n  pods: { file: 'containers/*.log', from: start }\n  named: { file: logs/web.log, from: start }\n  \
        apps: { file: 'logs/*.log', from: start }",
    );
    for name in ["pods", "named", "apps"] {
        wait_for(&daemon, name, "one");
    }
    daemon.rename("docker/abc/abc-json.log", "docker/abc/abc-json.log.1");
    daemon.write("docker/abc/abc-json.log.1", line("two"));
    file(&daemon, "docker/abc/abc-json.log", 0, 0o644, &line("three"));
    for name in ["pods", "named", "apps"] {
        let text = wait_for(&daemon, name, "three");
        assert!(text.contains("two"), "{name}: {text}");
    }
}

#[test]
fn rotations_behind_a_symlink_during_a_stop_lose_nothing() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    directory(&dir, "state", DAEMON, 0o700);
    directory(&dir, "pods", 0, 0o755);
    directory(&dir, "containers", 0, 0o755);
    file(&dir, "pods/0.log", 0, 0o644, "one is the first line of this file\n");
    link(&dir, "containers/c.log", "../pods/0.log", 0);
    let yaml = "state_directory: state\nstreams:\n  named: { file: containers/c.log, from: start }\n  \
        all: { file: 'containers/*.log', from: start }";
    let daemon = start(dir, yaml);
    for name in ["named", "all"] {
        wait_for(&daemon, name, "one");
    }
    let dir = daemon.kill();
    dir.write("pods/0.log", "two\n");
    dir.rename("pods/0.log", "pods/0.log.2");
    file(&dir, "pods/0.log.1", 0, 0o644, "three is the first line of another\n");
    // Whoever made the symlink did not mean the files of others.
    file(&dir, "pods/0.log.0", NOBODY, 0o644, "stranger\n");
    file(&dir, "pods/0.log", 0, 0o644, "four\n");
    let daemon = start(dir, yaml);
    for name in ["named", "all"] {
        let text = wait_for(&daemon, name, "four");
        let words: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(words, ["one", "two", "three", "four"], "{name}");
    }
}

#[test]
fn a_user_may_switch_symlinks_between_their_own_files() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    for release in ["1", "2"] {
        directory(&dir, "srv", DEPLOY, 0o755);
        directory(&dir, &format!("srv/releases/{release}"), DEPLOY, 0o755);
        file(&dir, &format!("srv/releases/{release}/app.log"), DEPLOY, 0o644, &format!("release {release}\n"));
    }
    chown(dir.path("srv/releases"), Some(DEPLOY), None).unwrap();
    link(&dir, "srv/current", "releases/1", DEPLOY);
    let daemon = start(
        dir,
        "streams:\n  app: { file: srv/current/app.log, from: start }\n  all: { file: 'srv/current/*.log', from: start }",
    );
    for name in ["app", "all"] {
        wait_for(&daemon, name, "release 1");
    }
    link(&daemon, "srv/new", "releases/2", DEPLOY);
    daemon.rename("srv/new", "srv/current");
    for name in ["app", "all"] {
        wait_for(&daemon, name, "release 2");
    }
}

#[test]
fn an_allowed_symlink_is_followed_without_a_restart() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    secrets(&dir);
    for name in ["one", "two", "three", "four.log"] {
        link(&dir, &format!("logs/{name}"), "../app/app.log", NOBODY);
    }
    let streams = |follow: bool| {
        format!(
            "streams:\n  one: {{ file: logs/one, from: start }}\n  two: {{ file: logs/two, from: start }}\n  \
            three: {{ file: logs/three, from: start, follow_symlinks: {follow} }}\n  four: {{ file: 'logs/*.log', from: start }}"
        )
    };
    let daemon = start(dir, &streams(false));
    for name in ["one", "two", "three", "four"] {
        denied(&daemon, name);
    }
    // One symlink becomes that of root, others are replaced, and then the streams may read their files.
    lchown(daemon.path("logs/one"), Some(0), Some(0)).unwrap();
    lchown(daemon.path("logs/four.log"), Some(DAEMON), Some(0)).unwrap();
    link(&daemon, "logs/new", "../app/app.log", 0);
    daemon.rename("logs/new", "logs/two");
    let address = daemon.address().host();
    daemon.configure(&format!("listen: [\"{address}\"]\n{}", streams(true)));
    daemon.signal(rustix::process::Signal::HUP);
    for name in ["one", "two", "three", "four"] {
        wait_for(&daemon, name, "SECRET of another user");
    }
}

#[test]
fn a_file_made_unreadable_to_others_turns_its_stream_private_before_the_next_line() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    for path in ["logs/a.log", "logs/b.log", "logs/c.log"] {
        file(&dir, path, NOBODY, 0o644, "open\n");
        chown(dir.path(path), None, Some(DAEMON)).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, dir.path("logs/pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    chown(dir.path("logs/pipe"), Some(DAEMON), None).unwrap();
    fs::set_permissions(dir.path("logs/pipe"), Permissions::from_mode(0o644)).unwrap();
    let daemon = start(
        dir,
        "streams:\n  named: { file: logs/a.log, from: start }\n  all: { file: 'logs/[b].log', from: start }\n  \
        rotated: { file: logs/c.log, from: start }\n  pipe: { file: logs/pipe }\n  \
        still: { file: logs/a.log, from: start, private: false }",
    );
    let mut pipe = OpenOptions::new().read(true).write(true).open(daemon.path("logs/pipe")).unwrap();
    pipe.write_all(b"open\n").unwrap();
    for name in ["named", "all", "rotated", "pipe", "still"] {
        wait_for(&daemon, name, "open");
    }
    for path in ["logs/a.log", "logs/b.log", "logs/pipe"] {
        fs::set_permissions(daemon.path(path), Permissions::from_mode(0o640)).unwrap();
    }
    // The file is rotated, and the new one is readable by fewer users.
    daemon.rename("logs/c.log", "logs/c.log.1");
    file(&daemon, "logs/new", NOBODY, 0o640, "SECRET\n");
    chown(daemon.path("logs/new"), None, Some(DAEMON)).unwrap();
    daemon.rename("logs/new", "logs/c.log");
    daemon.write("logs/a.log", "SECRET\n");
    daemon.write("logs/b.log", "SECRET\n");
    pipe.write_all(b"SECRET\n").unwrap();
    for name in ["named", "all", "rotated", "pipe"] {
        Deadline::new().until(name, || {
            let text = shown(&daemon, name);
            assert!(!text.as_ref().is_ok_and(|text| text.contains("SECRET")), "{name}: {text:?}");
            (text == Err(404)).then_some(())
        });
    }
    wait_for(&daemon, "still", "SECRET");
}

#[test]
fn doctor_names_a_symlink_that_is_not_followed() {
    if !is_root_or_skip("give files to other users") {
        return;
    }
    let dir = dir();
    secrets(&dir);
    link(&dir, "logs/app.log", "../app/app.log", NOBODY);
    link(&dir, "logs/d", "../app", NOBODY);
    link(&dir, "logs/fine", "../app/app.log", 0);
    dir.configure("streams: { a: { file: logs/app.log }, b: { file: 'logs/d/*.log' }, c: { file: logs/fine }, d: { file: rtlogd.yaml } }");
    let said = String::from_utf8(dir.execute(&["doctor", "--config", "rtlogd.yaml"]).out).unwrap();
    for (stream, what) in
        [("a", "logs/app.log belongs to nobody"), ("b", "logs/d belongs to nobody"), ("d", "own files")]
    {
        let line = said.lines().find(|line| line.contains(&format!("stream {stream}: ")));
        assert!(line.is_some_and(|line| line.contains(what)), "{stream}: {said}");
    }
    assert!(!said.contains("stream c: "), "{said}");
}
