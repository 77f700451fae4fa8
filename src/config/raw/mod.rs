//! The configuration file word for word. What stands here is also the JSON Schema, so the comments are for users.
//!
//! Knows how a value is written, not what makes sense: that is `check`.

mod access;
pub(crate) mod switch_or_list;
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use self::access::{AccessConfig, TlsConfig};
use self::switch_or_list::{SecretPattern, SwitchOrList};
use super::access::NamePattern;
use super::journal::JournalPriority;
use super::net::{ListenAddress, TrustedProxy, WebOrigin};
use super::progress::ProgressRegex;
use super::signal::SignalName;
use super::units::{DurationRange, DurationText, Rate, Size};
use super::{CarriageReturn, ReadFrom, RestartWhen, StartWhen, TerminalSize, TextEncoding};
use crate::config::parse::located::{Entries, Located, OneOrMany, Setting};

pub(super) use super::progress::raw::ProgressPattern;

/// The configuration of rtlogd: `rtlogd.yaml`, and each file in `conf.d` beside it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "rtlogd.yaml")]
pub(super) struct Config {
    /// Where to listen: one address or a list of them. Default: 127.0.0.1:7070. What other machines can reach needs tokens
    /// (`access`) and `tls`, or `access: { insecure: true }`.
    pub(super) listen: Setting<OneOrMany<ListenAddress>>,
    /// How much memory all streams together may hold. Default: 256MiB.
    pub(super) memory: Setting<Size>,
    /// Where histories are kept, and how far each source was read, so that a restart loses and repeats nothing. Nobody else
    /// may write there. Default: none; then all is forgotten at the end.
    pub(super) state_directory: Setting<String>,
    /// What each stream keeps for readers that come late or back, unless it has a `history` of its own.
    pub(super) history: Setting<HistoryLimits>,
    /// Host names we answer to, beside the addresses we listen on. Requests for other names are refused, so that no foreign
    /// page can reach us by a name of its own (DNS rebinding).
    pub(super) hosts: Setting<Vec<Located<String>>>,
    /// Whose web pages may read, connect to the control channel and send commands, beside our own: their origins, such as
    /// `https://dash.example.com`.
    pub(super) origins: Setting<Vec<Located<WebOrigin>>>,
    /// The proxies in front of rtlogd: their addresses or networks, and `unix:USER` for those that connect to the Unix socket.
    /// rtlogd believes them about the client they speak for, and a request from one of them always needs a token.
    pub(super) trusted_proxies: Setting<Vec<Located<TrustedProxy>>>,
    /// The path under which a proxy shows us. Default: /.
    pub(super) base_path: Setting<String>,
    /// Keeps connections from being read on the way: all addresses speak TLS, to this machine also without. Default: none.
    pub(super) tls: Setting<TlsConfig>,
    /// Who gets in.
    pub(super) access: Setting<AccessConfig>,
    /// Bounds, so that no client can take what all need.
    pub(super) limits: Setting<Limits>,
    /// What to follow: a name for each stream, and its source. A name is 1 to 64 of A-Z, a-z, 0-9, dot, - and _, with no dot
    /// in front.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$" }))]
    pub(super) streams: Setting<Entries<Stream>>,
}

/// What a stream keeps.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "History")]
pub(super) struct HistoryLimits {
    /// How much memory one stream may hold; at least 1MiB, four of the longest lines. Default: 8MiB.
    pub(super) memory: Setting<Size>,
    /// How much one stream may take on disk; at least 4MiB. Needs a `state_directory`. Default: 256MiB.
    pub(super) disk: Setting<Size>,
    /// How old its events may get on disk; at least 1m. Default: 7d.
    pub(super) age: Setting<DurationText>,
}

