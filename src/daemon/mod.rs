//! Assembles the daemon: configuration, histories, sources, catalog, server and signals, and stops them in the order in
//! which data flows. What becomes of all this after a `kill -9`: see `history`, and `source::process` for commands.
//!
//! `serve` is `rtlogd serve`, `wrap` is `rtlogd run`. `running_sources` holds the sources that run, and plans how they
//! become those of another configuration, and `opened_sockets` are those in which it listens. `signals` are those of the
//! daemon, and `local_socket` is the socket of `rtlogd reload`, at a `local_socket_path`. `detach` and `pid_file` are for
//! machines without systemd. `upgrade` replaces the program there, with an `upgrade_result` for the client. `systemd` is for
//! machines with it, and `logging` sets up the log.

pub(crate) mod detach;
pub(crate) mod logging;
mod opened_sockets;
pub(crate) mod pid_file;
pub(crate) mod local_socket;
mod local_socket_path;
pub(crate) mod serve;
mod running_sources;
mod signals;
mod systemd;
pub(crate) mod upgrade;
pub(crate) mod upgrade_result;
pub(crate) mod wrap;

use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use log::{info, warn};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{
    self, AccessControl, AccessError, AllowedHosts, KeyReloader, TrustedProxies, UnknownProxyUser, WebOrigins,
};
use crate::client::terminal;
use crate::client::terminal::SafeText;
use crate::config::{
    Config, FileSelector, FileSourceConfig, Limits, LineFormat, ListenAddress, OwnPaths, SourceKind, Stream,
};
use crate::control::{self, CommandRouter, SourceHandle};
use crate::daemon::pid_file::PidFileError;
use crate::event::{Epoch, Position, Time};
use crate::http::guard::forwarded::UntrustedLog;
use crate::http::guard::gateway::{Gateway, RouteService};
use crate::http::{self, App};
use crate::listen;
use crate::listen::{CertReloader, ListenError, ListeningSocket, ServerContext, SocketFile, TlsError, TlsServer};
pub(crate) use crate::source::process::descriptors;
use crate::source::{self, Children, SourceOptions, TemporaryDirectories, Watcher};
use crate::stream::{
    self, Appender, Budget, Catalog, CatalogEntry, Checkpoints, History, HistoryError, Log, Retention,
};
use crate::structured::StructuredFormat;

/// The message to readers of a file or a journal whose configuration changed although its checkpoint is recorded
/// nowhere.
const CHECKPOINT_LOST: &str = "the configuration of the stream was changed, and without a state_directory rtlogd does not \
    remember how far the source was read; lines may be missing or repeated here";

/// The reason why the daemon could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Proxy(#[from] UnknownProxyUser),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("a socket from systemd is not a listening TCP or Unix socket (see ListenStream= in systemd.socket(5))")]
    SystemdSocket(#[source] io::Error),
    #[error(
        "systemd listens on {0}, which other machines can reach without a token; let it listen on 127.0.0.1, or \
        set `tls` and `access: {{keys: ...}}`, or `access: {{insecure: true}}`, in the configuration"
    )]
    InsecureSystemdSocket(ListenAddress),
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    #[error("the program cannot be replaced")]
    Upgrade(#[source] io::Error),
}

/// The JSON Schema of the messages of the control channel.
pub(crate) fn control_schema() -> serde_json::Value {
    crate::wire::message::schema()
}

/// Shows the login URL at the terminal. The URL gives access, so it is not written to anything that stores its output.
fn show_login_url(url: &str) {
    if io::stderr().is_terminal() {
        let hours = access::MAX_URL_TOKEN_LIFETIME.as_secs() / 3600;
        let text = format!(
            "open {url}\nDo not share this URL: for {hours} h, whoever has it can read all streams here, type into their processes, and start and stop them.\n"
        );
        terminal::print_error(&SafeText::lines(&text));
    }
}

/// Runs the daemon. A read from a stalled disk, or a write to a paused terminal, does not delay its exit.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, DaemonError>>) -> Result<T, DaemonError> {
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(DaemonError::Runtime)?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// Opens all addresses.
pub(crate) async fn open_all(wanted: &[ListenAddress]) -> Result<Vec<ListeningSocket>, ListenError> {
    let mut sockets = Vec::new();
    for listen in wanted {
        sockets.push(ListeningSocket::open(listen).await?);
    }
    Ok(sockets)
}

