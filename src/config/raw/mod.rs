//! The configuration file as it is written. These types are also the JSON Schema, so their comments are for users.
//!
//! A type here defines how a value is written. `check` decides whether it makes sense.

pub(super) mod access;
pub(crate) mod switch_or_list;
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use self::access::{AccessConfig, TlsConfig};
pub(super) use self::switch_or_list::ProgressPattern;
use self::switch_or_list::{SecretPattern, SwitchOrList};
use super::access::NamePattern;
use super::journal::JournalPriority;
use super::net::{ListenAddress, TrustedProxy, WebOrigin};
use super::progress::ProgressRegex;
use super::signal::SignalName;
use super::units::{DurationRange, DurationText, Rate, Size};
use super::{
    CarriageReturn, LineFormat, ProcessesAtStop, ReadFrom, RestartWhen, StartWhen, StopTarget, TerminalSize,
    TextEncoding,
};
use crate::config::parse::located::{Entries, Located, OneOrMany, Setting, WordOrMap};

/// The configuration of rtlogd: `rtlogd.yaml`, and the files in `conf.d` next to it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "rtlogd.yaml")]
pub(super) struct Config {
    /// The addresses to listen on: one or a list. An address is a host and a port, such as `127.0.0.1:7070`, or the
    /// path of a Unix socket, such as `unix:/run/rtlogd/rtlogd.sock`. Addresses that other machines can reach need
    /// tokens (`access`) and `tls`, or `access: { insecure: true }`. Default: 127.0.0.1:7070.
    pub(super) listen: Setting<OneOrMany<ListenAddress>>,
    /// The memory that all streams together may use. Default: 256MiB.
    pub(super) memory: Setting<Size>,
    /// The directory for histories and for the positions up to which sources have been read. With it, a restart neither
    /// loses nor repeats a line, with the exceptions in LIMITS of rtlogd-operation(7). Only one rtlogd may use the
    /// directory. Default: none; everything is kept in memory only.
    pub(super) state_directory: Setting<String>,
    /// The limits up to which each stream keeps events for readers that connect late or return. A stream may have a
    /// `history` of its own.
    pub(super) history: Setting<HistoryLimits>,
    /// The time for which commands continue to run without rtlogd, until the next rtlogd takes them over: see
    /// `orphan_timeout` of a stream, which has this as its default. Default: 10m.
    pub(super) orphan_timeout: Setting<DurationText>,
    /// The treatment of commands when rtlogd is stopped. A restart by systemd and `rtlogd upgrade` always keep them,
    /// and `rtlogd shutdown` stops them unless `--keep-processes` is given. `keep` needs `state_directory`. Default:
    /// end.
    pub(super) processes_at_stop: Setting<ProcessesAtStop>,
    /// Host names under which clients reach rtlogd, in addition to the addresses it listens on. Requests for other
    /// names are refused, so that a web page of another site cannot reach rtlogd under the name of that site (DNS
    /// rebinding).
    pub(super) hosts: Setting<Vec<Located<String>>>,
    /// Origins of web pages, other than rtlogd's own, that may read streams, connect to the control channel and send
    /// commands, such as `https://dash.example.com`.
    pub(super) origins: Setting<Vec<Located<WebOrigin>>>,
    /// The proxies in front of rtlogd: addresses or networks, and `unix:USER` for a proxy that connects to the Unix
    /// socket as that user. rtlogd believes what they say about their clients, so name no others. Every request through
    /// a proxy needs a token.
    pub(super) trusted_proxies: Setting<Vec<Located<TrustedProxy>>>,
    /// The path under which a proxy serves rtlogd, such as `/logs`. The proxy must pass it on unchanged. Default: /.
    pub(super) base_path: Setting<String>,
    /// The certificate for TLS. With it, rtlogd speaks TLS on all TCP addresses, but programs on this machine may also
    /// connect without TLS. Default: none.
    pub(super) tls: Setting<TlsConfig>,
    /// Who may read and control streams.
    pub(super) access: Setting<AccessConfig>,
    /// Limits, so that no client can use up what all clients share.
    pub(super) limits: Setting<Limits>,
    /// The streams, each with a name and a source. A name consists of 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `-`
    /// and `_`, and does not begin with a dot.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$" }))]
    pub(super) streams: Setting<Entries<Stream>>,
}

