//! Puts it together: sources, catalog, server, signals, drain.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{error, info, warn};
use rustix::process::Signal;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Hosts, Origins, Rights};
use crate::config::{Config, Listen, SourceKind, Stream};
use crate::control::{self, Desk};
use crate::event::{Epoch, Position, RunEnd, Time};
use crate::http::listen::{self, ListenError, Rules, Socket};
use crate::http::{App, Leases, Sessions};
use crate::source::{self, Children, Options, SourceError, Tee, Wakes};
use crate::stream::{self, Appender, Budget, Catalog, Entry, Places};
use crate::systemd;

/// Signals that `rtlogd run` passes on to its command, and which of them a terminal sends to the command itself.
const PASSED_ON: [(Signal, bool); 6] = [
    (Signal::INT, true),
    (Signal::QUIT, true),
    (Signal::TERM, false),
    (Signal::HUP, false),
    (Signal::USR1, false),
    (Signal::USR2, false),
];

/// Exit codes for a command that is not there, and for one that cannot be started (POSIX, Shell, 2.8.2).
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

/// Readers of `rtlogd run` get this long to take what is left.
const LAST_READERS: Duration = Duration::from_secs(5);

/// Why the daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

/// What `rtlogd run` is to do.
#[derive(Debug)]
pub(crate) struct Job {
    /// The command as a stream.
    pub(crate) stream: Stream,
    /// All else; its streams are not looked at.
    pub(crate) config: Config,
    /// Another port will do where the wanted one is taken.
    pub(crate) any_port: bool,
    /// How long the stream stays after the command's end; `None` as long as readers need, at most five seconds.
    pub(crate) linger: Option<Duration>,
}

/// The JSON Schema of what the control channel speaks.
pub(crate) fn control_schema() -> serde_json::Value {
    crate::wire::message::schema()
}

/// Serves the streams of `config` until SIGTERM or SIGINT.
pub(crate) fn serve(config: &Config) -> Result<(), DaemonError> {
    block_on(async {
        let mut end = Signals::new().map_err(DaemonError::Signals)?;
        let sockets = open_all(&config.listen).await?;
        let house = House::new(config);
        let wakes = Wakes::new();
        house.connections.spawn(adopt(house.children.clone(), house.finish.clone()));
        for spec in &config.streams {
            let appender = house.enter(spec);
            let options = house.options(spec);
            house.sources.spawn(source::run(
                spec.clone(),
                appender,
                Places::new(),
                options,
                wakes.clone(),
                house.stop_sources.clone(),
            ));
        }
        house.open_doors(sockets, config);
        end.wait().await;
        house.close(config.limits.shutdown).await;
        house.children.sweep().await;
        Ok(())
    })
}

/// Streams one command and gives back the status to exit with.
pub(crate) fn run(job: Job) -> Result<ExitCode, DaemonError> {
    block_on(async {
        let sockets = match open_all(&job.config.listen).await {
            Err(ListenError::InUse(Listen::Tcp(address))) if job.any_port => {
                open_all(&[Listen::Tcp((address.ip(), 0).into())]).await?
            }
            sockets => sockets?,
        };
        let house = House::new(&job.config);
        let appender = house.enter(&job.stream);
        house.open_doors(sockets, &job.config);
        let terminal = io::stdin().is_terminal();
        let signals = house.pass_signals(terminal).map_err(DaemonError::Signals)?;
        let options = Options {
            tee: Some(Tee::new(tokio::io::stdout(), tokio::io::stderr())),
            inherit_stdin: true,
            same_group: terminal,
            closes: true,
            signals: Some(signals),
            ..house.options(&job.stream)
        };
        let ended =
            source::run(job.stream, appender, Places::new(), options, Wakes::new(), house.stop_sources.clone()).await;
        let code = exit_code(ended);
        let mut end = Signals::new().map_err(DaemonError::Signals)?;
        if let Some(linger) = job.linger {
            // A signal ends the wait; either way it is over.
            timeout(linger, end.wait()).await.unwrap_or_default();
        }
        house.close(LAST_READERS).await;
        Ok(ExitCode::from(code))
    })
}

/// The status that a shell would give.
fn exit_code(ended: Result<Option<RunEnd>, SourceError>) -> u8 {
    match ended {
        Ok(Some(RunEnd { code: Some(code), .. })) => u8::try_from(code).unwrap_or(u8::MAX),
        Ok(Some(RunEnd { signal, .. })) => {
            let number = signal.and_then(|name| source::signal_number(&name)).unwrap_or(0);
            128u8.saturating_add(number)
        }
        Ok(None) => NOT_STARTED,
        Err(error) => {
            error!("{}", error.in_full());
            if error.io().kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED }
        }
    }
}