/// Adopts and reaps orphaned processes until the end.
pub(crate) async fn reap_orphans(children: Children, finish: CancellationToken) {
    tokio::select! {
        () = children.adopt() => {}
        () = finish.cancelled() => {}
    }
}

/// Becomes the program that a process source runs: the implementation of `rtlogd __child`.
pub(crate) fn become_child() -> ExitCode {
    source::become_child()
}

/// Becomes the parent of a program: the implementation of `rtlogd __shim`.
pub(crate) fn become_shim() -> ExitCode {
    source::become_shim()
}

/// Returns whether systemd stops this service for good.
pub(crate) fn is_being_stopped() -> bool {
    systemd::current_job().is_some_and(|job| job == "stop")
}

/// Ends the processes that a daemon with this state directory left, with the rights of its user. Blocks.
///
/// # Errors
/// If the directory cannot be read, or the rights of root cannot be given up.
pub(crate) fn sweep(state_directory: &Path) -> io::Result<()> {
    source::sweep(state_directory)
}

/// What the server needs from outside the configuration. It is loaded before the sources start: a daemon that cannot serve
/// must not have taken over commands.
#[derive(Debug)]
pub(crate) struct ServingMaterial {
    tls: Option<(TlsServer, CertReloader)>,
    trusted_proxies: TrustedProxies,
}

impl ServingMaterial {
    /// Reads the certificate, and looks up the users of proxies.
    ///
    /// # Errors
    /// If the certificate cannot be used, or a user does not exist.
    pub(crate) fn load(config: &Config) -> Result<Self, DaemonError> {
        let tls = config.tls.as_ref().map(TlsServer::open).transpose()?;
        Ok(Self { tls, trusted_proxies: TrustedProxies::new(&config.trusted_proxies)? })
    }
}

/// Everything that runs, and the tokens that stop it.
pub(crate) struct Daemon {
    pub(crate) catalog: Catalog,
    pub(crate) commands: CommandRouter,
    budget: Budget,
    /// The histories in which streams are recorded; `None` if there is no state directory.
    history: Option<History>,
    pub(crate) children: Children,
    pub(crate) source_tasks: TaskTracker,
    pub(crate) stop_sources: CancellationToken,
    pub(crate) connection_tasks: TaskTracker,
    stop_accepting: CancellationToken,
    pub(crate) finish_connections: CancellationToken,
    ready: watch::Sender<bool>,
    /// The directory for the sockets of shims; `None` if processes end with the daemon.
    shim_directory: Option<PathBuf>,
    /// The directories for temporary files of processes; `None` for that of the system.
    pub(crate) temporary_directories: Option<Arc<TemporaryDirectories>>,
    /// Set before the sources are stopped if the next daemon takes over their processes.
    hands_over: Arc<AtomicBool>,
    /// Copies of the listening sockets with their names, for the next program of this process.
    listeners: Vec<(String, OwnedFd)>,
    /// Tells readers that the next daemon is about to come.
    restart_notice: http::RestartNotice,
    /// The files of the Unix sockets that this daemon opened, which it removes when it ends.
    socket_files: Vec<SocketFile>,
    pub(crate) access: AccessControl,
    /// The bounds on connections that are in force.
    limits: watch::Sender<Arc<Limits>>,
    /// Reloads the keys; `None` once the server has taken it.
    key_reloader: Option<KeyReloader>,
    /// The token for the user who started rtlogd without a configuration, and so without keys.
    token: Option<String>,
    /// The files that no stream may show.
    own_paths: OwnPaths,
}

impl Daemon {
    /// A daemon for a configuration.
    pub(crate) fn new(config: &Config) -> Result<Self, DaemonError> {
        Self::with_key_reloader(config, KeyReloader::new(config.access.clone())?, None)
    }

    /// A daemon without the keys of the configuration, but with a token for the user who started it.
    pub(crate) fn with_token(config: &Config) -> Result<Self, DaemonError> {
        let (key_reloader, made) = KeyReloader::with_ephemeral_key()?;
        Self::with_key_reloader(config, key_reloader, Some(made.token))
    }

