//! Configurations that are valid.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{config, file};
use crate::config::units::Rate;
use crate::config::{
    AccessConfig, CarriageReturn, ClaimGrant, Config, FileSelector, FileSourceConfig, Grant, HistoryLimits,
    IssuerConfig, JournalSourceConfig, Limits, MultilineConfig, ProcessSourceConfig, ProcessesAtStop, ReadFrom,
    Restart, RestartWhen, Right, SourceKind, Stop, StopTarget, Stream, TlsConfig, from_paths,
};
use crate::event::Level;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn nothing_said_is_the_default() {
    for text in ["", "# nothing\n", "---\n", "{}", "streams:\n", "memory: null\nlimits:\n  head:\nstreams: {}\n"] {
        assert_eq!(config(&[text]), Ok(Config::default()), "{text:?}");
    }
}

#[test]
fn all_that_can_be_said() {
    let text = r#"
listen: ["[::1]:0", localhost:80, 0.0.0.0:7070, "unix:run/r.sock"]
memory: 1GiB
state_directory: state
history: { memory: 2MiB, disk: 5MiB }
processes_at_stop: keep
hosts: [CI.Example.com, "::1", "[::2]", 10.0.0.1]
origins: ["https://Dash.example.com", "http://[::1]:8080"]
trusted_proxies: [127.0.0.1, 10.0.0.0/8]
base_path: /logs/ci/
tls: { certificate: a.pem, key: /k/a.key }
access:
  insecure: true
  keys: keys
  issuers:
    - { issuer: "https://ci.example.com", audience: rtlogd, keys: ci.jwks,
        grants: [{ claims: { project: "group/*" }, stream: "build-*", allow: [read, input] }] }
limits: { connections: 10, per_address: 1, per_token: 7, head: 1s, body: 2s, stalled_write: 3s, keep_alive: 4s, compress: false, shutdown: 0s,
  readers: 9, control_rate: 5 per 2s, idle: 6s, lifetime: 7d,
  head_size: 8KiB, query_size: 2KiB, body_size: 3KiB, message_size: 4KiB, filter_size: 16KiB }
streams:
  web:
    file: [var/*.log, /b.log]
    exclude: ["*.gz", var/x*]
    from: start
    rotate_wait: 0s
    rotated: [var/old, /b/old]
    follow_symlinks: true
    encoding: latin1
    multiline: { start: ^\d, timeout: 500ms }
    max_line: 1KiB
    carriage_return: keep
    history: { memory: 1048576, age: 2m, runs: 7 }
  build:
    command: [make, -j8, 007, 1.50, true, ""]
    user: 1000
    group: "33"
    umask: 077
    directory: ..
    environment: { PORT: 8080, DEBUG: yes }
    restart: { when: never, backoff: 100ms..2s, limit: 5 per 10m }
    stop: { signal: SIGINT, grace: 0s, only: leader }
    environment_file: [build.env, /etc/x.env]
    description: 2024
    labels: { team: core }
    carriage_return: split
  1: { command: [true] }
"#;
    let pattern = FileSourceConfig {
        files: vec![FileSelector::Pattern("/etc/var/*.log".into()), FileSelector::Path("/b.log".into())],
        exclude: vec!["*.gz".into(), "/etc/var/x*".into()],
        from: ReadFrom::Beginning,
        rotate_wait: Duration::ZERO,
        rotated: vec!["/etc/var/old".into(), "/b/old".into()],
        follow_symlinks: true,
    };
    let multiline =
        MultilineConfig { begins: true, expression: r"^\d".parse().unwrap(), timeout: Duration::from_millis(500) };
    let web = Stream {
        history: HistoryLimits { memory: 1 << 20, disk: 5 << 20, age: Duration::from_mins(2), runs: 7 },
        encoding: "latin1".parse().unwrap(),
        multiline: Some(multiline),
        max_line: 1024,
        carriage_return: CarriageReturn::Keep,
        ..Stream::new("web".parse().unwrap(), SourceKind::File(pattern))
    };
    let make = ProcessSourceConfig {
        directory: Some("/etc/..".into()),
        user: Some("1000".into()),
        group: Some("33".into()),
        umask: Some(0o077),
        environment: map(&[("PORT", "8080"), ("DEBUG", "yes")]),
        environment_files: vec!["/etc/build.env".into(), "/etc/x.env".into()],
        restart: Restart {
            when: RestartWhen::Never,
            backoff: Duration::from_millis(100)..=Duration::from_secs(2),
            limit: Some((5, Duration::from_mins(10))),
        },
        stop: Stop { signal: "INT".parse().unwrap(), grace: Duration::ZERO, only: StopTarget::Leader },
        ..ProcessSourceConfig::new(["make", "-j8", "007", "1.50", "true", ""].map(Into::into).into())
    };
    let build = Stream {
        history: HistoryLimits { memory: 2 << 20, disk: 5 << 20, ..HistoryLimits::default() },
        carriage_return: CarriageReturn::Split,
        description: Some("2024".into()),
        labels: map(&[("team", "core")]),
        ..Stream::new("build".parse().unwrap(), SourceKind::Process(make))
    };
    let one = ProcessSourceConfig { umask: Some(0o022), ..ProcessSourceConfig::new(vec!["true".into()]) };
    let one = SourceKind::Process(one);
    let history = HistoryLimits { memory: 2 << 20, disk: 5 << 20, ..HistoryLimits::default() };
    let one = Stream { history, ..Stream::new("1".parse().unwrap(), one) };
    let listen = ["[::1]:0", "127.0.0.1:80", "0.0.0.0:7070", "unix:/etc/run/r.sock"];
    let expected = Config {
        files: Vec::new(),
        listen: listen.map(|it| it.parse().unwrap()).into(),
        memory: 1 << 30,
        state_directory: Some("/etc/state".into()),
        processes_at_stop: ProcessesAtStop::Keep,
        hosts: ["ci.example.com", "[::1]", "[::2]", "10.0.0.1"].map(Into::into).into(),
        origins: ["https://dash.example.com", "http://[::1]:8080"].map(|it| it.parse().unwrap()).into(),
        trusted_proxies: ["127.0.0.1", "10.0.0.0/8"].map(|it| it.parse().unwrap()).into(),
        base_path: "/logs/ci".into(),
        tls: Some(TlsConfig { certificate: "/etc/a.pem".into(), key: "/k/a.key".into(), client_ca: None }),
        access: AccessConfig {
            keys: Some("/etc/keys".into()),
            issuers: vec![IssuerConfig {
                issuer: "https://ci.example.com".into(),
                audience: "rtlogd".into(),
                keys: "/etc/ci.jwks".into(),
                grants: vec![ClaimGrant {
                    claims: [("project".to_owned(), "group/*".parse().unwrap())].into(),
                    grant: Grant { streams: vec!["build-*".parse().unwrap()], allow: vec![Right::Read, Right::Input] },
                }],
            }],
        },
        insecure: true,
        limits: Limits {
            connections: 10,
            per_address: 1,
            readers: 9,
            per_token: 7,
            head: Duration::from_secs(1),
            body: Duration::from_secs(2),
            idle: Duration::from_secs(6),
            lifetime: Some(Duration::from_hours(24 * 7)),
            head_size: 8 << 10,
            query_size: 2 << 10,
            body_size: 3 << 10,
            message_size: 4 << 10,
            filter_size: 16 << 10,
            stalled_write: Duration::from_secs(3),
            control_rate: Rate { times: 5, per: Duration::from_secs(2) },
            keep_alive: Duration::from_secs(4),
            compress: false,
            shutdown: Duration::ZERO,
        },
        streams: vec![web, build, one],
    };
    assert_eq!(config(&[text]), Ok(expected));
}

#[test]
fn a_journal_is_picked_by_its_keys() {
    let text = "streams:
  a: { journal: {} }
  b: { journal: { unit: nginx.service, identifier: [sshd, su], priority: 4, match: _UID=0 }, from: start }
  c: { journal: { kernel: true, priority: warning } }
";
    let streams = config(&[text]).unwrap().streams;
    let picked = JournalSourceConfig {
        units: vec!["nginx.service".into()],
        identifiers: vec!["sshd".into(), "su".into()],
        priority: Some(Level::Warning),
        matches: vec!["_UID=0".into()],
        from: ReadFrom::Beginning,
        ..JournalSourceConfig::default()
    };
    let kernel = JournalSourceConfig { kernel: true, priority: Some(Level::Warning), ..JournalSourceConfig::default() };
    let sources: Vec<_> = streams.into_iter().map(|stream| stream.source).collect();
    assert_eq!(sources, [JournalSourceConfig::default(), picked, kernel].map(SourceKind::Journal));
}

#[test]
fn a_carriage_return_redraws_only_what_a_program_writes() {
    let table = [
        ("command: [x]", CarriageReturn::Fold),
        ("file: /x", CarriageReturn::Keep),
        ("file: /x, format: text", CarriageReturn::Keep),
        ("file: /x, format: json", CarriageReturn::Keep),
        ("file: /x, format: cri", CarriageReturn::Fold),
        ("file: /x, format: docker", CarriageReturn::Fold),
        ("file: /x, format: cri, carriage_return: keep", CarriageReturn::Keep),
        ("file: /x, carriage_return: fold", CarriageReturn::Fold),
        ("push: true", CarriageReturn::Keep),
        ("push: true, format: docker", CarriageReturn::Fold),
    ];
    for (keys, expected) in table {
        let config = config(&[&format!("streams: {{ a: {{ {keys} }} }}")]).expect(keys);
        assert_eq!(config.streams[0].carriage_return, expected, "{keys}");
    }
}

#[test]
fn several_files_are_one_configuration() {
    let texts = [
        "listen: 127.0.0.1:1\nlimits: { head: 1s, body: 2s }\nstreams: { b: { file: b } }\n",
        "limits: { head: 3s }\nmemory: 2MiB\nstreams: { a: { file: a } }\n",
        "",
    ];
    let expected = Config {
        listen: vec!["127.0.0.1:1".parse().unwrap()],
        memory: 2 << 20,
        limits: Limits { head: Duration::from_secs(3), ..Limits::default() },
        streams: vec![file("b", "/etc/b", ReadFrom::End), file("a", "/etc/a", ReadFrom::End)],
        ..Config::default()
    };
    assert_eq!(config(&texts), Ok(expected));
}

#[test]
fn a_file_named_on_the_command_line_is_as_one_that_is_configured() {
    let named = from_paths(&["/etc/x".into()]).unwrap();
    assert_eq!(config(&["streams: { x: { file: x } }"]), Ok(named));
}
