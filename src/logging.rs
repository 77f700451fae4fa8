//! The logger: to the journal with all fields where standard error is the journal, else as lines to standard error. One
//! log line for a decision, none for data.
//!
//! And what the process itself takes, for metrics.
//!
//! A field has one name everywhere: `stream`, `error`, `errno`, `pid`, `run`, `path`; in the journal `STREAM_KEYS` and so on.

use std::fs;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use env_logger::{Builder, Env, Logger};
use log::kv::{self, Key, Value, VisitSource};
use log::{Log, Metadata, Record};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::event::one_line;

/// What is logged if nothing else is said: our decisions, and of libraries only what went wrong.
const DEFAULT_LOG_FILTER: &str = "warn,rtlogd=info";

/// What `--log-level` may be.
pub(crate) const LOG_LEVEL_NAMES: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// When logging began, which is the first thing that the program does.
static START_TIME: OnceLock<SystemTime> = OnceLock::new();

/// Starts logging: our own at `level`; without one [`DEFAULT_LOG_FILTER`], or what `RTLOGD_LOG` says (syntax of `env_logger`).
pub(crate) fn start(level: Option<&str>) {
    START_TIME.get_or_init(SystemTime::now);
    let mut builder = match level {
        Some("error") => filtered("error"),
        Some(level) => filtered(&format!("warn,rtlogd={level}")),
        None => Builder::from_env(Env::new().filter_or("RTLOGD_LOG", DEFAULT_LOG_FILTER)),
    };
    builder.format(|out, record| {
        let mut fields = LogFields(String::new());
        // A field that cannot be shown is left out; the line stays.
        let shown = record.key_values().visit(&mut fields);
        let fields = if shown.is_ok() { fields.0.as_str() } else { "" };
        let level = record.level().as_str().to_lowercase();
        // What is said in several lines, such as all mistakes of a configuration: only the first begins as ours do.
        let lines: Vec<_> = record.args().to_string().split('\n').map(one_line).collect();
        writeln!(out, "rtlogd: {level}: {}{fields}", lines.join("\n  "))
    });
    let lines = builder.build();
    log::set_max_level(lines.filter());
    let journal = if connected_to_journal() { JournalLog::new().ok() } else { None };
    let logger: Box<dyn Log> = match journal {
        Some(journal) => Box::new(JournalLogger { journal, filter: lines }),
        None => Box::new(lines),
    };
    if log::set_boxed_logger(logger).is_err() {
        log::debug!("a logger is there already");
    }
}

fn filtered(levels: &str) -> Builder {
    let mut builder = Builder::new();
    builder.parse_filters(levels);
    builder
}

/// The journal, for what passes the same filter that lines pass.
struct JournalLogger {
    journal: JournalLog,
    filter: Logger,
}

impl Log for JournalLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            self.journal.log(record);
        }
    }

    fn flush(&self) {}
}

struct LogFields(String);

impl<'kvs> VisitSource<'kvs> for LogFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        use std::fmt::Write as _;
        let text = value.to_string();
        let plain = !text.contains(|c: char| c.is_whitespace() || c == '"') && one_line(&text) == text;
        if plain { write!(self.0, " {key}={text}") } else { write!(self.0, " {key}={text:?}") }.map_err(kv::Error::from)
    }
}

/// What the process takes, as far as the system tells (`proc(5)`).
#[derive(Debug)]
pub(crate) struct ProcessUsage {
    /// When it began.
    pub(crate) started: SystemTime,
    /// How long processors worked for it.
    pub(crate) cpu_time: Duration,
    /// Bytes of memory, and bytes of address space.
    pub(crate) resident: Option<u64>,
    pub(crate) address_space: Option<u64>,
    pub(crate) threads: Option<u64>,
    /// File descriptors that are open, and that may be.
    pub(crate) descriptors: Option<u64>,
    pub(crate) descriptor_limit: Option<u64>,
}

impl ProcessUsage {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
        };
        let processor = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            started: *START_TIME.get_or_init(SystemTime::now),
            cpu_time: processor.try_into().unwrap_or_default(),
            resident: field("VmRSS").map(|kibibytes| kibibytes << 10),
            address_space: field("VmSize").map(|kibibytes| kibibytes << 10),
            threads: field("Threads"),
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64),
            descriptor_limit: getrlimit(Resource::Nofile).current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_something_of_everything() {
        let usage = ProcessUsage::now();
        assert!(usage.started <= SystemTime::now() && usage.cpu_time > Duration::ZERO, "{usage:?}");
        let resident = usage.resident.unwrap();
        assert!(resident > 1 << 20 && usage.address_space.unwrap() >= resident, "{usage:?}");
        assert!(usage.threads.unwrap() >= 1 && usage.descriptors.unwrap() >= 3, "{usage:?}");
    }
}
