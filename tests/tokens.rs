//! Tokens from outside: made by `rtlogd token`, shown in each way, over, revoked, and their keys changed.

use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::harness::http::Response;
use crate::harness::ws::{Channel, Frame, Talk};
use crate::harness::{Daemon, Deadline, Ended, TestDir, is_root_or_skip};

/// Makes a directory with a key.
pub(crate) fn keys(dir: &TestDir, directory: &str) {
    let made = dir.execute(&["token", "--init", "--keys", directory]);
    assert!(made.status.success(), "{}", made.err);
}

/// A token of these keys.
pub(crate) fn token(dir: &TestDir, directory: &str, arguments: &[&str]) -> String {
    let made = dir.execute(&[&["token", "--keys", directory], arguments].concat());
    assert!(made.status.success(), "{}", made.err);
    String::from_utf8(made.out).unwrap().trim().to_owned()
}

/// A daemon with keys, and one private stream with a line in it.
fn private() -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    dir.write("app.log", "one\n");
    dir.start("access: { keys: keys }\nstreams: { app: { file: app.log, from: start, private: true } }")
}

/// The program at a terminal; what it writes there is what it printed.
fn at_a_terminal(dir: TestDir, arguments: &str) -> Daemon {
    let mut script = Command::new("script");
    let line = format!("exec $RTLOGD {arguments}");
    script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).stdin(Stdio::piped());
    script.env("RTLOGD", env!("CARGO_BIN_EXE_rtlogd")).current_dir(dir.path(""));
    dir.launch_command(script)
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
fn a_daemon_started_at_a_terminal_prints_a_url_with_a_token() {
    let dir = TestDir::new();
    dir.write("hidden.log", "one\n");
    std::fs::set_permissions(dir.path("hidden.log"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = at_a_terminal(dir, "serve hidden.log --listen 127.0.0.1:0");
    assert_eq!(daemon.follow("hidden.log").status(), 404, "without it, what not everybody may read is not there");
    let token = invited(&daemon);
    assert_eq!(daemon.follow(&format!("hidden.log?access_token={token}")).take(1)[0].data, "one");
    let address = daemon.address().tcp();
    daemon.kill();
    Deadline::new().until("its end with the terminal's", || TcpStream::connect(address).err());

    let daemon = at_a_terminal(TestDir::new(), "run --name job --listen 127.0.0.1:0 -- sleep 600");
    let token = invited(&daemon);
    let stop = |headers: &[(&str, &str)]| {
        Response::request(daemon.address(), "POST", "/streams/job/stop", headers, b"").status
    };
    assert_eq!(stop(&[]), 403);
    // The URL is shown before the command runs.
    Deadline::new().until("the stop", || (stop(&[("Authorization", &bearer(&token))]) == 200).then_some(()));
}

#[test]
fn no_url_is_printed_where_the_output_is_stored() {
    let dir = TestDir::new();
    dir.write("hidden.log", "one\n");
    std::fs::set_permissions(dir.path("hidden.log"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = dir.launch(&["serve", "hidden.log", "--listen", "127.0.0.1:0"], Stdio::null());
    let logged =
        Deadline::new().until("the stream in the log", || Some(daemon.logged()).filter(|log| log.contains("private")));
    assert!(!logged.contains("access_token"), "{logged}");
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_token_is_valid_until_it_is_revoked_and_its_streams_end() {
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
fn a_stream_ends_when_its_token_expires() {
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
fn keys_are_rotated_while_tokens_of_the_previous_key_stay_valid() {
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
fn a_login_stores_the_token_in_a_cookie_and_a_logout_removes_it() {
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
fn the_commands_send_a_token() {
    let dir = TestDir::new();
    keys(&dir, "keys");
    let daemon = dir.start(
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
        !refused.status.success() && refused.err.contains("typing into a process or sending lines needs a token"),
        "{}",
        refused.err
    );
    let logged = daemon.logged();
    assert!(logged.contains("ann") && !logged.contains(&token), "{logged}");
}

#[test]
fn keys_readable_by_others_are_refused() {
    let dir = TestDir::new();
    keys(&dir, "keys");
    let key = std::fs::read_dir(dir.path("keys")).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    dir.configure("access: { keys: keys }");
    for command in [&["serve", "--config", "rtlogd.yaml"][..], &["token", "--config", "rtlogd.yaml", "--stream", "a"]] {
        let ended = dir.execute(command);
        assert!(!ended.status.success() && ended.err.contains("chmod 600"), "{}", ended.err);
    }
}

#[test]
fn a_file_not_readable_by_all_is_private() {
    let dir = TestDir::new();
    keys(&dir, "keys");
    let daemon = dir.start(
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

/// The id in a token, unread by anybody who proves it.
fn id_in(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["jti"].as_str().unwrap().to_owned()
}

/// Revokes what is given, and gives what was said of it.
fn revoke(dir: &TestDir, given: &str) -> String {
    let done = dir.execute(&["token", "--keys", "keys", "--revoke", given]);
    assert!(done.status.success(), "{}", done.err);
    assert!(String::from_utf8(done.out).unwrap().ends_with("keys/revoked\n"));
    done.err
}

#[test]
fn token_revoke_says_what_it_achieves() {
    let dir = TestDir::new();
    keys(&dir, "keys");
    keys(&dir, "others");
    let good = token(&dir, "keys", &["--stream", "app", "--name", "ann"]);
    let key = std::fs::read_dir(dir.path("keys")).unwrap().next().unwrap().unwrap().path();
    let key = key.file_stem().unwrap().to_str().unwrap().to_owned();
    let foreign = token(&dir, "others", &["--stream", "app"]);
    let over = token(&dir, "keys", &["--stream", "app", "--expires", "1s"]);
    Deadline::new().until("the end of the token", || {
        let claims = URL_SAFE_NO_PAD.decode(over.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        (claims["exp"].as_u64().unwrap() <= now).then_some(())
    });
    let id = id_in(&good);
    let said = revoke(&dir, &good);
    for part in ["revoked", &id, "ann", &key, "expired at 2"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (given, part) in [
        (good.as_str(), "was already revoked"),
        (&id, "was already revoked"),
        (&foreign, "not signed by a key that rtlogd knows"),
        (&over, "the token has expired"),
        ("some-id", "rtlogd cannot tell whether"),
        ("-bX9", "rtlogd cannot tell whether"),
    ] {
        let said = revoke(&dir, given);
        assert!(said.contains(part) && !said.contains(good.as_str()), "{given}: {said}");
    }
    let list = std::fs::read_to_string(dir.path("keys/revoked")).unwrap();
    assert_eq!(list, format!("{id}\n{}\n{}\nsome-id\n-bX9\n", id_in(&foreign), id_in(&over)));
    let (cut, _) = good.split_at(good.len() / 2);
    let damaged = format!("{cut}.x.y");
    for (given, code) in [("two words", 2), ("", 2), ("a#b", 2), ("--rotate", 2), (&damaged, 2)] {
        let refused = dir.execute(&["token", "--keys", "keys", "--revoke", given]);
        assert_eq!(refused.status.code(), Some(code), "{given}: {}", refused.err);
    }
    let nowhere = dir.execute(&["token", "--keys", "nothing", "--revoke", "an-id"]);
    assert!(nowhere.status.code() == Some(1) && nowhere.err.contains("nothing/revoked"), "{}", nowhere.err);
    assert_eq!(std::fs::read_to_string(dir.path("keys/revoked")).unwrap(), list, "nothing was added");
}

#[test]
fn a_token_is_revoked_although_another_key_is_broken() {
    let daemon = private();
    let (one, two) = (token(&daemon, "keys", &["--stream", "app"]), token(&daemon, "keys", &["--stream", "app"]));
    let mut reader = daemon.follow("app").header("Authorization", &bearer(&one)).open();
    assert_eq!(reader.take(1)[0].data, "one");
    daemon.write("keys/9.ed25519", "a stray key that all may read");
    revoke(&daemon, &one);
    assert!(reader.until("denied", |message| message.event == "denied").pop().unwrap().data.contains("revoked"));
    assert_eq!(daemon.follow("app").header("Authorization", &bearer(&one)).status(), 401);
    assert_eq!(daemon.follow("app").query("follow=false").header("Authorization", &bearer(&two)).status(), 200);
    let logged = Deadline::new()
        .until("the stray key is logged", || Some(daemon.logged()).filter(|logged| logged.contains("9.ed25519")));
    assert_eq!(logged.matches("9.ed25519").count(), 1, "it is logged once: {logged}");
    assert!(logged.contains("chmod 600"), "with the reason: {logged}");
}

#[test]
fn a_token_of_a_new_key_works_at_once() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("access: { keys: keys }\nstreams: { app: { file: app.log, from: start, private: true } }");
    let status =
        |token: &str| daemon.follow("app").query("follow=false").header("Authorization", &bearer(token)).status();
    keys(&daemon, "keys");
    assert_eq!(status(&token(&daemon, "keys", &["--stream", "*"])), 200, "after --init");
    for _ in 0..3 {
        let rotated = daemon.execute(&["token", "--keys", "keys", "--rotate"]);
        assert!(rotated.status.success(), "{}", rotated.err);
        assert_eq!(status(&token(&daemon, "keys", &["--stream", "*"])), 200, "after --rotate");
    }
    let in_url = token(&daemon, "keys", &["--stream", "*", "--expires", "1h"]);
    assert_eq!(daemon.follow("app").query(&format!("follow=false&access_token={in_url}")).status(), 200);
}

#[test]
fn a_reload_changes_whose_tokens_are_valid() {
    let dir = TestDir::new();
    keys(&dir, "keys");
    keys(&dir, "others");
    dir.write("app.log", "one\n");
    let of = |directory: &str, allow: &str| {
        format!(
            "access:\n  {directory}\n  issuers: [{{ issuer: ci, audience: rtlogd, keys: ci.jwks, grants: [{{ claims: {{ sub: x }}, \
             stream: app, allow: [{allow}] }}] }}]\nstreams: {{ app: {{ file: app.log, from: start, private: true }} }}"
        )
    };
    dir.write("ci.jwks", "{");
    let daemon = dir.start(&of("keys: keys", "read"));
    assert!(daemon.logged().contains("ci.jwks"), "{}", daemon.logged());
    let (one, other) = (token(&daemon, "keys", &["--stream", "app"]), token(&daemon, "others", &["--stream", "app"]));
    let mut reader = daemon.follow("app").header("Authorization", &bearer(&one)).open();
    assert_eq!(reader.take(1)[0].data, "one");
    let status =
        |token: &str| daemon.follow("app").query("follow=false").header("Authorization", &bearer(token)).status();
    assert_eq!([status(&one), status(&other)], [200, 401]);
    daemon.configure(&of("keys: others", "read"));
    let reloaded = daemon.execute(&["reload", "--config", "rtlogd.yaml"]);
    assert!(reloaded.err.contains("ci.jwks"), "what is still broken is said: {reloaded:?}");
    assert_eq!([status(&one), status(&other)], [401, 200]);
    let last = reader.until("denied", |message| message.event == "denied").pop().unwrap();
    assert!(last.data.contains("not signed by a key"), "{last:?}");
}

/// Files that the daemon's user, who owns the directory of the keys, creates as a trap for root.
#[test]
fn root_writes_keys_through_no_link_of_their_owner() {
    type Trap = (&'static str, fn(&Path, &Path));
    const NOBODY: u32 = 65534;
    if !is_root_or_skip("write into the directory of another user") {
        return;
    }
    let dir = TestDir::new();
    keys(&dir, "keys");
    let chown = |name: &str| std::os::unix::fs::lchown(dir.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    let made = |name: &str| std::fs::symlink_metadata(dir.path(name)).unwrap();
    let key = std::fs::read_dir(dir.path("keys")).unwrap().next().unwrap().unwrap().file_name();
    chown("keys");
    chown(&format!("keys/{}", key.to_str().unwrap()));
    dir.write("precious", "precious");
    let good = token(&dir, "keys", &["--stream", "app"]);
    let traps: [Trap; 4] = [
        ("a link to a file", |precious, list| std::os::unix::fs::symlink(precious, list).unwrap()),
        ("a link to nothing", |precious, list| {
            std::os::unix::fs::symlink(precious.with_extension("new"), list).unwrap();
        }),
        ("a hard link", |precious, list| std::fs::hard_link(precious, list).unwrap()),
        ("a file of root", |_, list| std::fs::write(list, "").unwrap()),
    ];
    for (what, lay) in traps {
        lay(&dir.path("precious"), &dir.path("keys/revoked"));
        let refused = dir.execute(&["token", "--keys", "keys", "--revoke", &good]);
        assert_eq!(refused.status.code(), Some(1), "{what}: {}", refused.err);
        assert!(
            refused.err.contains("cannot write") && refused.err.contains("keys/revoked"),
            "{what}: {}",
            refused.err
        );
        assert_eq!(std::fs::read_to_string(dir.path("precious")).unwrap(), "precious", "{what}");
        assert_eq!(made("precious").uid(), 0, "{what}");
        assert!(!dir.path("precious.new").exists(), "{what}");
        std::fs::remove_file(dir.path("keys/revoked")).unwrap();
    }
    let revoked = dir.execute(&["token", "--keys", "keys", "--revoke", &good]);
    assert!(revoked.status.success(), "{}", revoked.err);
    let rotated = dir.execute(&["token", "--keys", "keys", "--rotate"]);
    assert!(rotated.status.success(), "{}", rotated.err);
    for entry in std::fs::read_dir(dir.path("keys")).unwrap() {
        let found = entry.unwrap().metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (NOBODY, 0o600));
    }
    std::fs::rename(dir.path("keys"), dir.path("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.path("keys")).unwrap();
    chown("keys");
    for deed in [&["--rotate"][..], &["--init"], &["--revoke", "an-id"], &["--stream", "app"]] {
        let refused = dir.execute(&[&["token", "--keys", "keys"], deed].concat());
        assert!(refused.err.contains("symbolic link of the user 65534"), "{deed:?}: {}", refused.err);
        assert!(!refused.status.success(), "{deed:?}");
    }
}

/// The key of a CI: its JWKS with this id, and a token by it.
fn ci(kid: &str) -> (String, String) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwks =
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x }] });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "iss": "ci", "aud": "rtlogd", "sub": "job", "jti": kid, "iat": now, "exp": now + 600 });
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(pkcs8.as_ref())).unwrap();
    (jwks.to_string(), token)
}

#[test]
fn streams_of_a_ci_token_end_with_its_key_and_its_grant() {
    let dir = TestDir::new();
    let (first, token) = ci("k1");
    let (second, other) = ci("k2");
    dir.write("ci.jwks", &first);
    dir.write("app.log", "one\n");
    let granting = |allow: &str| {
        format!(
            "access: {{ issuers: [{{ issuer: ci, audience: rtlogd, keys: ci.jwks, grants: [{{ claims: {{ sub: job }}, \
             stream: app, allow: [{allow}] }}] }}] }}\nstreams: {{ app: {{ file: app.log, from: start, private: true }} }}"
        )
    };
    let daemon = dir.start(&granting("read, input"));
    let status =
        |token: &str| daemon.follow("app").query("follow=false").header("Authorization", &bearer(token)).status();
    let open = |token: &str| {
        let mut reader = daemon.follow("app").header("Authorization", &bearer(token)).open();
        assert_eq!(reader.take(1)[0].data, "one");
        reader
    };
    let mut reader = open(&token);
    // A file that is broken takes nothing from anybody.
    std::fs::write(daemon.path("ci.jwks"), "{").unwrap();
    Deadline::new().until("the log of it", || daemon.logged().contains("ci.jwks").then_some(()));
    assert_eq!(status(&token), 200);
    std::fs::write(daemon.path("ci.jwks"), &second).unwrap();
    let last = reader.until("denied", |message| message.event == "denied").pop().unwrap();
    assert!(last.data.contains("not signed by a key that rtlogd knows"), "{last:?}");
    assert_eq!([status(&token), status(&other)], [401, 200]);
    let mut reader = open(&other);
    daemon.configure(&granting("read"));
    let reloaded = daemon.execute(&["reload", "--config", "rtlogd.yaml"]);
    assert!(reloaded.status.success() && reloaded.err.is_empty(), "{}", reloaded.err);
    let last = reader.until("denied", |message| message.event == "denied").pop().unwrap();
    assert!(last.data.contains("the rights of the token have changed"), "{last:?}");
    assert_eq!(status(&other), 200, "it still reads");
}