    fn with_key_reloader(
        config: &Config,
        key_reloader: KeyReloader,
        token: Option<String>,
    ) -> Result<Self, DaemonError> {
        descriptors::raise_open_file_limit();
        let own = rustix::process::geteuid().as_raw();
        Ok(Self {
            access: AccessControl::new(own, config.insecure, key_reloader.handle()),
            limits: watch::Sender::new(Arc::new(listen::within_descriptors(&config.limits, config.streams.len()))),
            key_reloader: Some(key_reloader),
            token,
            own_paths: config.own_paths(),
            catalog: Catalog::default(),
            commands: CommandRouter::default(),
            budget: Budget::new(config.memory),
            history: config.state_directory.as_deref().map(History::open).transpose()?,
            children: Children::default(),
            source_tasks: TaskTracker::new(),
            stop_sources: CancellationToken::new(),
            connection_tasks: TaskTracker::new(),
            stop_accepting: CancellationToken::new(),
            finish_connections: CancellationToken::new(),
            ready: watch::Sender::new(false),
            shim_directory: config.state_directory.as_deref().and_then(create_shim_directory),
            temporary_directories: config
                .state_directory
                .as_deref()
                .map(|directory| Arc::new(TemporaryDirectories::new(directory))),
            hands_over: Arc::default(),
            listeners: Vec::new(),
            restart_notice: http::RestartNotice::default(),
            socket_files: Vec::new(),
        })
    }

    /// Applies these limits to new connections.
    pub(crate) fn set_limits(&self, limits: &Limits, streams: usize) {
        self.limits.send_replace(Arc::new(listen::within_descriptors(limits, streams)));
    }

    /// Creates the log of a stream and adds it to the catalog. Also returns the checkpoints up to which its source is
    /// recorded.
    pub(crate) fn open_stream(&self, spec: &Stream) -> Result<(Appender, Checkpoints), HistoryError> {
        let (name, memory) = (spec.name.clone(), spec.history.memory);
        let (appender, log, checkpoints) = if let Some(history) = &self.history {
            let kept = history.stream(&name, retention(spec))?;
            let kept = if matches!(spec.source, SourceKind::Process(_)) { kept } else { kept.without_run() };
            stream::open_with_history(name, kept, memory, &self.budget)
        } else {
            let now = Time::from(SystemTime::now());
            let begun = || Position { epoch: Epoch::ephemeral(now.millis(), fastrand::u32(..)), number: 0 };
            // Numbers continue where the stream was before its configuration changed.
            let before = self.catalog.get(&name).map(|entry| entry.log.info(now).last);
            let (mut appender, log) = stream::open(name, before.unwrap_or_else(begun), memory, &self.budget);
            log.set_bounds(memory, retention(spec));
            if before.is_some() && matches!(spec.source, SourceKind::File(_) | SourceKind::Journal(_)) {
                appender.queue_loss(CHECKPOINT_LOST);
            }
            (appender, log, Checkpoints::new())
        };
        let (kind, takes_input) = match &spec.source {
            SourceKind::File(_) => ("file", false),
            SourceKind::Process(process) => ("process", process.input),
            SourceKind::Journal(_) => ("journal", false),
            SourceKind::Push => ("push", false),
        };
        let log = log.with_format(structured_format(spec.format));
        self.decide_private(spec, &appender, &log);
        let (description, labels) = (spec.description.clone(), spec.labels.clone());
        let public_access = spec.public.then(|| log.public_access());
        self.catalog.insert(CatalogEntry { log, kind, takes_input, public_access, description, labels });
        Ok((appender, checkpoints))
    }

    /// Applies the keys that can change while the source runs.
    pub(crate) fn update_stream(&self, spec: &Stream) {
        let Some(entry) = self.catalog.get(&spec.name) else { return };
        self.catalog.describe(&spec.name, spec.description.clone(), spec.labels.clone());
        // First, so that nobody reads by `public` what is private now.
        if spec.private == Some(true) {
            entry.log.private().set();
        }
        self.catalog.set_public(&spec.name, spec.public);
        entry.log.set_bounds(spec.history.memory, retention(spec));
    }