/// The limits up to which a stream keeps events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "History")]
pub(super) struct HistoryLimits {
    /// The memory that one stream may use, at least 1MiB (four lines of the maximum length). Default: 8MiB.
    pub(super) memory: Setting<Size>,
    /// The disk space that one stream may use, at least 4MiB. Needs a `state_directory`. Default: 256MiB.
    pub(super) disk: Setting<Size>,
    /// The time for which events are kept on disk, at least 1m. Default: 7d.
    pub(super) age: Setting<DurationText>,
    /// The number of runs of a process that are remembered, even after their lines were dropped; 1 to 10000. Their summaries
    /// take at most the smallest of a sixteenth of `memory`, a 128th of `disk`, and 2MiB; the oldest runs are forgotten
    /// first. Default: 1000.
    pub(super) runs: Setting<usize>,
}

/// Limits, so that no client can use up what all clients share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// The maximum number of connections. Each needs a file descriptor and some kilobytes. Default: 20000.
    pub(super) connections: Setting<usize>,
    /// The maximum number of connections from one address. This machine and trusted proxies are not counted. Default:
    /// 256.
    pub(super) per_address: Setting<usize>,
    /// The maximum number of readers on all connections together. Each stream on a connection is one reader, and so is
    /// each subscription of a control channel. One caller may have at most half of them, and at most a sixteenth of them
    /// on connections with several streams. Root and the user of the daemon are not counted on the Unix socket. Default:
    /// 32768.
    pub(super) readers: Setting<usize>,
    /// The maximum number of streams, polls, pushes and control channels that are open at once with one token or,
    /// without a token, from one other machine. Requests that are answered at once are not counted. Default:
    /// 1000.
    pub(super) per_token: Setting<usize>,
    /// The time in which the head of a request must arrive. Default: 10s.
    pub(super) head: Setting<DurationText>,
    /// The time for which a connection stays open without a request. It should be longer than that of the proxies in
    /// front of rtlogd, which could otherwise send requests into connections that are being closed. Default: 75s.
    pub(super) idle: Setting<DurationText>,
    /// The time in which the body of a request must arrive. Default: 30s.
    pub(super) body: Setting<DurationText>,
    /// The maximum size of the head of a request, 8KiB to 256KiB. Default: 32KiB.
    pub(super) head_size: Setting<Size>,
    /// The maximum size of the path and the query of a request, 1KiB to 64KiB. They are part of the head. Default:
    /// 16KiB.
    pub(super) query_size: Setting<Size>,
    /// The maximum size of the body of a command, 1KiB to 64KiB. This limit does not apply to pushed lines. Default:
    /// 64KiB.
    pub(super) body_size: Setting<Size>,
    /// The maximum size of a message on the control channel, 4KiB to 1MiB. Default: 128KiB.
    pub(super) message_size: Setting<Size>,
    /// The memory that the compiled expressions of one filter may use, 16KiB to 1MiB. Default: 256KiB.
    pub(super) filter_size: Setting<Size>,
    /// The time after which a connection is closed if its client accepts none of the data that rtlogd has to send.
    /// Default: 60s.
    pub(super) stalled_write: Setting<DurationText>,
    /// The number of commands that may be sent in a time: this many at once, and then at this rate. Commands are
    /// counted for each token and, without a token, for each control channel. Default: 1000 per 1s.
    pub(super) control_rate: Setting<Rate>,
    /// The maximum lifetime of a connection. Its readers then connect again and resume where they were. Up to a tenth
    /// is subtracted at random, so that clients that connected together do not return together. This moves clients to
    /// other machines behind a load balancer. Default: no limit.
    pub(super) lifetime: Setting<DurationText>,
    /// The interval at which a stream without events sends a comment, so that no proxy closes the connection. Default:
    /// 15s.
    pub(super) keep_alive: Setting<DurationText>,
    /// Whether the responses of streams are compressed with gzip for clients that accept it. Private streams, connections
    /// with several streams and control channels are never compressed. Default: true.
    pub(super) compress: Setting<bool>,
    /// The time that readers have to receive the remaining events when the daemon stops. Default: 5s.
    pub(super) shutdown: Setting<DurationText>,
}

