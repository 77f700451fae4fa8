//! `rtlogd serve`: starts the streams of the configuration, applies its changes, and stops on SIGTERM.
//!
//! A reload restarts only the sources whose configuration has changed; the others keep running, with their readers. A
//! configuration with mistakes changes nothing.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use log::{error, info, warn};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::{self, Config, ProcessesAtStop, SourceKind, Stream};
use crate::daemon::local_socket::{LocalCommand, LocalListener, LocalRequest, RequestResult};
use crate::daemon::opened_sockets::{adopt_systemd_sockets, open_or_take_stored, remove_stored};
use crate::daemon::pid_file::{PidFile, PidFileOption};
use crate::daemon::running_sources::{ReconcilePlan, RunningSources};
use crate::daemon::signals::{EarlySignals, Hangups, TerminationSignals, ignore_unused_signals};
use crate::daemon::systemd::{self, InheritedSockets};
use crate::daemon::upgrade::{Handover, InstalledProgram, ReceivedHandover};
use crate::daemon::upgrade_result::upgrade_result;
use crate::daemon::{Daemon, DaemonError, ServingMaterial, block_on, reap_orphans};
use crate::event::StreamName;
use crate::listen::SocketFile;
use crate::source::{self, Watcher};
use crate::stream::{Appender, Catalog, Checkpoints, HistoryError};

/// Loads the configuration at the start and for each reload. The error is for people, one mistake on each line.
pub(crate) type ConfigLoader = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// The answer to a request for an upgrade while there is another one.
const UPGRADE_IN_PROGRESS: &str = "rtlogd is being upgraded; try again";

/// The answer to a request for an upgrade after which the daemon was ended.
const ENDED_INSTEAD: &str = "the program was not replaced: rtlogd was asked to end";

/// The options of `rtlogd serve`.
pub(crate) struct ServeOptions {
    /// The configuration as first loaded.
    pub(crate) config: Config,
    /// The configuration file; `None` if there is none.
    pub(crate) file: Option<PathBuf>,
    /// Loads the configuration again.
    pub(crate) load: ConfigLoader,
    /// The program that replaces this one on request.
    pub(crate) installed: InstalledProgram,
    /// The pid file, which is removed at the end.
    pub(crate) pid_file: PidFileOption,
    /// Called once the daemon serves.
    pub(crate) on_ready: Box<dyn FnOnce()>,
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions").field("config", &self.config).field("file", &self.file).finish_non_exhaustive()
    }
}

/// The reason why the daemon stops.
#[derive(Debug)]
enum StopReason {
    /// A signal, or the end of the terminal.
    Signal,
    /// A request to end.
    ShutDown(ProcessesAtStop, LocalRequest),
    /// A request to become another program.
    Upgrade(Handover, LocalRequest),
}

/// A check of the program that is now installed, while the daemon continues to serve.
#[derive(Debug)]
struct PendingUpgrade {
    request: LocalRequest,
    /// Returns the version of the program, or the reason why it cannot take over.
    check: JoinHandle<Result<String, String>>,
}

impl PendingUpgrade {
    /// Waits for the result; without a check, for ever. May be dropped at any time.
    async fn checked(pending: Option<&mut Self>) -> Result<String, String> {
        match pending {
            Some(pending) => (&mut pending.check).await.unwrap_or_else(|error| Err(error.to_string())),
            None => std::future::pending().await,
        }
    }
}

/// Serves until SIGTERM or SIGINT, or until a request to end. In the case of an upgrade, it returns only if that fails.
pub(crate) fn serve(options: ServeOptions) -> Result<(), DaemonError> {
    // Must come before the runtime has threads, since it changes the environment.
    let inherited = systemd::inherited_sockets().map_err(DaemonError::SystemdSocket)?;
    let installed = options.installed.clone();
    let early_signals = EarlySignals::note(inherited.handover.is_some()).map_err(DaemonError::Signals)?;
    match block_on(serve_until_stopped(options, inherited, &early_signals))? {
        None => Ok(()),
        Some(handover) => Err(DaemonError::Upgrade(handover.execute(&installed, early_signals))),
    }
}