/// Bounds, so that no client can take what all need.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Most connections at once; each costs a file descriptor and some kilobytes. Default: 20000.
    pub(super) connections: Setting<usize>,
    /// Most connections at once from one address, so that one cannot take all seats. This machine and trusted proxies are
    /// not counted. Default: 256.
    pub(super) per_address: Setting<usize>,
    /// Most readers at once, over all connections: each stream of a connection and each subscription of a control channel is
    /// one. One caller may have half of them, and an eighth on connections with several streams; root and the daemon's own user on the Unix socket are not counted. Default: 32768.
    pub(super) readers: Setting<usize>,
    /// Most streams, polls, senders and control channels at once of one token, or of another machine without one, so that a token that leaked cannot take all
    /// seats. What is answered at once does not count; over HTTP/2 each stream does. Default: 1000.
    pub(super) per_token: Setting<usize>,
    /// Longest time for the head of a request to arrive, or a connection could be held without asking for anything.
    /// Default: 10s.
    pub(super) head: Setting<DurationText>,
    /// Longest time that a connection is kept without a request: longer than proxies keep theirs, or they would send into one
    /// that has just been closed. Default: 75s.
    pub(super) idle: Setting<DurationText>,
    /// Longest time for the body of a request to arrive. Default: 30s.
    pub(super) body: Setting<DurationText>,
    /// Largest head of a request, 8KiB to 256KiB: a browser's with all its cookies fits. Default: 32KiB.
    pub(super) head_size: Setting<Size>,
    /// Longest path and query of a request, 1KiB to 64KiB, in its head: twice what every server is asked to take (RFC 9110).
    /// Default: 16KiB.
    pub(super) query_size: Setting<Size>,
    /// Largest body of a command, 1KiB to 64KiB: a process is given no more to read at once. Lines that are sent to a stream
    /// are read as they come, however many. Default: 64KiB.
    pub(super) body_size: Setting<Size>,
    /// Largest message to us on the control channel, 4KiB to 1MiB: the longest input in base64 fits. Default: 128KiB.
    pub(super) message_size: Setting<Size>,
    /// Most memory for the expressions of one filter when they are compiled, 16KiB to 1MiB: each reader may bring its own.
    /// Default: 256KiB.
    pub(super) filter_size: Setting<Size>,
    /// Longest time in which a reader takes nothing of what we send, before its connection is closed. Default: 60s.
    pub(super) stalled_write: Setting<DurationText>,
    /// Most commands in a time: so many at once after a pause, and evenly from then on. They are counted for each token, and
    /// without one for each control channel; a program that runs wild is told to wait. Default: 1000 per 1s.
    pub(super) control_rate: Setting<Rate>,
    /// Longest time that a connection lives, with what goes on over it: readers connect again and go on where they were. Up to
    /// a tenth of it is left away at random, so that those who came together do not come back together. For who moves
    /// connections from machine to machine; a reader costs no more when it stays. Default: no end.
    pub(super) lifetime: Setting<DurationText>,
    /// How often a quiet stream sends a comment, so that nobody on the way takes it for dead. Default: 15s.
    pub(super) keep_alive: Setting<DurationText>,
    /// Longest time to let readers finish when we stop. Default: 5s.
    pub(super) shutdown: Setting<DurationText>,
}

