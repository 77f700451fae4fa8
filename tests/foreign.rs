//! Pages of others, in a real browser: what a foreign page can do, and one of `origins`, and one that rebinds DNS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::{Value, json};

use crate::clients::{chromium_by, output};
use crate::harness::http::Response;
use crate::harness::{Daemon, TestDir};
use crate::openapi::routes;
use crate::tokens::{keys, token};

/// A server of pages that are empty.
fn pages() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let mut head = [0; 4096];
            let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if client.read(&mut head).is_ok() {
                // The browser may be gone already.
                client.write_all(page.as_bytes()).unwrap_or_default();
            }
        }
    });
    address
}

struct Scene {
    daemon: Daemon,
    ours: SocketAddr,
    theirs: SocketAddr,
    token: String,
}

impl Scene {
    /// A token that reads `hidden`, and reads and types into `open`.
    fn new() -> Self {
        let dir = TestDir::new();
        keys(&dir, "keys");
        let (ours, theirs) = (pages(), pages());
        let daemon = dir.start(&format!(
            "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\norigins: [\"http://{ours}\"]\nstreams:\n  \
             open: {{ command: [sh, -c, 'echo one; exec cat'], input: true }}\n  \
             hidden: {{ command: [sh, -c, 'echo two; exec cat'], private: true }}"
        ));
        daemon.follow("open").query("tail=all").until("one", |message| message.data == "one");
        let token = token(&daemon, "keys", &["--stream", "*", "--allow", "read,input", "--expires", "1h"]);
        Self { daemon, ours, theirs, token }
    }

    fn tried_from(&self, page: &str) -> Option<Value> {
        let target = self.daemon.url("");
        Some(output(chromium_by("foreign.cjs")?.args([page, &target, &self.token])))
    }

    /// The lines that were typed into `open` after its first line.
    fn typed(&self) -> Vec<String> {
        let typed = Response::request(self.daemon.unix(), "POST", "/streams/open/input", &[], b"mark\n");
        assert_eq!(typed.status, 200);
        let seen = self.daemon.follow("open").query("tail=all").until("the mark", |message| message.data == "mark");
        let lines = seen.into_iter().filter(|message| message.event.is_empty()).map(|message| message.data);
        lines.skip(1).take_while(|line| line != "mark").collect()
    }
}

#[test]
fn a_foreign_page_can_do_nothing_even_with_a_token() {
    let scene = Scene::new();
    let Some(tried) = scene.tried_from(&format!("http://{}", scene.theirs)) else { return };
    for what in
        ["read", "read_hidden", "follow", "follow_hidden", "channel", "channel_token", "type", "type_in_url", "login"]
    {
        assert_eq!(tried[what], "refused", "{what}: {tried}");
    }
    // The page cannot see the responses to requests that need no permission, and these change nothing.
    assert_eq!(tried["blind"], json!({ "status": 0, "text": "" }), "{tried}");
    assert_eq!(scene.typed(), Vec::<String>::new());
}

#[test]
fn a_page_with_an_allowed_origin_has_the_rights_of_its_token() {
    let scene = Scene::new();
    let Some(tried) = scene.tried_from(&format!("http://{}", scene.ours)) else { return };
    assert_eq!((&tried["read"]["status"], &tried["read_hidden"]["status"]), (&json!(200), &json!(200)), "{tried}");
    assert!(tried["read"]["text"].as_str().unwrap().contains("one\n"), "{tried}");
    assert_eq!((&tried["follow"], &tried["follow_hidden"]), (&json!("one"), &json!("two")), "{tried}");
    assert_eq!((&tried["channel"], &tried["channel_token"]), (&json!("open"), &json!("open")), "{tried}");
    assert_eq!(tried["type"]["status"], 200, "{tried}");
    // A token in a URL can only read.
    assert_eq!(tried["type_in_url"]["status"], 403, "{tried}");
    assert_eq!(scene.typed(), ["by a page"]);
}

#[test]
fn a_page_whose_name_was_rebound_to_the_daemon_is_refused() {
    let scene = Scene::new();
    let port = scene.daemon.address().tcp().port();
    let page = format!("http://evil.example:{port}/streams");
    let target = format!("http://evil.example:{port}");
    let Some(mut command) = chromium_by("foreign.cjs") else { return };
    let tried = output(command.args([&page, &target, &scene.token]));
    assert_eq!(tried["page"], 421, "{tried}");
    for what in ["read", "read_hidden", "type", "type_in_url", "blind", "login"] {
        assert_eq!(tried[what]["status"], 421, "{what}: {tried}");
    }
    for what in ["follow", "follow_hidden", "channel", "channel_token"] {
        assert_eq!(tried[what], "refused", "{what}: {tried}");
    }
    assert_eq!(scene.typed(), Vec::<String>::new());
}

/// What browsers send with requests of a page of another site that needs no permission: an image, a script, a form, a link.
const FOREIGN: [&[(&str, &str)]; 7] = [
    &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "image")],
    &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")],
    &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "script")],
    &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")],
    &[("Origin", "null")],
    &[("Referer", "https://evil.example/page")],
    &[("Origin", "http://localhost:1"), ("Sec-Fetch-Site", "same-site")],
];

#[test]
fn a_foreign_page_starts_no_process() {
    let stream = "{ command: [sh, -c, 'echo started; exec cat'], input: true, start: demand }";
    let daemon = Daemon::start(&format!(
        "origins: [\"https://dash.example.com\"]\nstreams:\n  foreign: {stream}\n  ours: {stream}\n  dash: {stream}\n  head: {stream}\n"
    ));
    let queries = [
        "/streams/foreign?tail=all&format=text",
        "/streams/foreign?follow=false",
        "/streams?stream=foreign",
        "/streams/foreign/poll?wait=0s",
    ];
    // A poll without `wait=0s` waits longer than this test needs.
    let routes = routes()
        .into_iter()
        .filter(|route| route.contains("{}") && !route.ends_with("/poll") && !route.starts_with("/page/"));
    let routes: Vec<_> = routes.map(|route| route.replacen("{}", "foreign", 1).replace("{}", "x")).collect();
    for headers in FOREIGN {
        for path in queries.into_iter().chain(routes.iter().map(String::as_str)) {
            // A page cannot read the answer, so what it is does not matter.
            assert!(Response::get(daemon.address(), path, headers).status < 500, "{path} with {headers:?}");
        }
        for path in &routes {
            let post = Response::request(daemon.address(), "POST", path, headers, b"");
            assert!(matches!(post.status, 403 | 405), "POST {path} is {} with {headers:?}", post.status);
        }
        let post = Response::request(daemon.address(), "POST", "/streams/foreign/start", headers, b"");
        assert_eq!(post.status, 403, "{headers:?}");
    }
    let head = Response::request(daemon.address(), "HEAD", "/streams/head", &[], b"");
    assert_eq!(head.status, 200);
    let state = |name: &str| -> Value {
        serde_json::from_slice(&daemon.get(&format!("/streams/{name}/state"), &[]).2).unwrap()
    };
    // A process that had been started would be so before these, which were asked for later.
    let dash =
        daemon.follow("dash").header("Origin", "https://dash.example.com").header("Sec-Fetch-Site", "cross-site");
    dash.until("its start", |message| message.data == "started");
    let ours = daemon.follow("ours").header("Sec-Fetch-Site", "same-origin");
    ours.until("its start", |message| message.data == "started");
    for name in ["foreign", "head"] {
        assert_eq!(state(name)["source"]["state"], "stopped", "{}", state(name));
    }
    daemon.follow("foreign").until("its start", |message| message.data == "started");
}
