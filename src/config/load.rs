//! Finds, reads and merges the files of a configuration. No other file of this layer opens files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::report::{ConfigErrors, Document, ErrorReport};
use super::{Config, check, raw};
use crate::config::parse::yaml::YamlValue;
use crate::config::parse::{deserializer, yaml};

/// The longest configuration file, in bytes. Ten thousand streams fit; a longer file was probably named by mistake.
const MAX_CONFIG_FILE_SIZE: u64 = 1 << 20;

/// The configuration of the file at `path` and of `conf.d/*.yaml` next to it, in the order of their names.
///
/// The streams of all files are merged. Of any other top-level key, the last file that has it applies, as a whole.
/// Paths in a file are relative to its directory.
///
/// # Errors
/// If there are mistakes in any of the files; the error contains all of them.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let mut report = ErrorReport::default();
    let mut documents = Vec::new();
    let mut files = vec![path.to_owned()];
    files.extend(conf_d_files(path, &mut report));
    for path in files {
        // A file that cannot be read is treated as an empty one, so that the mistakes of the others are reported, too.
        let text = text(&path).unwrap_or_else(|(place, why)| {
            report.file(&path, place, why);
            String::new()
        });
        documents.push(Document { path, text });
    }
    let mut config = build(&documents, &mut report);
    config.files = documents.iter().map(|document| absolute(&document.path)).collect();
    report.finish(&documents).map(|()| config)
}

/// The configuration of `documents`; only valid if the report stays empty.
fn build(documents: &[Document], report: &mut ErrorReport) -> Config {
    let mut whole = raw::Config::default();
    for (index, document) in documents.iter().enumerate() {
        match yaml::parse(&document.text) {
            Ok(tree) if matches!(tree.value, YamlValue::Null) => {}
            Ok(tree) => whole = join(whole, deserializer::read(index, &tree, report).unwrap_or_default()),
            Err((place, why)) => report.file(&document.path, Some(place), why),
        }
    }
    let directory =
        |document: &Document| absolute(&document.path).parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    check::check(whole, documents.iter().map(directory).collect(), report)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The merged content of two files: the streams of both, and every other key from `second` if it has it.
fn join(first: raw::Config, second: raw::Config) -> raw::Config {
    let streams = match (first.streams, second.streams) {
        (Some(mut first), Some(second)) => {
            // Mistakes in either of them have been reported already.
            if let (Some(all), Some(more)) = (&mut first.value, second.value) {
                all.0.extend(more.0);
            }
            Some(first)
        }
        (first, second) => second.or(first),
    };
    raw::Config {
        listen: second.listen.or(first.listen),
        memory: second.memory.or(first.memory),
        state_directory: second.state_directory.or(first.state_directory),
        history: second.history.or(first.history),
        hosts: second.hosts.or(first.hosts),
        origins: second.origins.or(first.origins),
        trusted_proxies: second.trusted_proxies.or(first.trusted_proxies),
        base_path: second.base_path.or(first.base_path),
        tls: second.tls.or(first.tls),
        access: second.access.or(first.access),
        limits: second.limits.or(first.limits),
        streams,
    }
}

/// The files in `conf.d` next to the main file, sorted by name. Hidden files are left out, since they belong to
/// editors. Without that directory, the result is empty.
fn conf_d_files(main: &Path, report: &mut ErrorReport) -> Vec<PathBuf> {
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let is_ours = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.extension().is_some_and(|extension| extension == "yaml")
    };
    let entries = fs::read_dir(&directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = match entries {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            report.file(&directory, None, format!("cannot be read: {error}"));
            Vec::new()
        }
    };
    files.retain(is_ours);
    files.sort();
    files
}

