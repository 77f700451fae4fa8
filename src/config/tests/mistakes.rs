//! Mistakes: each is reported once, at its location, with what would be right.

use super::{config, mistakes};

const TOP_LEVEL_KEYS: &str = "listen, memory, state_directory, history, orphan_timeout, processes_at_stop, hosts, origins, trusted_proxies, base_path, tls, access, limits, streams";
const STREAM_KEYS: &str = "a map with `file`, `command`, `journal`, `push`, `shell`, `from`, `exclude`, `rotate_wait`, `rotated`, `follow_symlinks`, `directory`, `environment`, `environment_file`, `user`, `group`, `umask`, \
        `pty`, `input`, `start`, `restart`, `stop`, `orphan_timeout`, `max_line`, `carriage_return`, `format`, `encoding`, `multiline`, `progress`, `redact`, `private`, `public`, `description`, `labels` or `history`";

#[test]
fn mistakes_of_form_have_a_place() {
    let unknown = format!("1:1: unknown key `colour` (known here: {TOP_LEVEL_KEYS})");
    let broken = unknown.replace("colour", "a\\nb");
    let no_stream = "1:15: expected a map, found the text \"b\" (write `file: PATH`, `command: [PROGRAM, ...]`, `journal: {}` or `push: true` in it)";
    let no_map = "1:1: expected a map with `listen`, `memory`, `state_directory`, `history`, `orphan_timeout`, `processes_at_stop`, `hosts`, `origins`, `trusted_proxies`, \
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
                r#"1:43: expected a whole number, found the text "5" (write it without quotes)"#,
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
        ("streams: { a: b }\n", &[no_stream]),
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
    let host = |location: &str, name: &str| {
        format!("{location}: not a host name: {name:?} (no scheme, port, path or pattern; such as ci.example.com)")
    };
    let hosts = [host("1:9", "a:80"), host("1:17", "*.b"), host("1:24", ""), host("1:28", "[10.0.0.1]")];
    let path = |path: &str| {
        let right = "(a slash, then names of A-Z, a-z, 0-9, - . _ ~, such as /logs)";
        format!("1:12: not a base path: {path:?} {right}")
    };
    let keep =
        "1:20: `processes_at_stop: keep` needs a `state_directory`, so that the next rtlogd can find the processes";
    let table: [(&str, &[&str]); 13] = [
        ("processes_at_stop: keep\n", &[keep]),
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
        "13:46: 1B is too small (at least 4MiB)",
    ];
    assert_eq!(mistakes(text), expected);
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
        "2:17: expected a map with `unit`, `identifier`, `priority`, `kernel`, `match`, `directory` or `namespace`, found `true`",
        "3:25: the list is empty (write at least one unit)",
        "3:41: not a program: \"\"",
        "3:55: not a priority: \"loud\" (emerg, alert, crit, err, warning, notice, info or debug, or 0 to 7)",
        "3:69: not a field with its value, such as _UID=1000: \"uid=1\"",
        "3:77: unknown key `units` (did you mean `unit`?)",
        "4:50: a stream has one of `file`, `command`, `journal` and `push`, not several (make two streams)",
        "5:27: `kernel` cannot be combined with `unit`, since the kernel belongs to no unit (make two streams)",
        "5:55: `multiline` applies only to streams with `file`, `command` or `push`; this stream follows the journal",
        "5:74: `pty` applies only to streams with `command`; this stream follows the journal",
    ];
    assert_eq!(mistakes(text), expected);
}

