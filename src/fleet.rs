//! The sources that run, and what each was started with: so that a changed configuration touches only what it changes.

use std::collections::BTreeMap;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Stream;
use crate::event::StreamName;

/// A source that runs.
#[derive(Debug)]
struct Running {
    spec: Stream,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// All that run.
#[derive(Debug, Default)]
pub(crate) struct Fleet(BTreeMap<StreamName, Running>);

/// What is to be done, so that those run that are wanted, as they are wanted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// To be ended for good.
    pub(crate) removed: Vec<StreamName>,
    /// To be ended, and begun as they are here.
    pub(crate) changed: Vec<Stream>,
    /// To be begun.
    pub(crate) added: Vec<Stream>,
    /// Only what is said of them is another; they run on.
    pub(crate) described: Vec<Stream>,
    /// How many are as they were.
    pub(crate) same: usize,
}

impl Plan {
    /// Those that are to be ended.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &StreamName> {
        self.removed.iter().chain(self.changed.iter().map(|spec| &spec.name))
    }

    /// What it does, in words.
    pub(crate) fn summary(&self) -> String {
        let changed = self.changed.len() + self.described.len();
        let counts = [(self.added.len(), "added"), (changed, "changed"), (self.removed.len(), "removed")];
        let mut parts: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        parts.push(format!("{} as before", self.same));
        format!("streams: {}", parts.join(", "))
    }
}

impl Fleet {
    /// A source was started as a task that ends after `stop`.
    pub(crate) fn begun(&mut self, spec: Stream, stop: CancellationToken, task: JoinHandle<()>) {
        self.0.insert(spec.name.clone(), Running { spec, stop, task });
    }

    /// What has to be done for `wanted`.
    pub(crate) fn plan(&self, wanted: Vec<Stream>) -> Plan {
        let mut plan = Plan::default();
        plan.removed.extend(self.0.keys().filter(|name| !wanted.iter().any(|spec| spec.name == **name)).cloned());
        for spec in wanted {
            match self.0.get(&spec.name).map(|running| &running.spec) {
                None => plan.added.push(spec),
                Some(before) if *before == spec => plan.same += 1,
                Some(before) if runs_as(before, &spec) => plan.described.push(spec),
                Some(_) => plan.changed.push(spec),
            }
        }
        plan
    }

    /// Ends these, all at once, and waits until they have ended.
    pub(crate) async fn end<'a>(&mut self, names: impl Iterator<Item = &'a StreamName>) {
        let ending: Vec<_> = names.filter_map(|name| self.0.remove(name)).collect();
        for running in &ending {
            running.stop.cancel();
        }
        for running in ending {
            if let Err(error) = running.task.await {
                log::error!(stream:% = running.spec.name, error:% = error; "the source did not end in peace");
            }
        }
    }

    /// Notes what is said of a source now.
    pub(crate) fn described(&mut self, spec: Stream) {
        if let Some(running) = self.0.get_mut(&spec.name) {
            running.spec = spec;
        }
    }
}

/// Whether the two differ only in what is said of them.
fn runs_as(before: &Stream, after: &Stream) -> bool {
    let mut same = after.clone();
    same.description.clone_from(&before.description);
    same.labels.clone_from(&before.labels);
    same == *before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, argument: &str) -> Stream {
        Stream::of_command(name.parse().unwrap(), vec!["echo".into(), argument.into()])
    }

    fn fleet(specs: &[Stream]) -> Fleet {
        let mut fleet = Fleet::default();
        for spec in specs {
            let stop = CancellationToken::new();
            let task = tokio::spawn(stop.clone().cancelled_owned());
            fleet.begun(spec.clone(), stop, task);
        }
        fleet
    }

    #[tokio::test]
    async fn a_plan_touches_only_what_changed() {
        let fleet = fleet(&[spec("same", "1"), spec("gone", "1"), spec("other", "1"), spec("told", "1")]);
        let told = Stream { description: Some("new words".into()), ..spec("told", "1") };
        let wanted = vec![spec("new", "1"), spec("same", "1"), spec("other", "2"), told.clone()];
        let plan = fleet.plan(wanted);
        let expected = Plan {
            removed: vec!["gone".parse().unwrap()],
            changed: vec![spec("other", "2")],
            added: vec![spec("new", "1")],
            described: vec![told],
            same: 1,
        };
        assert_eq!(plan, expected);
        assert_eq!(plan.summary(), "streams: 1 added, 2 changed, 1 removed, 1 as before");
        assert_eq!(fleet.plan(Vec::new()).removed.len(), 4);
    }

    #[tokio::test]
    async fn those_that_end_are_no_longer_there() {
        let mut fleet = fleet(&[spec("a", "1"), spec("b", "1")]);
        let names = ["a".parse().unwrap(), "nobody".parse().unwrap()];
        fleet.end(names.iter()).await;
        let plan = fleet.plan(vec![spec("a", "1"), spec("b", "1")]);
        assert_eq!((plan.added.len(), plan.same), (1, 1));
    }
}