/// Serves until the daemon is stopped. Returns the descriptors for the program that this process is to become, if there is
/// one.
async fn serve_until_stopped(
    options: ServeOptions,
    inherited: InheritedSockets,
    early_signals: &EarlySignals,
) -> Result<Option<Handover>, DaemonError> {
    ignore_unused_signals(|_| false);
    let mut termination = TerminationSignals::new().map_err(DaemonError::Signals)?;
    let mut hangups = early_signals.hangups().map_err(DaemonError::Signals)?;
    let mut inherited = inherited;
    let client = inherited.handover.as_mut().and_then(|handover| handover.client.take());
    let failure = inherited.handover.as_mut().and_then(|handover| handover.failure.take());
    let started = Server::start(options, inherited).await;
    if let Some(client) = client {
        let request = LocalRequest::of_client(LocalCommand::Upgrade, client).map_err(DaemonError::Upgrade)?;
        request.answer(&upgrade_result(started.as_ref().map(drop), failure)).await;
    }
    let mut server = started?;
    let reason = if early_signals.terminates() {
        StopReason::Signal
    } else {
        server.run_until(&mut termination, &mut hangups).await
    };
    server.stop(reason, &mut termination).await
}

/// The daemon with its sources, which are kept as the configuration describes them.
struct Server {
    daemon: Daemon,
    sources: RunningSources,
    watcher: Watcher,
    /// The configuration at the start, with the limits, the access and the list of files of the last reload. The
    /// streams that run are in `sources`.
    config: Config,
    load: ConfigLoader,
    /// `true` if the daemon was started at a terminal, without a configuration to reload.
    is_interactive: bool,
    /// The addresses, for the service manager.
    status: String,
    /// The program that replaces this one on request, and the configuration file; `None` without one.
    upgrade: Option<(InstalledProgram, PathBuf)>,
    pending_upgrade: Option<PendingUpgrade>,
    local_listener: LocalListener,
    pid_file: Option<PidFile>,
}

impl Server {
    /// Starts everything. What an earlier program of this process left is removed if that fails.
    async fn start(options: ServeOptions, inherited: InheritedSockets) -> Result<Self, DaemonError> {
        let ServeOptions { config, file, load, installed, pid_file, on_ready } = options;
        let ReceivedHandover { pid_file: locked, local_socket, .. } = inherited.handover.unwrap_or_default();
        let pid_file = pid_file.open(locked)?;
        let local_listener = file.as_ref().zip(local_socket).map(|(file, socket)| LocalListener::adopt(file, socket));
        let sockets = if inherited.activated.is_empty() {
            open_or_take_stored(&config.listen, inherited.stored).await?
        } else {
            remove_stored(inherited.stored);
            adopt_systemd_sockets(inherited.activated, config.is_safe_to_expose())?
        };
        source::kill_point(source::KillPoint::Stored);
        let material = ServingMaterial::load(&config)?;
        let daemon = if file.is_some() { Daemon::new(&config) } else { Daemon::with_token(&config) };
        let is_interactive = file.is_none() && io::stderr().is_terminal();
        let mut server = Self::new(daemon?, config, load, is_interactive);
        server.upgrade = file.clone().map(|file| (installed, file));
        server.pid_file = pid_file;
        let daemon = &mut server.daemon;
        daemon.remember_listeners(&sockets);
        daemon.connection_tasks.spawn(reap_orphans(daemon.children.clone(), daemon.finish_connections.clone()));
        // All streams are opened before a source starts: if the daemon cannot start, it must not have taken over commands,
        // which it would end.
        let specs = server.config.streams.clone();
        let opened = specs.into_iter().map(|spec| Ok((server.daemon.open_stream(&spec)?, spec)));
        for (opened, spec) in opened.collect::<Result<Vec<_>, HistoryError>>()? {
            server.start_source(spec, opened);
        }
        server.end_unclaimed_runs().await;
        server.local_listener = local_listener
            .or_else(|| file.map(|file| LocalListener::open(&file)))
            .unwrap_or_else(LocalListener::disabled);
        let sockets = sockets.into_iter().map(|(_, socket)| socket).collect();
        server.status = server.daemon.start_serving(sockets, &server.config, material);
        server.start_watchdog();
        on_ready();
        Ok(server)
    }