/// A stream: exactly one of `file`, `command`, `journal` and `push`, and how to treat its lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stream {
    /// The file to follow, a pattern such as `/var/log/**/*.log`, or a list of files and patterns. `*`, `?`, `[a-z]`
    /// and `{a,b}` stand for parts of a name, `**` for any number of directories.
    pub(super) file: Setting<OneOrMany<String>>,
    /// The program to run and its arguments, as a list; with `shell: true`, a command line for a shell.
    pub(super) command: Setting<CommandLine>,
    /// The systemd journal: `{}` for all of it, or keys that select entries.
    pub(super) journal: Setting<JournalFilter>,
    /// Whether callers with the right `input` may send lines to the stream, with `POST /streams/NAME`. Default: false.
    pub(super) push: Setting<bool>,
    /// Whether `command` is a command line for `/bin/sh` instead of a list. Default: false.
    pub(super) shell: Setting<bool>,
    /// The start in a file or a journal that is read for the first time. Default: end.
    pub(super) from: Setting<ReadFrom>,
    /// Files that are not followed although a pattern matches them, such as `*.gz`: one pattern or a list. A pattern
    /// with a slash is matched against the whole path.
    pub(super) exclude: Setting<OneOrMany<String>>,
    /// The time for which rtlogd keeps reading a file after the last write to it, once the file was rotated away or
    /// deleted: its writer may still have it open. The new file is read as soon as a program closes the old one (where
    /// the system reports that), or once the old one has been silent for this time, and at the latest this long after the
    /// new file appeared. From then on, both are read until rtlogd stops reading the old one. Bytes that are written to a
    /// renamed file after that are a `loss`. Default: 5s.
    pub(super) rotate_wait: Setting<DurationText>,
    /// The directory into which files are moved when they are rotated, such as the `olddir` of logrotate, or a list. A
    /// rotated file that is in the directory of the followed file is found without this. Default: none.
    pub(super) rotated: Setting<OneOrMany<String>>,
    /// Whether to follow symbolic links regardless of who made them. By default, in and below a directory that users
    /// other than root and the daemon's user may write to, a link is followed only if root, the daemon's user or the
    /// owner of its target made it. Without this rule, everybody who may write there could make rtlogd serve any file
    /// that it can read. rtlogd's own files, such as keys and histories, are never served. Default: false.
    pub(super) follow_symlinks: Setting<bool>,
    /// The directory in which the command runs. Default: that of the daemon.
    pub(super) directory: Setting<String>,
    /// Environment variables for the command, in addition to those of the daemon. Variables about the daemon or its
    /// systemd unit are not passed on.
    pub(super) environment: Setting<Entries<ScalarText>>,
    /// Files with environment variables for the command, `NAME=value` on each line: one file or a list. A value in
    /// quotes may have several lines. The files are read each time the command starts. If a variable is set several
    /// times, `environment` takes precedence over all files, and a later file over an earlier one.
    pub(super) environment_file: Setting<OneOrMany<String>>,
    /// The user that the command runs as, by name or number. The daemon must run as root or with `CAP_SETUID` and
    /// `CAP_SETGID`. Default: the daemon's user.
    pub(super) user: Setting<String>,
    /// The group that the command runs as, by name or number. Default: the group of `user`.
    pub(super) group: Setting<String>,
    /// The permissions that are removed from files that the command creates, in octal notation, such as 022 or 077.
    /// Default: 022.
    pub(super) umask: Setting<Umask>,
    /// Whether the command runs in a terminal: `true` for 120 columns and 30 rows, or a size such as `80x24`. In a
    /// terminal, programs write each line at once, use colours and draw progress bars. Default: false.
    pub(super) pty: Setting<Pty>,
    /// Whether callers with the right `input` may type into the command. Default: false.
    pub(super) input: Setting<bool>,
    /// The event that starts the command. Default: boot.
    pub(super) start: Setting<StartWhen>,
    /// Whether and when the command is started again after it has ended: `always`, `on-failure`, `never`, or a map that
    /// says more. Default: on-failure.
    pub(super) restart: Setting<WordOrMap<RestartWhen, Restart>>,
    /// The way in which the command is stopped.
    pub(super) stop: Setting<Stop>,
    /// The time for which the command continues to run without rtlogd: after a restart, an upgrade or a crash, the next
    /// rtlogd takes it over, with its output. If none comes in this time, the command is stopped. Output that is not read
    /// stays in its pipe in the meantime, and the command waits once the pipe is full. With `0s`, the command is stopped
    /// with rtlogd. Needs `state_directory`. Default: the `orphan_timeout` at the top level.
    pub(super) orphan_timeout: Setting<DurationText>,
    /// The maximum length of a line, 1KiB to 256KiB. A longer one continues in the next event. Default: 256KiB.
    pub(super) max_line: Setting<Size>,
    /// The meaning of a carriage return within a line. Default: fold for commands and for the formats cri and docker,
    /// keep for everything else.
    pub(super) carriage_return: Setting<CarriageReturn>,
    /// The way in which lines are wrapped or structured. A line that does not have the format is text. Default: text.
    pub(super) format: Setting<LineFormat>,
    /// The encoding of the bytes: `utf-8`, `utf-16le`, `utf-16be`, `latin1`, `windows-1252`, `shift_jis` or another
    /// name of the Encoding Standard. A byte order mark of UTF-16 at the start of a file decides, whatever is written
    /// here. Readers always receive UTF-8. Default: utf-8.
    pub(super) encoding: Setting<TextEncoding>,
    /// The rule by which lines become one event, such as those of a stack trace. Default: none.
    pub(super) multiline: Setting<MultilineConfig>,
    /// Whether to look for progress in the output: `on`, `off`, or a list of up to 64 patterns, which are tried before
    /// the built-in ones. Default: on.
    pub(super) progress: Setting<SwitchOrList<ProgressPattern>>,
    /// Whether to remove secrets from the lines before they are stored or served: `on`, `off`, or a list of up to 64
    /// patterns, which apply in addition to the built-in ones. Default: off.
    pub(super) redact: Setting<SwitchOrList<SecretPattern>>,
    /// Whether the stream may be read only with a token for it, and by root and the daemon's user on the Unix socket.
    /// Default: true for the journal and for files that not everybody on the machine may read, false otherwise.
    pub(super) private: Setting<bool>,
    /// Whether everybody may read the stream without a token, wherever rtlogd listens: its events, its state, its progress
    /// and its badge, and nothing else. A stream that is private, such as one of the journal, stays private unless
    /// `private: false` is written, too. Default: false.
    pub(super) public: Setting<bool>,
    /// A description for people.
    pub(super) description: Setting<ScalarText>,
    /// Labels for programs: any names and values.
    pub(super) labels: Setting<Entries<ScalarText>>,
    /// The limits up to which this stream keeps events. Default: the values of the `history` at the top level.
    pub(super) history: Setting<HistoryLimits>,
}