    /// Makes the stream private if its configuration says so, or else if it reads something that not everybody may
    /// read, or did so before.
    ///
    /// Its earlier lines are still kept, so only `private: false` lets others read it without a token again.
    fn decide_private(&self, spec: &Stream, appender: &Appender, log: &Log) {
        let is_hidden = |files: &FileSelector, file: &FileSourceConfig| match files {
            FileSelector::Path(path) => source::is_hidden(path, file.follow_symlinks, self.own_paths.clone()),
            // Files that match a pattern are checked when they are read.
            FileSelector::Pattern(_) => false,
        };
        let in_memory = || self.catalog.get(&spec.name).is_some_and(|entry| entry.log.private().is_set());
        let by_source = match &spec.source {
            SourceKind::File(file) => file.files.iter().any(|files| is_hidden(files, file)),
            SourceKind::Journal(_) => true,
            SourceKind::Process(_) | SourceKind::Push => false,
        };
        let was_private = appender.was_private() || in_memory();
        if spec.private.unwrap_or(by_source || was_private) {
            log.private().set();
        }
        if spec.private.is_none() && was_private && !by_source {
            info!(stream:% = spec.name; "the stream stays private because its history contains private lines; `private: false` lets others read it without a token");
        }
    }

    /// The watcher that wakes the source of this stream.
    pub(crate) fn watcher_for(&self, spec: &Stream, watcher: &Watcher) -> Watcher {
        match (spec.private, self.catalog.get(&spec.name)) {
            (None, Some(entry)) => watcher.clone().marking_private(entry.log.private().clone()),
            (Some(_), _) | (None, None) => watcher.clone(),
        }
    }

    /// The options of a source. Registers the handle of a source that accepts requests.
    pub(crate) fn source_options(&self, spec: &Stream) -> SourceOptions {
        // A former stream of this name may have been a process.
        self.commands.remove(&spec.name);
        let mut options = SourceOptions {
            children: self.children.clone(),
            shim_directory: self.shim_directory.clone(),
            temporary_directories: self.temporary_directories.clone(),
            hands_over: self.hands_over.clone(),
            ..SourceOptions::default()
        };
        match &spec.source {
            SourceKind::Process(_) => {
                let (handle, requests) = control::process_requests();
                self.commands.insert(spec.name.clone(), SourceHandle::Process(handle));
                options.process_requests = Some(requests);
            }
            SourceKind::Push => {
                let (handle, requests) = control::push_requests();
                self.commands.insert(spec.name.clone(), SourceHandle::Push(handle));
                options.push_requests = Some(requests);
            }
            SourceKind::File(_) | SourceKind::Journal(_) => {}
        }
        options
    }