/// The text of a file, or the position and the reason of the failure to read it.
fn text(path: &Path) -> Result<String, (Option<(usize, usize)>, String)> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CONFIG_FILE_SIZE + 1).read_to_end(&mut bytes));
    read.map_err(|error| (None, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_CONFIG_FILE_SIZE {
        return Err((None, format!("is longer than {MAX_CONFIG_FILE_SIZE} bytes (put streams into files in conf.d)")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
        let last = before.rsplit('\n').next().unwrap_or_default();
        let place = (before.matches('\n').count() + 1, last.chars().count() + 1);
        (Some(place), "is not UTF-8 from here (save it as UTF-8)".into())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{
        AccessConfig, CarriageReturn, ClaimGrant, FileSelector, FileSourceConfig, Grant, HistoryLimits, IssuerConfig,
        JournalSourceConfig, Limits, MultilineConfig, ProcessSourceConfig, ReadFrom, Restart, RestartWhen, Right,
        SourceKind, Stop, Stream, TlsConfig, from_paths, schema,
    };
    use super::*;
    use crate::config::units::Rate;
    use crate::event::Level;

    /// The configuration of these texts, read as files `0.yaml`, `1.yaml` and so on in `/etc`.
    fn config(texts: &[&str]) -> Result<Config, ConfigErrors> {
        let document = |(index, text): (usize, &&str)| Document {
            path: format!("/etc/{index}.yaml").into(),
            text: (*text).to_owned(),
        };
        let documents: Vec<Document> = texts.iter().enumerate().map(document).collect();
        let mut report = ErrorReport::default();
        let config = build(&documents, &mut report);
        report.finish(&documents).map(|()| config)
    }

    /// All mistakes of one file, without the name of the file.
    fn mistakes(text: &str) -> Vec<String> {
        let error = config(&[text]).expect_err(text).to_string();
        error.replace("/etc/0.yaml:", "").lines().map(str::to_owned).collect()
    }

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn file(name: &str, path: &str, from: ReadFrom) -> Stream {
        let source = FileSourceConfig { from, ..FileSourceConfig::new(path.into()) };
        Stream::new(name.parse().unwrap(), SourceKind::File(source))
    }

    #[test]
    fn nothing_said_is_the_default() {
        for text in ["", "# nothing\n", "---\n", "{}", "streams:\n", "memory: ~\nlimits:\n  head:\nstreams: {}\n"] {
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
limits: { connections: 10, per_address: 1, per_token: 7, head: 1s, body: 2s, stalled_write: 3s, keep_alive: 4s, shutdown: 0s,
  readers: 9, control_rate: 5 per 2s, idle: 6s, lifetime: 7d,
  head_size: 8KiB, query_size: 2KiB, body_size: 3KiB, message_size: 4KiB, filter_size: 16KiB }
streams:
  web:
    file: [var/*.log, /b.log]
    exclude: ["*.gz", var/x*]
    from: start
    rotate_wait: 0s
    follow_symlinks: true
    encoding: latin1
    multiline: { start: ^\d, timeout: 500ms }
    max_line: 1KiB
    carriage_return: keep
    history: { memory: 1048576, age: 2m }
  build:
    command: [make, -j8, 007, 1.50, true, ""]
    directory: ..
    environment: { PORT: 8080, DEBUG: yes }
    restart: { when: never, backoff: 100ms..2s, limit: 5 per 10m }
    stop: { signal: SIGINT, grace: 0s }
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
            follow_symlinks: true,
        };
        let multiline =
            MultilineConfig { begins: true, expression: r"^\d".parse().unwrap(), timeout: Duration::from_millis(500) };
        let web = Stream {
            history: HistoryLimits { memory: 1 << 20, disk: 5 << 20, age: Duration::from_mins(2) },
            encoding: "latin1".parse().unwrap(),
            multiline: Some(multiline),
            max_line: 1024,
            carriage_return: CarriageReturn::Keep,
            ..Stream::new("web".parse().unwrap(), SourceKind::File(pattern))
        };
        let make = ProcessSourceConfig {
            directory: Some("/etc/..".into()),
            environment: map(&[("PORT", "8080"), ("DEBUG", "yes")]),
            restart: Restart {
                when: RestartWhen::Never,
                backoff: Duration::from_millis(100)..=Duration::from_secs(2),
                limit: Some((5, Duration::from_mins(10))),
            },
            stop: Stop { signal: "INT".parse().unwrap(), grace: Duration::ZERO },
            ..ProcessSourceConfig::new(["make", "-j8", "007", "1.50", "true", ""].map(Into::into).into())
        };
        let build = Stream {
            history: HistoryLimits { memory: 2 << 20, disk: 5 << 20, ..HistoryLimits::default() },
            carriage_return: CarriageReturn::Split,
            description: Some("2024".into()),
            labels: map(&[("team", "core")]),
            ..Stream::new("build".parse().unwrap(), SourceKind::Process(make))
        };
        let one = SourceKind::Process(ProcessSourceConfig::new(vec!["true".into()]));
        let history = HistoryLimits { memory: 2 << 20, disk: 5 << 20, ..HistoryLimits::default() };
        let one = Stream { history, ..Stream::new("1".parse().unwrap(), one) };
        let listen = ["[::1]:0", "127.0.0.1:80", "0.0.0.0:7070", "unix:/etc/run/r.sock"];
        let expected = Config {
            files: Vec::new(),
            listen: listen.map(|it| it.parse().unwrap()).into(),
            memory: 1 << 30,
            state_directory: Some("/etc/state".into()),
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
                        grant: Grant {
                            streams: vec!["build-*".parse().unwrap()],
                            allow: vec![Right::Read, Right::Input],
                        },
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
                shutdown: Duration::ZERO,
            },
            streams: vec![web, build, one],
        };
        assert_eq!(config(&[text]), Ok(expected));
    }

    const TOP_LEVEL_KEYS: &str = "listen, memory, state_directory, history, hosts, origins, trusted_proxies, base_path, tls, access, limits, streams";
    const STREAM_KEYS: &str = "a map with `file`, `command`, `journal`, `push`, `shell`, `from`, `exclude`, `rotate_wait`, `follow_symlinks`, `directory`, `environment`, `user`, \
        `pty`, `input`, `start`, `restart`, `stop`, `max_line`, `carriage_return`, `encoding`, `multiline`, `progress`, `redact`, `private`, `description`, `labels` or `history`";

    #[test]
    fn mistakes_of_form_have_a_place() {
        let unknown = format!("1:1: unknown key `colour` (known here: {TOP_LEVEL_KEYS})");
        let broken = unknown.replace("colour", "a\\nb");
        let no_stream = format!("1:15: expected {STREAM_KEYS}, found the text \"b\"");
        let no_map = "1:1: expected a map with `listen`, `memory`, `state_directory`, `history`, `hosts`, `origins`, `trusted_proxies`, \
            `base_path`, `tls`, `access`, `limits` or `streams`, found a list";
        let time = "(a whole number and ms, s, m, h or d, such as 15s; at most 36500d)";
        let (head, body) =
            (format!("1:17: not a duration: \"15\" {time}"), format!("1:27: not a duration: \"never\" {time}"));
        let table: [(&str, &[&str]); 22] = [
            ("colour: 1\n", &[&unknown]),
            ("memroy: 1MiB\n", &["1:1: unknown key `memroy` (did you mean `memory`?)"]),
            ("limits:\n  heads: 1s\n", &["2:3: unknown key `heads` (did you mean `head`?)"]),
            ("- 1\n", &[no_map]),
            (
                "memory: 64K\n",
                &[r#"1:9: not a size: "64K" (a whole number and B, kB, MB, GB, KiB, MiB or GiB, such as 64KiB)"#],
            ),
            ("memory: [1]\n", &["1:9: expected text, found a list"]),
            ("limits: { head: 15, body: never }\n", &[&head, &body]),
            (
                "limits: { connections: many, per_address: '5' }\n",
                &[
                    r#"1:24: expected a whole number, found the text "many""#,
                    r#"1:43: expected a whole number, found the text "5""#,
                ],
            ),
            ("limits: { connections: -1 }\n", &["1:24: expected a whole number, found the number -1"]),
            ("access: { insecure: yes }\n", &["1:21: expected true or false, found `yes` (write true)"]),
            ("access: { insecure: Off }\n", &["1:21: expected true or false, found `Off` (write false)"]),
            ("access: { insecure: 1 }\n", &["1:21: expected true or false, found the number 1"]),
            ("<<: { memory: 1 }\n", &["1:1: YAML merge keys (`<<`) are not supported (write the keys out)"]),
            ("\"a\\nb\": 1\n", &[&broken]),
            ("[a]: 1\n", &["1:1: expected text as a key, found a list"]),
            ("memory: 1MiB\nmemory: 2MiB\n", &[r#"2:1: "memory" is given twice (first at 1:1)"#]),
            ("memory: !mega 5\n", &["1:9: expected text, found the tag `!mega`"]),
            ("streams: [a]\n", &["1:10: expected a map of names, found a list"]),
            ("streams: { a: b }\n", &[&no_stream]),
            (
                "hosts: [a, {}]\ntrusted_proxies: [b]\n",
                &[
                    "1:12: expected text, found a map",
                    r#"2:19: not an IP address or network: "b" (such as 127.0.0.1, 10.0.0.0/8 or fd00::/8)"#,
                ],
            ),
            ("a: [\n", &["2:1: invalid YAML: did not find expected node content, while parsing a flow node"]),
            ("a: b: c\n", &["1:5: invalid YAML: mapping values are not allowed in this context"]),
        ];
        for (text, expected) in table {
            assert_eq!(mistakes(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_in_what_is_for_all_have_a_place() {
        let open = "can be reached from other machines, and needs `tls` and tokens (set `tls` and `access: { keys: ... }`, or \
            listen on 127.0.0.1 behind a proxy; `access: { insecure: true }` lets everybody read)";
        let (four, six) = (format!("1:9: 0.0.0.0:80 {open}"), format!("1:10: [::]:80 {open}"));
        let long = format!("listen: 'unix:{}'\n", "x".repeat(105));
        let too_long = format!(
            "1:9: unix:/etc/{} is longer than the 107 bytes that the path of a Unix socket may have",
            "x".repeat(105)
        );
        let port =
            "1:9: \"7070\" has no address (use 127.0.0.1:7070 for this machine only, or 0.0.0.0:7070 for all networks)";
        let host = |place: &str, name: &str| {
            format!("{place}: not a host name: {name:?} (no scheme, port, path or pattern; such as ci.example.com)")
        };
        let hosts = [host("1:9", "a:80"), host("1:17", "*.b"), host("1:24", ""), host("1:28", "[10.0.0.1]")];
        let path = |path: &str| {
            let right = "(a slash, then names of A-Z, a-z, 0-9, - . _ ~, such as /logs)";
            format!("1:12: not a base path: {path:?} {right}")
        };
        let table: [(&str, &[&str]); 12] = [
            ("listen: []\n", &["1:9: the list is empty (name an address, such as the default 127.0.0.1:7070)"]),
            ("listen: 0.0.0.0:80\n", &[&four]),
            ("listen: ['[::]:80']\naccess: { insecure: false }\n", &[&six]),
            (
                "listen: ['[::]:80']\naccess: { insecure: yes }\n",
                &["2:21: expected true or false, found `yes` (write true)"],
            ),
            ("listen: ['127.0.0.1:80', 'localhost:80']\n", &[r#"1:26: "127.0.0.1:80" is given twice (first at 1:10)"#]),
            (&long, &[&too_long]),
            ("listen: 7070\n", &[port]),
            (
                "memory: 1kB\nhistory: { memory: 0 }\n",
                &["1:9: 1kB is too small (at least 1MiB)", "2:20: 0B is too small (at least 1MiB)"],
            ),
            (
                "limits: { connections: 0, head: 10ms, keep_alive: 0s }\n",
                &[
                    "1:24: 0 is too small (at least 1)",
                    "1:33: 10ms is too small (at least 1s)",
                    "1:51: 0ms is too small (at least 1s)",
                ],
            ),
            ("hosts: ['a:80', '*.b', '', '[10.0.0.1]']\n", &hosts.each_ref().map(String::as_str)),
            ("base_path: logs\n", &[&path("logs")]),
            ("base_path: /a/../b\n", &[&path("/a/../b")]),
        ];
        for (text, expected) in table {
            assert_eq!(mistakes(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_in_streams_have_a_place() {
        let text = r"
streams:
  a: {}
  b:
  c d: { file: x }
  e: { file: x, command: [y] }
  f: { file: '', max_line: 1MiB, carriage_return: no, restart: {}, from: now }
  g: { file: {} }
  h: { command: make -j8, from: end }
  i: { command: make | tee 'x' }
  j: { command: {} }
  k: { file: x }
  k: { file: '', history: { memory: 1, disc: 1 } }
";
        let nothing = format!("4:5: expected {STREAM_KEYS}, found nothing");
        let expected = [
            "3:3: stream \"a\" has no source (write `file: PATH`, `command: [PROGRAM, ...]`, `journal: {}` or `push: true`)",
            &nothing,
            r#"5:3: not a stream name: "c d" (use A-Z, a-z, 0-9, dot, - and _; at most 64, no dot in front)"#,
            "6:26: a stream has one of `file`, `command`, `journal` and `push`, not several (make two streams)",
            "7:14: empty path",
            "7:28: 1MiB is too large (at most 256KiB)",
            "7:51: expected `fold`, `split` or `keep`, found the text \"no\"",
            "7:64: `restart` applies only to streams with `command`; this stream follows a file",
            "7:74: expected `end` or `start`, found the text \"now\"",
            "8:14: expected text, found a map",
            "9:17: a command is a list of words, since there is no shell (write [make, -j8])",
            "9:33: `from` applies only to streams with `file` or `journal`; this stream runs a command",
            "10:17: a command is a list of words, since there is no shell (write [sh, -c, 'make | tee ''x'''])",
            "11:17: expected a list of words, such as [make, -j8], found map",
            r#"13:3: "k" is given twice (first at 12:3)"#,
            "13:14: empty path",
            "13:37: 1B is too small (at least 1MiB)",
            "13:40: unknown key `disc` (did you mean `disk`?)",
        ];
        assert_eq!(mistakes(text), expected);
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
        let kernel =
            JournalSourceConfig { kernel: true, priority: Some(Level::Warning), ..JournalSourceConfig::default() };
        let sources: Vec<_> = streams.into_iter().map(|stream| stream.source).collect();
        assert_eq!(sources, [JournalSourceConfig::default(), picked, kernel].map(SourceKind::Journal));
    }

    #[test]
    fn mistakes_about_a_journal_have_a_place() {
        let text = "streams:
  a: { journal: true }
  b: { journal: { unit: [], identifier: '', priority: loud, match: [uid=1], units: x } }
  c: { journal: { kernel: true, unit: x }, file: y }
  d: { journal: { kernel: true, unit: x }, multiline: { start: a }, pty: true }
";
        let expected = [
            "2:17: expected a map with `unit`, `identifier`, `priority`, `kernel` or `match`, found `true`",
            "3:25: the list is empty (write at least one unit)",
            "3:41: not a program: \"\"",
            "3:55: not a priority: \"loud\" (emerg, alert, crit, err, warning, notice, info or debug, or 0 to 7)",
            "3:69: not a field with its value, such as _UID=1000: \"uid=1\"",
            "3:77: unknown key `units` (did you mean `unit`?)",
            "4:50: a stream has one of `file`, `command`, `journal` and `push`, not several (make two streams)",
            "5:27: the kernel belongs to no unit (remove `unit`, or make two streams)",
            "5:55: `multiline` applies only to streams with `file` or `command` or `push`; this stream follows the journal",
            "5:74: `pty` applies only to streams with `command`; this stream follows the journal",
        ];
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn keys_of_a_process_that_do_not_go_together_are_told() {
        let text = "streams:
  a: { file: /a, pty: true, input: true, start: demand }
  b: { file: /b, user: x, shell: true }
  c: { command: [make], shell: true }
  d: { command: make && x, shell: false }
  e: { command: ' ', shell: true }
  f: { command: [x], pty: 0x24, input: 7, start: later, user: '' }
  g: { command: make && x, shell: true, pty: 80x24, input: true, start: manual, user: www-data }
";
        let expected = [
            "2:23: `pty` applies only to streams with `command`; this stream follows a file",
            "2:36: `input` applies only to streams with `command`; this stream follows a file",
            "2:49: `start` applies only to streams with `command`; this stream follows a file",
            "3:24: `user` applies only to streams with `command`; this stream follows a file",
            "3:34: `shell` applies only to streams with `command`; this stream follows a file",
            "4:17: with `shell: true` a command is one text (such as \"make && echo done\")",
            "5:17: a command is a list of words, since there is no shell (write [sh, -c, 'make && x'])",
            "6:17: empty command (write what the shell is to run)",
            "7:27: expected true, false or a size, found `0x24` (columns and rows, such as 120x30)",
            "7:40: expected true or false, found the number 7",
            "7:50: expected `boot`, `demand` or `manual`, found the text \"later\"",
            "7:63: not the name of a user (such as www-data)",
        ];
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn mistakes_about_files_have_a_place() {
        let text = r"
streams:
  a: { file: [] }
  b: { file: ['', a**/b, '[z-a]'] }
  c: { file: x, exclude: '*.gz' }
  d: { file: '*', exclude: ['', '{a'], rotate_wait: 2h }
  e: { command: [x], exclude: a, rotate_wait: 1s, follow_symlinks: true }
  f: { file: x, encoding: ebcdic, multiline: {} }
  g: { file: x, multiline: { start: a, continue: b } }
  h: { file: x, multiline: { start: '(', timeout: 2h } }
";
        let expected = [
            "3:14: the list is empty (write a path or a pattern, or several)",
            "4:15: empty path",
            "4:19: `**` stands for whole directories (not within a name: \"a**\")",
            "4:26: not a pattern: invalid range; 'z' > 'a' in \"[z-a]\"",
            "5:26: `exclude` applies to patterns such as /var/log/*.log; this stream names its files",
            "6:29: empty pattern",
            "6:33: not a pattern: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?) in \"{a\"",
            "6:53: 2h is too large (at most 1h)",
            "7:31: `exclude` applies only to streams with `file`; this stream runs a command",
            "7:47: `rotate_wait` applies only to streams with `file`; this stream runs a command",
            "7:68: `follow_symlinks` applies only to streams with `file`; this stream runs a command",
            r#"8:27: not an encoding: "ebcdic" (such as utf-8, utf-16le, utf-16be, latin1, windows-1252 or shift_jis)"#,
            "8:46: `multiline` must say which lines belong together (write `start: REGEX` or `continue: REGEX`)",
            "9:50: lines are joined by `start` or `continue`, not both",
            "10:37: not a regular expression: unclosed group",
            "10:51: 2h is too large (at most 1h)",
        ];
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn mistakes_in_commands_have_a_place() {
        let text = r#"
streams:
  a: { command: [] }
  b: { command: [""] }
  c: { command: [x, [y], ~, "\0"] }
  d: { command: [x], environment: { "A=B": 1, "": 2, C: [], C: "\0" }, directory: "" }
  e: { command: [x], restart: { when: on_failure, backoff: 2s..1s, limit: 5 }, stop: { signal: term, grace: 1 } }
  f: { command: [x], restart: always, stop: { signals: TERM } }
  g: { command: [x], restart: { backoff: 0s..1s } }
"#;
        let expected = [
            "3:17: empty command (name the program, such as [make, -j8])",
            "4:18: empty name of a program (such as make or /usr/bin/make)",
            "5:21: expected text, found a list",
            "5:26: expected text, found nothing",
            "5:29: a NUL cannot be passed to a program",
            "6:37: not the name of a variable (not empty, without = and NUL)",
            "6:47: not the name of a variable (not empty, without = and NUL)",
            "6:57: expected text, found a list",
            r#"6:61: "C" is given twice (first at 6:54)"#,
            "6:64: a NUL cannot be passed to a program",
            "6:83: empty path",
            r#"7:39: expected `never`, `on-failure` or `always`, found the text "on_failure""#,
            r#"7:60: not a range of durations: "2s..1s" (the shortest, two dots and the longest, such as 1s..60s)"#,
            r#"7:75: not a rate: "5" (how often per how long, such as 5 per 10m)"#,
            r#"7:96: not a signal: "term" (HUP, INT, QUIT, KILL, USR1, USR2, ALRM, TERM, CONT, STOP, TSTP or WINCH)"#,
            r#"7:109: not a duration: "1" (a whole number and ms, s, m, h or d, such as 15s; at most 36500d)"#,
            r#"8:31: expected a map with `when`, `backoff` or `limit`, found the text "always""#,
            "8:47: unknown key `signals` (did you mean `signal`?)",
            "9:42: 0ms..1s begins too low (at least 100ms)",
        ];
        assert_eq!(mistakes(text), expected);
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
    fn a_stream_in_two_files_is_a_mistake_that_names_both() {
        let texts = ["streams:\n  a: { file: x }\n", "x: 1\nstreams: { a: { file: x } }\n", "a: [\n"];
        let unknown = format!("/etc/1.yaml:1:1: unknown key `x` (known here: {TOP_LEVEL_KEYS})");
        let expected = [
            unknown.as_str(),
            "/etc/1.yaml:2:12: \"a\" is given twice (first at /etc/0.yaml:2:3)",
            "/etc/2.yaml:2:1: invalid YAML: did not find expected node content, while parsing a flow node",
        ];
        assert_eq!(config(&texts).unwrap_err().to_string().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_alias_that_is_wrong_is_told_once_and_many_mistakes_are_counted() {
        let text = "streams:\n  a: { file: x, history: &h { memory: 1 } }\n  b: { file: x, history: *h }\n";
        assert_eq!(mistakes(text), ["2:39: 1B is too small (at least 1MiB)"]);
        let many = mistakes(&(0..250).map(|index| format!("k{index}: 1")).collect::<Vec<_>>().join("\n"));
        assert_eq!((many.len(), many.last().unwrap().as_str()), (101, "and 150 more"));
    }

    #[test]
    fn files_are_read_in_order_and_what_cannot_be_read_is_told() {
        let home = tempfile::tempdir().unwrap();
        let (main, parts) = (home.path().join("rtlogd.yaml"), home.path().join("conf.d"));
        let error = load(&main).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be read: No such file or directory (os error 2)", main.display()));
        fs::write(&main, "memory: 1MiB\n").unwrap();
        assert_eq!(load(&main).unwrap().memory, 1 << 20);
        fs::create_dir(&parts).unwrap();
        let a = "memory: 2MiB\nstreams: { x: { file: x.log } }\n";
        for (name, text) in [("b.yaml", "memory: 3MiB\n"), ("a.yaml", a), (".c.yaml", "["), ("c.yaml~", "[")] {
            fs::write(parts.join(name), text).unwrap();
        }
        let config = load(&main).unwrap();
        let x = file("x", parts.join("x.log").to_str().unwrap(), ReadFrom::End);
        assert_eq!((config.memory, config.streams), (3 << 20, vec![x]));

        fs::write(&main, "memory: x\n").unwrap();
        fs::write(parts.join("c.yaml"), b"a: b\nx: \xc3\xa9\xff\n").unwrap();
        fs::write(parts.join("d.yaml"), vec![b'#'; 1 + (1 << 20)]).unwrap();
        fs::create_dir(parts.join("e.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", parts.join("f.yaml")).unwrap();
        let error = load(&main).unwrap_err().to_string().replace(home.path().to_str().unwrap(), "");
        let expected = [
            "/rtlogd.yaml:1:9: not a size: \"x\" (a whole number and B, kB, MB, GB, KiB, MiB or GiB, such as 64KiB)",
            "/conf.d/c.yaml:2:5: is not UTF-8 from here (save it as UTF-8)",
            "/conf.d/d.yaml: is longer than 1048576 bytes (put streams into files in conf.d)",
            "/conf.d/e.yaml: cannot be read: Is a directory (os error 21)",
            "/conf.d/f.yaml: cannot be read: No such file or directory (os error 2)",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    }

    const SHIPPED_CONFIG: &str = include_str!("../../config/rtlogd.yaml");
    const DEMO_CONFIG: &str = include_str!("../../config/demo.yaml");

    /// The shipped file with all its settings enabled. Disabled settings follow a `#` with no space, or with as many
    /// spaces as the line is to be indented.
    fn in_force() -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with("  ") || setting.starts_with(char::is_alphabetic) => {
                setting.to_owned()
            }
            _ => line.to_owned(),
        };
        SHIPPED_CONFIG.lines().map(|text| line(text) + "\n").collect()
    }

    #[test]
    fn the_shipped_file_loads_and_shows_the_defaults() {
        let dpkg = file("dpkg", "/var/log/dpkg.log", ReadFrom::Beginning);
        let journal = Stream::new("journal".parse().unwrap(), SourceKind::Journal(JournalSourceConfig::default()));
        assert_eq!(
            config(&[SHIPPED_CONFIG]),
            Ok(Config { streams: vec![journal.clone(), dpkg.clone()], ..Config::default() })
        );
        let full = config(&[&in_force()]).unwrap();
        let [all, part, shown, apps, build, deploy] = full.streams.clone().try_into().unwrap();
        // These settings have no default that the file could show, so it shows the paths of the package.
        assert_eq!(full.state_directory, Some("/var/lib/rtlogd".into()));
        assert_eq!(full.access.keys, Some("/etc/rtlogd/keys".into()));
        assert_eq!(full.limits.lifetime, Some(Duration::from_hours(24)));
        let limits = Limits { lifetime: None, ..full.limits };
        let (tls, access, state_directory) = (None, AccessConfig::default(), None);
        let rest = Config { streams: Vec::new(), state_directory, tls, access, limits, ..full };
        assert_eq!(rest, Config::default());
        assert_eq!(shown.private, Some(false));
        let shown = Stream { description: None, labels: BTreeMap::new(), multiline: None, private: None, ..shown };
        assert_eq!(shown, dpkg);
        assert_eq!((all, deploy.source), (journal, SourceKind::Push));
        let SourceKind::Journal(part) = part.source else { panic!("{part:?}") };
        assert_eq!((part.from, part.units.len()), (ReadFrom::default(), 1));
        let SourceKind::File(apps) = apps.source else { panic!("{apps:?}") };
        assert!(matches!(&apps.files[..], [FileSelector::Pattern(_), FileSelector::Pattern(_)]), "{apps:?}");
        assert_eq!((apps.from, apps.rotate_wait), (ReadFrom::default(), crate::config::DEFAULT_ROTATE_WAIT));
        let SourceKind::Process(process) = build.source else { panic!("{build:?}") };
        assert_eq!(Restart { limit: None, ..process.restart }, Restart::default());
        assert_eq!(process.stop, Stop::default());
    }

    #[test]
    fn every_key_of_the_schema_is_described_and_in_the_shipped_file() {
        let (text, schema) = (in_force(), schema());
        let mut keys = Vec::new();
        let definitions = schema["$defs"].as_object().unwrap().values();
        for object in std::iter::once(&schema).chain(definitions) {
            let Some(properties) = object.get("properties") else { continue };
            assert_eq!(object["additionalProperties"], false, "{object}");
            for (key, property) in properties.as_object().unwrap() {
                assert!(property["description"].is_string(), "{key}");
                assert!(text.contains(&format!("{key}: ")) || text.contains(&format!("{key}:\n")), "{key}");
                keys.push(key.clone());
            }
        }
        assert!(keys.len() > 35, "the schema was not looked through: {keys:?}");
    }

    #[test]
    fn the_demo_loads() {
        let demo = config(&[DEMO_CONFIG]).unwrap();
        let names: Vec<&str> = demo.streams.iter().map(|stream| stream.name.as_str()).collect();
        assert_eq!(names, ["build", "app"]);
        assert_eq!(Config { streams: Vec::new(), ..demo }, Config::default());
    }

    #[test]
    fn a_file_named_on_the_command_line_is_as_one_that_is_configured() {
        let named = from_paths(&["/etc/x".into()]).unwrap();
        assert_eq!(config(&["streams: { x: { file: x } }"]), Ok(named));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}|([a-c1~]|[ \n\t:{}\\[\\],&*!|>'\"#%@`?-]|<<|- |: |\n ){0,60}") {
            if let Err(error) = config(&[&text]) {
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn a_changed_file_is_read_or_refused(
            cuts in proptest::collection::vec((0usize..9999, 0usize..6, "[a-z0-9 \n:{}\\[\\],&*!'\"~<-]{0,4}"), 1..6),
        ) {
            let mut text: Vec<char> = in_force().chars().collect();
            for (at, length, new) in cuts {
                let at = at % text.len();
                let end = (at + length).min(text.len());
                text.splice(at..end, new.chars());
            }
            let text: String = text.into_iter().collect();
            if let Err(error) = config(&[&text]) {
                for mistake in error.iter() {
                    let (line, column) = mistake.place.unwrap();
                    prop_assert!(line <= text.lines().count() + 1 && column > 0, "{}", mistake);
                }
            }
        }
    }
}
