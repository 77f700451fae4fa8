//! The configuration file word for word. What stands here is also the JSON Schema, so the comments are for users.
//!
//! Knows how a value is written, not what makes sense: that is `check`.

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
use super::{CarriageReturn, ReadFrom, RestartWhen, StartWhen, TerminalSize, TextEncoding};
use crate::config::parse::located::{Entries, Located, OneOrMany, Setting};

/// The configuration of rtlogd: `rtlogd.yaml`, and the files in `conf.d` next to it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "rtlogd.yaml")]
pub(super) struct Config {
    /// The addresses to listen on: one or a list. An address is a host and a port, such as `127.0.0.1:7070`, or the path of
    /// a Unix socket, such as `unix:/run/rtlogd/rtlogd.sock`. Addresses that other machines can reach need tokens
    /// (`access`) and `tls`, or `access: { insecure: true }`. Default: 127.0.0.1:7070.
    pub(super) listen: Setting<OneOrMany<ListenAddress>>,
    /// How much memory all streams together may use. Default: 256MiB.
    pub(super) memory: Setting<Size>,
    /// The directory for histories and for how far each source was read. With it, a restart neither loses nor repeats
    /// anything. Only one rtlogd may use it. Default: none; everything is kept in memory only.
    pub(super) state_directory: Setting<String>,
    /// How much each stream keeps for readers that come late or return. A stream may have a `history` of its own.
    pub(super) history: Setting<HistoryLimits>,
    /// Host names under which clients reach rtlogd, in addition to the addresses it listens on. Requests for other names
    /// are refused, so that no foreign web page can reach rtlogd under a name of its own (DNS rebinding).
    pub(super) hosts: Setting<Vec<Located<String>>>,
    /// Origins of web pages, other than rtlogd's own, that may read streams, connect to the control channel and send
    /// commands, such as `https://dash.example.com`.
    pub(super) origins: Setting<Vec<Located<WebOrigin>>>,
    /// The proxies in front of rtlogd: addresses or networks, and `unix:USER` for a proxy that connects to the Unix socket.
    /// rtlogd believes what they say about their clients. Every request that comes through a proxy needs a token.
    pub(super) trusted_proxies: Setting<Vec<Located<TrustedProxy>>>,
    /// The path under which a proxy serves rtlogd, such as `/logs`. The proxy must pass it on unchanged. Default: /.
    pub(super) base_path: Setting<String>,
    /// The certificate for TLS. With it, all TCP addresses speak TLS; programs on this machine may use them without.
    /// Default: none.
    pub(super) tls: Setting<TlsConfig>,
    /// Who may read and control streams.
    pub(super) access: Setting<AccessConfig>,
    /// Limits that keep one client from taking what all need.
    pub(super) limits: Setting<Limits>,
    /// The streams: for each a name and a source. A name consists of 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `-` and
    /// `_`, and does not begin with a dot.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$" }))]
    pub(super) streams: Setting<Entries<Stream>>,
}

/// How much a stream keeps.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "History")]
pub(super) struct HistoryLimits {
    /// How much memory one stream may use, at least 1MiB (four lines of the greatest length). Default: 8MiB.
    pub(super) memory: Setting<Size>,
    /// How much disk space one stream may use, at least 4MiB. Needs a `state_directory`. Default: 256MiB.
    pub(super) disk: Setting<Size>,
    /// How long events are kept on disk, at least 1m. Default: 7d.
    pub(super) age: Setting<DurationText>,
}

