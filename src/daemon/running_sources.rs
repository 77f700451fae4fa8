//! The tasks of the running sources, and the plan by which a reload turns them into the sources of another
//! configuration.
//!
//! Each source is kept with the specification that it was started with. A source whose specification did not change is
//! left alone. Settings that concern only the readers of a stream, or how much of it is kept, are changed while the
//! source runs; see [`needs_new_source`].

use std::collections::BTreeMap;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{SourceKind, Stream};
use crate::event::StreamName;

/// A running source.
#[derive(Debug)]
struct RunningSource {
    spec: Stream,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// All running sources.
#[derive(Debug, Default)]
pub(crate) struct RunningSources(BTreeMap<StreamName, RunningSource>);

/// The difference between the running sources and those that are wanted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ReconcilePlan {
    /// Sources to stop for good.
    pub(crate) remove: Vec<StreamName>,
    /// Sources to stop and start again with this specification.
    pub(crate) restart: Vec<Stream>,
    /// Sources to start.
    pub(crate) add: Vec<Stream>,
    /// Sources that keep running, since only their streams change.
    pub(crate) keep_running: Vec<Stream>,
    /// The number of sources without a change.
    pub(crate) unchanged: usize,
}

impl ReconcilePlan {
    /// The names of the sources to stop.
    pub(crate) fn stopping(&self) -> impl Iterator<Item = &StreamName> {
        self.remove.iter().chain(self.restart.iter().map(|spec| &spec.name))
    }

    /// A summary for people.
    pub(crate) fn summary(&self) -> String {
        let changed = self.restart.len() + self.keep_running.len();
        let counts = [(self.add.len(), "added"), (changed, "changed"), (self.remove.len(), "removed")];
        let mut parts: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        parts.push(format!("{} unchanged", self.unchanged));
        format!("streams: {}", parts.join(", "))
    }
}

impl RunningSources {
    /// Adds a source, which runs as a task that ends after `stop` is cancelled.
    pub(crate) fn insert(&mut self, spec: Stream, stop: CancellationToken, task: JoinHandle<()>) {
        self.0.insert(spec.name.clone(), RunningSource { spec, stop, task });
    }

    /// The streams whose sources are processes.
    pub(crate) fn process_streams(&self) -> impl Iterator<Item = &StreamName> {
        let is_process = |source: &&RunningSource| matches!(source.spec.source, SourceKind::Process(_));
        self.0.values().filter(is_process).map(|source| &source.spec.name)
    }

    /// The plan that leads from the running sources to `wanted`.
    pub(crate) fn plan(&self, wanted: Vec<Stream>) -> ReconcilePlan {
        let mut plan = ReconcilePlan::default();
        plan.remove.extend(self.0.keys().filter(|name| !wanted.iter().any(|spec| spec.name == **name)).cloned());
        for spec in wanted {
            match self.0.get(&spec.name).map(|running| &running.spec) {
                None => plan.add.push(spec),
                Some(before) if *before == spec => plan.unchanged += 1,
                Some(before) if needs_new_source(before, &spec) => plan.restart.push(spec),
                Some(_) => plan.keep_running.push(spec),
            }
        }
        plan
    }

    /// Stops these sources, all at once, and waits until they have ended.
    pub(crate) async fn stop<'a>(&mut self, names: impl Iterator<Item = &'a StreamName>) {
        let ending: Vec<_> = names.filter_map(|name| self.0.remove(name)).collect();
        for running in &ending {
            running.stop.cancel();
        }
        for running in ending {
            if let Err(error) = running.task.await {
                log::error!(stream:% = running.spec.name, error:% = error; "the source did not end cleanly");
            }
        }
    }

    /// Remembers the new specification of a source that keeps running.
    pub(crate) fn update(&mut self, spec: Stream) {
        if let Some(running) = self.0.get_mut(&spec.name) {
            running.spec = spec;
        }
    }
}

