//! The command line: one enum of commands, and one match that runs them.
//!
//! The files, in reading order: `arguments` declares the commands. `token`, `history` and `doctor` implement the
//! commands that are more than a call into another layer, and `suggestion` says what was meant by a word that is no
//! command. A failure is an error with its exit code: [`EXIT_USAGE`] for
//! a mistake of the user, 1 for everything else.

mod arguments;
mod token;
mod doctor;
mod history;
mod suggestion;

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory, Parser};
use nix::sys::signal::SigSet;

use crate::cli::doctor::{Finding, Severity};
use crate::client::terminal;
use crate::client::terminal::SafeText;
use crate::client::{self, ClientCommand, ClientError, FollowOptions, PathFinding, RemoteDaemon};
use crate::config::{self, Config, ListenAddress, ProcessesAtStop, Stream};
use crate::daemon;
use crate::daemon::detach;
pub(crate) use crate::daemon::detach::{DetachOptions, ForkSide};
pub(crate) use crate::daemon::local_socket::RequestResult;
use crate::daemon::local_socket::{self, LocalCommand};
use crate::daemon::logging;
use crate::daemon::pid_file::PidFileOption;
use crate::daemon::serve;
use crate::daemon::upgrade::{self, InstalledProgram};
use crate::daemon::upgrade_result::abandon_upgrade;
use crate::daemon::wrap;
use crate::daemon::wrap::{WrapOptions, WrapOutput};
use crate::event::{lock, one_line, shell_word};

use arguments::{
    Arguments, CliCommand, CredentialArguments, DaemonArguments, DetachArguments, SchemaKind, StreamArguments,
};

/// The configuration that is used without `--config`.
const DEFAULT_CONFIG_PATH: &str = "/etc/rtlogd/rtlogd.yaml";

/// The exit code for a mistake on the command line or in a configuration.
const EXIT_USAGE: u8 = 2;

/// The exit code for a program that does not exist, as shells return it.
const EXIT_NOT_FOUND: u8 = 127;

/// The arguments with which rtlogd starts itself to become a child process or a shim. Not commands for users, and not
/// documented.
const CHILD_COMMAND: &str = "__child";
const SHIM_COMMAND: &str = "__shim";

/// The command of the service unit and of the package that ends what a daemon left: `__sweep CONFIG [--if-stopping]`.
const SWEEP_COMMAND: &str = "__sweep";

/// The error of a command that failed, and the exit code.
type CliFailure = (Box<dyn std::error::Error>, u8);

/// The command line as data, from which the manual and the completions are generated.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command that the command line names, and prints its error.
pub fn main() -> ExitCode {
    unblock_signals();
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == CHILD_COMMAND => return daemon::become_child(),
        Some(first) if first == SHIM_COMMAND => return daemon::become_shim(),
        Some(first) if first == upgrade::PROTOCOL_COMMAND => return say_protocol(),
        Some(first) if first == SWEEP_COMMAND => return sweep(arguments.next(), arguments.next()),
        _ => {}
    }
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| suggestion::explain(error, &words).exit());
    match run_command(arguments.command) {
        Ok(code) => code,
        Err((error, code)) => {
            print_failure(&*error);
            ExitCode::from(code)
        }
    }
}

/// Lets all signals arrive, whatever the program that started this one had blocked: rtlogd would not learn that a command has
/// ended or that it is to end itself, and its commands would inherit it. Must be called before there are threads.
fn unblock_signals() {
    // After an upgrade, signals wait until they are handled.
    if !upgrade::is_replacement() {
        // The call cannot fail with a set of signals that exists.
        SigSet::empty().thread_set_mask().unwrap_or_default();
    }
}

/// Says what this version can take over from another one; for `rtlogd upgrade`.
fn say_protocol() -> ExitCode {
    print(&upgrade::Capabilities::own().to_text()).unwrap_or(ExitCode::FAILURE)
}

