//! The command line: one enum, one match.

mod arguments;
mod token;
mod doctor;
mod history;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory, Parser};

use crate::cli::doctor::Finding;
use crate::client::terminal;
use crate::client::terminal::SafeText;
use crate::client::{self, ClientCommand, ClientError, FollowOptions, RemoteDaemon};
use crate::config::{self, Config, ListenAddress, Stream};
use crate::daemon;
use crate::daemon::detach;
pub(crate) use crate::daemon::detach::{DetachOptions, ForkSide};
use crate::daemon::logging;
use crate::daemon::reload;
pub(crate) use crate::daemon::reload::ReloadResult;
use crate::daemon::serve;
use crate::daemon::wrap;
use crate::daemon::wrap::WrapOptions;
use crate::event::{lock, one_line};

use arguments::{Arguments, CliCommand, DaemonArguments, DetachArguments, SchemaKind, StreamArguments};

/// Where the configuration is unless `--config` names another.
const DEFAULT_CONFIG_PATH: &str = "/etc/rtlogd/rtlogd.yaml";

/// Exit code for a mistake in what the user wrote.
const EXIT_USAGE: u8 = 2;

/// What rtlogd starts its processes through. It is no command: it speaks to nobody else, and nobody is told of it.
const CHILD_COMMAND: &str = "__child";

/// Why a command failed, and the code to exit with.
type CliFailure = (Box<dyn std::error::Error>, u8);

/// The command line as data, of which the manual and the completions are made.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == CHILD_COMMAND) {
        return daemon::become_child();
    }
    let arguments = Arguments::parse();
    match run_command(arguments.command) {
        Ok(code) => code,
        Err((error, code)) => {
            print_failure(&*error);
            ExitCode::from(code)
        }
    }
}

fn run_command(command: CliCommand) -> Result<ExitCode, CliFailure> {
    let failed = |error: daemon::DaemonError| -> CliFailure { (error.into(), 1) };
    match command {
        CliCommand::Serve { config, listen, log_level, detach, paths } => {
            let order = serve_options(config, listen, paths, detach.daemon)?;
            if detach.daemon {
                return serve_detached(order, detach, log_level.as_deref());
            }
            logging::start(log_level.as_deref());
            serve::serve(order).map_err(failed)?;
            Ok(ExitCode::SUCCESS)
        }
        CliCommand::Run { name, listen, memory, linger, log_level, argv } => {
            logging::start(log_level.as_deref());
            let any_port = listen.is_empty();
            let mut config = Config::default();
            replace_listen(&mut config, &listen)?;
            config.memory = memory;
            let name = name.unwrap_or_else(|| config::stream_name_of(Path::new(&argv[0])));
            let mut stream = Stream::for_command(name, argv);
            stream.history.memory = memory;
            wrap::wrap(WrapOptions { stream, config, any_port, linger }).map_err(failed)
        }
        CliCommand::Check { config } => {
            for note in config::advice(&load(config.as_deref())?) {
                note_to_user(&note);
            }
            print("ok\n")
        }
        CliCommand::Reload { config } => reload(config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG_PATH))),
        CliCommand::Doctor { config } => examine(&load(config.as_deref())?),
        CliCommand::Token(arguments) => token::token(arguments),
        CliCommand::Ls { at } => run_client(at, ClientCommand::List),
        CliCommand::Follow { at, tail, since, grep, exclude, run, json, names } => {
            run_client(at, ClientCommand::Follow(FollowOptions { names, tail, since, grep, exclude, run, json }))
        }
        CliCommand::Send { at, eof, raw, name, text } => {
            let newline = if raw || text.is_none() { "" } else { "\n" };
            run_client(at, ClientCommand::Send { name, text: text.unwrap_or_default() + newline, end_input: eof })
        }
        CliCommand::Start(StreamArguments { daemon: at, name }) => run_client(at, ClientCommand::Start(name)),
        CliCommand::Stop(StreamArguments { daemon: at, name }) => run_client(at, ClientCommand::Stop(name)),
        CliCommand::Restart(StreamArguments { daemon: at, name }) => run_client(at, ClientCommand::Restart(name)),
        CliCommand::Signal { at, name, signal } => run_client(at, ClientCommand::Signal { name, signal }),
        CliCommand::Schema { of: SchemaKind::Config } => print(&format!("{:#}\n", config::schema())),
        CliCommand::Schema { of: SchemaKind::Control } => print(&format!("{:#}\n", daemon::control_schema())),
        CliCommand::History { directory, name: None } => print(&history::describe(&directory).map_err(usage_failure)?),
        CliCommand::History { directory, name: Some(name) } => {
            history::print(&directory, &name).map_err(usage_failure)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What `rtlogd serve` is to do; the configuration it names can be asked for again. A daemon `moves` to another directory.
fn serve_options(
    config: Option<PathBuf>,
    listen: Vec<ListenAddress>,
    mut paths: Vec<PathBuf>,
    moves: bool,
) -> Result<serve::ServeOptions, CliFailure> {
    let mut file = paths.is_empty().then(|| config.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG_PATH)));
    if moves {
        for path in file.iter_mut().chain(&mut paths) {
            *path = std::path::absolute(&*path).map_err(|error| -> CliFailure { (error.into(), 1) })?;
        }
    }
    let named = file.clone();
    let load = move || -> Result<Config, CliFailure> {
        let mut config = named.as_deref().map_or_else(|| config_of_paths(&paths), |file| load(Some(file)))?;
        replace_listen(&mut config, &listen)?;
        Ok(config)
    };
    let config = load()?;
    let load: serve::ConfigLoader = Arc::new(move || load().map_err(|(error, _)| error.to_string()));
    Ok(serve::ServeOptions { config, file, load, on_ready: Box::new(|| ()) })
}