/// Returns whether a change can be applied only by starting the source again, which ends the run of a command. Every key
/// of a stream is in one of the lists, so that a new one is not forgotten.
fn needs_new_source(before: &Stream, after: &Stream) -> bool {
    let Stream {
        // The streams are compared by name.
        name: _,
        // Applied while the source runs: who reads the stream, what readers are told about it, and how much is kept.
        history: _,
        public: _,
        description: _,
        labels: _,
        private,
        // The command, the files or the journal themselves.
        source,
        // The way from bytes to lines, which would change in the middle of a line.
        max_line,
        carriage_return,
        format,
        encoding,
        multiline,
        progress,
        redact,
    } = before;
    let privacy = match (private, after.private) {
        (before, after) if *before == after => false,
        // A stream may become private at any time, and what was private stays so if nothing is written.
        (_, Some(true)) | (None | Some(true), None) => false,
        (_, Some(false)) | (Some(false), None) => true,
    };
    privacy
        || *source != after.source
        || *max_line != after.max_line
        || *carriage_return != after.carriage_return
        || *format != after.format
        || *encoding != after.encoding
        || *multiline != after.multiline
        || *progress != after.progress
        || *redact != after.redact
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use regex::bytes::Regex;

    use super::*;
    use crate::config::{CarriageReturn, ConfigRegex, LineFormat, MultilineConfig, ProgressDetection};

    fn spec(name: &str, argument: &str) -> Stream {
        Stream::for_command(name.parse().unwrap(), vec!["echo".into(), argument.into()])
    }

    fn running_sources(specs: &[Stream]) -> RunningSources {
        let mut sources = RunningSources::default();
        for spec in specs {
            let stop = CancellationToken::new();
            let task = tokio::spawn(stop.clone().cancelled_owned());
            sources.insert(spec.clone(), stop, task);
        }
        sources
    }

    #[tokio::test]
    async fn a_plan_touches_only_what_changed() {
        let sources =
            running_sources(&[spec("same", "1"), spec("gone", "1"), spec("other", "1"), spec("described", "1")]);
        let relabelled = Stream { description: Some("new words".into()), ..spec("described", "1") };
        let wanted = vec![spec("new", "1"), spec("same", "1"), spec("other", "2"), relabelled.clone()];
        let plan = sources.plan(wanted);
        let expected = ReconcilePlan {
            remove: vec!["gone".parse().unwrap()],
            restart: vec![spec("other", "2")],
            add: vec![spec("new", "1")],
            keep_running: vec![relabelled],
            unchanged: 1,
        };
        assert_eq!(plan, expected);
        assert_eq!(plan.summary(), "streams: 1 added, 2 changed, 1 removed, 1 unchanged");
        assert_eq!(sources.plan(Vec::new()).remove.len(), 4);
    }

    fn multiline() -> MultilineConfig {
        let expression = ConfigRegex(Regex::new("^x").unwrap());
        MultilineConfig { begins: true, expression, timeout: Duration::from_secs(1) }
    }

    #[test]
    fn only_a_change_of_the_source_or_its_lines_needs_a_new_source() {
        type Change = fn(&mut Stream);
        let table: [(&str, Change, bool); 16] = [
            ("public", |spec| spec.public = true, false),
            ("description", |spec| spec.description = Some("words".into()), false),
            ("labels", |spec| drop(spec.labels.insert("team".into(), "a".into())), false),
            ("history.memory", |spec| spec.history.memory *= 2, false),
            ("history.disk", |spec| spec.history.disk *= 2, false),
            ("history.age", |spec| spec.history.age *= 2, false),
            ("private: true", |spec| spec.private = Some(true), false),
            ("private: false", |spec| spec.private = Some(false), true),
            ("source", |spec| spec.source = SourceKind::Push, true),
            ("max_line", |spec| spec.max_line /= 2, true),
            ("carriage_return", |spec| spec.carriage_return = CarriageReturn::Split, true),
            ("format", |spec| spec.format = LineFormat::Json, true),
            ("encoding", |spec| spec.encoding = "latin1".parse().unwrap(), true),
            ("multiline", |spec| spec.multiline = Some(multiline()), true),
            ("progress", |spec| spec.progress = ProgressDetection::Off, true),
            ("redact", |spec| spec.redact = Some(Vec::new()), true),
        ];
        for (key, change, expected) in table {
            let before = spec("a", "1");
            let mut after = before.clone();
            change(&mut after);
            assert_ne!(before, after, "{key}");
            assert_eq!(needs_new_source(&before, &after), expected, "{key}");
            // Taking a change back needs as much, but for privacy, which stays.
            let back = if key == "private: true" { false } else { expected };
            assert_eq!(needs_new_source(&after, &before), back, "{key}, taken back");
        }
    }

    #[tokio::test]
    async fn a_stopped_source_is_started_again_by_the_next_plan() {
        let mut sources = running_sources(&[spec("a", "1"), spec("b", "1")]);
        let names = ["a".parse().unwrap(), "nobody".parse().unwrap()];
        sources.stop(names.iter()).await;
        let plan = sources.plan(vec![spec("a", "1"), spec("b", "1")]);
        assert_eq!((plan.add.len(), plan.unchanged), (1, 1));
    }
}