/// Ends the processes that a daemon with this configuration left; with `--if-stopping`, only while systemd stops the
/// service, since otherwise the next daemon takes them over, and not with `processes_at_stop: keep`.
fn sweep(config: Option<OsString>, condition: Option<OsString>) -> ExitCode {
    let path = config.map_or_else(|| DEFAULT_CONFIG_PATH.into(), PathBuf::from);
    logging::start(None);
    let is_conditional = condition.is_some_and(|condition| condition == "--if-stopping");
    if is_conditional && !daemon::is_being_stopped() {
        return ExitCode::SUCCESS;
    }
    let Ok(config) = config::load(&path) else { return ExitCode::SUCCESS };
    let keeps = is_conditional && config.processes_at_stop == ProcessesAtStop::Keep;
    let Some(directory) = config.state_directory.filter(|_| !keeps) else { return ExitCode::SUCCESS };
    match daemon::sweep(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!(errno = error.raw_os_error(), error:% = error; "cannot look for processes that an earlier rtlogd left running");
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: CliCommand) -> Result<ExitCode, CliFailure> {
    let failed = |error: daemon::DaemonError| -> CliFailure { (error.into(), 1) };
    match command {
        CliCommand::Serve { config, listen, log_level, detach, paths } => {
            let options = serve_options(config.clone(), listen, paths, detach.daemon);
            serve(options, config, detach, log_level.as_deref())
        }
        CliCommand::Run { name, listen, memory, linger, pty, no_pty, log_level, argv } => {
            check_wrapped_command(&argv)?;
            logging::start(log_level.as_deref());
            let any_port = listen.is_empty();
            let mut config = Config::default();
            replace_listen(&mut config, &listen)?;
            config.memory = memory;
            let name = name.unwrap_or_else(|| config::stream_name_of(Path::new(&argv[0])));
            let mut stream = Stream::for_command(name, argv);
            stream.history.memory = memory;
            let output = match (pty, no_pty) {
                (true, _) => WrapOutput::Terminal,
                (false, true) => WrapOutput::Pipes,
                (false, false) => WrapOutput::LikeStdout,
            };
            wrap::wrap(WrapOptions { stream, config, output, any_port, linger }).map_err(failed)
        }
        CliCommand::Check { config, file } => {
            let path = config.or(file);
            let path = find_configuration(path.as_deref(), "check")?;
            let config =
                config::load_strictly(path).map_err(|mistakes| -> CliFailure { (mistakes.into(), EXIT_USAGE) })?;
            for note in config::advice(&config).iter().chain(&doctor::missing(&config)) {
                note_to_user(note);
            }
            print("ok\n")
        }
        CliCommand::Reload { config } => request(LocalCommand::Reload, config),
        CliCommand::Shutdown { config, keep_processes } => {
            let processes = if keep_processes { ProcessesAtStop::Keep } else { ProcessesAtStop::End };
            request(LocalCommand::ShutDown(processes), config)
        }
        CliCommand::Upgrade { config } => request(LocalCommand::Upgrade, config),
        CliCommand::Doctor { url: Some(server), credentials, .. } => {
            let server = with_credentials(server, credentials)?;
            let found = client::check_path(&server).map_err(|error| -> CliFailure { (error.into(), 1) })?;
            let finding = |PathFinding { problem, fix }| Finding { severity: Severity::Problem, problem, fix };
            print_findings(&found.into_iter().map(finding).collect::<Vec<_>>())
        }
        CliCommand::Doctor { config, file, url: None, .. } => {
            print_findings(&doctor::find_problems(&load(config.or(file).as_deref(), "doctor")?))
        }
        CliCommand::Token(arguments) => token::token(arguments),
        CliCommand::Ls { at } => run_client(at, ClientCommand::List),
        CliCommand::Runs { at, limit, name } => run_client(at, ClientCommand::Runs { name, limit }),
        CliCommand::Follow { at, tail, since, grep, exclude, conditions, level, origin, run, json, color, names } => {
            run_client(
                at,
                ClientCommand::Follow(FollowOptions {
                    names,
                    tail,
                    since,
                    grep,
                    exclude,
                    conditions,
                    level,
                    origin,
                    run,
                    json,
                    colours: color,
                }),
            )
        }
        CliCommand::Send { at, eof, raw, name, text } => {
            let newline = if raw || text.is_empty() { "" } else { "\n" };
            run_client(at, ClientCommand::Send { name, text: text.join(" ") + newline, end_input: eof })
        }
        CliCommand::Push { at, origin, name, file } => run_client(at, ClientCommand::Push { name, file, origin }),
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

/// Refuses a command that was written as one word for a shell, such as `rtlogd run 'make -j8'`.
fn check_wrapped_command(argv: &[OsString]) -> Result<(), CliFailure> {
    let [line] = argv else { return Ok(()) };
    let Some(text) = line.to_str().filter(|text| text.contains(char::is_whitespace)) else { return Ok(()) };
    if Path::new(line).exists() {
        return Ok(());
    }
    let quoted = shell_word(text);
    let why = format!(
        "there is no program named {text:?}, and rtlogd runs programs without a shell (write the words without quotes, or \
        rtlogd run -- sh -c {quoted})"
    );
    Err((why.into(), EXIT_NOT_FOUND))
}

/// The options of `rtlogd serve`, with a loader that reads the configuration again for a reload. If the process `moves`
/// to another directory, as a detached daemon does, paths become absolute first.
fn serve_options(
    config: Option<PathBuf>,
    mut listen: Vec<ListenAddress>,
    mut paths: Vec<PathBuf>,
    moves: bool,
) -> Result<serve::ServeOptions, CliFailure> {
    let no_config = config.is_none() && paths.is_empty() && !Path::new(DEFAULT_CONFIG_PATH).exists();
    if no_config {
        let why = format!(
            "{DEFAULT_CONFIG_PATH} does not exist (follow files with `rtlogd serve FILE...`, or name a configuration with \
            `rtlogd serve --config FILE`)"
        );
        return Err((why.into(), EXIT_USAGE));
    }
    check_standard_input(&paths, moves)?;
    let mut file = paths.is_empty().then(|| config.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG_PATH)));
    if moves {
        let sockets = listen.iter_mut().filter_map(|address| match address {
            ListenAddress::Unix(path) => Some(path),
            ListenAddress::Tcp(_) => None,
        });
        for path in file.iter_mut().chain(&mut paths).chain(sockets) {
            *path = std::path::absolute(&*path).map_err(|error| -> CliFailure { (error.into(), 1) })?;
        }
    }
    let named = file.clone();
    let load = move || -> Result<Config, CliFailure> {
        let mut config = named.as_deref().map_or_else(|| config_of_paths(&paths), |file| load(Some(file), "serve"))?;
        replace_listen(&mut config, &listen)?;
        Ok(config)
    };
    let config = load()?;
    let load: serve::ConfigLoader = Arc::new(move || load().map_err(|(error, _)| error.to_string()));
    let installed = InstalledProgram::of_this_process(moves);
    Ok(serve::ServeOptions { config, file, load, installed, pid_file: PidFileOption::None, on_ready: Box::new(|| ()) })
}

/// Refuses a standard input that cannot be served: a terminal, whose lines come from the person who looks at them, and
/// that of a daemon that `moves` away from it.
fn check_standard_input(paths: &[PathBuf], moves: bool) -> Result<(), CliFailure> {
    let why = if !paths.iter().any(|path| path.as_os_str() == config::STANDARD_INPUT) {
        return Ok(());
    } else if moves {
        "`-` is standard input, from which --daemon detaches (leave out --daemon, or follow a file)"
    } else if io::stdin().is_terminal() {
        "`-` is standard input, which is a terminal here (write `COMMAND | rtlogd serve -`, or `rtlogd run -- COMMAND`)"
    } else {
        return Ok(());
    };
    Err((why.into(), EXIT_USAGE))
}

/// Serves, in the foreground or as a detached daemon. `config` is the file that the command line names.
fn serve(
    options: Result<serve::ServeOptions, CliFailure>,
    config: Option<PathBuf>,
    detach: DetachArguments,
    log_level: Option<&str>,
) -> Result<ExitCode, CliFailure> {
    if !upgrade::is_replacement() {
        let options = options?;
        if detach.daemon {
            return serve_detached(options, detach, log_level);
        }
        return serve_here(options, log_level);
    }
    // The program before this one has detached.
    let pid_file = detach.pid_file.map_or(PidFileOption::None, PidFileOption::Inherited);
    match options {
        Ok(options) => serve_here(serve::ServeOptions { pid_file, ..options }, log_level),
        Err((error, code)) => {
            let config = config.unwrap_or_else(|| DEFAULT_CONFIG_PATH.into());
            abandon_upgrade(&config, pid_file, &error.to_string());
            Err((error, code))
        }
    }
}

/// Serves as this process.
fn serve_here(options: serve::ServeOptions, log_level: Option<&str>) -> Result<ExitCode, CliFailure> {
    logging::start(log_level);
    serve::serve(options).map(|()| ExitCode::SUCCESS).map_err(|error| -> CliFailure { (error.into(), 1) })
}

/// Serves as a detached daemon. The parent process waits, and exits with the result of the start.
fn serve_detached(
    mut options: serve::ServeOptions,
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
    let reporter = start.clone();
    let take = |start: &Mutex<Option<detach::StartReporter>>| lock(start).take();
    options.on_ready = Box::new(move || {
        if let Some(start) = take(&reporter) {
            start.report_ready();
        }
    });
    options.pid_file = pid_file.map_or(PidFileOption::None, PidFileOption::Created);
    // The pid file is removed before the parent process reports the failure.
    serve::serve(options).map(|()| ExitCode::SUCCESS).map_err(|error| {
        let failure: CliFailure = (error.into(), 1);
        if let Some(start) = take(&start) {
            start.report_failure(failure.1, error_lines(&*failure.0).trim_end());
        }
        failure
    })
}

/// Asks the daemon that serves this configuration.
fn request(command: LocalCommand, config: Option<PathBuf>) -> Result<ExitCode, CliFailure> {
    let config = config.unwrap_or_else(|| DEFAULT_CONFIG_PATH.into());
    match local_socket::request(command, &config).map_err(|error| -> CliFailure { (error.into(), 1) })? {
        RequestResult::Applied(text) => print(&(text + "\n")),
        // The mistakes of a configuration are those of the user.
        RequestResult::Refused(mistakes) if command == LocalCommand::Reload => {
            Err((MultilineError(mistakes).into(), EXIT_USAGE))
        }
        RequestResult::Refused(text) | RequestResult::PartlyApplied(text) => Err((MultilineError(text).into(), 1)),
    }
}

/// Prints all problems and notes with their fixes. Success if there are no problems.
fn print_findings(findings: &[Finding]) -> Result<ExitCode, CliFailure> {
    let mut lines = String::new();
    for Finding { severity, problem, fix } in findings {
        let kind = match severity {
            Severity::Problem => "",
            Severity::Note => "note: ",
        };
        lines.extend([kind, &one_line(problem), "\n  fix: ", &one_line(fix), "\n"]);
    }
    if findings.iter().any(|finding| finding.severity == Severity::Problem) {
        return print(&lines).map(|_| ExitCode::FAILURE);
    }
    print(&(lines + "no problems found\n"))
}

fn usage_failure(error: impl std::error::Error + 'static) -> CliFailure {
    (error.into(), 1)
}

/// Runs a command as a client of a running rtlogd.
fn run_client(at: DaemonArguments, task: ClientCommand) -> Result<ExitCode, CliFailure> {
    let DaemonArguments { url, credentials } = at;
    let server = with_credentials(url.unwrap_or_else(RemoteDaemon::default_local), credentials)?;
    match client::run(&server, task) {
        // The reader of the output has closed it, as in `rtlogd follow x | head`.
        Err(ClientError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        done => done.map_err(|error| -> CliFailure { (error.into(), 1) }),
    }
}

/// The daemon with the token and the certificates that the user names.
fn with_credentials(server: RemoteDaemon, credentials: CredentialArguments) -> Result<RemoteDaemon, CliFailure> {
    let CredentialArguments { token_file, token, ca } = credentials;
    let token = match token_file {
        Some(path) => Some(token::read_token_file(&path)?),
        None => token,
    };
    Ok(server.with_token(token).with_ca(ca))
}

/// The configuration at a path, or at the usual one, for a command of rtlogd.
fn load(path: Option<&Path>, command: &str) -> Result<Config, CliFailure> {
    config::load(find_configuration(path, command)?).map_err(|mistakes| -> CliFailure { (mistakes.into(), EXIT_USAGE) })
}

/// The path of a configuration that can be read, which is the usual one if none is named. What is wrong with the file as a
/// whole is no mistake in it, which would begin with its line, but one of the command line.
fn find_configuration<'p>(named: Option<&'p Path>, command: &str) -> Result<&'p Path, CliFailure> {
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG_PATH));
    let found = fs::metadata(path).and_then(|found| {
        if found.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { fs::File::open(path).map(drop) }
    });
    let Err(error) = found else { return Ok(path) };
    let (what, fix) = match (error.kind(), named) {
        (ErrorKind::NotFound, None) => {
            ("does not exist".to_owned(), format!("name a configuration with `rtlogd {command} --config FILE`"))
        }
        (ErrorKind::NotFound, Some(_)) => ("does not exist".to_owned(), "correct the path".to_owned()),
        (ErrorKind::PermissionDenied, _) => (
            "cannot be read by you".to_owned(),
            format!("try `sudo rtlogd {command}`, or name a file that you may read"),
        ),
        _ => (format!("cannot be read: {error}"), "correct the path".to_owned()),
    };
    Err((format!("the configuration {} {what} ({fix})", path.display()).into(), EXIT_USAGE))
}

