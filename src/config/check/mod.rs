//! Checks a configuration: turns raw values into a [`Config`] with defaults and bounds, and finds contradictions.
//!
//! The check does not know YAML and opens no files. A value that does not fit its type has been reported before, and is
//! treated as missing. Each part of the configuration has its own file: `listen`, `access`, `source` (which also says to
//! which sources each key applies) with `file`, `process` and `journal`; `context` is what they all share, and `advice`
//! comments on valid configurations.

pub(super) mod advice;
mod access;
mod context;
pub(super) mod file;
mod journal;
mod listen;
mod process;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use crate::event::{MAX_LINE, StreamName};

use super::parse::located::{Entries, Located, Setting};
use super::raw::switch_or_list::{SecretPattern, Switch, SwitchOrList};
use super::raw::{self, ScalarText};
use super::report::{ErrorReport, NodeLocation};
use super::units::Size;
use super::{
    CarriageReturn, Config, ConfigRegex, HistoryLimits, Limits, LineFormat, MAX_STREAM_RUNS, MIN_MAX_LINE,
    MIN_STREAM_AGE, MIN_STREAM_DISK, MIN_STREAM_MEMORY, ProcessSourceConfig, ProcessesAtStop, ProgressDetection,
    SourceKind, Stream, TextEncoding,
};

use access::{check_access, check_tls};
use context::{CheckContext, value, with_location};
use file::check_multiline;
use listen::{check_base_path, check_host, check_listen};
use source::check_source;

/// The shortest timeout for a client.
const MIN_CLIENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The configuration that `raw` describes. `directories` holds the directory of each file, for the paths in it.
pub(super) fn check(raw: raw::Config, directories: Vec<PathBuf>, report: &mut ErrorReport) -> Config {
    check_config(&mut CheckContext::new(directories, report), raw)
}

fn check_config(context: &mut CheckContext<'_>, raw: raw::Config) -> Config {
    let defaults = Config::default();
    // An `insecure` that is not a boolean is one mistake. Treating it as true avoids another mistake for each address.
    let insecure = raw.access.as_ref().is_some_and(|access| match &access.value {
        Some(access) => access.insecure.as_ref().is_some_and(|insecure| insecure.value.unwrap_or(true)),
        None => true,
    });
    let access = value(raw.access).map_or(defaults.access, |access| check_access(context, access));
    // An invalid `tls` is also only one mistake.
    let open = insecure || raw.tls.is_some() && !access.accepts_no_tokens();
    let tls = raw.tls.and_then(|tls| check_tls(context, tls));
    let listen = with_location(raw.listen).map(|(location, listen)| check_listen(context, location, listen.0, open));
    let memory = context.size(raw.memory, defaults.memory, MIN_STREAM_MEMORY, usize::MAX);
    let history = check_history(context, raw.history, HistoryLimits::default());
    let orphan_timeout =
        context.duration_at_least(raw.orphan_timeout, ProcessSourceConfig::DEFAULT_ORPHAN_TIMEOUT, Duration::ZERO);
    let stream_defaults = StreamDefaults { history, orphan_timeout };
    let has_state_directory = raw.state_directory.is_some();
    let state_directory =
        with_location(raw.state_directory).and_then(|(location, path)| context.resolve_path(location, &path));
    let processes_at_stop = check_processes_at_stop(context, raw.processes_at_stop, has_state_directory);
    let hosts = value(raw.hosts).unwrap_or_default();
    let origins = value(raw.origins).unwrap_or_default();
    let proxies = value(raw.trusted_proxies).unwrap_or_default();
    Config {
        listen: listen.unwrap_or(defaults.listen),
        memory,
        state_directory,
        processes_at_stop,
        hosts: hosts.into_iter().filter_map(|host| check_host(context, host)).collect(),
        origins: origins.into_iter().filter_map(|at| at.value).collect(),
        trusted_proxies: proxies.into_iter().filter_map(|at| at.value).collect(),
        base_path: with_location(raw.base_path)
            .and_then(|(at, path)| check_base_path(context, at, &path))
            .unwrap_or(defaults.base_path),
        tls,
        access,
        insecure,
        limits: value(raw.limits).map_or(defaults.limits, |limits| check_limits(context, limits)),
        streams: value(raw.streams).map_or_else(Vec::new, |streams| check_streams(context, streams, stream_defaults)),
        files: Vec::new(),
    }
}