    fn new(daemon: Daemon, config: Config, load: ConfigLoader, is_interactive: bool) -> Self {
        let (sources, watcher, status) = (RunningSources::default(), Watcher::new(), String::new());
        watcher.protect(config.own_paths());
        Self {
            daemon,
            sources,
            watcher,
            config,
            load,
            is_interactive,
            status,
            upgrade: None,
            pending_upgrade: None,
            local_listener: LocalListener::disabled(),
            pid_file: None,
        }
    }

    /// Starts the source of a stream that was opened.
    fn start_source(&mut self, spec: Stream, (appender, checkpoints): (Appender, Checkpoints)) {
        let stop = self.daemon.stop_sources.child_token();
        let options = self.daemon.source_options(&spec);
        let watcher = self.daemon.watcher_for(&spec, &self.watcher);
        let run = source::run(spec.clone(), appender, checkpoints, options, watcher, stop.clone());
        // The stream itself has reported how its last run ended.
        let task = self.daemon.source_tasks.spawn(async move { drop(run.await) });
        self.sources.insert(spec, stop, task);
    }

    /// Ends the processes of streams that were removed from the configuration since an earlier daemon left them.
    async fn end_unclaimed_runs(&self) {
        let Some(directory) = self.config.state_directory.clone() else { return };
        let processes = self.config.streams.iter().filter(|spec| matches!(spec.source, SourceKind::Process(_)));
        let wanted: Vec<_> = processes.map(|spec| spec.name.to_string()).collect();
        let end = move || source::end_unclaimed(&directory, wanted.iter().map(String::as_str));
        match spawn_blocking(end).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(errno = error.raw_os_error(), error:% = error; "cannot look for processes of an earlier rtlogd");
            }
            Err(error) => warn!(error:% = error; "cannot look for processes of an earlier rtlogd"),
        }
        self.remove_temporary_files();
    }

    /// Deletes the temporary files of streams that were removed from the configuration, while the daemon continues.
    fn remove_temporary_files(&self) {
        let Some(directories) = self.daemon.temporary_directories.clone() else { return };
        directories.set_wanted(self.sources.process_streams().map(ToString::to_string).collect());
        spawn_blocking(move || directories.remove_unwanted());
    }

    /// Notifies the watchdog of the service manager as often as it asks for.
    fn start_watchdog(&self) {
        let Some(watchdog_timeout) = systemd::watchdog_timeout() else { return };
        let (tasks, catalog) = (self.daemon.connection_tasks.clone(), self.daemon.catalog.clone());
        let finish = self.daemon.finish_connections.clone();
        self.daemon.connection_tasks.spawn(async move {
            let mut tick = tokio::time::interval(watchdog_timeout / 2);
            let notifications = async {
                loop {
                    tick.tick().await;
                    if is_alive(&tasks, &catalog).await {
                        systemd::notify_watchdog();
                    }
                }
            };
            finish.run_until_cancelled(notifications).await;
        });
    }

    /// Carries out requests until the daemon is to stop.
    async fn run_until(&mut self, termination: &mut TerminationSignals, hangups: &mut Hangups) -> StopReason {
        loop {
            let request = tokio::select! {
                () = termination.wait() => return StopReason::Signal,
                // SIGHUP of an interactive daemon means that its terminal was closed.
                () = hangups.next() => {
                    if self.is_interactive {
                        return StopReason::Signal;
                    }
                    LocalRequest::by_signal(LocalCommand::Reload)
                }
                request = self.local_listener.accept() => request,
                checked = PendingUpgrade::checked(self.pending_upgrade.as_mut()) => match self.finish_check(checked).await {
                    Some(reason) => return reason,
                    None => continue,
                },
            };
            match request.command {
                LocalCommand::Reload => {
                    let result = self.reload().await;
                    request.answer(&result).await;
                }
                LocalCommand::ShutDown(processes) => return StopReason::ShutDown(processes, request),
                LocalCommand::Upgrade => self.begin_check(request).await,
            }
        }
    }

    /// Begins to check the program that is now installed.
    async fn begin_check(&mut self, request: LocalRequest) {
        if self.pending_upgrade.is_some() {
            return request.answer(&RequestResult::Refused(UPGRADE_IN_PROGRESS.to_owned())).await;
        }
        let Some((installed, file)) = self.upgrade.clone() else {
            return refuse_upgrade(request, "this rtlogd was started without a configuration").await;
        };
        let children = self.daemon.children.clone();
        let check = tokio::spawn(async move { installed.check(&file, &children).await });
        self.pending_upgrade = Some(PendingUpgrade { request, check });
    }

    /// Returns the reason to stop after the program was checked: the upgrade, unless it has to be refused.
    async fn finish_check(&mut self, checked: Result<String, String>) -> Option<StopReason> {
        let PendingUpgrade { request, .. } = self.pending_upgrade.take()?;
        match checked.and_then(|version| self.prepare_upgrade(&version, &request)) {
            Ok(handover) => Some(StopReason::Upgrade(handover, request)),
            Err(reason) => {
                refuse_upgrade(request, &reason).await;
                None
            }
        }
    }

    /// Collects what a program of this version takes over.
    fn prepare_upgrade(&mut self, version: &str, request: &LocalRequest) -> Result<Handover, String> {
        let pid_file = self.pid_file.as_ref().map(PidFile::locked).transpose();
        let pid_file = pid_file.map_err(|error| format!("the pid file cannot be passed on: {error}"))?;
        let sockets = self.daemon.take_listeners();
        if sockets.is_empty() {
            return Err("the listening sockets cannot be passed on; the log says why".to_owned());
        }
        info!(version; "rtlogd is replaced by version {version}");
        Ok(Handover { sockets, pid_file, client: request.client(), local_socket: self.local_listener.socket() })
    }

    /// Stops the daemon. Returns the descriptors for the program that this process is to become, if there is one.
    async fn stop(
        mut self,
        reason: StopReason,
        termination: &mut TerminationSignals,
    ) -> Result<Option<Handover>, DaemonError> {
        if let Some(PendingUpgrade { request, check }) = self.pending_upgrade.take() {
            check.abort();
            request.answer(&RequestResult::Refused(ENDED_INSTEAD.to_owned())).await;
        }
        let by_systemd = match &reason {
            StopReason::Signal => spawn_blocking(systemd::is_restarting).await.unwrap_or_default(),
            StopReason::ShutDown(..) | StopReason::Upgrade(..) => false,
        };
        let keeps = match &reason {
            StopReason::Signal => by_systemd || self.config.processes_at_stop == ProcessesAtStop::Keep,
            StopReason::ShutDown(processes, _) => *processes == ProcessesAtStop::Keep,
            StopReason::Upgrade(..) => true,
        };
        if keeps {
            self.daemon.hand_over_processes();
        }
        if by_systemd {
            self.daemon.hand_over_sockets().into_iter().for_each(SocketFile::keep);
        }
        if let StopReason::Upgrade(handover, request) = reason {
            return Ok(self.stop_for_upgrade(handover, request, termination).await);
        }
        // A next daemon creates the socket again.
        self.local_listener = LocalListener::disabled();
        self.daemon.shut_down(self.config.limits.shutdown).await;
        self.daemon.children.sweep().await;
        if let StopReason::ShutDown(_, request) = reason {
            // First, since the client waits for the end of the process.
            drop(self.pid_file.take());
            let text = if keeps { "rtlogd has ended; its commands continue" } else { "rtlogd has ended" };
            request.answer(&RequestResult::Applied(text.to_owned())).await;
        }
        Ok(None)
    }

    /// Stops the daemon for an upgrade. A signal that would end it has precedence, and then there is nothing to hand over.
    async fn stop_for_upgrade(
        mut self,
        handover: Handover,
        request: LocalRequest,
        termination: &mut TerminationSignals,
    ) -> Option<Handover> {
        let socket_files = self.daemon.hand_over_sockets();
        let hands_over = self.daemon.hands_over.clone();
        let keeps = self.config.processes_at_stop == ProcessesAtStop::Keep;
        let mut shut_down = Box::pin(self.daemon.shut_down(self.config.limits.shutdown));
        let is_ended = tokio::select! {
            () = termination.wait() => true,
            () = &mut shut_down => false,
        };
        if is_ended {
            info!("rtlogd ends, and is not replaced");
            hands_over.store(keeps, Ordering::Release);
            shut_down.as_mut().await;
        }
        drop(shut_down);
        self.daemon.children.sweep().await;
        if !is_ended {
            socket_files.into_iter().for_each(SocketFile::keep);
            self.local_listener.keep();
            if let Some(pid_file) = self.pid_file.take() {
                pid_file.keep();
            }
            return Some(handover);
        }
        if let Some(directory) = self.config.state_directory.clone().filter(|_| !keeps) {
            // Commands that were left before the signal arrived.
            if let Ok(Err(error)) = spawn_blocking(move || source::sweep(&directory)).await {
                warn!(errno = error.raw_os_error(), error:% = error; "cannot end the processes that continue");
            }
        }
        drop((socket_files, self.local_listener, self.pid_file.take()));
        request.answer(&RequestResult::Refused(ENDED_INSTEAD.to_owned())).await;
        None
    }

    /// Loads the configuration again, and applies it.
    async fn reload(&mut self) -> RequestResult {
        systemd::notify_reloading();
        let load = self.load.clone();
        let outcome = match spawn_blocking(move || load()).await {
            Ok(Ok(config)) => self.apply(config).await,
            Ok(Err(mistakes)) => {
                for mistake in mistakes.lines() {
                    error!("the configuration is invalid, and nothing was changed: {mistake}");
                }
                RequestResult::Refused(mistakes)
            }
            Err(error) => RequestResult::PartlyApplied(format!("the configuration could not be read: {error}")),
        };
        systemd::notify_ready(&match &outcome {
            RequestResult::Applied(_) => self.status.clone(),
            RequestResult::Refused(why) => {
                format!("{}; the last reload changed nothing: {}", self.status, first_line_of(why))
            }
            RequestResult::PartlyApplied(why) => format!("{}; the last reload: {}", self.status, first_line_of(why)),
        });
        outcome
    }

    /// Changes the running sources into those of `config`.
    async fn apply(&mut self, config: Config) -> RequestResult {
        let rest = restart_needed_for(&self.config, &config);
        let streams = config.streams.len();
        self.protect_own_files(&config);
        // Looked at when the daemon stops.
        self.config.processes_at_stop = config.processes_at_stop;
        let plan = self.sources.plan(config.streams);
        let mut summary = plan.summary();
        if self.config.limits != config.limits {
            self.daemon.set_limits(&config.limits, streams);
            self.config.limits = config.limits;
            summary += "; new limits apply to new connections";
        }
        let mut failures = self.apply_access(config.access, &mut summary).await;
        failures.extend(self.execute(plan).await);
        info!("configuration applied, {summary}");
        let mut text = summary;
        if let Some(rest) = rest {
            warn!("{rest}");
            text = format!("{text}\n{rest}");
        }
        if failures.is_empty() {
            RequestResult::Applied(text)
        } else {
            RequestResult::PartlyApplied(failures.join("\n"))
        }
    }

    /// Applies changed keys and issuers. Their files are read again in any case, since they may be the reason for the
    /// reload.
    async fn apply_access(&mut self, access: config::AccessConfig, summary: &mut String) -> Vec<String> {
        if self.config.access == access {
            self.daemon.access.keys().poll_files().await;
            return Vec::new();
        }
        self.config.access = access.clone();
        *summary += "; changed keys and issuers of tokens";
        self.daemon.access.keys().set_spec_and_wait(access).await
    }

    /// Protects the files of the running daemon, and those of `config`, which a restart may use.
    fn protect_own_files(&mut self, config: &Config) {
        self.config.files.clone_from(&config.files);
        let (mut own, after) = (self.config.own_paths(), config.own_paths());
        own.directories.extend(after.directories);
        own.files.extend(after.files);
        self.watcher.protect(own);
    }

    async fn execute(&mut self, plan: ReconcilePlan) -> Vec<String> {
        let (catalog, commands) = (self.daemon.catalog.clone(), self.daemon.commands.clone());
        for spec in &plan.restart {
            catalog.hold(&spec.name);
        }
        self.sources.stop(plan.stopping()).await;
        for name in &plan.remove {
            catalog.remove(name);
            commands.remove(name);
        }
        for spec in plan.keep_running {
            self.daemon.update_stream(&spec);
            self.sources.update(spec);
        }
        let mut failures = Vec::new();
        for spec in plan.restart.into_iter().chain(plan.add) {
            let name = spec.name.clone();
            match self.daemon.open_stream(&spec) {
                Ok(opened) => self.start_source(spec, opened),
                Err(error) => {
                    catalog.remove(&name);
                    commands.remove(&name);
                    failures.push(stream_failure(&name, &error));
                }
            }
        }
        self.remove_temporary_files();
        failures
    }
}