#[test]
fn a_format_that_does_not_fit_is_told() {
    let text = "streams:
  a: { file: /a, format: kubernetes }
  b: { command: [x], format: cri }
  c: { command: [x], format: docker }
  d: { journal: {}, format: cri }
  e: { file: /a, format: cri, encoding: utf-16le }
  f: { file: /a, format: docker, encoding: latin1 }
  g: { file: /a, format: cri, encoding: latin1 }
  h: { push: true, format: docker, encoding: utf-8 }
";
    let command = |format: &str| {
        format!(
            "`format: {format}` is for the log files of a container runtime; a command writes its own text (remove \
             `format`, or follow the files with `file`)"
        )
    };
    let expected = [
        "2:26: expected `text`, `cri`, `docker`, `json`, `logfmt` or `syslog`, found the text \"kubernetes\""
            .to_owned(),
        "3:30: ".to_owned() + &command("cri"),
        "4:30: ".to_owned() + &command("docker"),
        "5:29: `format` applies only to streams with `file`, `command` or `push`; this stream follows the journal"
            .to_owned(),
        "6:26: `format: cri` cannot have `encoding: utf-16le` (remove `encoding`)".to_owned(),
        "7:26: `format: docker` cannot have `encoding: windows-1252` (remove `encoding`)".to_owned(),
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
        "7:63: not the name or number of a user (such as www-data or 33)",
    ];
    assert_eq!(mistakes(text), expected);
}

#[test]
fn a_user_a_group_and_a_umask_have_their_forms() {
    let text = |keys: &str| format!("streams: {{ a: {{ command: [x], {keys} }} }}");
    for keys in [
        "user: 0",
        "user: 4294967294",
        "user: a.b-c_d",
        "group: 33",
        "umask: 022",
        "umask: 22",
        "umask: '0077'",
        "umask: 0",
    ] {
        assert!(config(&[&text(keys)]).is_ok(), "{keys}");
    }
    let octal =
        |text: &str| format!("1:38: expected permissions in octal notation, found `{text}` (such as 022 or 077)");
    let table = [
        ("user: 'a:b'", "1:37: not the name of a user (write `user: a` and `group: b`)".to_owned()),
        ("user: 4294967295", "1:37: not the name or number of a user (such as www-data or 33)".to_owned()),
        ("user: 4294967296", "1:37: not the name or number of a user (such as www-data or 33)".to_owned()),
        ("user: -1", "1:37: not the name or number of a user (such as www-data or 33)".to_owned()),
        ("user: '+5'", "1:37: not the name or number of a user (such as www-data or 33)".to_owned()),
        ("group: -1", "1:38: not the name or number of a group (such as www-data or 33)".to_owned()),
        ("user: a/b", "1:37: not the name or number of a user (such as www-data or 33)".to_owned()),
        ("group: ''", "1:38: not the name or number of a group (such as www-data or 33)".to_owned()),
        ("group: 'a:b'", "1:38: not the name or number of a group (such as www-data or 33)".to_owned()),
        ("umask: 8", octal("8")),
        ("umask: 1777", octal("1777")),
        ("umask: 00022", octal("00022")),
        ("umask: u=rwx", octal("u=rwx")),
        ("umask: -1", octal("-1")),
    ];
    for (keys, mistake) in table {
        assert_eq!(mistakes(&text(keys)), [mistake], "{keys}");
    }
}