/// Limits that keep one client from taking what all need.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// How many connections there may be. Each needs a file descriptor and some kilobytes. Default: 20000.
    pub(super) connections: Setting<usize>,
    /// How many connections one address may have. This machine and trusted proxies are not counted. Default: 256.
    pub(super) per_address: Setting<usize>,
    /// How many readers there may be, over all connections: each stream of a connection and each subscription of a control
    /// channel is one. One caller may have half of them, and an eighth on connections with several streams. Root and the
    /// user of the daemon are not counted on the Unix socket. Default: 32768.
    pub(super) readers: Setting<usize>,
    /// How many streams, polls, pushes and control channels one token may have open, or another machine without a token.
    /// Requests that are answered at once do not count. Over HTTP/2, each stream counts. Default: 1000.
    pub(super) per_token: Setting<usize>,
    /// How long the head of a request may take to arrive. Default: 10s.
    pub(super) head: Setting<DurationText>,
    /// How long a connection is kept without a request. Use more than the proxies in front of rtlogd, which otherwise send
    /// requests into connections that are being closed. Default: 75s.
    pub(super) idle: Setting<DurationText>,
    /// How long the body of a request may take to arrive. Default: 30s.
    pub(super) body: Setting<DurationText>,
    /// How large the head of a request may be, 8KiB to 256KiB. Default: 32KiB.
    pub(super) head_size: Setting<Size>,
    /// How long the path and the query of a request may be, 1KiB to 64KiB. They are part of the head. Default: 16KiB.
    pub(super) query_size: Setting<Size>,
    /// How large the body of a command may be, 1KiB to 64KiB. Pushed lines are not limited by it. Default: 64KiB.
    pub(super) body_size: Setting<Size>,
    /// How large a message on the control channel may be, 4KiB to 1MiB. Default: 128KiB.
    pub(super) message_size: Setting<Size>,
    /// How much memory the compiled expressions of one filter may use, 16KiB to 1MiB. Default: 256KiB.
    pub(super) filter_size: Setting<Size>,
    /// How long a reader may take nothing of what rtlogd sends before its connection is closed. Default: 60s.
    pub(super) stalled_write: Setting<DurationText>,
    /// How many commands may be sent in a time: this many at once, and evenly from then on. Commands are counted for each
    /// token and, without a token, for each control channel. Default: 1000 per 1s.
    pub(super) control_rate: Setting<Rate>,
    /// How long a connection may live, with everything on it. Its readers connect again and resume where they were. Up to a
    /// tenth is subtracted at random, so that clients that connected together do not return together. Use it to move
    /// clients to other machines behind a load balancer. Default: no limit.
    pub(super) lifetime: Setting<DurationText>,
    /// How often a quiet stream sends a comment, so that no proxy takes it for dead. Default: 15s.
    pub(super) keep_alive: Setting<DurationText>,
    /// How long readers may take to finish when the daemon stops. Default: 5s.
    pub(super) shutdown: Setting<DurationText>,
}

/// A stream: exactly one of `file`, `command`, `journal` and `push`, and how to treat its lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stream {
    /// The file to follow, or a pattern such as `/var/log/**/*.log`, or a list of both. `*`, `?`, `[a-z]` and `{a,b}` stand
    /// for parts of a name, `**` for any directories.
    pub(super) file: Setting<OneOrMany<String>>,
    /// The program to run and its arguments, as a list. With `shell: true`, one text for a shell.
    pub(super) command: Setting<CommandLine>,
    /// The systemd journal: all of it as `{}`, or the entries that these keys select.
    pub(super) journal: Setting<JournalFilter>,
    /// Whether the stream takes lines by `POST /streams/NAME`, from callers with the right `input`. Default: false.
    pub(super) push: Setting<bool>,
    /// Whether `command` is one text for `/bin/sh`. Default: false.
    pub(super) shell: Setting<bool>,
    /// Where to begin in a file or a journal when it is read for the first time. Default: end.
    pub(super) from: Setting<ReadFrom>,
    /// Files that are not followed although a pattern matches them, such as `*.gz`: one pattern or a list. A pattern with a
    /// slash is matched against the whole path.
    pub(super) exclude: Setting<OneOrMany<String>>,
    /// How long a file that was rotated away or deleted must be silent before it is left, because its writer may not have
    /// noticed; and how long a new file waits at most until it is read, too. Later bytes in a renamed file are a `loss`.
    /// Default: 5s.
    pub(super) rotate_wait: Setting<DurationText>,
    /// Whether symbolic links are followed regardless of who made them. By default, below the first directory that others
    /// than root and the daemon's user may write to, only links of root, of the daemon's user and of the owner of their
    /// target are followed; otherwise, whoever may write there could make rtlogd serve any file that it can read. rtlogd's
    /// own files, such as keys and histories, are never served. Default: false.
    pub(super) follow_symlinks: Setting<bool>,
    /// The directory in which the command runs. Default: that of the daemon.
    pub(super) directory: Setting<String>,
    /// Environment variables for the command, in addition to those of the daemon.
    pub(super) environment: Setting<Entries<ScalarText>>,
    /// The user that the command runs as. The daemon must be permitted to change its user, as root is. Default: the
    /// daemon's user.
    pub(super) user: Setting<String>,
    /// Whether the command has a terminal: `true` for 120 columns and 30 rows, or a size such as `80x24`. Programs then
    /// write each line at once, in colour, and draw progress bars. Default: false.
    pub(super) pty: Setting<Pty>,
    /// Whether callers with the right `input` may type into the command. Default: false.
    pub(super) input: Setting<bool>,
    /// When the command is started. Default: boot.
    pub(super) start: Setting<StartWhen>,
    /// Whether and when the command is started again after it has ended.
    pub(super) restart: Setting<Restart>,
    /// How the command is stopped.
    pub(super) stop: Setting<Stop>,
    /// How long a line may be, 1KiB to 256KiB. A longer one continues in the next event. Default: 256KiB.
    pub(super) max_line: Setting<Size>,
    /// What a carriage return within a line means. Default: fold.
    pub(super) carriage_return: Setting<CarriageReturn>,
    /// The encoding of the bytes: `utf-8`, `utf-16le`, `utf-16be`, `latin1`, `windows-1252`, `shift_jis` or another name of
    /// the Encoding Standard. Readers always receive UTF-8. Default: utf-8.
    pub(super) encoding: Setting<TextEncoding>,
    /// Which lines belong together and become one event, such as those of a stack trace. Default: none.
    pub(super) multiline: Setting<MultilineConfig>,
    /// Whether to look for progress in the output: `on`, `off`, or a list of up to 64 patterns, which are tried before the
    /// built-in ones. Default: on.
    pub(super) progress: Setting<SwitchOrList<ProgressPattern>>,
    /// Whether to remove secrets from the lines before they are stored or served: `on`, `off`, or a list of up to 64
    /// patterns, which are searched in addition to the built-in ones. Default: off.
    pub(super) redact: Setting<SwitchOrList<SecretPattern>>,
    /// Whether only holders of a token for the stream, root and the daemon's user may read it. Default: true for the
    /// journal and for files that not everybody on the machine may read, false otherwise.
    pub(super) private: Setting<bool>,
    /// A description for people.
    pub(super) description: Setting<ScalarText>,
    /// Labels for programs: any names and values.
    pub(super) labels: Setting<Entries<ScalarText>>,
    /// How much this stream keeps. Default: as the `history` for all streams.
    pub(super) history: Setting<HistoryLimits>,
}

