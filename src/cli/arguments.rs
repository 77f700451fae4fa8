//! The arguments of every command, with the texts that `--help`, the manual and the completions show.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::terminal::ColourChoice;
use crate::client::{RemoteDaemon, URL_VARIABLE};
use crate::config::{self, ListenAddress, NamePattern, Right};
use crate::daemon::logging;
use crate::event::StreamName;

/// The most columns of the lines of `--help`, which are hard to read if they are longer.
const HELP_COLUMNS: usize = 100;

/// Serves files, processes, the journal and pushed lines as live streams over HTTP.
#[derive(Debug, Parser)]
#[command(name = "rtlogd", version, arg_required_else_help = true, max_term_width = HELP_COLUMNS)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Serve the streams of a configuration, or the given files
    Serve {
        /// The configuration file [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE", conflicts_with = "paths")]
        config: Option<PathBuf>,
        /// Listen on this address instead of those in the configuration, such as 127.0.0.1:7070 or `unix:/path`; may be repeated
        #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
        listen: Vec<ListenAddress>,
        /// Log messages of this level and more serious ones; `RTLOGD_LOG` can set a level for each module
        #[arg(long, value_name = "LEVEL", value_parser = logging::LOG_LEVEL_NAMES)]
        log_level: Option<String>,
        #[command(flatten)]
        detach: DetachArguments,
        /// Files to follow without a configuration, or patterns in quotes, such as `'*.log'`; each becomes a stream named after it. `-` is standard input
        paths: Vec<PathBuf>,
    },
    /// Run one command, serve its output, and exit with its status
    Run {
        /// The name of the stream [default: the name of the program]
        #[arg(long)]
        name: Option<StreamName>,
        /// Listen on this address, such as 127.0.0.1:7070 or `unix:/path` [default: 127.0.0.1:7070, or any free port if that one is taken]
        #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
        listen: Vec<ListenAddress>,
        /// Keep this much of the output in memory
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64MiB")]
        memory: usize,
        /// Keep serving readers for this long after the command has ended; by default until connected readers have
        /// received the rest, at most 5s
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        linger: Option<Duration>,
        /// Give the command a terminal for its output; the default if standard output is a terminal
        #[arg(long, conflicts_with = "no_pty")]
        pty: bool,
        /// Give the command pipes for its output, which keep standard error apart
        #[arg(long)]
        no_pty: bool,
        /// Log messages of this level and more serious ones; `RTLOGD_LOG` can set a level for each module
        #[arg(long, value_name = "LEVEL", value_parser = logging::LOG_LEVEL_NAMES)]
        log_level: Option<String>,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
        argv: Vec<OsString>,
    },
    /// Find mistakes in a configuration
    Check {
        /// The configuration file [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// The configuration file, as with --config
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Make the daemon apply its changed configuration, and print the result
    Reload {
        /// The configuration file [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// End the daemon, with or without its commands
    Shutdown {
        /// The configuration file [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Leave the commands running for their `orphan_timeout`; the next rtlogd takes them over
        #[arg(long)]
        keep_processes: bool,
    },
    /// Replace the running daemon with the installed program; for daemons that systemd does not run
    Upgrade {
        /// The configuration file [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Find out why a configuration, or a proxy in front of rtlogd, does not work, and how to fix it
    Doctor {
        /// The configuration file [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// The configuration file, as with --config
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Check the path to a running daemon instead, for example through a proxy: `https://HOST/PATH`
        #[arg(long, value_name = "URL", conflicts_with_all = ["config", "file"])]
        url: Option<RemoteDaemon>,
        #[command(flatten)]
        credentials: CredentialArguments,
    },
    /// Print the JSON Schema of the configuration, or of the control channel's messages
    Schema {
        /// The schema to print
        #[arg(value_enum, default_value_t = SchemaKind::Config)]
        of: SchemaKind,
    },
    /// Show the contents of a state directory, or print the events of one of its streams
    History {
        /// The state directory that the configuration names
        directory: PathBuf,
        /// Print all events of this stream, one JSON object on each line
        name: Option<StreamName>,
    },
    /// Make a token, or manage the keys that sign tokens
    Token(TokenArguments),
    /// List the streams of a running rtlogd
    #[command(alias = "list")]
    Ls {
        #[command(flatten)]
        at: DaemonArguments,
    },
    /// List the runs of a process, newest first
    Runs {
        #[command(flatten)]
        at: DaemonArguments,
        /// List at most this many runs, 1 to 1000
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        limit: u64,
        /// The stream, by its name or its URL
        name: String,
    },
    /// Print streams as they grow, and exit with the status of the process when it ends
    Follow {
        #[command(flatten)]
        at: DaemonArguments,
        /// Begin with this many of the last lines that pass the filter, or with `all` [default: 100; with --run, the whole run]
        #[arg(long, value_name = "LINES")]
        tail: Option<String>,
        /// Begin at this time, such as 2026-11-23T05:00:00Z, or this long ago, such as 5m
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Print only lines that match; may be repeated, and then all must match
        #[arg(long, value_name = "REGEX")]
        grep: Vec<String>,
        /// Leave out lines that match; may be repeated
        #[arg(long, value_name = "REGEX")]
        exclude: Vec<String>,
        /// Print only lines whose fields meet this condition, such as `status>=500`; the stream needs `format: json`,
        /// `logfmt` or `syslog`; may be repeated, and then all must be met
        #[arg(long = "where", value_name = "CONDITION")]
        conditions: Vec<String>,
        /// Print only lines of this level or a more serious one, such as `error` or `warning`
        #[arg(long)]
        level: Option<String>,
        /// Print only lines of this origin, such as `stderr` or a file; may be repeated, and then any of them will do
        #[arg(long, value_name = "ORIGIN")]
        origin: Vec<String>,
        /// Print only one run of the process: the one with this number, `current` (the last one if none is in progress), `last`
        /// (the last one that has ended) or `passed` (the last one that exited with 0)
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Print each event as a line of JSON
        #[arg(long)]
        json: bool,
        /// Print the colours and links of lines; `auto` does so on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`
        #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
        color: ColourChoice,
        /// The streams, each by its name or its URL, such as `http://127.0.0.1:7070/streams/build`
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Append lines to a push stream: those of a file, or those of standard input as they arrive
    Push {
        #[command(flatten)]
        at: DaemonArguments,
        /// The sender of the lines, which readers see as their origin
        #[arg(long, value_name = "NAME")]
        origin: Option<String>,
        /// The stream, by its name or its URL
        name: String,
        /// The file; `-` or nothing for standard input
        file: Option<PathBuf>,
    },
    /// Type a line into a process, or append one to a push stream
    Send {
        #[command(flatten)]
        at: DaemonArguments,
        /// End the input of the process, after the text if there is one
        #[arg(long)]
        eof: bool,
        /// Send the text without a newline after it
        #[arg(long)]
        raw: bool,
        /// The stream, by its name or its URL
        name: String,
        /// The text to type or to append; several words are joined by spaces
        #[arg(required_unless_present = "eof")]
        text: Vec<String>,
    },
    /// Start a process
    Start(StreamArguments),
    /// Stop a process until it is started again
    Stop(StreamArguments),
    /// Stop a process and start it again
    Restart(StreamArguments),
    /// Send a signal to a process and its group
    Signal {
        #[command(flatten)]
        at: DaemonArguments,
        /// The stream, by its name or its URL
        name: String,
        /// The signal, such as HUP
        signal: String,
    },
}

/// The subjects of `rtlogd schema`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum SchemaKind {
    /// The configuration
    Config,
    /// The control channel
    Control,
}

/// The address of a running daemon, and the token for it.
#[derive(Debug, clap::Args)]
pub(super) struct DaemonArguments {
    /// The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]
    #[arg(long, env = URL_VARIABLE, value_name = "URL")]
    pub(super) url: Option<RemoteDaemon>,
    #[command(flatten)]
    pub(super) credentials: CredentialArguments,
}

/// The token for a running daemon, and the certificates to trust.
#[derive(Debug, clap::Args)]
pub(super) struct CredentialArguments {
    /// Send the token in this file
    #[arg(long, env = "RTLOGD_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file
    #[arg(long, env = "RTLOGD_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub(super) token: Option<String>,
    /// Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system
    #[arg(long, env = "RTLOGD_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

/// The arguments of `rtlogd token`: a token to make, or one thing to do with its keys.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArguments {
    /// The configuration that names the keys [default: /etc/rtlogd/rtlogd.yaml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The directory of the keys, instead of the one that the configuration names
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
    pub(super) keys: Option<PathBuf>,
    /// The streams that the token gives access to (required to make a token); `*` stands for any characters, `?` for one;
    /// may be repeated
    #[arg(long, value_name = "NAME", required_unless_present_any = ["init", "rotate", "revoke"])]
    pub(super) stream: Vec<NamePattern>,
    /// What the token permits: `read`, `input` (type and push), `admin` (start, stop and signal); may be repeated
    #[arg(long, value_name = "RIGHT", value_parser = parse_right, default_value = "read", value_delimiter = ',')]
    pub(super) allow: Vec<Right>,
    /// How long the token is valid; at most 12h for a token in a URL
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30d")]
    pub(super) expires: Duration,
    /// Who the token is for; shown in logs
    #[arg(long, value_name = "WHO")]
    pub(super) name: Option<String>,
    /// Make the first key
    #[arg(long, group = "deed", conflicts_with = "stream")]
    pub(super) init: bool,
    /// Make a new key; tokens signed with the previous key stay valid, those signed with earlier keys do not
    #[arg(long, group = "deed", conflicts_with = "stream")]
    pub(super) rotate: bool,
    /// Revoke a token; give the token itself or its id
    // One id in 64 begins with a hyphen.
    #[arg(long, value_name = "ID", group = "deed", conflicts_with = "stream", allow_hyphen_values = true)]
    pub(super) revoke: Option<String>,
    /// The kind of key to make [default: ed25519, or that of the previous key]
    #[arg(long, value_name = "KIND")]
    pub(super) algorithm: Option<AlgorithmArgument>,
}

/// A kind of key.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum AlgorithmArgument {
    /// A key pair
    Ed25519,
    /// A secret
    Hs256,
}

/// One stream of a running daemon.
#[derive(Debug, clap::Args)]
pub(super) struct StreamArguments {
    #[command(flatten)]
    pub(super) daemon: DaemonArguments,
    /// The stream, by its name or its URL
    pub(super) name: String,
}

/// How to detach from the terminal, on machines without systemd.
#[derive(Debug, clap::Args)]
pub(super) struct DetachArguments {
    /// Detach from the terminal, and exit with 0 once the daemon serves; not for use under systemd
    #[arg(long)]
    pub(super) daemon: bool,
    /// With --daemon: write the daemon's process id to this file, which is locked while the daemon runs and removed when it ends
    #[arg(long, value_name = "FILE", requires = "daemon")]
    pub(super) pid_file: Option<PathBuf>,
    /// With --daemon: append the log to this file, which must not be a symbolic link; without this option, the log of the
    /// daemon is lost
    #[arg(long, value_name = "FILE", requires = "daemon")]
    pub(super) log_file: Option<PathBuf>,
    /// With --daemon: run as this user instead of root, with --group as the only group
    #[arg(long, value_name = "USER", requires = "daemon", requires = "group")]
    pub(super) user: Option<String>,
    /// The group to run as; see --user
    #[arg(long, value_name = "GROUP", requires = "user")]
    pub(super) group: Option<String>,
}

fn parse_listen(text: &str) -> Result<ListenAddress, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn parse_size(text: &str) -> Result<usize, String> {
    config::units::parse_size(text)
        .map(|size| usize::try_from(size).unwrap_or(usize::MAX))
        .map_err(|error| error.to_string())
}

fn parse_right(text: &str) -> Result<Right, String> {
    let known = Right::ALL.into_iter().find(|right| right.as_str() == text);
    known.ok_or_else(|| "use read, input or admin".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    config::units::parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    #[test]
    fn list_is_another_name_of_ls() {
        assert!(matches!(parse("list --url 7070"), Ok(CliCommand::Ls { .. })));
    }

    fn parse(line: &str) -> Result<CliCommand, ErrorKind> {
        let words = std::iter::once("rtlogd").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_declarations_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn contradictions_and_wrong_values_are_refused() {
        use ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument, UnknownArgument, ValueValidation};
        for (line, kind) in [
            ("serve --config a.yaml b.log", ArgumentConflict),
            ("serve --pid-file p", MissingRequiredArgument),
            ("serve --daemon --user u", MissingRequiredArgument),
            ("serve --log-level loud", InvalidValue),
            ("serve --listen :7070", ValueValidation),
            ("run", MissingRequiredArgument),
            ("run --memory much true", ValueValidation),
            ("run --linger soon true", ValueValidation),
            ("send name", MissingRequiredArgument),
            ("follow", MissingRequiredArgument),
            ("follow --colour name", UnknownArgument),
            ("ls --token t --token-file f", ArgumentConflict),
            ("token", MissingRequiredArgument),
            ("token --init --rotate", ArgumentConflict),
            ("token --init --stream a", ArgumentConflict),
            ("token --stream a --allow write", ValueValidation),
            ("token --stream a --algorithm rsa", InvalidValue),
        ] {
            assert_eq!(parse(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn everything_after_the_program_belongs_to_it() {
        let Ok(CliCommand::Run { argv, memory, listen, .. }) = parse("run --memory 1MiB make --memory -j8 -- x") else {
            panic!("not a command");
        };
        assert_eq!((argv, memory), (["make", "--memory", "-j8", "--", "x"].map(OsString::from).to_vec(), 1 << 20));
        assert!(listen.is_empty());
    }

    #[test]
    fn rights_may_be_a_list_and_the_id_to_revoke_may_begin_with_a_hyphen() {
        let Ok(CliCommand::Token(token)) = parse("token --stream a --stream b-* --allow read,input --expires 12h")
        else {
            panic!("not a token");
        };
        assert_eq!((token.allow, token.stream.len()), (vec![Right::Read, Right::Input], 2));
        assert_eq!(token.expires, Duration::from_hours(12));
        let Ok(CliCommand::Token(token)) = parse("token --revoke -abc") else { panic!("not an id") };
        assert_eq!(token.revoke.as_deref(), Some("-abc"));
    }
}
