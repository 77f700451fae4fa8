//! The command line: one enum, one match.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::{self, ClientError, Server, Task, Wanted};
use crate::config::{self, Config, Listen, Stream};
use crate::daemon::{self, Job};
use crate::event::StreamName;
use crate::telemetry;

/// Where the configuration is unless `--config` names another.
const CONFIG: &str = "/etc/rtlogd/rtlogd.yaml";

/// Exit code for a mistake in what the user wrote.
const MISTAKE: u8 = 2;

/// Follows files and processes and republishes each as a live stream over HTTP.
#[derive(Debug, Parser)]
#[command(name = "rtlogd", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the streams of a configuration, or some files without one
    Serve {
        /// The configuration [default: /etc/rtlogd/rtlogd.yaml]
        #[arg(long, value_name = "FILE", conflicts_with = "paths")]
        config: Option<PathBuf>,
        /// Listen here instead: 127.0.0.1:7070 or `unix:/path`; may be given again
        #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
        listen: Vec<Listen>,
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
        listen: Vec<Listen>,
        /// Keep this much of the output in memory
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64MiB")]
        memory: usize,
        /// Serve readers this long after the command's end
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        linger: Option<Duration>,
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
    /// Print the JSON Schema of the configuration, or of the control channel's messages
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = Described::Config)]
        of: Described,
    },
    /// List the streams of a running rtlogd
    Ls {
        #[command(flatten)]
        at: At,
    },
    /// Print streams as they grow; exits with the process's status when it ends, with 75 when rtlogd was stopped
    Follow {
        #[command(flatten)]
        at: At,
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
        at: At,
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
    Start(Named),
    /// End a process; it stays so until it is started again
    Stop(Named),
    /// End a process, and start it again
    Restart(Named),
    /// Send a signal to a process and all of its group
    Signal {
        #[command(flatten)]
        at: At,
        /// The stream
        name: String,
        /// The signal, such as HUP
        signal: String,
    },
    /// What rtlogd starts its processes through; it speaks to nobody else
    #[command(name = "__child", hide = true)]
    Child,
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Described {
    /// The configuration
    Config,
    /// The control channel
    Control,
}

/// Where the rtlogd is that is asked.
#[derive(Debug, clap::Args)]
struct At {
    /// Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]
    #[arg(long, env = "RTLOGD_URL", value_name = "URL")]
    url: Option<Server>,
}

/// A stream of it.
#[derive(Debug, clap::Args)]
struct Named {
    #[command(flatten)]
    at: At,
    /// The stream
    name: String,
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn parse_size(text: &str) -> Result<usize, String> {
    config::units::parse_size(text)
        .map(|size| usize::try_from(size).unwrap_or(usize::MAX))
        .map_err(|error| error.to_string())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    config::units::parse_duration(text).map_err(|error| error.to_string())
}

/// Why a command failed, and the code to exit with.
type Failure = (Box<dyn std::error::Error>, u8);

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments.command) {
        Ok(code) => code,
        Err((error, code)) => {
            complain(&*error);
            ExitCode::from(code)
        }
    }
}

fn execute(command: Command) -> Result<ExitCode, Failure> {
    let failed = |error: daemon::DaemonError| -> Failure { (error.into(), 1) };
    match command {
        Command::Serve { config, listen, paths } => {
            telemetry::start();
            let mut config = if paths.is_empty() { load(config.as_deref())? } else { of_paths(&paths)? };
            replace_listen(&mut config, listen)?;
            daemon::serve(&config).map_err(failed)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { name, listen, memory, linger, argv } => {
            telemetry::start();
            let any_port = listen.is_empty();
            let mut config = Config::default();
            replace_listen(&mut config, listen)?;
            config.memory = memory;
            let name = name.unwrap_or_else(|| config::name_of(Path::new(&argv[0])));
            let stream = Stream { memory, ..Stream::of_command(name, argv) };
            daemon::run(Job { stream, config, any_port, linger }).map_err(failed)
        }
        Command::Check { config } => {
            load(config.as_deref())?;
            print("ok\n")
        }
        Command::Ls { at } => ask(at, Task::List),
        Command::Follow { at, tail, since, grep, exclude, run, json, names } => {
            ask(at, Task::Follow(Wanted { names, tail, since, grep, exclude, run, json }))
        }
        Command::Send { at, eof, raw, name, text } => {
            let newline = if raw || text.is_none() { "" } else { "\n" };
            ask(at, Task::Send { name, text: text.unwrap_or_default() + newline, end: eof })
        }
        Command::Start(Named { at, name }) => ask(at, Task::Start(name)),
        Command::Stop(Named { at, name }) => ask(at, Task::Stop(name)),
        Command::Restart(Named { at, name }) => ask(at, Task::Restart(name)),
        Command::Signal { at, name, signal } => ask(at, Task::Signal { name, signal }),
        Command::Child => Ok(daemon::become_child()),
        Command::Schema { of: Described::Config } => print(&format!("{:#}\n", config::schema())),
        Command::Schema { of: Described::Control } => print(&format!("{:#}\n", daemon::control_schema())),
    }
}

/// Asks a running rtlogd.
fn ask(at: At, task: Task) -> Result<ExitCode, Failure> {
    match client::run(&at.url.unwrap_or_else(Server::usual), task) {
        // Whoever read us has seen enough (`rtlogd follow x | head`).
        Err(ClientError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        done => done.map_err(|error| -> Failure { (error.into(), 1) }),
    }
}

fn load(path: Option<&Path>) -> Result<Config, Failure> {
    config::load(path.unwrap_or(Path::new(CONFIG))).map_err(|mistakes| -> Failure { (mistakes.into(), MISTAKE) })
}

fn of_paths(paths: &[PathBuf]) -> Result<Config, Failure> {
    config::from_paths(paths).map_err(|error| -> Failure { (error.into(), MISTAKE) })
}

fn replace_listen(config: &mut Config, listen: Vec<Listen>) -> Result<(), Failure> {
    if let Some(open) = listen.iter().find(|listen| !listen.is_local() && !config.insecure) {
        let why = format!(
            "{open} can be reached from other machines, and nothing asks them who they are; \
            listen on 127.0.0.1, or write `access: {{insecure: true}}` in a configuration"
        );
        return Err((why.into(), MISTAKE));
    }
    if !listen.is_empty() {
        config.listen = listen;
    }
    Ok(())
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| -> Failure { (error.into(), 1) })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the error and its causes, one a line.
fn complain(error: &dyn std::error::Error) {
    let mut lines = format!("rtlogd: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.extend(["  because: ", &error.to_string(), "\n"]);
        cause = error.source();
    }
    // With standard error gone there is nobody left to tell.
    std::io::stderr().write_all(lines.as_bytes()).unwrap_or_default();
}
