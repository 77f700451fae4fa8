//! From what is written to what is true: defaults, bounds, and what must or must not stand together.
//!
//! Knows no YAML and opens no files. What does not fit a type was noted before; it is as if it were not written.

mod advice;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::event::{MAX_LINE, StreamName};

use super::raw::{self, ScalarText};
use super::report::{ErrorReport, NodeLocation};
use super::units::{DurationText, Size};
use super::{
    Config, HistoryLimits, Limits, ListenAddress, MIN_MAX_LINE, MIN_STREAM_AGE, MIN_STREAM_DISK, MIN_STREAM_MEMORY,
    ProcessSourceConfig, ProgressDetection, Restart, Stop, Stream,
};
use crate::config::parse::located::{Entries, Located, Setting};
pub(crate) use crate::config::raw::switch_or_list::{Switch, SwitchOrList};

/// Shortest wait before a command is started again: a command that fails at once must not take the machine with it.
const MIN_RESTART_BACKOFF: Duration = Duration::from_millis(100);

/// Shortest time that a client is given for anything.
const MIN_CLIENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The configuration that `raw` describes. `directories` holds the directory of each file, for the paths in it.
pub(super) fn check(raw: raw::Config, directories: Vec<PathBuf>, report: &mut ErrorReport) -> Config {
    Checker { directories, report }.config(raw)
}

pub(super) struct Checker<'r> {
    directories: Vec<PathBuf>,
    pub(super) report: &'r mut ErrorReport,
}

/// What was written and fits, with its place.
pub(super) fn written<T>(field: Setting<T>) -> Option<(NodeLocation, T)> {
    field.and_then(|at| Some((at.place, at.value?)))
}

/// What was written and fits.
pub(super) fn value<T>(field: Setting<T>) -> Option<T> {
    written(field).map(|(_, value)| value)
}