/// Serves as a daemon; the parent says how its start went.
fn serve_detached(
    mut order: serve::ServeOptions,
    arguments: DetachArguments,
    log_level: Option<&str>,
) -> Result<ExitCode, CliFailure> {
    let DetachArguments { daemon: _, pid_file, log_file, user, group } = arguments;
    let how = DetachOptions { pid_file, log_file, owner: user.zip(group) };
    let (start, pid_file) = match detach::detach(&how).map_err(|error| -> CliFailure { (error.into(), 1) })? {
        ForkSide::Child(start, pid_file) => (Arc::new(Mutex::new(Some(start))), pid_file),
        ForkSide::Parent(code, why) => {
            let lines = if why.is_empty() { why } else { format!("rtlogd: {why}\n") };
            terminal::print_error(&SafeText::lines(&lines));
            return Ok(code);
        }
    };
    logging::start(log_level);
    let told = start.clone();
    let take = |start: &Mutex<Option<detach::StartReporter>>| lock(start).take();
    order.on_ready = Box::new(move || {
        if let Some(start) = take(&told) {
            start.report_ready();
        }
    });
    let served = serve::serve(order);
    // Before whoever started it hears that it did not serve.
    drop(pid_file);
    served.map(|()| ExitCode::SUCCESS).map_err(|error| {
        let failure: CliFailure = (error.into(), 1);
        if let Some(start) = take(&start) {
            start.report_failure(failure.1, error_lines(&*failure.0).trim_end());
        }
        failure
    })
}

/// Asks the daemon that serves this configuration to apply it.
fn reload(config: &Path) -> Result<ExitCode, CliFailure> {
    match reload::request_reload(config).map_err(|error| -> CliFailure { (error.into(), 1) })? {
        ReloadResult::Applied(text) => print(&(text + "\n")),
        ReloadResult::Refused(mistakes) => Err((MultilineError(mistakes).into(), EXIT_USAGE)),
        ReloadResult::PartlyApplied(text) => Err((MultilineError(text).into(), 1)),
    }
}

/// Prints what stands in the way; success if nothing does.
fn examine(config: &Config) -> Result<ExitCode, CliFailure> {
    let findings = doctor::examine(config);
    if findings.is_empty() {
        return print("nothing stands in the way\n");
    }
    let mut lines = String::new();
    for Finding { problem: what, fix: mend } in findings {
        lines.extend([&one_line(&what), "\n  mend: ", &one_line(&mend), "\n"]);
    }
    print(&lines).map(|_| ExitCode::FAILURE)
}

fn usage_failure(error: impl std::error::Error + 'static) -> CliFailure {
    (error.into(), 1)
}

/// Asks a running rtlogd.
fn run_client(at: DaemonArguments, task: ClientCommand) -> Result<ExitCode, CliFailure> {
    let DaemonArguments { url, token_file, token } = at;
    let token = match token_file {
        Some(path) => Some(token::read_token_file(&path)?),
        None => token,
    };
    let server = url.unwrap_or_else(RemoteDaemon::default_local).with_token(token);
    match client::run(&server, task) {
        // Whoever read us has seen enough (`rtlogd follow x | head`).
        Err(ClientError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        done => done.map_err(|error| -> CliFailure { (error.into(), 1) }),
    }
}

fn load(path: Option<&Path>) -> Result<Config, CliFailure> {
    config::load(path.unwrap_or(Path::new(DEFAULT_CONFIG_PATH)))
        .map_err(|mistakes| -> CliFailure { (mistakes.into(), EXIT_USAGE) })
}

fn config_of_paths(paths: &[PathBuf]) -> Result<Config, CliFailure> {
    config::from_paths(paths).map_err(|error| -> CliFailure { (error.into(), EXIT_USAGE) })
}

fn replace_listen(config: &mut Config, listen: &[ListenAddress]) -> Result<(), CliFailure> {
    if let Some(open) = listen.iter().find(|listen| !listen.is_local() && !config.is_safe_to_expose()) {
        let why = format!(
            "{open} can be reached from other machines, and nothing asks them who they are; listen on 127.0.0.1, or write \
            `tls` and `access: {{keys: ...}}`, or `access: {{insecure: true}}`, in a configuration"
        );
        return Err((why.into(), EXIT_USAGE));
    }
    if !listen.is_empty() {
        config.listen = listen.to_vec();
    }
    Ok(())
}

fn print(text: &str) -> Result<ExitCode, CliFailure> {
    terminal::print(&SafeText::lines(text)).map_err(|error| -> CliFailure { (error.into(), 1) })?;
    Ok(ExitCode::SUCCESS)
}

/// Tells something that is worth knowing and no error.
fn note_to_user(note: &str) {
    terminal::print_error(&SafeText::message(&format!("rtlogd: note: {note}")));
}

/// Prints the error and its causes, one a line.
fn print_failure(error: &(dyn std::error::Error + 'static)) {
    terminal::print_error(&SafeText::lines(&format!("rtlogd: {}", error_lines(error))));
}

/// Several lines, of which each is a sentence of rtlogd.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct MultilineError(String);

fn error_lines(error: &(dyn std::error::Error + 'static)) -> String {
    // What names files, or repeats what a daemon said, is one line each.
    let several = error.is::<MultilineError>() || error.is::<config::ConfigErrors>();
    let mut lines = if several { format!("{error}\n") } else { one_line(&error.to_string()) + "\n" };
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.extend(["  because: ", &one_line(&error.to_string()), "\n"]);
        cause = error.source();
    }
    lines
}