fn config_of_paths(paths: &[PathBuf]) -> Result<Config, CliFailure> {
    config::from_paths(paths).map_err(|error| -> CliFailure { (error.into(), EXIT_USAGE) })
}

fn replace_listen(config: &mut Config, listen: &[ListenAddress]) -> Result<(), CliFailure> {
    if let Some(open) = listen.iter().find(|listen| !listen.is_local() && !config.is_safe_to_expose()) {
        let why = format!(
            "{open} can be reached from other machines without a token; listen on 127.0.0.1, or set \
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

/// Prints a note, which is not an error.
fn note_to_user(note: &str) {
    terminal::print_error(&SafeText::message(&format!("rtlogd: note: {note}")));
}

/// Prints the error and its causes, one on each line.
fn print_failure(error: &(dyn std::error::Error + 'static)) {
    // Mistakes in a configuration begin with their file and line, which editors can then jump to.
    let name = if error.is::<config::ConfigErrors>() { "" } else { "rtlogd: " };
    terminal::print_error(&SafeText::lines(&format!("{name}{}", error_lines(error))));
}

/// An error of several lines, each of which is a complete sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct MultilineError(String);

fn error_lines(error: &(dyn std::error::Error + 'static)) -> String {
    // Errors of several lines keep their line breaks. In other errors a line break comes from a name, and is escaped.
    let several = error.is::<MultilineError>() || error.is::<config::ConfigErrors>();
    let mut lines = if several { format!("{error}\n") } else { one_line(&error.to_string()) + "\n" };
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.extend(["  because: ", &one_line(&error.to_string()), "\n"]);
        cause = error.source();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit code and the message of a command line that fails.
    fn failure(words: &[&str]) -> (u8, String) {
        let arguments = Arguments::try_parse_from([&["rtlogd"], words].concat()).unwrap();
        let (error, code) = run_command(arguments.command).map(|_| words.join(" ")).unwrap_err();
        (code, error_lines(&*error))
    }

    #[test]
    fn a_mistake_of_the_user_exits_with_2_and_a_failure_with_1() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        let (missing, wrong, plain) = (path("missing.yaml"), path("wrong.yaml"), path("plain.yaml"));
        std::fs::write(&wrong, "colour: red\n").unwrap();
        std::fs::write(&plain, "streams: {}\n").unwrap();
        let streams = path("streams.yaml");
        std::fs::write(&streams, "streams: { a: { push: true } }\n").unwrap();
        let (nowhere, directory) = (format!("unix:{}", path("nowhere.sock")), place.path().to_str().unwrap());
        let table: [(&[&str], u8, &str); 20] = [
            (&["check", "--config", &missing], 2, "missing.yaml does not exist (correct the path)"),
            (&["doctor", &missing], 2, "missing.yaml does not exist (correct the path)"),
            (&["token", "--config", &missing, "--init"], 2, "missing.yaml does not exist (correct the path)"),
            (&["serve", "--config", &missing], 2, "missing.yaml does not exist (correct the path)"),
            (&["check", directory], 2, "cannot be read: is a directory (correct the path)"),
            (&["check", &wrong], 2, "unknown key `colour`"),
            (&["doctor", &wrong], 2, "unknown key `colour`"),
            (&["serve", &streams], 2, "did you mean `rtlogd serve --config "),
            (&["serve", "--daemon", "-"], 2, "from which --daemon detaches"),
            (&["run", "make -j8"], 127, "no program named \"make -j8\""),
            (&["run", "echo it's"], 127, r"rtlogd run -- sh -c 'echo it'\''s'"),
            (&["serve"], 2, "follow files with `rtlogd serve FILE...`"),
            (&["check", "--config", &wrong], 2, "unknown key `colour`"),
            (&["serve", "--listen", "0.0.0.0:0", directory], 2, "is a directory"),
            (&["run", "--listen", "0.0.0.0:0", "true"], 2, "without a token"),
            (&["token", "--config", &plain, "--init"], 2, "names no directory of keys"),
            (&["token", "--keys", directory, "--revoke", "ey.x"], 2, "neither a complete token"),
            (&["reload", "--config", &plain], 1, "can be reached"),
            (&["ls", "--url", &nowhere], 1, "nowhere.sock"),
            (&["ls", "--token-file", &missing], 1, "cannot read the token"),
        ];
        for (words, code, message) in table {
            let (found, text) = failure(words);
            assert_eq!(found, code, "{words:?}: {text}");
            assert!(text.contains(message), "{words:?}: {text}");
        }
    }

    #[test]
    fn a_listen_address_replaces_those_of_the_configuration() {
        let mut config = Config::default();
        replace_listen(&mut config, &[]).unwrap();
        assert_eq!(config.listen, Config::default().listen);
        let local = ["127.0.0.1:1".parse().unwrap(), "unix:/run/x.sock".parse().unwrap()];
        replace_listen(&mut config, &local).unwrap();
        assert_eq!(config.listen, local);
        let open = ["127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap()];
        let (error, code) = replace_listen(&mut config, &open).unwrap_err();
        assert!(error.to_string().starts_with("0.0.0.0:1 can be reached"), "{error}");
        assert_eq!((config.listen.as_slice(), code), (local.as_slice(), EXIT_USAGE));
        config.insecure = true;
        replace_listen(&mut config, &open).unwrap();
        assert_eq!(config.listen, open);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn an_error_is_a_line_and_each_of_its_causes_another() {
        let outer = |text| Outer(text, std::io::Error::other("the\ndisk"));
        let table: [(Box<dyn std::error::Error>, &str); 3] = [
            (Box::new(MultilineError("one\ntwo".into())), "one\ntwo\n"),
            (Box::new(outer("cannot")), "cannot\n  because: the\\ndisk\n"),
            (Box::new(outer("a\nb\u{1b}[2J")), "a\\nb\\u{1b}[2J\n  because: the\\ndisk\n"),
        ];
        for (error, lines) in table {
            assert_eq!(error_lines(&*error), lines);
        }
    }
}