fn check_processes_at_stop(
    context: &mut CheckContext<'_>,
    field: Setting<ProcessesAtStop>,
    has_state_directory: bool,
) -> ProcessesAtStop {
    match with_location(field) {
        None => ProcessesAtStop::default(),
        Some((location, ProcessesAtStop::Keep)) if !has_state_directory => {
            context.wrong(
                location,
                "`processes_at_stop: keep` needs a `state_directory`, so that the next rtlogd can find the processes",
            );
            ProcessesAtStop::Keep
        }
        Some((_, chosen)) => chosen,
    }
}

fn check_limits(context: &mut CheckContext<'_>, raw: raw::Limits) -> Limits {
    let defaults = Limits::default();
    Limits {
        connections: context.in_range(raw.connections, defaults.connections, 1, usize::MAX),
        per_address: context.in_range(raw.per_address, defaults.per_address, 1, usize::MAX),
        readers: context.in_range(raw.readers, defaults.readers, 2, usize::MAX),
        per_token: context.in_range(raw.per_token, defaults.per_token, 1, usize::MAX),
        head: context.duration_at_least(raw.head, defaults.head, MIN_CLIENT_TIMEOUT),
        idle: context.duration_at_least(raw.idle, defaults.idle, MIN_CLIENT_TIMEOUT),
        body: context.duration_at_least(raw.body, defaults.body, MIN_CLIENT_TIMEOUT),
        head_size: context.size(raw.head_size, defaults.head_size, 8 << 10, 256 << 10),
        query_size: context.size(raw.query_size, defaults.query_size, 1 << 10, 64 << 10),
        body_size: context.size(raw.body_size, defaults.body_size, 1 << 10, 64 << 10),
        message_size: context.size(raw.message_size, defaults.message_size, 4 << 10, 1 << 20),
        filter_size: context.size(raw.filter_size, defaults.filter_size, 16 << 10, 1 << 20),
        stalled_write: context.duration_at_least(raw.stalled_write, defaults.stalled_write, MIN_CLIENT_TIMEOUT),
        lifetime: raw.lifetime.map(|at| context.duration_at_least(Some(at), MIN_CLIENT_TIMEOUT, MIN_CLIENT_TIMEOUT)),
        control_rate: value(raw.control_rate).unwrap_or(defaults.control_rate),
        keep_alive: context.duration_at_least(raw.keep_alive, defaults.keep_alive, MIN_CLIENT_TIMEOUT),
        compress: value(raw.compress).unwrap_or(defaults.compress),
        shutdown: context.duration_at_least(raw.shutdown, defaults.shutdown, Duration::ZERO),
    }
}

fn check_history(
    context: &mut CheckContext<'_>,
    field: Setting<raw::HistoryLimits>,
    default: HistoryLimits,
) -> HistoryLimits {
    let Some(raw) = value(field) else { return default };
    HistoryLimits {
        memory: context.size(raw.memory, default.memory, MIN_STREAM_MEMORY, usize::MAX),
        disk: context.in_range(raw.disk, Size(default.disk), Size(MIN_STREAM_DISK), Size(u64::MAX)).0,
        age: context.duration_at_least(raw.age, default.age, MIN_STREAM_AGE),
        runs: context.in_range(raw.runs, default.runs, 1, MAX_STREAM_RUNS),
    }
}

/// The values that a stream has unless it has its own.
#[derive(Clone, Copy)]
struct StreamDefaults {
    history: HistoryLimits,
    orphan_timeout: Duration,
}

fn check_streams(
    context: &mut CheckContext<'_>,
    entries: Entries<raw::Stream>,
    defaults: StreamDefaults,
) -> Vec<Stream> {
    let mut first: HashMap<String, NodeLocation> = HashMap::new();
    let mut streams = Vec::new();
    for (key, stream) in entries.0 {
        let Some(name) = key.value else { continue };
        let before = *first.entry(name.clone()).or_insert(key.location);
        if before.file != key.location.file {
            // Duplicates within one file were reported when the map was read.
            context.duplicate(&name, key.location, before);
        }
        match name.parse::<StreamName>() {
            Err(error) => context.wrong(key.location, error.to_string()),
            Ok(name) => {
                streams.extend(stream.value.and_then(|raw| check_stream(context, name, key.location, raw, defaults)));
            }
        }
    }
    streams
}