    /// Begins to serve, and logs the addresses. Returns them as the status for the service manager.
    pub(crate) fn start_serving(
        &mut self,
        mut sockets: Vec<ListeningSocket>,
        config: &Config,
        ServingMaterial { tls, trusted_proxies }: ServingMaterial,
    ) -> String {
        let (tls, cert_reloader) = tls.unzip();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.address(tls.is_some())).collect();
        let base = config.base_path.trim_end_matches('/');
        let origins = Arc::new(WebOrigins::new(&config.origins));
        let (ready, access) = (self.ready.subscribe(), self.access.clone());
        let mut app = App::new(self.catalog.clone(), self.commands.clone(), ready, access, origins.clone(), base);
        app.restart_notice = self.restart_notice.clone();
        let gateway = Gateway {
            hosts: AllowedHosts::new(&config.hosts),
            origins,
            trusted_proxies: trusted_proxies.clone(),
            untrusted_log: UntrustedLog::default(),
            base_path: base.to_owned(),
            response_counter: app.response_counter.clone(),
            routes: RouteService::new(http::routes(Arc::new(app))),
        };
        let context = ServerContext {
            service: Arc::new(gateway),
            limits: self.limits.subscribe(),
            trusted_proxies,
            tls,
            connection_tasks: self.connection_tasks.clone(),
            finish: self.finish_connections.clone(),
        };
        self.socket_files = sockets.iter_mut().filter_map(ListeningSocket::take_file).collect();
        // First, since requests may be waiting in the sockets already.
        self.ready.send_replace(true);
        listen::serve(sockets, context, &self.stop_accepting);
        if let Some(key_reloader) = self.key_reloader.take() {
            let finish = self.finish_connections.clone();
            self.connection_tasks.spawn(async move { finish.run_until_cancelled(key_reloader.watch()).await });
        }
        if let Some(cert_reloader) = cert_reloader {
            let finish = self.finish_connections.clone();
            self.connection_tasks.spawn(async move { finish.run_until_cancelled(cert_reloader.watch()).await });
        }
        for address in &addresses {
            // Paths on the Unix socket need no base path.
            let (base, access) = if address.starts_with("unix:") {
                ("", " (private: only root, the daemon's own user and tokens give access)")
            } else {
                (base, " (private: reading it needs a token)")
            };
            info!("listening on {address}{base}");
            for entry in self.catalog.list() {
                let private = if entry.log.private().is_set() { access } else { "" };
                info!("stream {address}{base}/streams/{}{private}", entry.log.name());
            }
        }
        if let (Some(token), Some(url)) = (&self.token, addresses.iter().find(|address| address.starts_with("http"))) {
            show_login_url(&format!("{url}{base}/?access_token={token}"));
        }
        let status = format!("listening on {}", addresses.join(" "));
        systemd::notify_ready(&status);
        status
    }

    /// Leaves the processes to the next daemon, once this one shuts down.
    pub(crate) fn hand_over_processes(&self) {
        self.hands_over.store(true, Ordering::Release);
    }

    /// Leaves the listening sockets to the next daemon, for which somebody else keeps them: connections that are not
    /// accepted yet wait for it. Returns the files of the sockets, which the next daemon needs.
    pub(crate) fn hand_over_sockets(&mut self) -> Vec<SocketFile> {
        self.restart_notice.set();
        self.stop_accepting.cancel();
        mem::take(&mut self.socket_files)
    }

    /// Remembers the listening sockets for [`take_listeners`](Self::take_listeners).
    pub(crate) fn remember_listeners(&mut self, sockets: &[(String, ListeningSocket)]) {
        let copy =
            |(name, socket): &(String, ListeningSocket)| Ok((name.clone(), socket.as_fd().try_clone_to_owned()?));
        match sockets.iter().map(copy).collect::<io::Result<_>>() {
            Ok(listeners) => self.listeners = listeners,
            Err(error) => {
                warn!(errno = error.raw_os_error(), error:% = error; "`rtlogd upgrade` will not work for this daemon");
            }
        }
    }

    /// Copies of all listening sockets, with their names.
    pub(crate) fn take_listeners(&mut self) -> Vec<(String, OwnedFd)> {
        mem::take(&mut self.listeners)
    }

    /// Stops the sources, then ends the streams with their remaining lines, then the connections that are still open
    /// after `reader_timeout`.
    pub(crate) async fn shut_down(&mut self, reader_timeout: Duration) {
        systemd::notify_stopping();
        self.ready.send_replace(false);
        self.stop_sources.cancel();
        self.source_tasks.close();
        self.source_tasks.wait().await;
        if let Some(history) = self.history.take() {
            // All appenders are closed: only the last sync is left.
            spawn_blocking(move || history.close()).await.unwrap_or_default();
        }
        self.stop_accepting.cancel();
        self.listeners.clear();
        self.finish_connections.cancel();
        self.connection_tasks.close();
        self.socket_files.clear();
        if timeout(reader_timeout, self.connection_tasks.wait()).await.is_err() {
            warn!(connections = self.connection_tasks.len(); "readers did not receive the remaining events in time; their connections are closed");
        }
    }
}

/// Creates the directory for the sockets of shims. Without it, processes end with the daemon.
fn create_shim_directory(state_directory: &Path) -> Option<PathBuf> {
    let directory = state_directory.join(source::SHIM_DIRECTORY);
    match DirBuilder::new().mode(0o700).recursive(true).create(&directory) {
        Ok(()) => Some(directory),
        Err(error) => {
            warn!(errno = error.raw_os_error(), error:% = error; "cannot create {}: processes will end with rtlogd", directory.display());
            None
        }
    }
}

/// The bounds on what is kept of the stream on disk.
fn retention(spec: &Stream) -> Retention {
    Retention { bytes: spec.history.disk, age: spec.history.age, runs: spec.history.runs }
}

/// The form in which lines of this format are structured. Unwrapped lines are text.
fn structured_format(format: LineFormat) -> Option<StructuredFormat> {
    match format {
        LineFormat::Text | LineFormat::Cri | LineFormat::Docker => None,
        LineFormat::Json => Some(StructuredFormat::Json),
        LineFormat::Logfmt => Some(StructuredFormat::Logfmt),
        LineFormat::Syslog => Some(StructuredFormat::Syslog),
    }
}