/// The entries of the journal that satisfy all of these keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Journal")]
pub(super) struct JournalFilter {
    /// Entries of a unit, such as `nginx.service`, or of all units that match a pattern, such as `php*-fpm.service`:
    /// one or a list.
    pub(super) unit: Setting<OneOrMany<String>>,
    /// Entries of a program, by the name under which it logs, such as `sshd`: one or a list.
    pub(super) identifier: Setting<OneOrMany<String>>,
    /// Entries of this priority or a more serious one: emerg, alert, crit, err, warning, notice, info or debug, or 0 to
    /// 7.
    pub(super) priority: Setting<JournalPriority>,
    /// Whether to select only entries of the kernel. Default: false.
    pub(super) kernel: Setting<bool>,
    /// Entries in which a field has this value, such as `_UID=1000`: one field or a list. If the list contains a field
    /// several times, an entry matches with any of its values. systemd.journal-fields(7) lists the fields.
    #[serde(rename = "match")]
    pub(super) r#match: Setting<OneOrMany<String>>,
    /// A directory with the journal of another machine, such as `/host/var/log/journal` in a container. Default: the journal
    /// of this machine.
    pub(super) directory: Setting<String>,
    /// The namespace of the journal, as with `LogNamespace=` of a unit; `*` for all namespaces, and `+NAME` for one and
    /// the default one. Default: the default namespace.
    pub(super) namespace: Setting<String>,
}