fn check_stream(
    context: &mut CheckContext<'_>,
    name: StreamName,
    location: NodeLocation,
    mut raw: raw::Stream,
    defaults: StreamDefaults,
) -> Option<Stream> {
    let source = check_source(context, &name, location, &mut raw, defaults.orphan_timeout);
    let max_line = context.size(raw.max_line, MAX_LINE, MIN_MAX_LINE, MAX_LINE);
    let history = check_history(context, raw.history, defaults.history);
    let multiline = check_multiline(context, raw.multiline.take());
    let redact = check_redact(context, raw.redact.take());
    let public = check_public(context, raw.public.take(), raw.private.as_ref());
    let format_location = raw.format.as_ref().map(|format| format.location);
    let format: LineFormat = value(raw.format).unwrap_or_default();
    let encoding: TextEncoding = value(raw.encoding).unwrap_or_default();
    let source = source?;
    if let Some(location) = format_location {
        check_format(context, location, &source, format, encoding);
    }
    let carriage_return = value(raw.carriage_return);
    Some(Stream {
        name,
        carriage_return: carriage_return.unwrap_or_else(|| CarriageReturn::default_for(&source, format)),
        source,
        history,
        max_line,
        format,
        encoding,
        multiline,
        progress: value(raw.progress).map_or_else(ProgressDetection::default, check_progress),
        redact,
        private: raw.private.and_then(|private| private.value),
        public,
        description: value(raw.description).map(|words| words.0),
        labels: words(raw.labels),
    })
}

/// Checks that a stream is not both public and private.
fn check_public(context: &mut CheckContext<'_>, public: Setting<bool>, private: Option<&Located<bool>>) -> bool {
    let Some((location, true)) = with_location(public) else { return false };
    if private.is_some_and(|private| private.value == Some(true)) {
        context.wrong(location, "a stream cannot be both `public` and `private` (remove one of them)");
    }
    true
}

/// Reports a format that does not fit the source or the encoding.
fn check_format(
    context: &mut CheckContext<'_>,
    location: NodeLocation,
    source: &SourceKind,
    format: LineFormat,
    encoding: TextEncoding,
) {
    let name = match format {
        LineFormat::Cri => "cri",
        LineFormat::Docker => "docker",
        LineFormat::Text | LineFormat::Json | LineFormat::Logfmt | LineFormat::Syslog => return,
    };
    if matches!(source, SourceKind::Process(_)) {
        context.wrong(
            location,
            format!(
                "`format: {name}` is for the log files of a container runtime; a command writes its own text (remove \
                 `format`, or follow the files with `file`)"
            ),
        );
    }
    let is_utf8 = encoding.0 == encoding_rs::UTF_8;
    let is_utf16 = [encoding_rs::UTF_16LE, encoding_rs::UTF_16BE].contains(&encoding.0);
    if is_utf16 || (format == LineFormat::Docker && !is_utf8) {
        context.wrong(
            location,
            format!(
                "`format: {name}` cannot have `encoding: {}` (remove `encoding`)",
                encoding.0.name().to_lowercase()
            ),
        );
    }
}

/// The patterns of secrets in addition to the known ones; `None` if no secrets are removed.
fn check_redact(
    context: &mut CheckContext<'_>,
    field: Setting<SwitchOrList<SecretPattern>>,
) -> Option<Vec<ConfigRegex>> {
    match with_location(field)?.1 {
        SwitchOrList::Switch(Switch::Off) => None,
        SwitchOrList::Switch(Switch::On) => Some(Vec::new()),
        SwitchOrList::Patterns(patterns) => {
            let patterns = patterns.into_iter().filter_map(|at| with_location(at.value?.pattern));
            let read = patterns.filter_map(|(location, text)| {
                text.parse().map_err(|error: String| context.wrong(location, error)).ok()
            });
            Some(read.collect())
        }
    }
}

/// The detection of progress; invalid patterns have been reported.
fn check_progress(raw: SwitchOrList<raw::ProgressPattern>) -> ProgressDetection {
    match raw {
        SwitchOrList::Switch(Switch::Off) => ProgressDetection::Off,
        SwitchOrList::Switch(Switch::On) => ProgressDetection::default(),
        SwitchOrList::Patterns(patterns) => {
            ProgressDetection::On(patterns.into_iter().filter_map(|at| value(at.value?.pattern)).collect())
        }
    }
}

/// The valid entries, as names and texts; invalid ones have been reported.
fn words(field: Setting<Entries<ScalarText>>) -> BTreeMap<String, String> {
    let entries = value(field).map_or_else(Vec::new, |entries| entries.0);
    entries.into_iter().filter_map(|(name, word)| Some((name.value?, word.value?.0))).collect()
}