/// Logs that the program is not replaced, and tells the client.
async fn refuse_upgrade(request: LocalRequest, reason: &str) {
    warn!("rtlogd is not replaced: {reason}");
    let text = format!("{reason}\nnothing was changed: rtlogd {} continues", env!("CARGO_PKG_VERSION"));
    request.answer(&RequestResult::Refused(text)).await;
}

fn stream_failure(name: &StreamName, error: &HistoryError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    error!(stream:% = name, errno = error.errno(), error:% = error; "the stream cannot be opened{cause}");
    format!("stream {name} cannot be opened: {error}{cause}")
}

/// Names the changes other than streams, limits and keys, which take effect only at the next start.
fn restart_needed_for(before: &Config, after: &Config) -> Option<String> {
    let Config {
        listen,
        memory,
        state_directory,
        hosts,
        origins,
        trusted_proxies,
        base_path,
        tls,
        insecure,
        // Applied by a reload.
        streams: _,
        limits: _,
        access: _,
        processes_at_stop: _,
        files: _,
    } = before;
    let settings = [
        ("listen", *listen != after.listen),
        ("memory", *memory != after.memory),
        ("state_directory", *state_directory != after.state_directory),
        ("hosts", *hosts != after.hosts),
        ("origins", *origins != after.origins),
        ("trusted_proxies", *trusted_proxies != after.trusted_proxies),
        ("base_path", *base_path != after.base_path),
        ("tls", *tls != after.tls),
        ("access: insecure", *insecure != after.insecure),
    ];
    let named: Vec<_> = settings.iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("`{name}`")).collect();
    (!named.is_empty())
        .then(|| format!("{} changed; this takes effect only after a restart of rtlogd", named.join(", ")))
}

/// Returns whether the runtime still accepts new tasks, and no lock that every request needs is stuck.
async fn is_alive(tasks: &tokio_util::task::TaskTracker, catalog: &Catalog) -> bool {
    let catalog = catalog.clone();
    tasks.spawn(async move { catalog.list().len() }).await.is_ok()
}

fn first_line_of(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use std::time::Duration;

    #[test]
    fn what_needs_a_restart_is_named() {
        let before = Config::default();
        assert_eq!(restart_needed_for(&before, &before), None);
        let streams = vec![Stream::for_command("a".parse().unwrap(), vec!["true".into()])];
        let limits = Limits { head: Duration::from_secs(1), ..Limits::default() };
        let processes_at_stop = ProcessesAtStop::Keep;
        assert_eq!(restart_needed_for(&before, &Config { processes_at_stop, limits, streams, ..before.clone() }), None);
        let after = Config { memory: before.memory + 1, hosts: vec!["a".into()], ..before.clone() };
        let named = restart_needed_for(&before, &after).unwrap();
        assert_eq!(named, "`memory`, `hosts` changed; this takes effect only after a restart of rtlogd");
    }
}
