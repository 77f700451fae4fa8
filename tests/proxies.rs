//! Clients behind a proxy: who they are, what they may do, and what they are told. See `rights.rs` for all addresses.

use serde_json::Value;

use crate::harness::http::Response;
use crate::harness::{Daemon, TestDir};
use crate::tokens::{keys, token};

fn daemon(trusted: &str) -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    dir.write("a.log", "one\n");
    dir.start(&format!(
        "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\ntrusted_proxies: [{trusted}]\n\
         streams:\n  a: {{ file: a.log, private: false, from: start }}\n"
    ))
}

fn refused(response: Response) -> String {
    assert_eq!(response.status, 401);
    let problem: Value = serde_json::from_slice(&response.body.all()).unwrap();
    problem["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_proxy_on_the_unix_socket_speaks_for_its_clients() {
    // The user of the tests, who would be the owner of the daemon otherwise.
    let user = rustix::process::geteuid().as_raw();
    let daemon = daemon(&format!("\"unix:{user}\""));
    let get = |headers: &[(&str, &str)]| Response::get(daemon.unix(), "/streams/a?follow=false", headers);
    let silent = refused(get(&[]));
    assert!(silent.contains("does not name its client") && silent.contains("Unix socket"), "{silent}");
    let client = ("X-Forwarded-For", "203.0.113.9");
    assert!(refused(get(&[client])).starts_with("this needs a token"));
    let torn = refused(get(&[client, ("X-Real-IP", "127.0.0.1")]));
    assert!(torn.contains("do not agree on the client"), "{torn}");
    let token = token(&daemon, "keys", &["--stream", "*", "--expires", "1h"]);
    assert_eq!(get(&[client, ("Authorization", &format!("Bearer {token}"))]).status, 200);
    // Clients of the proxy log in; their cookie is limited to TLS where the proxy reports TLS.
    for (headers, secure) in [
        (&[client, ("X-Forwarded-Proto", "https")][..], true),
        (&[client, ("X-Forwarded-Proto", "http")], false),
        (&[client], false),
        (&[client, ("X-Forwarded-Proto", "https"), ("Forwarded", "for=127.0.0.1;proto=https")], false),
    ] {
        let login = Response::request(daemon.unix(), "POST", "/login", headers, token.as_bytes());
        assert_eq!(login.status, 204);
        assert_eq!(login.header("set-cookie").contains("; Secure"), secure, "{headers:?}");
    }
}

#[test]
fn a_proxy_that_is_not_named_has_no_local_clients() {
    let daemon = daemon("");
    let get = |headers: &[(&str, &str)]| Response::get(daemon.address(), "/streams/a?follow=false", headers);
    assert_eq!(get(&[]).status, 200);
    for _ in 0..3 {
        let detail = refused(get(&[("X-Forwarded-For", "127.0.0.1")]));
        assert!(detail.contains("`trusted_proxies`"), "{detail}");
    }
    let of_owner = Response::request(daemon.unix(), "POST", "/streams/a/start", &[("Via", "1.1 x")], b"");
    assert_eq!(of_owner.status, 401);
    // Anybody can write the header, so it is logged once and not for each request.
    let logged = daemon.logged();
    let told: Vec<_> = logged.lines().filter(|line| line.contains("headers that only proxies write")).collect();
    assert_eq!(told.len(), 1, "{logged}");
}

#[test]
fn a_missing_proxy_user_prevents_the_start() {
    let dir = TestDir::new();
    dir.write("rtlogd.yaml", "trusted_proxies: [\"unix:no-such-user\"]\nlisten: [\"127.0.0.1:0\"]\n");
    let ended = dir.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    assert!(ended.err.contains("names the user \"no-such-user\", who does not exist on this system"), "{}", ended.err);
}

#[test]
fn check_refuses_wide_networks_as_proxies_and_warns_about_loopback() {
    let dir = TestDir::new();
    let check = |proxies: &str| {
        dir.configure(&format!("trusted_proxies: [{proxies}]\n"));
        dir.execute(&["check", "--config", "rtlogd.yaml"])
    };
    for wide in ["0.0.0.0/0", "\"::/0\"", "0.0.0.0/1", "128.0.0.0/2", "\"2000::/3\""] {
        let ended = check(wide);
        assert_eq!(ended.status.code(), Some(2), "{wide}: {}", ended.err);
        assert!(ended.err.contains("is not a network of proxies"), "{wide}: {}", ended.err);
    }
    let local = check("127.0.0.1");
    assert!(
        local.status.success() && local.err.contains("requests from this machine over TCP need a token"),
        "{}",
        local.err
    );
    let remote = check("10.0.0.5, \"unix:www-data\"");
    assert!(remote.status.success() && remote.err.is_empty(), "{}", remote.err);
}
