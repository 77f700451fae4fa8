//! Streams through real proxies, in the configurations that people write and in those of `config/examples`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::http::{Address, Response};
use crate::harness::sse::{Message, Reader};
use crate::harness::{Daemon, Deadline, Ended, Program, TestDir, skip, sources};
use crate::tokens::{keys, token};

const NGINX: &str = "/usr/sbin/nginx";
const HAPROXY: &str = "/usr/sbin/haproxy";
const CADDY: &str = "/usr/bin/caddy";

/// A proxy that listens on a port of this machine.
struct Proxy {
    port: u16,
    _program: Program,
}

impl Proxy {
    fn address(&self) -> Address {
        Address::Tcp(([127, 0, 0, 1], self.port).into())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the command, and waits until it listens.
    fn start(port: u16, command: &mut Command) -> Self {
        let program = Program::start(command.stdin(Stdio::null()));
        Deadline::new().until("the proxy", || TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()));
        Self { port, _program: program }
    }
}

fn is_installed(program: &str) -> bool {
    let exists = Path::new(program).exists();
    if !exists {
        skip(&format!("{program} is not installed"));
    }
    exists
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// nginx with these lines in its `http` block and in the `location /` of its server.
fn nginx(daemon: &Daemon, http: &str, location: &str) -> Proxy {
    let port = free_port();
    let place = daemon.path(&format!("nginx-{port}"));
    fs::create_dir(&place).unwrap();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let folder = |name| format!("{name}_temp_path {}/{name}; ", place.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(folder).concat();
    let configuration = format!(
        "{user} worker_processes 1; daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
         http {{ access_log off; {temporary}\n{http}\nserver {{ listen 127.0.0.1:{port}; location / {{\n{location}\n}} }} }}\n",
        place.display()
    );
    fs::write(place.join("nginx.conf"), configuration).unwrap();
    Proxy::start(port, Command::new(NGINX).arg("-p").arg(&place).arg("-c").arg(place.join("nginx.conf")))
}

/// `HAProxy` with these lines in its `defaults` and in its backend.
fn haproxy(daemon: &Daemon, defaults: &str, backend: &str) -> Proxy {
    let port = free_port();
    let file = daemon.path(&format!("haproxy-{port}.cfg"));
    let configuration = format!(
        "defaults\n    mode http\n    timeout connect 5s\n{defaults}\nfrontend f\n    bind 127.0.0.1:{port}\n    \
         default_backend rtlogd\nbackend rtlogd\n{backend}\n"
    );
    fs::write(&file, configuration).unwrap();
    Proxy::start(port, Command::new(HAPROXY).arg("-db").arg("-f").arg(&file))
}

/// Caddy with these lines in its site.
fn caddy(daemon: &Daemon, site: &str) -> Proxy {
    let port = free_port();
    let file = daemon.path(&format!("Caddyfile-{port}"));
    fs::write(&file, format!("{{\n admin off\n auto_https off\n}}\nhttp://127.0.0.1:{port} {{\n{site}\n}}\n")).unwrap();
    let mut command = Command::new(CADDY);
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("HOME", daemon.path(""))
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME");
    Proxy::start(port, &mut command)
}

/// The `reverse_proxy` of the example for Caddy, in front of the daemon.
fn caddy_example(daemon: &Daemon) -> String {
    let text = fs::read_to_string(sources("config/examples/Caddyfile")).unwrap();
    let begin = text.find("\treverse_proxy ").unwrap();
    let site = text.split_at(begin).1.trim_end().strip_suffix('}').unwrap();
    let adapted = site.replace("/logs/* 127.0.0.1:7070", &daemon.address().host());
    assert_ne!(adapted, site);
    adapted
}

/// `proxy_pass` to this server, without anything else.
fn plain(server: &str) -> String {
    format!("proxy_pass {server};")
}

/// The location of the example for nginx, in front of this server.
fn nginx_example(server: &str) -> (String, String) {
    let text = fs::read_to_string(sources("config/examples/nginx.conf")).unwrap();
    let map = text.split_once("server {").unwrap().0.to_owned();
    let location = text.split_once("location /logs/ {").unwrap().1.split_once("\n    }").unwrap().0;
    let adapted = location.replace("http://127.0.0.1:7070", server);
    assert!(adapted.contains(server), "{location}");
    (map, adapted)
}

/// The backend of the example for `HAProxy`, in front of the daemon.
fn haproxy_example(daemon: &Daemon) -> String {
    let text = fs::read_to_string(sources("config/examples/haproxy.cfg")).unwrap();
    let backend = text.split_once("backend rtlogd\n").unwrap().1;
    let adapted = backend.replace("127.0.0.1:7070", &daemon.address().host());
    assert_ne!(adapted, backend);
    adapted
}

const SHORT_TIMEOUTS: &str = "    timeout client 1s\n    timeout server 1s";
const LONG_TIMEOUTS: &str = "    timeout client 5m\n    timeout server 5m";

/// A daemon with the stream `app` of the file `app.log`, and with further settings.
fn daemon(settings: &str) -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", "line 0\n");
    let daemon = dir.start(&format!("{settings}\nstreams: {{ app: {{ file: app.log, from: start }} }}"));
    daemon.follow("app").query("tail=all").take(1);
    daemon
}

fn lines(numbers: Range<usize>) -> String {
    numbers.map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat()
}

fn open(proxy: &Proxy, last_id: &str) -> Reader {
    let headers = [("Last-Event-ID", last_id)];
    let headers = if last_id.is_empty() { &headers[..0] } else { &headers };
    Reader::new(Response::get(&proxy.address(), "/streams/app?tail=all", headers))
}

/// Reads through the proxy: each line is written when the one before has been seen, then many are written at once.
fn passes_each_line_at_once(proxy: &Proxy, daemon: &Daemon) {
    let mut reader = open(proxy, "");
    let mut seen = reader.take(1);
    for number in 1..=5 {
        daemon.write("app.log", format!("line {number}\n"));
        seen.extend(reader.take(1));
    }
    daemon.write("app.log", lines(6..2000));
    // The reader goes away in between, and comes back.
    seen.extend(reader.take(700));
    let last = seen.last().unwrap().id.clone();
    drop(reader);
    seen.extend(open(proxy, &last).take(2000 - seen.len()));
    is_complete(&seen, 2000);
}

fn is_complete(lines: &[Message], count: usize) {
    let texts: Vec<&str> = lines.iter().map(|line| line.data.as_str()).collect();
    let expected: Vec<String> = (0..count).map(|number| format!("line {number}")).collect();
    assert!(texts == expected, "{} lines instead of {count}: {texts:?}", texts.len());
}

fn doctor(daemon: &Daemon, proxy: &Proxy) -> Ended {
    daemon.execute(&["doctor", "--url", &proxy.url()])
}

/// The problems that the doctor names, and their fixes.
fn diagnosis(daemon: &Daemon, proxy: &Proxy) -> String {
    let ended = doctor(daemon, proxy);
    assert!(ended.status.code().is_some_and(|code| code < 2), "{}", ended.err);
    String::from_utf8(ended.out).unwrap() + &ended.err
}

#[test]
fn plain_nginx_passes_each_line_at_once_and_no_websocket() {
    if !is_installed(NGINX) {
        return;
    }
    let daemon = daemon("limits: { keep_alive: 1s }");
    let proxy = nginx(&daemon, "", &plain(&daemon.url("")));
    passes_each_line_at_once(&proxy, &daemon);
    let said = diagnosis(&daemon, &proxy);
    for what in [
        "does not pass on WebSockets (426 Upgrade Required)",
        "fix: nginx: `proxy_http_version 1.1;`, `proxy_set_header Upgrade",
        "a proxy changes `Host`",
        "fix: nginx: `proxy_set_header Host $http_host;`",
        "mistakes the clients of a proxy for programs on its own machine",
        "fix: nginx: `proxy_set_header X-Forwarded-For",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert!(!said.contains("buffers") && !said.contains("cuts") && !said.contains("compresses"), "{said}");
}

#[test]
fn two_layers_of_nginx_stall_by_default_and_work_with_the_example() {
    if !is_installed(NGINX) {
        return;
    }
    let daemon = daemon("limits: { keep_alive: 1s }\ntrusted_proxies: [127.0.0.1]\naccess: { insecure: true }");
    let inner = nginx(&daemon, "", &plain(&daemon.url("")));
    let outer = nginx(&daemon, "", &plain(&inner.url()));
    let said = diagnosis(&daemon, &outer);
    assert!(said.contains("a proxy buffers responses"), "{said}");
    assert!(said.contains("fix: nginx: `proxy_buffering off;`, and `proxy_pass_header X-Accel-Buffering;`"), "{said}");
    // The example helps in either layer.
    let (map, location) = nginx_example(&daemon.url(""));
    let inner_example = nginx(&daemon, &map, &location);
    let plain_outer = nginx(&daemon, "", &plain(&inner_example.url()));
    passes_each_line_at_once(&plain_outer, &daemon);
    let (map, location) = nginx_example(&inner.url());
    let outer_example = nginx(&daemon, &map, &location);
    let said = diagnosis(&daemon, &outer_example);
    assert!(!said.contains("buffers"), "{said}");
    let (map, location) = nginx_example(&inner_example.url());
    let both = nginx(&daemon, &map, &location);
    assert_eq!(diagnosis(&daemon, &both), "no problems found\n");
}

#[test]
fn a_proxy_that_compresses_is_named_and_passes_each_line_at_once() {
    if !is_installed(NGINX) || !is_installed(HAPROXY) {
        return;
    }
    let gzip = "gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any; gzip_http_version 1.0;";
    let settings = "limits: { keep_alive: 1s }";
    for name in ["nginx", "HAProxy"] {
        let daemon = daemon(settings);
        let proxy = if name == "nginx" {
            nginx(&daemon, gzip, &plain(&daemon.url("")))
        } else {
            let compress = "    compression algo gzip\n    compression type text/event-stream";
            haproxy(&daemon, LONG_TIMEOUTS, &format!("{compress}\n    server s {}", daemon.address().host()))
        };
        // A client that accepts no compression, and the doctor, which does.
        passes_each_line_at_once(&proxy, &daemon);
        let said = diagnosis(&daemon, &proxy);
        // HAProxy compresses nothing that must not be transformed (RFC 9111, section 5.2.2.6); nginx does not know the rule.
        let is_named = said.contains("compresses streams (gzip)") && said.contains("fix: nginx: `gzip off;`");
        assert_eq!(is_named, name == "nginx", "{name}: {said}");
    }
}

#[test]
fn a_proxy_that_cuts_quiet_streams_loses_and_repeats_nothing() {
    if !is_installed(NGINX) || !is_installed(HAPROXY) {
        return;
    }
    for name in ["nginx", "HAProxy"] {
        // A quiet stream is quiet for longer than the proxy waits.
        let daemon = daemon("limits: { keep_alive: 30s }");
        let server = daemon.address().host();
        let proxy = if name == "nginx" {
            nginx(&daemon, "", &format!("{} proxy_read_timeout 1s;", plain(&daemon.url(""))))
        } else {
            haproxy(&daemon, SHORT_TIMEOUTS, &format!("    server s {server}"))
        };
        let (mut seen, mut last_id, mut cuts) = (Vec::new(), String::new(), 0);
        let mut written = 1;
        while cuts < 3 {
            let mut reader = open(&proxy, &last_id);
            // Some lines come while the reader is there, others while it is not.
            daemon.write("app.log", format!("line {written}\nline {}\n", written + 1));
            written += 2;
            seen.extend(reader.until_cut());
            reader.last_id().clone_into(&mut last_id);
            daemon.write("app.log", format!("line {written}\n"));
            written += 1;
            cuts += 1;
        }
        let is_last = |message: &Message| message.data == format!("line {}", written - 1);
        seen.extend(open(&proxy, &last_id).until("the last line", is_last));
        assert!(seen.iter().all(|message| !matches!(message.event.as_str(), "gap" | "loss")), "{name}: {seen:#?}");
        seen.retain(Message::is_line);
        is_complete(&seen, written);
        let said = diagnosis(&daemon, &proxy);
        let fix = if name == "nginx" { "fix: nginx: `proxy_read_timeout 5m;`" } else { "HAProxy: `timeout client 5m`" };
        assert!(said.contains("cuts a quiet stream after 1 s") && said.contains(fix), "{name}: {said}");
        // rtlogd's own client continues as well.
        let mut command = daemon.command(&["follow", "app", "--tail", "all", "--url", &proxy.url()]);
        let follows = Program::start(command.stdin(Stdio::null()));
        daemon.until_readers("app", 1);
        daemon.until_readers("app", 0);
        daemon.write("app.log", format!("line {written}\n"));
        daemon.until_readers("app", 1);
        daemon.terminate();
        assert_eq!(String::from_utf8(follows.ended().out).unwrap(), lines(0..written + 1), "{name}");
    }
}

#[test]
fn the_examples_have_no_problems_and_pass_each_line_at_once() {
    for name in ["nginx", "HAProxy", "Caddy"] {
        let program = match name {
            "nginx" => NGINX,
            "HAProxy" => HAPROXY,
            _ => CADDY,
        };
        if !is_installed(program) {
            continue;
        }
        // The examples expect that rtlogd knows them.
        let daemon = daemon("limits: { keep_alive: 1s }\ntrusted_proxies: [127.0.0.1]\naccess: { insecure: true }");
        let proxy = match name {
            "nginx" => {
                let (map, location) = nginx_example(&daemon.url(""));
                nginx(&daemon, &map, &location)
            }
            "HAProxy" => haproxy(&daemon, LONG_TIMEOUTS, &haproxy_example(&daemon)),
            _ => caddy(&daemon, &caddy_example(&daemon)),
        };
        assert_eq!(diagnosis(&daemon, &proxy), "no problems found\n", "{name}");
        passes_each_line_at_once(&proxy, &daemon);
    }
}

#[test]
fn a_caddy_that_changes_the_host_is_named() {
    if !is_installed(CADDY) {
        return;
    }
    let daemon = daemon("limits: { keep_alive: 1s }\ntrusted_proxies: [127.0.0.1]\naccess: { insecure: true }");
    let host = daemon.address().host();
    let site = |changed: &str| format!("reverse_proxy {host} {{\n header_up Host {changed}\n }}");
    let (local, foreign) = (caddy(&daemon, &site("localhost:1")), caddy(&daemon, &site("other.example")));
    let said = diagnosis(&daemon, &local);
    assert!(said.starts_with("a proxy changes `Host`") && said.contains("fix: Caddy: no `header_up Host`"), "{said}");
    passes_each_line_at_once(&local, &daemon);
    // rtlogd refuses the other name, which nobody wrote into the address.
    let said = diagnosis(&daemon, &foreign);
    assert!(said.starts_with("a proxy changes `Host`") && said.contains("fix: Caddy: no `header_up Host`"), "{said}");
}

#[test]
fn the_doctor_names_headers_that_a_proxy_passes_on_or_leaves_out() {
    if !is_installed(NGINX) || !is_installed(HAPROXY) {
        return;
    }
    let start = |settings: &str| {
        let dir = TestDir::new();
        keys(&dir, "keys");
        dir.write("app.log", "line 0\n");
        dir.start(&format!(
            "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\nlimits: {{ keep_alive: 1s }}\n{settings}\n\
             streams: {{ app: {{ file: app.log, from: start }} }}"
        ))
    };
    let (trusting, other) = (start("trusted_proxies: [127.0.0.1]"), start(""));
    let host = trusting.address().host();
    let sets_client = "    http-request set-header X-Forwarded-For %[src]";
    let (map, example) = nginx_example(&other.url(""));
    let table = [
        (
            &trusting,
            haproxy(&trusting, LONG_TIMEOUTS, &format!("    server s {host}")),
            vec!["does not say who its clients are", "HAProxy: `http-request set-header X-Forwarded-For %[src]`"],
        ),
        (
            &trusting,
            haproxy(&trusting, LONG_TIMEOUTS, &format!("{sets_client}\n    server s {host}")),
            vec![
                "what clients claim in the header x-real-ip",
                "what clients claim in the header forwarded",
                "HAProxy: `http-request del-header X-Real-IP`",
            ],
        ),
        (&trusting, haproxy(&trusting, LONG_TIMEOUTS, &haproxy_example(&trusting)), vec!["no problems found"]),
        (
            &other,
            nginx(&other, &map, &example),
            vec!["does not know this proxy", "fix: name the address of the proxy in `trusted_proxies`"],
        ),
    ];
    for (daemon, proxy, expected) in table {
        let token = token(daemon, "keys", &["--stream", "*", "--expires", "1h"]);
        let ended = daemon.execute(&["doctor", "--url", &proxy.url(), "--token", &token]);
        let said = String::from_utf8(ended.out).unwrap() + &ended.err;
        for what in &expected {
            assert!(said.contains(what), "{what}: {said}");
        }
        assert_eq!(said.lines().filter(|line| line.starts_with("  fix:")).count(), expected.len() - 1, "{said}");
        // Without the token, the doctor says that it needs one.
        let ended = daemon.execute(&["doctor", "--url", &proxy.url()]);
        assert!(ended.status.code() == Some(1) && ended.err.contains("needs a token"), "{}", ended.err);
    }
}