/// Which entries of the journal: those that all of these keys select.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Journal")]
pub(super) struct JournalFilter {
    /// Entries of a unit, such as `nginx.service` or `php*-fpm.service`: one or a list.
    pub(super) unit: Setting<OneOrMany<String>>,
    /// Entries of a program, by the name under which it logs, such as `sshd`: one or a list.
    pub(super) identifier: Setting<OneOrMany<String>>,
    /// Entries of this priority or a more serious one: emerg, alert, crit, err, warning, notice, info or debug, or 0 to 7.
    pub(super) priority: Setting<JournalPriority>,
    /// Only entries of the kernel. Default: false.
    pub(super) kernel: Setting<bool>,
    /// Entries with this field, such as `_UID=1000`: one or a list. Of several values for one field, one suffices.
    /// systemd.journal-fields(7) lists the fields.
    #[serde(rename = "match")]
    pub(super) r#match: Setting<OneOrMany<String>>,
}

/// Which lines are joined into one event: `start` or `continue`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Multiline")]
pub(super) struct MultilineConfig {
    /// A line that matches this expression begins an event. All others are joined to the line before them.
    pub(super) start: Setting<String>,
    /// A line that matches this expression is joined to the line before it. All others begin an event.
    #[serde(rename = "continue")]
    pub(super) r#continue: Setting<String>,
    /// How long to wait for a further line of the same event. Default: 1s.
    pub(super) timeout: Setting<DurationText>,
}

/// Whether and when a command is started again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restart {
    /// After which ends. Default: on-failure.
    pub(super) when: Setting<RestartWhen>,
    /// How long to wait: the first time, and at most. The time doubles with each failure. Default: 1s..60s.
    pub(super) backoff: Setting<DurationRange>,
    /// How often in a time, such as `5 per 10m`. After that, the command stays stopped. Default: no limit.
    pub(super) limit: Setting<Rate>,
}

/// How a command is stopped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// The signal that asks it to end. Default: TERM.
    pub(super) signal: Setting<SignalName>,
    /// How long it may take before it receives KILL. Default: 10s.
    pub(super) grace: Setting<DurationText>,
}

/// A word of any look: `8080` and `true` are taken as they are written.
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

/// Whether there is a terminal, and its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pty(pub(super) Option<TerminalSize>);

impl std::str::FromStr for Pty {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => return Ok(Self(Some(TerminalSize::default()))),
            "false" => return Ok(Self(None)),
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

/// A program and its arguments, or what a shell is to make of a text.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[schemars(rename = "Argv")]
pub(super) enum CommandLine {
    Words(Vec<Located<ScalarText>>),
    Line(String),
}

/// Why a text is no list of words, and which list it would be.
pub(super) fn list_advice(line: &str) -> String {
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

/// Longest command that a message repeats as a list, in letters.
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

/// Makes a type that is read from a text one that serde reads, and describes how it is written.
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
written!(Rate, "Rate", {
    "description": "How often in how long, such as 5 per 10m",
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
written!(NamePattern, "NamePattern", { "description": "A name; * stands for any letters, ? for one", "type": "string", "minLength": 1 });
written!(TextEncoding, "Encoding", { "description": "The name of an encoding, such as utf-8, utf-16le or windows-1252", "type": "string" });
written!(SignalName, "SignalName", { "description": "The name of a signal, such as TERM", "type": "string", "pattern": "^(SIG)?[A-Z0-9]+$" });
written!(ProgressRegex, "Pattern", {
    "description": "A regular expression with named groups: percent, current, total, phase, message", "type": "string"
});
