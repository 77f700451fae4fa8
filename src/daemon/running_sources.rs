//! The tasks of the running sources, and the plan by which a reload turns them into the sources of another
//! configuration.
//!
//! Each source is kept with the specification that it was started with. A source whose specification did not change is
//! left alone, and neither a change of its description or labels nor a new `public` restarts it.

use std::collections::BTreeMap;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Stream;
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
    /// Sources of which only the description or the labels changed; they keep running.
    pub(crate) relabel: Vec<Stream>,
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
        let changed = self.restart.len() + self.relabel.len();
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

    /// The plan that leads from the running sources to `wanted`.
    pub(crate) fn plan(&self, wanted: Vec<Stream>) -> ReconcilePlan {
        let mut plan = ReconcilePlan::default();
        plan.remove.extend(self.0.keys().filter(|name| !wanted.iter().any(|spec| spec.name == **name)).cloned());
        for spec in wanted {
            match self.0.get(&spec.name).map(|running| &running.spec) {
                None => plan.add.push(spec),
                Some(before) if *before == spec => plan.unchanged += 1,
                Some(before) if can_keep_running(before, &spec) => plan.relabel.push(spec),
                Some(_) => plan.restart.push(spec),
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

    /// Remembers the new description of a source.
    pub(crate) fn relabel(&mut self, spec: Stream) {
        if let Some(running) = self.0.get_mut(&spec.name) {
            running.spec = spec;
        }
    }
}

/// Returns whether a source can keep running: its specifications differ only in description and labels, or in that
/// everybody may read the stream from now on. If only some may from now on, the stream has to end, so that its readers
/// have to identify themselves.
fn can_keep_running(before: &Stream, after: &Stream) -> bool {
    let mut same = after.clone();
    same.description.clone_from(&before.description);
    same.labels.clone_from(&before.labels);
    same.public = same.public && before.public;
    same == *before
}

#[cfg(test)]
mod tests {
    use super::*;

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
            relabel: vec![relabelled],
            unchanged: 1,
        };
        assert_eq!(plan, expected);
        assert_eq!(plan.summary(), "streams: 1 added, 2 changed, 1 removed, 1 unchanged");
        assert_eq!(sources.plan(Vec::new()).remove.len(), 4);
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
