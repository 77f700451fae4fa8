//! The command line as it is written: what there is, with the words that `--help`, the manual and the completions show.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::RemoteDaemon;
use crate::config::{self, ListenAddress, NamePattern, Right};
use crate::daemon::logging;
use crate::event::StreamName;

/// Follows files and processes and republishes each as a live stream over HTTP.
#[derive(Debug, Parser)]
#[command(name = "rtlogd", version, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Serve the streams of a configuration, or some files without one
    Serve {
        /// The configuration [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE", conflicts_with = "paths")]
        config: Option<PathBuf>,
        /// Listen here instead: 127.0.0.1:7070 or `unix:/path`; may be given again
        #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
        listen: Vec<ListenAddress>,
        /// Log from this level on; `RTLOGD_LOG` says it for parts
        #[arg(long, value_name = "LEVEL", value_parser = logging::LOG_LEVEL_NAMES)]
        log_level: Option<String>,
        #[command(flatten)]
        detach: DetachArguments,
        /// Files to follow without a configuration, each a stream named after it
        paths: Vec<PathBuf>,
    },
    /// Run one command, stream its output, and exit with its status
    Run {
        /// The stream's name [default: that of the program]
        #[arg(long)]
        name: Option<StreamName>,
        /// Listen here: 127.0.0.1:7070 or `unix:/path` [default: 127.0.0.1:7070, or any free port if it is taken]
        #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
        listen: Vec<ListenAddress>,
        /// Keep this much of the output in memory
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64MiB")]
        memory: usize,
        /// Serve readers this long after the command's end
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        linger: Option<Duration>,
        /// Log from this level on; `RTLOGD_LOG` says it for parts
        #[arg(long, value_name = "LEVEL", value_parser = logging::LOG_LEVEL_NAMES)]
        log_level: Option<String>,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
        argv: Vec<OsString>,
    },
    /// Look for mistakes in a configuration
    Check {
        /// The configuration [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Apply a changed configuration to the daemon that serves it, and tell how that went
    Reload {
        /// The configuration [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Look for what stands in the way of a configuration, and name what mends it
    Doctor {
        /// The configuration [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, or of the control channel's messages
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = SchemaKind::Config)]
        of: SchemaKind,
    },
    /// Tell what a state directory holds, or print the events of one stream in it
    History {
        /// The state directory, as the configuration names it
        directory: PathBuf,
        /// Print all events of this stream, a JSON object each line
        name: Option<StreamName>,
    },
    /// Make a token that lets its holder in, or look after the keys that sign them
    Token(TokenArguments),
    /// List the streams of a running rtlogd
    Ls {
        #[command(flatten)]
        at: DaemonArguments,
    },
    /// Print streams as they grow; exits with the process's status when it ends, with 75 when rtlogd was stopped
    Follow {
        #[command(flatten)]
        at: DaemonArguments,
        /// Begin with the last so many lines, or `all` [default: 100]
        #[arg(long, value_name = "LINES")]
        tail: Option<String>,
        /// Begin at a time (2026-11-23T05:00:00Z), or so long ago (5m)
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only lines that match; may be given again
        #[arg(long, value_name = "REGEX")]
        grep: Vec<String>,
        /// Without lines that match; may be given again
        #[arg(long, value_name = "REGEX")]
        exclude: Vec<String>,
        /// `current`: the run that runs now, from its start
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Print each event as a line of JSON
        #[arg(long)]
        json: bool,
        /// The streams
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Type a line into a process
    Send {
        #[command(flatten)]
        at: DaemonArguments,
        /// End its input, behind the text if there is one
        #[arg(long)]
        eof: bool,
        /// Send the text as it is, without a newline behind it
        #[arg(long)]
        raw: bool,
        /// The stream
        name: String,
        /// What to type
        #[arg(required_unless_present = "eof")]
        text: Option<String>,
    },
    /// Start a process that does not run
    Start(StreamArguments),
    /// End a process; it stays so until it is started again
    Stop(StreamArguments),
    /// End a process, and start it again
    Restart(StreamArguments),
    /// Send a signal to a process and all of its group
    Signal {
        #[command(flatten)]
        at: DaemonArguments,
        /// The stream
        name: String,
        /// The signal, such as HUP
        signal: String,
    },
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum SchemaKind {
    /// The configuration
    Config,
    /// The control channel
    Control,
}

/// Where the rtlogd is that is asked.
#[derive(Debug, clap::Args)]
pub(super) struct DaemonArguments {
    /// Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]
    #[arg(long, env = "RTLOGD_URL", value_name = "URL")]
    pub(super) url: Option<RemoteDaemon>,
    /// Show the token in this file
    #[arg(long, env = "RTLOGD_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Show this token; others on this machine see it here, so better set the variable, or use --token-file
    #[arg(long, env = "RTLOGD_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub(super) token: Option<String>,
}

/// What token, or what is to be done with its keys.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArguments {
    /// The configuration that names the keys [default: /etc/rtlogd/rtlogd.yaml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The directory of the keys, instead of the one that the configuration names
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
    pub(super) keys: Option<PathBuf>,
    /// Streams that it is for; `*` stands for any letters, `?` for one; may be given again
    #[arg(long, value_name = "NAME", required_unless_present_any = ["init", "rotate", "revoke"])]
    pub(super) stream: Vec<NamePattern>,
    /// What it allows: `read`, `input` (to type), `admin` (to start, stop and signal); may be given again
    #[arg(long, value_name = "RIGHT", value_parser = parse_right, default_value = "read", value_delimiter = ',')]
    pub(super) allow: Vec<Right>,
    /// How long it counts; one for URLs at most 12h
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30d")]
    pub(super) expires: Duration,
    /// Who it is for: shown in logs
    #[arg(long, value_name = "WHO")]
    pub(super) name: Option<String>,
    /// Make the first key
    #[arg(long, group = "deed", conflicts_with = "stream")]
    pub(super) init: bool,
    /// Make a new key; tokens signed by the key before it stay valid, older ones do not
    #[arg(long, group = "deed", conflicts_with = "stream")]
    pub(super) rotate: bool,
    /// Revoke a token, given by itself or by its id, and say what that ends
    // One id in 64 begins with a hyphen.
    #[arg(long, value_name = "ID", group = "deed", conflicts_with = "stream", allow_hyphen_values = true)]
    pub(super) revoke: Option<String>,
    /// The kind of key to make [default: ed25519, or that of the key before]
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

/// A stream of it.
#[derive(Debug, clap::Args)]
pub(super) struct StreamArguments {
    #[command(flatten)]
    pub(super) daemon: DaemonArguments,
    /// The stream
    pub(super) name: String,
}

/// How to leave the terminal, on machines without systemd.
#[derive(Debug, clap::Args)]
pub(super) struct DetachArguments {
    /// Go on as a daemon, and exit with 0 once it serves; under systemd leave this away
    #[arg(long)]
    pub(super) daemon: bool,
    /// Write the daemon's process id here; the file is locked as long as the daemon runs, and removed when it ends
    #[arg(long, value_name = "FILE", requires = "daemon")]
    pub(super) pid_file: Option<PathBuf>,
    /// Append the log to this file, which must not be a link; without it the log is lost
    #[arg(long, value_name = "FILE", requires = "daemon")]
    pub(super) log_file: Option<PathBuf>,
    /// Give up being root: run as this user, and in no group but --group
    #[arg(long, value_name = "USER", requires = "daemon", requires = "group")]
    pub(super) user: Option<String>,
    /// See --user
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