/// Runs all of the daemon. A read from a disk that stands still, or a write to a paused terminal, does not hold the end.
fn block_on<T>(work: impl Future<Output = Result<T, DaemonError>>) -> Result<T, DaemonError> {
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(DaemonError::Runtime)?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

async fn open_all(wanted: &[Listen]) -> Result<Vec<Socket>, ListenError> {
    let mut sockets = Vec::new();
    for listen in wanted {
        sockets.push(Socket::open(listen).await?);
    }
    Ok(sockets)
}

/// The signals that end the daemon.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for `future` as long as somebody listens.
async fn sender_open<T>(sender: &mpsc::Sender<Signal>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = future => Some(done),
        () = sender.closed() => None,
    }
}

/// Adopts what processes leave behind, until the end.
async fn adopt(children: Children, finish: CancellationToken) {
    tokio::select! {
        () = children.adopt() => {}
        () = finish.cancelled() => {}
    }
}

/// Becomes the program that a process source runs: what `rtlogd __child` does.
pub(crate) fn become_child() -> ExitCode {
    source::become_child()
}

/// What runs, and how it is told to stop.
struct House {
    catalog: Catalog,
    desk: Desk,
    budget: Budget,
    children: Children,
    sources: TaskTracker,
    stop_sources: CancellationToken,
    connections: TaskTracker,
    stop_accepting: CancellationToken,
    finish: CancellationToken,
    ready: watch::Sender<bool>,
}

impl House {
    fn new(config: &Config) -> Self {
        Self {
            catalog: Catalog::default(),
            desk: Desk::default(),
            budget: Budget::new(config.memory),
            children: Children::default(),
            sources: TaskTracker::new(),
            stop_sources: CancellationToken::new(),
            connections: TaskTracker::new(),
            stop_accepting: CancellationToken::new(),
            finish: CancellationToken::new(),
            ready: watch::Sender::new(false),
        }
    }

    /// Makes the stream's log and shows it to readers.
    fn enter(&self, spec: &Stream) -> Appender {
        let millis = Time::from(SystemTime::now()).millis();
        let last = Position { epoch: Epoch::fleeting(millis, fastrand::u32(..)), number: 0 };
        let (appender, log) = stream::open(spec.name.clone(), last, spec.memory, &self.budget);
        let kind = match spec.source {
            SourceKind::File(_) => "file",
            SourceKind::Process(_) => "process",
        };
        self.catalog.insert(Entry { log, kind, description: spec.description.clone(), labels: spec.labels.clone() });
        appender
    }

    /// What the daemon wants of each source. Commands for a process find their way to it.
    fn options(&self, spec: &Stream) -> Options {
        let inbox = matches!(spec.source, SourceKind::Process(_)).then(|| {
            let (handle, inbox) = control::open();
            self.desk.insert(spec.name.clone(), handle);
            inbox
        });
        Options { inbox, children: self.children.clone(), ..Options::default() }
    }

    /// Begins to serve, and says where.
    fn open_doors(&self, sockets: Vec<Socket>, config: &Config) {
        let addresses: Vec<_> = sockets.iter().map(Socket::address).collect();
        let base = config.base_path.trim_end_matches('/');
        let app = App {
            catalog: self.catalog.clone(),
            desk: self.desk.clone(),
            keep_alive: config.limits.keep_alive,
            ready: self.ready.subscribe(),
            rights: Rights::new(rustix::process::geteuid().as_raw()),
            origins: Arc::new(Origins::new(&config.origins)),
            sessions: Sessions::default(),
            leases: Leases::default(),
        };
        let rules = Rules {
            hosts: Hosts::new(&config.hosts),
            limits: config.limits.clone(),
            trusted: config.trusted_proxies.clone(),
            base_path: base.to_owned(),
            tasks: self.connections.clone(),
            finish: self.finish.clone(),
        };
        listen::serve(sockets, &app.routes(), rules, &self.stop_accepting);
        self.ready.send_replace(true);
        for address in &addresses {
            info!("listening on {address}{base}");
            for entry in self.catalog.list() {
                info!("stream {address}{base}/streams/{}", entry.log.name());
            }
        }
        systemd::ready(&format!("listening on {}", addresses.join(" ")));
    }

    /// The signals for the command of `rtlogd run`. From a terminal it shares our process group, and gets some itself.
    fn pass_signals(&self, terminal: bool) -> io::Result<mpsc::Receiver<Signal>> {
        let (sender, receiver) = mpsc::channel(16);
        for (passed, by_terminal) in PASSED_ON {
            let mut heard = signal(SignalKind::from_raw(passed.as_raw()))?;
            let sender = sender.clone();
            self.connections.spawn(async move {
                // It ends with the source, which drops the receiver.
                while let Some(Some(())) = sender_open(&sender, heard.recv()).await {
                    if !(terminal && by_terminal) && sender.send(passed).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(receiver)
    }

    /// Ends the sources, then the streams with what is left, then what is still connected after `patience`.
    async fn close(&self, patience: Duration) {
        systemd::stopping();
        self.ready.send_replace(false);
        self.stop_sources.cancel();
        self.sources.close();
        self.sources.wait().await;
        self.stop_accepting.cancel();
        self.finish.cancel();
        self.connections.close();
        if timeout(patience, self.connections.wait()).await.is_err() {
            warn!(connections = self.connections.len(); "readers did not take what was left; they are cut off");
        }
    }
}
