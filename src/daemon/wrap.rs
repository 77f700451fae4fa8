//! `rtlogd run`: streams one command, passes signals on to it, and exits with its status.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use log::error;
use rustix::process::Signal;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::terminal;
use crate::config::{Config, ListenAddress, SourceKind, Stream, TerminalSize};
use crate::control::RunCommand;
use crate::daemon::signals::{TerminationSignals, ignore_unused_signals};
use crate::daemon::{Daemon, DaemonError, ServingMaterial, block_on, open_all};
use crate::event::{RunEnd, StreamName, signal_number};
use crate::listen::ListenError;
use crate::source::{self, SourceError, SourceOptions, Tee, Watcher};

/// The signals that `rtlogd run` passes on to its command, and whether a terminal sends them to the command itself.
const FORWARDED_SIGNALS: [(Signal, bool); 6] = [
    (Signal::INT, true),
    (Signal::QUIT, true),
    (Signal::TERM, false),
    (Signal::HUP, false),
    (Signal::USR1, false),
    (Signal::USR2, false),
];

/// The exit codes for a command that does not exist and for one that cannot be started (POSIX, Shell, 2.8.2).
const EXIT_COMMAND_NOT_FOUND: u8 = 127;
const EXIT_COMMAND_NOT_STARTED: u8 = 126;

/// The time that readers of `rtlogd run` have to read the rest.
const READER_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of `rtlogd run`.
#[derive(Debug)]
pub(crate) struct WrapOptions {
    /// The command as a stream.
    pub(crate) stream: Stream,
    /// Everything else; its streams are ignored.
    pub(crate) config: Config,
    /// The way in which the command's output reaches rtlogd.
    pub(crate) output: WrapOutput,
    /// `true` if another port is acceptable when the wanted one is taken.
    pub(crate) any_port: bool,
    /// The time for which the stream is served after the command has ended; `None` for as long as readers need, at most
    /// five seconds.
    pub(crate) linger: Option<Duration>,
}

/// The way in which the output of the command reaches rtlogd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrapOutput {
    /// Through a terminal if standard output is one, so that the command writes what it would write there: colours, bars, and
    /// each line at once.
    LikeStdout,
    /// Through a terminal.
    Terminal,
    /// Through pipes, with standard error separate.
    Pipes,
}

impl WrapOutput {
    /// The size of the terminal: that of standard output, or the default one.
    fn terminal_size(self) -> Option<TerminalSize> {
        let is_wanted = match self {
            Self::LikeStdout => io::stdout().is_terminal(),
            Self::Terminal => true,
            Self::Pipes => false,
        };
        is_wanted.then(|| stdout_size().unwrap_or_default())
    }
}

/// The size of the terminal that standard output is, if it is one and knows its size.
fn stdout_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize { columns: size.ws_col, rows: size.ws_row })
}

/// Streams one command, and returns the status to exit with.
pub(crate) fn wrap(mut job: WrapOptions) -> Result<ExitCode, DaemonError> {
    block_on(async {
        ignore_unused_signals(|number| FORWARDED_SIGNALS.iter().any(|(passed, _)| passed.as_raw() == number));
        let sockets = match open_all(&job.config.listen).await {
            Err(ListenError::InUse(ListenAddress::Tcp(address))) if job.any_port => {
                open_all(&[ListenAddress::Tcp((address.ip(), 0).into())]).await?
            }
            sockets => sockets?,
        };
        let terminal_size = job.output.terminal_size();
        if let SourceKind::Process(process) = &mut job.stream.source {
            process.pty = terminal_size;
        }
        let material = ServingMaterial::load(&job.config)?;
        let mut daemon = Daemon::with_token(&job.config)?;
        let (appender, checkpoints) = daemon.open_stream(&job.stream)?;
        daemon.start_serving(sockets, &job.config, material);
        let shares_terminal = io::stdin().is_terminal();
        let signals = forward_signals(&daemon, shares_terminal).map_err(DaemonError::Signals)?;
        let options = SourceOptions {
            tee: Some(Tee::new(tokio::io::stdout(), tokio::io::stderr()).with_reader_gone(terminal::reader_gone())),
            inherit_stdin: true,
            same_group: shares_terminal,
            end_stream: true,
            signals: Some(signals),
            shim_directory: None,
            temporary_directories: None,
            ..daemon.source_options(&job.stream)
        };
        if terminal_size.is_some() {
            forward_resizes(&daemon, job.stream.name.clone()).map_err(DaemonError::Signals)?;
        }
        let ended =
            source::run(job.stream, appender, checkpoints, options, Watcher::new(), daemon.stop_sources.clone()).await;
        let code = exit_code(ended);
        let mut end = TerminationSignals::new().map_err(DaemonError::Signals)?;
        if let Some(linger) = job.linger {
            // A signal also ends this wait.
            timeout(linger, end.wait()).await.unwrap_or_default();
        }
        daemon.shut_down(READER_DRAIN_TIMEOUT).await;
        Ok(ExitCode::from(code))
    })
}

/// The signals for the command of `rtlogd run`. A terminal sends some of them to its whole process group, and so to the
/// command.
fn forward_signals(daemon: &Daemon, terminal: bool) -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(16);
    for (passed, by_terminal) in FORWARDED_SIGNALS {
        let mut signals = signal(SignalKind::from_raw(passed.as_raw()))?;
        let sender = sender.clone();
        daemon.connection_tasks.spawn(async move {
            // The loop ends with the source, which drops the receiver.
            while let Some(Some(())) = until_closed(&sender, signals.recv()).await {
                if !(terminal && by_terminal) && sender.send(passed).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(receiver)
}

/// Gives the terminal of the command the size of standard output whenever that changes.
fn forward_resizes(daemon: &Daemon, name: StreamName) -> io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let (commands, stop) = (daemon.commands.clone(), daemon.stop_sources.clone());
    daemon.connection_tasks.spawn(stop.run_until_cancelled_owned(async move {
        while resized.recv().await.is_some() {
            if let Some(TerminalSize { columns, rows }) = stdout_size() {
                // The command may have ended.
                commands.send(&name, RunCommand::Resize { rows, columns }.into()).await.map(drop).unwrap_or_default();
            }
        }
    }));
    Ok(())
}

/// Waits for `future` as long as there is a receiver.
async fn until_closed<T>(sender: &mpsc::Sender<Signal>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = future => Some(done),
        () = sender.closed() => None,
    }
}

/// The exit status that a shell would return.
fn exit_code(ended: Result<Option<RunEnd>, SourceError>) -> u8 {
    match ended {
        Ok(Some(RunEnd { code: Some(code), .. })) => u8::try_from(code).unwrap_or(u8::MAX),
        Ok(Some(RunEnd { signal, .. })) => {
            let number = signal.and_then(|name| signal_number(&name)).unwrap_or(0);
            128u8.saturating_add(number)
        }
        Ok(None) => EXIT_COMMAND_NOT_STARTED,
        Err(error) => {
            error!("{}", error.with_cause());
            if error.io().kind() == io::ErrorKind::NotFound { EXIT_COMMAND_NOT_FOUND } else { EXIT_COMMAND_NOT_STARTED }
        }
    }
}