impl Checker<'_> {
    fn config(&mut self, raw: raw::Config) -> Config {
        let defaults = Config::default();
        // What is written, but no truth, is one mistake; without this, each address to listen on would be one more.
        let insecure = raw.access.as_ref().is_some_and(|access| match &access.value {
            Some(access) => access.insecure.as_ref().is_some_and(|insecure| insecure.value.unwrap_or(true)),
            None => true,
        });
        let access = value(raw.access).map_or(defaults.access, |access| self.access(access));
        // A `tls` that is wrong is one mistake, too.
        let open = insecure || raw.tls.is_some() && !access.accepts_no_tokens();
        let tls = raw.tls.and_then(|tls| self.tls(tls));
        let listen = written(raw.listen).map(|(place, listen)| self.listen(place, listen.0, open));
        let memory = self.size(raw.memory, defaults.memory, MIN_STREAM_MEMORY, usize::MAX);
        let history = self.history(raw.history, HistoryLimits::default());
        let state_directory = written(raw.state_directory).and_then(|(place, path)| self.resolve_path(place, &path));
        let hosts = value(raw.hosts).unwrap_or_default();
        let origins = value(raw.origins).unwrap_or_default();
        let proxies = value(raw.trusted_proxies).unwrap_or_default();
        Config {
            listen: listen.unwrap_or(defaults.listen),
            memory,
            state_directory,
            hosts: hosts.into_iter().filter_map(|host| self.host(host)).collect(),
            origins: origins.into_iter().filter_map(|at| at.value).collect(),
            trusted_proxies: proxies.into_iter().filter_map(|at| at.value).collect(),
            base_path: written(raw.base_path)
                .and_then(|(at, path)| self.base_path(at, &path))
                .unwrap_or(defaults.base_path),
            tls,
            access,
            insecure,
            limits: value(raw.limits).map_or(defaults.limits, |limits| self.limits(limits)),
            streams: value(raw.streams).map_or_else(Vec::new, |streams| self.streams(streams, history)),
            files: Vec::new(),
        }
    }

    fn listen(&mut self, place: NodeLocation, written: Vec<Located<ListenAddress>>, open: bool) -> Vec<ListenAddress> {
        if written.is_empty() {
            self.report.wrong(place, "names no address (such as 127.0.0.1:7070; without `listen` it is that)");
        }
        let mut all: Vec<(ListenAddress, NodeLocation)> = Vec::new();
        for Located { place, value } in written {
            let listen = match value {
                Some(ListenAddress::Unix(path)) => {
                    self.resolve_path(place, &path.to_string_lossy()).map(ListenAddress::Unix)
                }
                other => other,
            };
            let Some(listen) = listen else { continue };
            if !listen.is_local() && !open {
                self.report.wrong(
                    place,
                    format!(
                        "{listen} can be reached from other machines, and needs `tls` and tokens (`access: {{ keys: ... }}`) \
                    for that (or a proxy, and 127.0.0.1; `access: {{ insecure: true }}` lets everybody read)"
                    ),
                );
            }
            if matches!(&listen, ListenAddress::Unix(path) if path.as_os_str().len() > super::MAX_SOCKET_PATH) {
                self.report.wrong(
                    place,
                    format!("{listen} is longer than the {} bytes a Unix socket may have", super::MAX_SOCKET_PATH),
                );
            }
            match all.iter().find(|(other, _)| *other == listen) {
                Some((_, first)) => self.report.add_duplicate(&listen.to_string(), place, *first),
                None => all.push((listen, place)),
            }
        }
        all.into_iter().map(|(listen, _)| listen).collect()
    }

    /// A name as a client writes it into `Host`, without the port.
    fn host(&mut self, host: Located<String>) -> Option<String> {
        let name = host.value?.to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        match bare.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => return Some(format!("[{address}]")),
            Ok(IpAddr::V4(_)) if bare == name => return Some(name),
            _ => {}
        }
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        };
        if name.len() <= 253 && name.split('.').all(label) {
            return Some(name);
        }
        self.report.wrong(
            host.place,
            format!("not a host name: {name:?} (no scheme, port, path or pattern; such as ci.example.com)"),
        );
        None
    }

    /// The path with a slash in front and none at the end, but for `/` itself.
    fn base_path(&mut self, place: NodeLocation, path: &str) -> Option<String> {
        let plain = |segment: &str| {
            let letter = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(letter)
        };
        match path.strip_prefix('/') {
            Some("") => return Some("/".into()),
            Some(rest) if rest.strip_suffix('/').unwrap_or(rest).split('/').all(plain) => {
                return Some(path.strip_suffix('/').unwrap_or(path).to_owned());
            }
            _ => {}
        }
        self.report.wrong(
            place,
            format!(
                "not a path to be seen under: {path:?} (a slash, then names of A-Z, a-z, 0-9, - . _ ~, such as /logs)"
            ),
        );
        None
    }

    fn limits(&mut self, raw: raw::Limits) -> Limits {
        let defaults = Limits::default();
        Limits {
            connections: self.in_range(raw.connections, defaults.connections, 1, usize::MAX),
            per_address: self.in_range(raw.per_address, defaults.per_address, 1, usize::MAX),
            readers: self.in_range(raw.readers, defaults.readers, 2, usize::MAX),
            per_token: self.in_range(raw.per_token, defaults.per_token, 1, usize::MAX),
            head: self.duration_at_least(raw.head, defaults.head, MIN_CLIENT_TIMEOUT),
            idle: self.duration_at_least(raw.idle, defaults.idle, MIN_CLIENT_TIMEOUT),
            body: self.duration_at_least(raw.body, defaults.body, MIN_CLIENT_TIMEOUT),
            head_size: self.size(raw.head_size, defaults.head_size, 8 << 10, 256 << 10),
            query_size: self.size(raw.query_size, defaults.query_size, 1 << 10, 64 << 10),
            body_size: self.size(raw.body_size, defaults.body_size, 1 << 10, 64 << 10),
            message_size: self.size(raw.message_size, defaults.message_size, 4 << 10, 1 << 20),
            filter_size: self.size(raw.filter_size, defaults.filter_size, 16 << 10, 1 << 20),
            stalled_write: self.duration_at_least(raw.stalled_write, defaults.stalled_write, MIN_CLIENT_TIMEOUT),
            lifetime: raw.lifetime.map(|at| self.duration_at_least(Some(at), MIN_CLIENT_TIMEOUT, MIN_CLIENT_TIMEOUT)),
            control_rate: value(raw.control_rate).unwrap_or(defaults.control_rate),
            keep_alive: self.duration_at_least(raw.keep_alive, defaults.keep_alive, MIN_CLIENT_TIMEOUT),
            shutdown: self.duration_at_least(raw.shutdown, defaults.shutdown, Duration::ZERO),
        }
    }

    fn in_range<T: PartialOrd + Display + Copy>(&mut self, field: Setting<T>, default: T, least: T, most: T) -> T {
        match written(field) {
            Some((place, value)) if value < least => {
                self.report.wrong(place, format!("{value} is too little (at least {least})"));
                default
            }
            Some((place, value)) if value > most => {
                self.report.wrong(place, format!("{value} is too much (at most {most})"));
                default
            }
            Some((_, value)) => value,
            None => default,
        }
    }

    fn size(&mut self, field: Setting<Size>, default: usize, least: usize, most: usize) -> usize {
        let size = |bytes: usize| Size(u64::try_from(bytes).unwrap_or(u64::MAX));
        let chosen = self.in_range(field, size(default), size(least), size(most));
        usize::try_from(chosen.0).unwrap_or(usize::MAX)
    }

    fn duration_at_least(&mut self, field: Setting<DurationText>, default: Duration, least: Duration) -> Duration {
        self.in_range(field, DurationText(default), DurationText(least), DurationText(Duration::MAX)).0
    }

    pub(super) fn duration_at_most(
        &mut self,
        field: Setting<DurationText>,
        default: Duration,
        most: Duration,
    ) -> Duration {
        self.in_range(field, DurationText(default), DurationText(Duration::ZERO), DurationText(most)).0
    }

    fn history(&mut self, field: Setting<raw::HistoryLimits>, default: HistoryLimits) -> HistoryLimits {
        let Some(raw) = value(field) else { return default };
        HistoryLimits {
            memory: self.size(raw.memory, default.memory, MIN_STREAM_MEMORY, usize::MAX),
            disk: self.in_range(raw.disk, Size(default.disk), Size(MIN_STREAM_DISK), Size(u64::MAX)).0,
            age: self.duration_at_least(raw.age, default.age, MIN_STREAM_AGE),
        }
    }

    fn streams(&mut self, entries: Entries<raw::Stream>, history: HistoryLimits) -> Vec<Stream> {
        let mut first: HashMap<String, NodeLocation> = HashMap::new();
        let mut streams = Vec::new();
        for (key, stream) in entries.0 {
            let Some(name) = key.value else { continue };
            let before = *first.entry(name.clone()).or_insert(key.place);
            if before.file != key.place.file {
                // Within one file it was noted by whoever read the map.
                self.report.add_duplicate(&name, key.place, before);
            }
            match name.parse::<StreamName>() {
                Err(error) => self.report.wrong(key.place, error.to_string()),
                Ok(name) => streams.extend(stream.value.and_then(|raw| self.stream(name, key.place, raw, history))),
            }
        }
        streams
    }

    fn stream(
        &mut self,
        name: StreamName,
        place: NodeLocation,
        mut raw: raw::Stream,
        history: HistoryLimits,
    ) -> Option<Stream> {
        let source = self.source(&name, place, &mut raw);
        let max_line = self.size(raw.max_line, MAX_LINE, MIN_MAX_LINE, MAX_LINE);
        let history = self.history(raw.history, history);
        let multiline = self.multiline(raw.multiline.take());
        let redact = self.redact(raw.redact.take());
        Some(Stream {
            name,
            source: source?,
            history,
            max_line,
            carriage_return: value(raw.carriage_return).unwrap_or_default(),
            encoding: value(raw.encoding).unwrap_or_default(),
            multiline,
            progress: value(raw.progress).map_or_else(ProgressDetection::default, progress),
            redact,
            private: value(raw.private),
            description: value(raw.description).map(|words| words.0),
            labels: words(raw.labels),
        })
    }

    pub(super) fn process(
        &mut self,
        command: Located<raw::CommandLine>,
        raw: &mut raw::Stream,
    ) -> Option<ProcessSourceConfig> {
        let directory = written(raw.directory.take()).and_then(|(place, path)| self.resolve_path(place, &path));
        let environment = raw.environment.take();
        self.variables(environment.as_ref());
        let restart = value(raw.restart.take()).map_or_else(Restart::default, |restart| self.restart(restart));
        let defaults = Stop::default();
        let stop = value(raw.stop.take()).map_or(defaults.clone(), |stop| Stop {
            signal: value(stop.signal).unwrap_or(defaults.signal),
            grace: self.duration_at_least(stop.grace, defaults.grace, Duration::ZERO),
        });
        let user = written(raw.user.take()).and_then(|(place, name)| self.user(place, name));
        let pty = value(raw.pty.take()).and_then(|pty| pty.0);
        let input = value(raw.input.take()).unwrap_or_default();
        let start = value(raw.start.take()).unwrap_or_default();
        let shell = value(raw.shell.take()).unwrap_or_default();
        let argv = self.argv(command.place, command.value?, shell)?;
        let environment = words(environment);
        Some(ProcessSourceConfig { argv, directory, environment, user, pty, input, start, restart, stop })
    }

    fn user(&mut self, place: NodeLocation, name: String) -> Option<String> {
        if name.is_empty() || name.contains(['\0', ':', '/']) {
            self.report.wrong(place, "not the name of a user (such as www-data)");
            return None;
        }
        Some(name)
    }

    fn argv(&mut self, place: NodeLocation, argv: raw::CommandLine, shell: bool) -> Option<Vec<OsString>> {
        let words = match argv {
            raw::CommandLine::Line(line) if shell => return self.script(place, &line),
            raw::CommandLine::Line(line) => {
                self.report.wrong(place, raw::list_advice(&line));
                return None;
            }
            raw::CommandLine::Words(_) if shell => {
                self.report.wrong(place, "with `shell: true` a command is one text (such as \"make && echo done\")");
                return None;
            }
            raw::CommandLine::Words(words) => words,
        };
        match words.first() {
            None => self.report.wrong(place, "empty command (name the program, such as [make, -j8])"),
            Some(Located { place, value: Some(ScalarText(program)) }) if program.is_empty() => {
                self.report.wrong(*place, "empty name of a program (such as make or /usr/bin/make)");
            }
            Some(_) => {}
        }
        for Located { place, value } in &words {
            if value.as_ref().is_some_and(|word| word.0.contains('\0')) {
                self.report.wrong(*place, "a NUL cannot be passed to a program");
            }
        }
        words.into_iter().map(|word| Some(word.value?.0.into())).collect()
    }

    /// What a shell is to run.
    fn script(&mut self, place: NodeLocation, line: &str) -> Option<Vec<OsString>> {
        if line.trim().is_empty() {
            self.report.wrong(place, "empty command (what is the shell to do?)");
            return None;
        }
        if line.contains('\0') {
            self.report.wrong(place, "a NUL cannot be passed to a program");
            return None;
        }
        Some(vec!["/bin/sh".into(), "-c".into(), line.into()])
    }

    fn variables(&mut self, variables: Option<&Located<Entries<ScalarText>>>) {
        let Some(Entries(variables)) = variables.and_then(|at| at.value.as_ref()) else { return };
        for (name, value) in variables {
            if name.value.as_ref().is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
                self.report.wrong(name.place, "not the name of a variable (not empty, without = and NUL)");
            }
            if value.value.as_ref().is_some_and(|value| value.0.contains('\0')) {
                self.report.wrong(value.place, "a NUL cannot be passed to a program");
            }
        }
    }

    fn restart(&mut self, raw: raw::Restart) -> Restart {
        let defaults = Restart::default();
        let backoff = written(raw.backoff).map(|(place, range)| {
            if *range.0.start() < MIN_RESTART_BACKOFF {
                self.report.wrong(
                    place,
                    format!("{range} begins too early (at {} or later)", DurationText(MIN_RESTART_BACKOFF)),
                );
            }
            range.0
        });
        Restart {
            when: value(raw.when).unwrap_or(defaults.when),
            backoff: backoff.unwrap_or(defaults.backoff),
            limit: value(raw.limit).map(|rate| (rate.times, rate.per)),
        }
    }

    /// A path, seen from the directory of the file it is written in.
    pub(super) fn resolve_path(&mut self, place: NodeLocation, path: &str) -> Option<PathBuf> {
        if path.is_empty() {
            self.report.wrong(place, "empty path");
            return None;
        }
        if path.contains('\0') {
            self.report.wrong(place, "a path cannot hold a NUL");
            return None;
        }
        Some(self.directories.get(place.file)?.join(path))
    }
}

/// Whether progress is looked for; patterns that did not fit were noted.
fn progress(raw: SwitchOrList<raw::ProgressPattern>) -> ProgressDetection {
    match raw {
        SwitchOrList::Switch(Switch::Off) => ProgressDetection::Off,
        SwitchOrList::Switch(Switch::On) => ProgressDetection::default(),
        SwitchOrList::Patterns(patterns) => {
            ProgressDetection::On(patterns.into_iter().filter_map(|at| value(at.value?.pattern)).collect())
        }
    }
}

/// Names and words; those that did not fit were noted.
fn words(field: Setting<Entries<ScalarText>>) -> BTreeMap<String, String> {
    let entries = value(field).map_or_else(Vec::new, |entries| entries.0);
    entries.into_iter().filter_map(|(name, word)| Some((name.value?, word.value?.0))).collect()
}
