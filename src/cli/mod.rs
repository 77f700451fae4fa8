//! The command line: one enum, one match.

mod arguments;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{CommandFactory, Parser};

use crate::chronicle;
use crate::client::{self, ClientError, Server, Task, Wanted};
use crate::config::{self, Config, Listen, Stream};
use crate::daemon;
use crate::detach::{self, Detach, Side};
use crate::doctor::{self, Finding};
use crate::event::one_line;
use crate::reload::{self, Outcome};
use crate::run::{self, Job};
use crate::serve;
use crate::telemetry;
use crate::terminal::{self, Text};

use arguments::{Arguments, At, Command, Described, DetachArguments, Named};

/// Where the configuration is unless `--config` names another.
const CONFIG: &str = "/etc/rtlogd/rtlogd.yaml";

/// Exit code for a mistake in what the user wrote.
const MISTAKE: u8 = 2;

/// What rtlogd starts its processes through. It is no command: it speaks to nobody else, and nobody is told of it.
const CHILD: &str = "__child";

/// Why a command failed, and the code to exit with.
type Failure = (Box<dyn std::error::Error>, u8);

/// The command line as data, of which the manual and the completions are made.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == CHILD) {
        return daemon::become_child();
    }
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
            run::run(Job { stream, config, any_port, linger }).map_err(failed)
        }
        Command::Check { config } => {
            for note in load(config.as_deref())?.notes() {
                note_to_user(&note);
            }
            print("ok\n")
        }
        Command::Reload { config } => reload(config.as_deref().unwrap_or(Path::new(CONFIG))),
        Command::Doctor { config } => examine(&load(config.as_deref())?),
        Command::Token(arguments) => token::token(arguments),
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
    let (start, pid_file) = match detach::detach(&how).map_err(|error| -> Failure { (error.into(), 1) })? {
        Side::Child(start, pid_file) => (Arc::new(Mutex::new(Some(start))), pid_file),
        Side::Parent(code, why) => {
            let lines = if why.is_empty() { why } else { format!("rtlogd: {why}\n") };
            terminal::tell(&Text::lines(&lines));
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
    let served = serve::serve(order);
    // Before whoever started it hears that it did not serve.
    drop(pid_file);
    served.map(|()| ExitCode::SUCCESS).map_err(|error| {
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
        Outcome::Refused(mistakes) => Err((Lines(mistakes).into(), MISTAKE)),
        Outcome::Failed(text) => Err((Lines(text).into(), 1)),
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
        lines.extend([&one_line(&what), "\n  mend: ", &one_line(&mend), "\n"]);
    }
    print(&lines).map(|_| ExitCode::FAILURE)
}

fn unreadable(error: impl std::error::Error + 'static) -> Failure {
    (error.into(), 1)
}

/// Asks a running rtlogd.
fn ask(at: At, task: Task) -> Result<ExitCode, Failure> {
    let At { url, token_file, token } = at;
    let token = match token_file {
        Some(path) => Some(token::from_file(&path)?),
        None => token,
    };
    let server = url.unwrap_or_else(Server::usual).with_token(token);
    match client::run(&server, task) {
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
    if let Some(open) = listen.iter().find(|listen| !listen.is_local() && !config.may_be_reached()) {
        let why = format!(
            "{open} can be reached from other machines, and nothing asks them who they are; listen on 127.0.0.1, or write \
            `tls` and `access: {{keys: ...}}`, or `access: {{insecure: true}}`, in a configuration"
        );
        return Err((why.into(), MISTAKE));
    }
    if !listen.is_empty() {
        config.listen = listen.to_vec();
    }
    Ok(())
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    terminal::print(&Text::lines(text)).map_err(|error| -> Failure { (error.into(), 1) })?;
    Ok(ExitCode::SUCCESS)
}

/// Tells something that is worth knowing and no error.
fn note_to_user(note: &str) {
    terminal::tell(&Text::message(&format!("rtlogd: note: {note}")));
}

/// Prints the error and its causes, one a line.
fn complain(error: &(dyn std::error::Error + 'static)) {
    terminal::tell(&Text::lines(&format!("rtlogd: {}", in_lines(error))));
}

/// Several lines, of which each is a sentence of rtlogd.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lines(String);

fn in_lines(error: &(dyn std::error::Error + 'static)) -> String {
    // What names files, or repeats what a daemon said, is one line each.
    let several = error.is::<Lines>() || error.is::<config::Mistakes>();
    let mut lines = if several { format!("{error}\n") } else { one_line(&error.to_string()) + "\n" };
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.extend(["  because: ", &one_line(&error.to_string()), "\n"]);
        cause = error.source();
    }
    lines
}
