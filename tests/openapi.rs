//! `GET /openapi.json` is true: it has every route, its methods are those that are answered, and schemathesis finds nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::clients::python_by;
use crate::harness::http::{Address, Response};
use crate::harness::{Daemon, Deadline, Program, TestDir, sources};

/// Schemathesis asks some thousand times.
const PATIENCE: Duration = Duration::from_mins(5);

const YAML: &str = "listen: [\"127.0.0.1:0\", \"unix:rtlogd.sock\"]
streams:
  app: { file: app.log, from: start, description: A file, labels: { a: b } }
  in: { push: true }
  job: { command: [cat], input: true, start: manual }
";

fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", b"one\n[ 50%] two\n\xff\nerror: three\n");
    dir.start(YAML)
}

fn document(daemon: &Daemon) -> Value {
    let (status, _, body) = daemon.get("/openapi.json", &[]);
    assert_eq!(status, 200);
    serde_json::from_slice(&body).unwrap()
}

/// The paths in the route table, as the source has them: `Route::get("/streams/NAME/poll", ...)`. `NAME` becomes `{}`.
pub(crate) fn routes() -> BTreeSet<String> {
    let text = fs::read_to_string(sources("src/http/mod.rs")).unwrap();
    let table = text.split_once("const ROUTES").unwrap().1.split_once("];").unwrap().0;
    let mut routes: BTreeSet<String> =
        table.split(" Route::").skip(1).map(|row| row.split('"').nth(1).unwrap().replace("NAME", "{}")).collect();
    // Only builds for tests have it.
    routes.remove("/echo");
    assert!(routes.len() > 16, "the table is not where this test looks: {routes:?}");
    routes
}

/// The address with `{}` for each name of the client's.
fn nameless(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn the_openapi_document_has_every_route_and_no_other() {
    let document = document(&daemon());
    let paths: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(|path| nameless(path)).collect();
    assert_eq!(paths, routes());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_openapi_document_lists_the_allowed_methods() {
    let daemon = daemon();
    let page = String::from_utf8(daemon.get("/", &[]).2).unwrap();
    let part = page.split('"').find(|text| text.contains("/page.css")).unwrap();
    let part = format!("/{}", part.trim_start_matches(['.', '/']));
    for (path, operations) in document(&daemon)["paths"].as_object().unwrap() {
        let mut allowed: Vec<_> = operations.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        if allowed.contains(&"GET".to_owned()) {
            allowed.insert(1, "HEAD".to_owned());
        }
        let path = path.replace("{name}", "in").replace("/page/{version}/{file}", &part);
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let response = Response::request(daemon.unix(), method, &path, &[], b"");
            let answers = allowed.iter().any(|allowed| allowed == method);
            assert_eq!(response.status != 405, answers, "{method} {path}");
            if !answers {
                assert_eq!(response.header("allow"), allowed.join(", "), "{method} {path}");
            }
        }
    }
}

#[test]
fn the_openapi_document_names_the_server_behind_a_proxy() {
    let daemon = Daemon::start("base_path: /logs/\nstreams: { app: { file: app.log } }");
    let (_, _, body) = daemon.get("/logs/openapi.json", &[]);
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["servers"][0]["url"], "/logs");
}

/// Gives the daemon's Unix socket, over which more is allowed, an address of TCP: that is what other people's tools speak.
fn by_tcp(daemon: &Daemon) -> SocketAddr {
    let Address::Unix(path) = daemon.unix().clone() else { panic!("not a Unix socket") };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (Ok(from), Ok(to)) = (socket, UnixStream::connect(&path)) else { return };
            let (Ok(mut from_back), Ok(mut to_back)) = (from.try_clone(), to.try_clone()) else { return };
            thread::spawn(move || pass_on(from, to));
            thread::spawn(move || {
                io::copy(&mut to_back, &mut from_back).unwrap_or_default();
                from_back.shutdown(std::net::Shutdown::Both).unwrap_or_default();
            });
        }
    });
    address
}

fn pass_on(mut from: impl io::Read, mut to: UnixStream) {
    io::copy(&mut from, &mut to).unwrap_or_default();
    to.shutdown(std::net::Shutdown::Both).unwrap_or_default();
}

#[test]
fn schemathesis_finds_no_deviation_from_the_openapi_document() {
    let Some(python) = python_by("openapi.py") else { return };
    // The program is installed next to Python; its hooks are in the script.
    let schemathesis = Path::new(python.get_program()).with_file_name("schemathesis");
    let daemon = daemon();
    daemon.follow("app").query("tail=all").until("the last line", |message| message.data.contains("three"));
    let mut command = Command::new(schemathesis);
    let url = format!("http://{}/openapi.json", by_tcp(&daemon));
    command
        .arg("--config-file")
        .arg(sources("tests/clients/schemathesis.toml"))
        .args(["run", &url])
        .stdin(Stdio::null());
    command
        .env("SCHEMATHESIS_HOOKS", "openapi")
        .env("PYTHONPATH", sources("tests/clients"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_COLOR", "1");
    command.current_dir(daemon.path("."));
    let ended = Program::start(&mut command).ended_by(Deadline::after(PATIENCE));
    assert!(ended.status.success(), "{}{}", String::from_utf8_lossy(&ended.out), ended.err);
}