#[test]
fn mistakes_about_files_have_a_place() {
    let text = r"
streams:
  a: { file: [] }
  b: { file: ['', a**/b, '[z-a]'] }
  c: { file: x, exclude: '*.gz' }
  d: { file: '*', exclude: ['', '{a'], rotate_wait: 2h }
  e: { command: [x], exclude: a, rotate_wait: 1s, follow_symlinks: true, rotated: [x] }
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
        "7:83: `rotated` applies only to streams with `file`; this stream runs a command",
        r#"8:27: not an encoding: "ebcdic" (such as utf-8, utf-16le, utf-16be, latin1, windows-1252 or shift_jis)"#,
        "8:46: `multiline` must say which lines belong together (write `start: REGEX` or `continue: REGEX`)",
        "9:50: `multiline` takes `start` or `continue`, not both (remove one of them)",
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
  c: { command: [x, [y], null, "\0"] }
  d: { command: [x], environment: { "A=B": 1, "": 2, C: [], C: "\0" }, directory: "" }
  e: { command: [x], restart: { when: on_failure, backoff: 2s..1s, limit: 5 }, stop: { signal: term, grace: 1 } }
  f: { command: [x], restart: always, stop: { signals: TERM } }
  g: { command: [x], restart: { backoff: 0s..1s } }
"#;
    let expected = [
        "3:17: empty command (name the program, such as [make, -j8])",
        "4:18: the name of the program is empty (write one, such as make or /usr/bin/make)",
        "5:21: expected text, found a list",
        "5:26: expected text, found nothing",
        "5:32: a NUL cannot be passed to a program",
        "6:37: not the name of a variable (it must not be empty or contain = or NUL)",
        "6:47: not the name of a variable (it must not be empty or contain = or NUL)",
        "6:57: expected text, found a list",
        r#"6:61: "C" is given twice (first at 6:54)"#,
        "6:64: a NUL cannot be passed to a program",
        "6:83: empty path",
        r#"7:39: expected `never`, `on-failure` or `always`, found the text "on_failure""#,
        r#"7:60: not a range of durations: "2s..1s" (the shortest, two dots and the longest, such as 1s..60s)"#,
        r#"7:75: not a rate: "5" (a number and a time, such as 5 per 10m)"#,
        r#"7:96: not a signal that can be sent: "term" (use HUP, INT, QUIT, KILL, USR1, USR2, ALRM, TERM, CONT, STOP, TSTP or WINCH)"#,
        r#"7:109: not a duration: "1" (a whole number and ms, s, m, h or d, such as 15s; at most 36500d)"#,
        "8:47: unknown key `signals` (did you mean `signal`?)",
        "9:42: 0ms..1s begins too low (at least 100ms)",
    ];
    assert_eq!(mistakes(text), expected);
}

