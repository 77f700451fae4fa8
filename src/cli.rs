//! The command line: one enum, one match.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::chronicle;
use crate::client::{self, ClientError, Server, Task, Wanted};
use crate::config::{self, Config, Listen, Stream};
use crate::daemon::{self, Job};
use crate::detach::{self, Detach, Side};
use crate::doctor::{self, Finding};
use crate::event::StreamName;
use crate::reload::{self, Outcome};
use crate::serve;
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
        /// Log from this level on; `RTLOGD_LOG` says it for parts
        #[arg(long, value_name = "LEVEL", value_parser = telemetry::NAMES)]
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
        listen: Vec<Listen>,
        /// Keep this much of the output in memory
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64MiB")]
        memory: usize,
        /// Serve readers this long after the command's end
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        linger: Option<Duration>,
        /// Log from this level on; `RTLOGD_LOG` says it for parts
        #[arg(long, value_name = "LEVEL", value_parser = telemetry::NAMES)]
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
        #[arg(value_enum, default_value_t = Described::Config)]
        of: Described,
    },
    /// Tell what a state directory holds, or print the events of one stream in it
    History {
        /// The state directory, as the configuration names it
        directory: PathBuf,
        /// Print all events of this stream, a JSON object each line
        name: Option<StreamName>,
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

/// How to leave the terminal, on machines without systemd.
#[derive(Debug, clap::Args)]
struct DetachArguments {
    /// Go on as a daemon, and exit with 0 once it serves; under systemd leave this away
    #[arg(long)]
    daemon: bool,
    /// Write the daemon's process id here, and keep the file locked as long as it runs
    #[arg(long, value_name = "FILE", requires = "daemon")]
    pid_file: Option<PathBuf>,
    /// Append to this file what is logged; else it is lost
    #[arg(long, value_name = "FILE", requires = "daemon")]
    log_file: Option<PathBuf>,
    /// Give up being root: run as this user, and in no group but --group
    #[arg(long, value_name = "USER", requires = "daemon", requires = "group")]
    user: Option<String>,
    /// See --user
    #[arg(long, value_name = "GROUP", requires = "user")]
    group: Option<String>,
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

/// The command line as data, of which the manual and the completions are made.
pub fn command() -> clap::Command {
    Arguments::command()
}

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
        Command::Serve { config, listen, log_level, detach, paths } => {
            let order = order(config, listen, paths, detach.daemon)?;
            if detach.daemon {
                return serve_detached(order, detach, log_level.as_deref());
            }
            telemetry::start(log_level.as_deref());
            serve::serve(order).map_err(failed)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { name, listen, memory, linger, log_level, argv } => {
            telemetry::start(log_level.as_deref());
            let any_port = listen.is_empty();
            let mut config = Config::default();
            replace_listen(&mut config, &listen)?;
            config.memory = memory;
            let name = name.unwrap_or_else(|| config::name_of(Path::new(&argv[0])));
            let mut stream = Stream::of_command(name, argv);
            stream.history.memory = memory;
            daemon::run(Job { stream, config, any_port, linger }).map_err(failed)
        }
        Command::Check { config } => {
            load(config.as_deref())?;
            print("ok\n")
        }
        Command::Reload { config } => reload(config.as_deref().unwrap_or(Path::new(CONFIG))),
        Command::Doctor { config } => examine(&load(config.as_deref())?),
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
        Command::History { directory, name: None } => print(&chronicle::describe(&directory).map_err(unreadable)?),
        Command::History { directory, name: Some(name) } => {
            chronicle::print(&directory, &name).map_err(unreadable)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What `rtlogd serve` is to do; the configuration it names can be asked for again. A daemon `moves` to another directory.
fn order(
    config: Option<PathBuf>,
    listen: Vec<Listen>,
    mut paths: Vec<PathBuf>,
    moves: bool,
) -> Result<serve::Order, Failure> {
    let mut file = paths.is_empty().then(|| config.unwrap_or_else(|| PathBuf::from(CONFIG)));
    if moves {
        for path in file.iter_mut().chain(&mut paths) {
            *path = std::path::absolute(&*path).map_err(|error| -> Failure { (error.into(), 1) })?;
        }
    }
    let named = file.clone();
    let load = move || -> Result<Config, Failure> {
        let mut config = named.as_deref().map_or_else(|| of_paths(&paths), |file| load(Some(file)))?;
        replace_listen(&mut config, &listen)?;
        Ok(config)
    };
    let config = load()?;
    let load: serve::Load = Arc::new(move || load().map_err(|(error, _)| error.to_string()));
    Ok(serve::Order { config, file, load, served: Box::new(|| ()) })
}

/// Serves as a daemon; the parent says how its start went.
fn serve_detached(
    mut order: serve::Order,
    arguments: DetachArguments,
    log_level: Option<&str>,
) -> Result<ExitCode, Failure> {
    let DetachArguments { daemon: _, pid_file, log_file, user, group } = arguments;
    let how = Detach { pid_file, log_file, owner: user.zip(group) };
    let start = match detach::detach(&how).map_err(|error| -> Failure { (error.into(), 1) })? {
        Side::Child(start) => Arc::new(Mutex::new(Some(start))),
        Side::Parent(code, why) => {
            let lines = if why.is_empty() { why } else { format!("rtlogd: {why}\n") };
            std::io::stderr().write_all(lines.as_bytes()).unwrap_or_default();
            return Ok(code);
        }
    };
    telemetry::start(log_level);
    let told = start.clone();
    let take = |start: &Mutex<Option<detach::Start>>| start.lock().unwrap_or_else(PoisonError::into_inner).take();
    order.served = Box::new(move || {
        if let Some(start) = take(&told) {
            start.serves();
        }
    });
    serve::serve(order).map(|()| ExitCode::SUCCESS).map_err(|error| {
        let failure: Failure = (error.into(), 1);
        if let Some(start) = take(&start) {
            start.failed(failure.1, in_lines(&*failure.0).trim_end());
        }
        failure
    })
}

/// Asks the daemon that serves this configuration to apply it.
fn reload(config: &Path) -> Result<ExitCode, Failure> {
    match reload::ask(config).map_err(|error| -> Failure { (error.into(), 1) })? {
        Outcome::Done(text) => print(&(text + "\n")),
        Outcome::Refused(mistakes) => Err((mistakes.into(), MISTAKE)),
        Outcome::Failed(text) => Err((text.into(), 1)),
    }
}

/// Prints what stands in the way; success if nothing does.
fn examine(config: &Config) -> Result<ExitCode, Failure> {
    let findings = doctor::examine(config);
    if findings.is_empty() {
        return print("nothing stands in the way\n");
    }
    let mut lines = String::new();
    for Finding { what, mend } in findings {
        lines.extend([&what, "\n  mend: ", &mend, "\n"]);
    }
    print(&lines).map(|_| ExitCode::FAILURE)
}

fn unreadable(error: impl std::error::Error + 'static) -> Failure {
    (error.into(), 1)
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

fn replace_listen(config: &mut Config, listen: &[Listen]) -> Result<(), Failure> {
    if let Some(open) = listen.iter().find(|listen| !listen.is_local() && !config.insecure) {
        let why = format!(
            "{open} can be reached from other machines, and nothing asks them who they are; \
            listen on 127.0.0.1, or write `access: {{insecure: true}}` in a configuration"
        );
        return Err((why.into(), MISTAKE));
    }
    if !listen.is_empty() {
        config.listen = listen.to_vec();
    }
    Ok(())
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| -> Failure { (error.into(), 1) })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the error and its causes, one a line.
fn complain(error: &dyn std::error::Error) {
    let lines = format!("rtlogd: {}", in_lines(error));
    // With standard error gone there is nobody left to tell.
    std::io::stderr().write_all(lines.as_bytes()).unwrap_or_default();
}

fn in_lines(error: &dyn std::error::Error) -> String {
    let mut lines = format!("{error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.extend(["  because: ", &error.to_string(), "\n"]);
        cause = error.source();
    }
    lines
}