/// A stream: one of `file`, `command`, `journal` and `push`, and how to treat its lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stream {
    /// The file to follow, or a pattern such as /var/log/**/*.log, or a list of them. A path that does not begin with / is
    /// looked for beside this configuration file.
    pub(super) file: Setting<OneOrMany<String>>,
    /// The program to run and its arguments, as a list; there is no shell, unless the program is one. With `shell: true` it is
    /// one text, and a shell runs it.
    pub(super) command: Setting<CommandLine>,
    /// The journal of systemd: all of it as `{}`, or what these keys pick.
    pub(super) journal: Setting<JournalFilter>,
    /// Whether the stream takes lines from whoever sends them by `POST /streams/NAME` and has the right to. Default: false.
    pub(super) push: Setting<bool>,
    /// Whether the command is one text for a shell (/bin/sh). Default: false.
    pub(super) shell: Setting<bool>,
    /// Where to begin in a file or a journal that is there already. Default: end.
    pub(super) from: Setting<ReadFrom>,
    /// Files that are not followed though a pattern names them, such as *.gz; one pattern or a list of them.
    pub(super) exclude: Setting<OneOrMany<String>>,
    /// How long a file that was rotated away or deleted is read on: its writer may not know yet. Default: 1s.
    pub(super) rotate_wait: Setting<DurationText>,
    /// Whether symlinks are followed whoever made them. By default, below the first directory that anybody but root and the
    /// daemon's user may write to, only those of root, of the daemon's user, and of whoever owns what they lead to: with any
    /// other, whoever may write to a followed directory could have the daemon show a file that only it may read. The daemon's
    /// own files, such as keys and histories, are never shown. Default: false.
    pub(super) follow_symlinks: Setting<bool>,
    /// The directory to run the command in; without / in front, seen from this configuration file. Default: that of the daemon.
    pub(super) directory: Setting<String>,
    /// Variables for the command, beside those of the daemon.
    pub(super) environment: Setting<Entries<ScalarText>>,
    /// Who the command runs as. The daemon must have the right to change its user (as root has).
    /// Default: the user of the daemon.
    pub(super) user: Setting<String>,
    /// Whether the command has a terminal, of 120 columns and 30 rows, or of the size given. Programs then write each line at
    /// once, in colour, and draw progress bars. Default: false.
    pub(super) pty: Setting<Pty>,
    /// Whether those who have the right may type into the command. Default: false.
    pub(super) input: Setting<bool>,
    /// When the command is started: with the daemon, with its first reader, or when somebody says so. Default: boot.
    pub(super) start: Setting<StartWhen>,
    /// Whether and when to start the command again.
    pub(super) restart: Setting<Restart>,
    /// How to end the command.
    pub(super) stop: Setting<Stop>,
    /// Longest line, 1KiB to 256KiB; a longer one goes on in the next event. Default: 256KiB.
    pub(super) max_line: Setting<Size>,
    /// What a carriage return within a line means. Default: fold.
    pub(super) carriage_return: Setting<CarriageReturn>,
    /// How the bytes are encoded. Default: utf-8.
    pub(super) encoding: Setting<TextEncoding>,
    /// Which lines are joined to one, such as those of a stack trace. Default: none.
    pub(super) multiline: Setting<MultilineConfig>,
    /// Whether progress is looked for: on, off, or a list of up to 64 patterns that are tried before what is known of programs.
    /// Default: on.
    pub(super) progress: Setting<SwitchOrList<ProgressPattern>>,
    /// Whether secrets are taken out of the lines before anything keeps or shows them: on, off, or a list of up to 64 patterns
    /// beside those that are known. Default: off.
    pub(super) redact: Setting<SwitchOrList<SecretPattern>>,
    /// Whether only those may read it who show a token for it, or are the daemon's own user or root. Default: false, but true
    /// for the journal, and for a file that not everybody on the machine may read.
    pub(super) private: Setting<bool>,
    /// What the stream is, for people.
    pub(super) description: Setting<ScalarText>,
    /// What the stream is, for programs: any names and values.
    pub(super) labels: Setting<Entries<ScalarText>>,
    /// What this stream keeps. Default: as the `history` for all.
    pub(super) history: Setting<HistoryLimits>,
}

/// Which entries of the journal: those that all of these keys pick.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Journal")]
pub(super) struct JournalFilter {
    /// Those of a unit, such as nginx.service or php*-fpm.service; one or a list of them.
    pub(super) unit: Setting<OneOrMany<String>>,
    /// Those of a program, by the name with which it logs, such as sshd; one or a list of them.
    pub(super) identifier: Setting<OneOrMany<String>>,
    /// Those that are at least so serious: emerg, alert, crit, err, warning, notice, info or debug, or 0 to 7.
    pub(super) priority: Setting<JournalPriority>,
    /// Only those of the kernel. Default: false.
    pub(super) kernel: Setting<bool>,
    /// Those with this field, such as _UID=1000 (see systemd.journal-fields(7)); one or a list of them. Of several with the
    /// same name one is enough.
    #[serde(rename = "match")]
    pub(super) r#match: Setting<OneOrMany<String>>,
}

/// Which lines are joined to one: `start` or `continue`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Multiline")]
pub(super) struct MultilineConfig {
    /// A line that matches this expression begins; others are joined to it.
    pub(super) start: Setting<String>,
    /// A line that matches this expression is joined to the one before; others begin.
    #[serde(rename = "continue")]
    pub(super) r#continue: Setting<String>,
    /// How long to wait for the next line that may belong to it. Default: 1s.
    pub(super) timeout: Setting<DurationText>,
}

/// Whether and when to start a command again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restart {
    /// After which end. Default: on-failure.
    pub(super) when: Setting<RestartWhen>,
    /// How long to wait before: the first time, doubled each time up to the last. Default: 1s..60s.
    pub(super) backoff: Setting<DurationRange>,
    /// How often at most, such as 5 per 10m; then it stays stopped. Default: no limit.
    pub(super) limit: Setting<Rate>,
}

/// How to end a command.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// The signal that asks it to end. Default: TERM.
    pub(super) signal: Setting<SignalName>,
    /// How long it may take, before KILL ends it. Default: 10s.
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