#[test]
fn words_of_other_tools_and_of_yaml_1_1_lead_to_the_right_ones() {
    let whole = |text: &str| format!("streams: {{ a: {text} }}");
    let unknown = |location: &str, theirs: &str, ours: &str| {
        format!("{location}: unknown key `{theirs}` (did you mean `{ours}`?)")
    };
    let table: [(String, Vec<String>); 19] = [
        ("port: '127.0.0.1:7070'\n".into(), vec![unknown("1:1", "port", "listen")]),
        (
            "bind: 0.0.0.0\n".into(),
            vec![
                unknown("1:1", "bind", "listen"),
                "1:7: \"0.0.0.0\" has no port (such as 0.0.0.0:7070)".into(),
            ],
        ),
        (whole("{ path: /x }"), vec![unknown("1:17", "path", "file")]),
        (
            whole("{ cmd: [make], cwd: /, env: { A: b } }"),
            vec![
                unknown("1:17", "cmd", "command"),
                unknown("1:30", "cwd", "directory"),
                unknown("1:38", "env", "environment"),
            ],
        ),
        (
            whole("{ exec: make -j8 }"),
            vec![
                unknown("1:17", "exec", "command"),
                "1:23: a command is a list of words, since there is no shell (write [make, -j8])".into(),
            ],
        ),
        (
            whole("{ file: /x, paths: [''] }"),
            vec![unknown("1:27", "paths", "file")],
        ),
        (
            "colour: 1\nflavour: 2\n".into(),
            vec![
                format!("1:1: unknown key `colour` (known here: {TOP_LEVEL_KEYS})"),
                "2:1: unknown key `flavour` (the mistake above lists the known keys)".into(),
            ],
        ),
        (
            whole("{ command: [x], pty: yes, input: on }"),
            vec![
                "1:36: expected true, false or a size, found `yes` (write true)".into(),
                "1:48: expected true or false, found `on` (write true)".into(),
            ],
        ),
        (
            whole("{ file: /x, private: 'true' }"),
            vec!["1:36: expected true or false, found the text \"true\" (write it without quotes)".into()],
        ),
        (
            whole("{ file: /x, redact: true }"),
            vec!["1:35: expected on, off or a list of patterns, such as [{ pattern: 'pin (?P<secret>[0-9]+)' }], found `true` (write on)".into()],
        ),
        (whole("{ command: [x], restart: always }"), vec![]),
        (whole("{ command: [x], restart: never }"), vec![]),
        (whole("{ file: /x, public: true, private: false }"), vec![]),
        (
            whole("{ file: /x, private: true, public: true }"),
            vec!["1:50: a stream cannot be both `public` and `private` (remove one of them)".into()],
        ),
        (whole("{ command: [x], restart: { when: on-failure } }"), vec![]),
        (
            whole("{ command: [x], restart: no }"),
            vec!["1:40: expected `never`, `on-failure` or `always`, found the text \"no\"".into()],
        ),
        (
            whole("{ command: [x], restart: [] }"),
            vec!["1:40: expected a map with `when`, `backoff` or `limit`, found a list".into()],
        ),
        (
            whole("{ file: [~/a.log, $HOME/b.log, '/srv/${X}/c.log'] }"),
            ["1:24: `~`", "1:33: `$HOME`", "1:46: `${X}`"]
                .map(|what| {
                    format!("{what} is not replaced in a path as it would be by a shell (write the path out, such as /home/me/app.log)")
                })
                .into(),
        ),
        (
            whole("{ file: [/usr, /nowhere/] }"),
            vec![
                "1:24: /usr/ is a directory (write /usr/*.log for some of its files, or /usr/** for all files below it)".into(),
                "1:30: /nowhere/ is a directory (write /nowhere/*.log for some of its files, or /nowhere/** for all files below it)".into(),
            ],
        ),
    ];
    for (text, expected) in table {
        let found = config(&[&text]).err().map_or_else(Vec::new, |_| mistakes(&text));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn commands_and_streams_in_another_form_lead_to_the_right_one() {
    let whole = |text: &str| format!("streams: {{ a: {text} }}");
    let table: [(String, Vec<String>); 7] = [
        (whole("{ command: '' }"), vec!["1:26: empty command (name the program, such as [make, -j8])".into()]),
        (whole("{ command: ' ' }"), vec!["1:26: empty command (name the program, such as [make, -j8])".into()]),
        (
            whole("{ command: [x], environment: [A=1, B=2] }"),
            vec!["1:44: expected a map of names, found a list (write `A: 1` for each item, without a hyphen or brackets)".into()],
        ),
        (
            whole("{ command: [x], labels: [team=] }"),
            vec!["1:39: expected a map of names, found a list (write `team: \"\"` for each item, without a hyphen or brackets)".into()],
        ),
        (whole("{ command: [x], labels: [team] }"), vec!["1:39: expected a map of names, found a list".into()]),
        (
            whole("{ command: [~/bin/x], directory: ~ }"),
            ["1:27: `~`", "1:48: `~`"]
                .map(|what| {
                    format!("{what} is not replaced in a path as it would be by a shell (write the path out, such as /home/me/app.log)")
                })
                .into(),
        ),
        (
            whole("/var/log/syslog"),
            vec!["1:15: expected a map, found the text \"/var/log/syslog\" (write { file: /var/log/syslog })".into()],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(mistakes(&text), expected, "{text}");
    }
}

#[test]
fn a_tab_that_indents_a_line_is_called_a_tab() {
    let tab = "invalid YAML: a tab cannot indent a line (use spaces)";
    for (text, location) in [
        ("streams:\n\ta: { file: /x }\n", "2:1"),
        ("streams:\n  a:\n  \tfile: /x\n", "3:3"),
        ("streams:\n  a:\n    file: /x\n\tb:\n", "4:1"),
        ("hosts:\n\t- a\n", "2:1"),
        ("memory: 1MiB\n\t\nhosts: [a]\n", "2:1"),
    ] {
        assert_eq!(mistakes(text), [format!("{location}: {tab}")], "{text:?}");
    }
    for text in ["streams:\t{ a: {\tfile: /x } }\n", "memory:\t1MiB\t# a tab\nhosts: [a]\n"] {
        assert!(config(&[text]).is_ok(), "{text:?}");
    }
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
