//! `rtlogd serve`: begins what the configuration wants, applies what is changed in it, and ends on SIGTERM.
//!
//! A reload compares: sources that are as they were are not touched, nor are their readers. What is wrong is said, and then
//! nothing changes.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use log::{error, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::config::{self, Config, Stream};
use crate::daemon::{DaemonError, House, Signals, adopt, block_on, ignore_unused_signals, open_all};
use crate::event::StreamName;
use crate::fleet::{Fleet, Plan};
use crate::http::listen::Socket;
use crate::reload::{Asked, Door, Outcome};
use crate::source::{self, Wakes};
use crate::stream::{Catalog, HistoryError};
use crate::systemd::{self, Given};

/// How to get the configuration, now and again; the error is for people, a mistake a line.
pub(crate) type Load = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What `rtlogd serve` is to do.
pub(crate) struct Order {
    /// The configuration as it is now.
    pub(crate) config: Config,
    /// Where it came from; `None` if it is not from a file.
    pub(crate) file: Option<PathBuf>,
    /// Gets it again.
    pub(crate) load: Load,
    /// Called once all is served.
    pub(crate) served: Box<dyn FnOnce()>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("config", &self.config).field("file", &self.file).finish_non_exhaustive()
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(order: Order) -> Result<(), DaemonError> {
    // Before the runtime has threads: it changes our environment.
    let given = systemd::sockets().map_err(DaemonError::Given)?;
    block_on(async {
        ignore_unused_signals(|_| false);
        let Order { config, file, load, served } = order;
        let mut end = Signals::new().map_err(DaemonError::Signals)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
        let sockets =
            if given.is_empty() { open_all(&config.listen).await? } else { take(given, config.may_be_reached())? };
        let house = if file.is_some() { House::new(&config) } else { House::with_token(&config) };
        let by_hand = file.is_none() && io::stderr().is_terminal();
        let mut keeper = Keeper::new(house?, config, load, by_hand);
        let house = &keeper.house;
        house.connections.spawn(adopt(house.children.clone(), house.finish.clone()));
        for spec in keeper.config.streams.clone() {
            keeper.begin(spec)?;
        }
        let door = file.map_or_else(Door::none, |file| Door::open(&file));
        keeper.status = keeper.house.open_doors(sockets, &keeper.config)?;
        keeper.watch_over();
        served();
        keeper.until(&mut end, &mut hangup, &door).await;
        keeper.house.close(keeper.config.limits.shutdown).await;
        keeper.house.children.sweep().await;
        Ok(())
    })
}

/// The sockets that systemd opened, under the same rule as our own: what others can reach has to be wanted.
fn take(given: Vec<Given>, open: bool) -> Result<Vec<Socket>, DaemonError> {
    let mut sockets = Vec::new();
    for given in given {
        let socket = match given {
            Given::Tcp(listener) => Socket::given_tcp(listener),
            Given::Unix(listener) => Socket::given_unix(listener),
        };
        let socket = socket.map_err(DaemonError::Given)?;
        if !open && !socket.place().is_local() {
            return Err(DaemonError::Open(socket.place()));
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Keeps what runs as the configuration wants it.
struct Keeper {
    house: House,
    fleet: Fleet,
    wakes: Wakes,
    /// What was true at the start; its streams are in the fleet.
    config: Config,
    load: Load,
    /// Whether somebody started it at a terminal, and has no file to be read again.
    by_hand: bool,
    /// Where we listen, for the service manager.
    status: String,
}

impl Keeper {
    fn new(house: House, config: Config, load: Load, by_hand: bool) -> Self {
        let (fleet, wakes, status) = (Fleet::default(), Wakes::new(), String::new());
        wakes.protect(config.own_paths());
        Self { house, fleet, wakes, config, load, by_hand, status }
    }

    /// Starts a source.
    fn begin(&mut self, spec: Stream) -> Result<(), HistoryError> {
        let (appender, places) = self.house.enter(&spec)?;
        let stop = self.house.stop_sources.child_token();
        let options = self.house.options(&spec);
        let wakes = self.house.wakes(&spec, &self.wakes);
        let run = source::run(spec.clone(), appender, places, options, wakes, stop.clone());
        // How its last run ended, the stream said.
        let task = self.house.sources.spawn(async move { drop(run.await) });
        self.fleet.begun(spec, stop, task);
        Ok(())
    }

    /// Tells the service manager that we live, as often as it wants to hear it.
    fn watch_over(&self) {
        let Some(patience) = systemd::watched() else { return };
        let (tasks, catalog) = (self.house.connections.clone(), self.house.catalog.clone());
        let finish = self.house.finish.clone();
        self.house.connections.spawn(async move {
            let mut tick = tokio::time::interval(patience / 2);
            let tell = async {
                loop {
                    tick.tick().await;
                    if lives(&tasks, &catalog).await {
                        systemd::alive();
                    }
                }
            };
            finish.run_until_cancelled(tell).await;
        });
    }

    /// Applies changes until the end is asked for.
    async fn until(&mut self, end: &mut Signals, hangup: &mut Signal, door: &Door) {
        loop {
            let asked = tokio::select! {
                () = end.wait() => return,
                // Its terminal is gone.
                _ = hangup.recv() => if self.by_hand { return } else { Asked::by_signal() },
                asked = door.asked() => asked,
            };
            let outcome = self.reload().await;
            asked.answer(&outcome).await;
        }
    }

    /// Reads the configuration again, and does what it wants.
    async fn reload(&mut self) -> Outcome {
        systemd::reloading();
        let load = self.load.clone();
        let outcome = match spawn_blocking(move || load()).await {
            Ok(Ok(config)) => self.change(config).await,
            Ok(Err(mistakes)) => {
                for mistake in mistakes.lines() {
                    error!("nothing is changed, for the configuration is wrong: {mistake}");
                }
                Outcome::Refused(mistakes)
            }
            Err(error) => Outcome::Failed(format!("the configuration could not be read: {error}")),
        };
        systemd::ready(&match &outcome {
            Outcome::Done(_) => self.status.clone(),
            Outcome::Refused(why) => format!("{}; the last reload changed nothing: {}", self.status, first(why)),
            Outcome::Failed(why) => format!("{}; the last reload: {}", self.status, first(why)),
        });
        outcome
    }

    /// Makes what runs into what `config` wants.
    async fn change(&mut self, config: Config) -> Outcome {
        let rest = unapplied(&self.config, &config);
        let streams = config.streams.len();
        self.protect(&config);
        let plan = self.fleet.plan(config.streams);
        let mut summary = plan.summary();
        if self.config.limits != config.limits {
            self.house.set_limits(&config.limits, streams);
            self.config.limits = config.limits;
            summary += "; new limits, for new connections";
        }
        let mut failures = self.change_keys(config.access, &mut summary).await;
        failures.extend(self.carry_out(plan).await);
        info!("configuration applied, {summary}");
        let mut text = summary;
        if let Some(rest) = rest {
            warn!("{rest}");
            text = format!("{text}\n{rest}");
        }
        if failures.is_empty() { Outcome::Done(text) } else { Outcome::Failed(failures.join("\n")) }
    }

    /// Has the tokens of other keys and issuers believed. Their files are read at once in any case: whoever asks for a reload
    /// may have changed them.
    async fn change_keys(&mut self, access: config::Access, summary: &mut String) -> Vec<String> {
        if self.config.access == access {
            self.house.access.keys().look().await;
            return Vec::new();
        }
        self.config.access = access.clone();
        *summary += "; new keys and issuers of tokens";
        self.house.access.keys().change(access).await
    }

    /// Protects the files of the daemon as it runs, and those of `config`, which it may use after a restart.
    fn protect(&mut self, config: &Config) {
        self.config.files.clone_from(&config.files);
        let (mut own, after) = (self.config.own_paths(), config.own_paths());
        own.directories.extend(after.directories);
        own.files.extend(after.files);
        self.wakes.protect(own);
    }

    async fn carry_out(&mut self, plan: Plan) -> Vec<String> {
        let (catalog, desk) = (self.house.catalog.clone(), self.house.desk.clone());
        for spec in &plan.changed {
            catalog.hold(&spec.name);
        }
        self.fleet.end(plan.ended()).await;
        for name in &plan.removed {
            catalog.remove(name);
            desk.remove(name);
        }
        for spec in plan.described {
            catalog.describe(&spec.name, spec.description.clone(), spec.labels.clone());
            self.fleet.described(spec);
        }
        let mut failures = Vec::new();
        for spec in plan.changed.into_iter().chain(plan.added) {
            let name = spec.name.clone();
            if let Err(error) = self.begin(spec) {
                catalog.remove(&name);
                desk.remove(&name);
                failures.push(failure(&name, &error));
            }
        }
        failures
    }
}

fn failure(name: &StreamName, error: &HistoryError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    error!(stream:% = name, errno = error.errno(), error:% = error; "the stream cannot be begun{cause}");
    format!("stream {name} cannot be begun: {error}{cause}")
}

/// What differs beside streams, limits and the keys of tokens, if anything does: that is in force only from the next start.
fn unapplied(before: &Config, after: &Config) -> Option<String> {
    let rest = Config {
        streams: before.streams.clone(),
        limits: before.limits.clone(),
        access: before.access.clone(),
        files: before.files.clone(),
        ..after.clone()
    };
    if rest == *before {
        return None;
    }
    let settings = [
        ("listen", before.listen != after.listen),
        ("memory", before.memory != after.memory),
        ("state_directory", before.state_directory != after.state_directory),
        ("hosts", before.hosts != after.hosts),
        ("origins", before.origins != after.origins),
        ("trusted_proxies", before.trusted_proxies != after.trusted_proxies),
        ("base_path", before.base_path != after.base_path),
        ("tls", before.tls != after.tls),
        ("access: insecure", before.insecure != after.insecure),
    ];
    let named: Vec<_> = settings.iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("`{name}`")).collect();
    let named = if named.is_empty() { "what is not about streams".to_owned() } else { named.join(", ") };
    Some(format!("{named} changed, which needs a restart of rtlogd to be in force"))
}

/// Whether the runtime still takes up new tasks, and what every request needs is not stuck.
async fn lives(tasks: &tokio_util::task::TaskTracker, catalog: &Catalog) -> bool {
    let catalog = catalog.clone();
    tasks.spawn(async move { catalog.list().len() }).await.is_ok()
}

fn first(text: &str) -> &str {
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
        assert_eq!(unapplied(&before, &before), None);
        let streams = vec![Stream::of_command("a".parse().unwrap(), vec!["true".into()])];
        let limits = Limits { head: Duration::from_secs(1), ..Limits::default() };
        assert_eq!(unapplied(&before, &Config { limits, streams, ..before.clone() }), None);
        let after = Config { memory: before.memory + 1, hosts: vec!["a".into()], ..before.clone() };
        let named = unapplied(&before, &after).unwrap();
        assert_eq!(named, "`memory`, `hosts` changed, which needs a restart of rtlogd to be in force");
    }
}