/// The rule by which lines are joined into one event: `start` or `continue`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Multiline")]
pub(super) struct MultilineConfig {
    /// A line that matches this expression begins an event. All others are joined to the line before them.
    pub(super) start: Setting<String>,
    /// A line that matches this expression is joined to the line before it. All others begin an event.
    #[serde(rename = "continue")]
    pub(super) r#continue: Setting<String>,
    /// The time to wait for a further line of the same event. Default: 1s.
    pub(super) timeout: Setting<DurationText>,
}

/// Whether and when a command is started again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restart {
    /// When the command is started again. Default: on-failure.
    pub(super) when: Setting<RestartWhen>,
    /// The time to wait before the first restart, and the longest wait. The wait doubles with each failure. Default:
    /// 1s..60s.
    pub(super) backoff: Setting<DurationRange>,
    /// The number of restarts within a time, such as `5 per 10m`. Once it is exceeded, the command stays stopped.
    /// Default: no limit.
    pub(super) limit: Setting<Rate>,
}

/// The way in which a command is stopped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// The signal that asks the command to end. Default: TERM.
    pub(super) signal: Setting<SignalName>,
    /// The time that the command may take to end before rtlogd sends KILL. Default: 10s.
    pub(super) grace: Setting<DurationText>,
    /// The processes that receive the signal when the command is stopped. Those that are left after `grace` receive KILL.
    /// Default: all.
    pub(super) only: Setting<StopTarget>,
}

/// A scalar of any kind as text: `8080` and `true` are taken as they are written.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ScalarText(pub(super) String);

impl JsonSchema for ScalarText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// The terminal of a command: `None` for no terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pty(pub(super) Option<TerminalSize>);

impl std::str::FromStr for Pty {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => return Ok(Self(Some(TerminalSize::default()))),
            "false" => return Ok(Self(None)),
            "yes" | "on" | "y" => return Err(format!("expected true, false or a size, found `{text}` (write true)")),
            "no" | "off" | "n" => return Err(format!("expected true, false or a size, found `{text}` (write false)")),
            _ => {}
        }
        let size = text.split_once('x').and_then(|(columns, rows)| {
            let size = TerminalSize { columns: columns.parse().ok()?, rows: rows.parse().ok()? };
            (size.columns > 0 && size.rows > 0).then_some(size)
        });
        size.map(|size| Self(Some(size))).ok_or_else(|| {
            let text: String = text.chars().take(60).collect();
            format!("expected true, false or a size, found `{text}` (columns and rows, such as 120x30)")
        })
    }
}

/// The permissions that are removed from created files; at most 0o777.
#[derive(Debug, Clone, Copy)]
pub(super) struct Umask(pub(super) u32);

impl std::str::FromStr for Umask {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && *bits <= 0o777);
        bits.map(Self).ok_or_else(|| {
            let text: String = text.chars().take(60).collect();
            format!("expected permissions in octal notation, found `{text}` (such as 022 or 077)")
        })
    }
}

/// A program and its arguments, or one text for a shell.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[schemars(rename = "Argv")]
pub(super) enum CommandLine {
    Words(Vec<Located<ScalarText>>),
    Line(String),
}

