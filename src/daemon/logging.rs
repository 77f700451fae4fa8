//! The log: structured records to the journal if standard error is connected to it, otherwise lines to standard error.
//! Decisions are logged, one line each; data is not.
//!
//! A field has one name everywhere: `stream`, `error`, `errno`, `pid`, `run`, `path`; in the journal `STREAM_KEYS` and
//! so on.

use std::io::Write;

use env_logger::{Builder, Env, Logger};
use log::kv::{self, Key, Value, VisitSource};
use log::{Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::event::one_line;
use crate::http::note_process_start;

/// The default filter: the decisions of rtlogd, and only the errors of libraries.
const DEFAULT_LOG_FILTER: &str = "warn,rtlogd=info";

/// The values of `--log-level`.
pub(crate) const LOG_LEVEL_NAMES: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Starts logging at `level`. Without a level, the filter is `RTLOGD_LOG` (in the syntax of `env_logger`) or
/// [`DEFAULT_LOG_FILTER`].
pub(crate) fn start(level: Option<&str>) {
    note_process_start();
    let mut builder = match level {
        Some("error") => filtered("error"),
        Some(level) => filtered(&format!("warn,rtlogd={level}")),
        None => Builder::from_env(Env::new().filter_or("RTLOGD_LOG", DEFAULT_LOG_FILTER)),
    };
    builder.format(|out, record| {
        let fields = displayed_fields(record);
        let level = record.level().as_str().to_lowercase();
        // Of a message of several lines, such as all mistakes of a configuration, only the first begins with time and
        // level.
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
        log::debug!("a logger is already set");
    }
}

fn filtered(levels: &str) -> Builder {
    let mut builder = Builder::new();
    builder.parse_filters(levels);
    builder
}

/// A logger that writes to the journal what passes the filter.
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
            with_displayed_fields(record, |record| self.journal.log(record));
        }
    }

    fn flush(&self) {}
}

/// Passes on the record with its fields in its message as well: `journalctl` and `systemctl status` show only messages,
/// and "process ended" without the stream helps nobody.
fn with_displayed_fields(record: &Record<'_>, log: impl FnOnce(&Record<'_>)) {
    let fields = displayed_fields(record);
    log(&Record::builder()
        .metadata(record.metadata().clone())
        .args(format_args!("{}{fields}", record.args()))
        .module_path(record.module_path())
        .file(record.file())
        .line(record.line())
        .key_values(record.key_values())
        .build());
}

/// The fields of a record as they follow its message: ` name=value` for each. If one of them cannot be displayed, they
/// are omitted, and the message is still logged.
fn displayed_fields(record: &Record<'_>) -> String {
    let mut fields = LogFields(String::new());
    let displayed = record.key_values().visit(&mut fields);
    if displayed.is_ok() { fields.0 } else { String::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_the_journal_stands_alone_and_keeps_its_fields() {
        let table: [(&[(&str, &str)], &str); 4] = [
            (&[], "process ended"),
            (&[("stream", "make"), ("run", "3")], "process ended stream=make run=3"),
            (&[("error", "exited with code 2")], "process ended error=\"exited with code 2\""),
            (
                &[("path", "a\"b"), ("reason", "x\ny\u{1b}[2J")],
                "process ended path=\"a\\\"b\" reason=\"x\\ny\\u{1b}[2J\"",
            ),
        ];
        for (fields, expected) in table {
            let mut logged = None;
            let record = Record::builder().args(format_args!("process ended")).key_values(&fields).build();
            with_displayed_fields(&record, |record| {
                logged = Some((record.args().to_string(), record.key_values().count()));
            });
            assert_eq!(logged, Some((expected.to_owned(), fields.len())));
        }
    }
}