/// The message for a command that is a text: why that is wrong, and which list it would be.
pub(super) fn list_advice(line: &str) -> String {
    if line.trim().is_empty() {
        return "empty command (name the program, such as [make, -j8])".to_owned();
    }
    let shell = line.contains(|c: char| "\"'`$&|;<>()*?#~\\".contains(c));
    let words = if shell { vec!["sh", "-c", line] } else { line.split_whitespace().collect() };
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=+".contains(c));
    let quote = |word: &&str| if plain(word) { (*word).to_owned() } else { format!("'{}'", word.replace('\'', "''")) };
    let list = words.iter().map(quote).collect::<Vec<_>>().join(", ");
    let list = if list.chars().count() > MAX_ADVICE_COMMAND_LENGTH { "sh, -c, '...'" } else { &list };
    format!("a command is a list of words, since there is no shell (write [{list}])")
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CommandLineVisitor)
    }
}

/// The longest command that a message repeats as a list, in characters.
const MAX_ADVICE_COMMAND_LENGTH: usize = 200;

struct CommandLineVisitor;

impl<'de> de::Visitor<'de> for CommandLineVisitor {
    type Value = CommandLine;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of words, such as [make, -j8]")
    }

    fn visit_str<E: de::Error>(self, line: &str) -> Result<CommandLine, E> {
        Ok(CommandLine::Line(line.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<CommandLine, A::Error> {
        let mut argv = Vec::new();
        while let Some(word) = items.next_element()? {
            argv.push(word);
        }
        Ok(CommandLine::Words(argv))
    }
}

/// Implements `Deserialize` for a type that is parsed from a text, and its schema.
macro_rules! written {
    ($type:ident, $name:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written!(Size, "Size", {
    "description": "A number of bytes, such as 64KiB",
    "type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)?$"
});
written!(DurationText, "Span", { "description": "A length of time, such as 15s", "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" });
written!(DurationRange, "Range", {
    "description": "The shortest and the longest time, such as 1s..60s",
    "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)\\.\\.[0-9]+(ms|s|m|h|d)$"
});
written!(Pty, "Pty", {
    "description": "Whether there is a terminal, or its columns and rows, such as 120x30",
    "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": "^[0-9]+x[0-9]+$" }]
});
written!(Umask, "Umask", {
    "description": "Permissions in octal notation, such as 022",
    "type": ["string", "integer"], "pattern": "^[0-7]{1,4}$"
});
written!(Rate, "Rate", {
    "description": "A number and a time, such as 5 per 10m",
    "type": "string", "pattern": "^[0-9]+ per [0-9]+(ms|s|m|h|d)$"
});
written!(ListenAddress, "Listen", {
    "description": "An address and a port, such as 127.0.0.1:7070 or [::1]:7070, or the path of a Unix socket behind unix:",
    "type": "string", "pattern": "^(unix:.+|.+:[0-9]+)$"
});
written!(JournalPriority, "Priority", {
    "description": "How serious: a name such as warning, or 0 (the most serious) to 7",
    "anyOf": [
        { "enum": ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] },
        { "type": "integer", "minimum": 0, "maximum": 7 }
    ]
});
written!(TrustedProxy, "TrustedProxy", {
    "description": "An address or a network, such as 127.0.0.1 or 10.0.0.0/8, or a user on the Unix socket, such as unix:www-data",
    "type": "string"
});
written!(WebOrigin, "WebOrigin", {
    "description": "The origin of a web page: scheme, host and port, such as https://dash.example.com",
    "type": "string", "pattern": "^https?://[^/]+$"
});
written!(NamePattern, "NamePattern", { "description": "A name; * stands for any characters, ? for one", "type": "string", "minLength": 1 });
written!(TextEncoding, "Encoding", { "description": "The name of an encoding, such as utf-8, utf-16le or windows-1252", "type": "string" });
written!(SignalName, "SignalName", { "description": "The name of a signal, such as TERM", "type": "string", "pattern": "^(SIG)?[A-Z0-9]+$" });
written!(ProgressRegex, "Pattern", {
    "description": "A regular expression with named groups: percent, current, total, phase, message", "type": "string"
});
