//! A child process: what it writes to its two pipes are lines, and how it ended is an end event.
//!
//! Knows nothing of restarts: a [`Run`] is one run, from its start until nothing more of it can come.

mod spawn;
mod pipes;
mod stop;

pub(crate) use pipes::Tee;
pub(crate) use stop::signal_number;

use std::future::pending;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::config::{ProcessSource, Stop, Stream};
use crate::event::{EndCause, RunEnd};
use crate::stream::Batch;

use super::{Options, SourceError};
use pipes::{Pipes, Read};
use stop::Group;

/// After the process ended, its pipes are read until nothing came for this long: what it started may still write.
const QUIET: Duration = Duration::from_millis(300);

/// But for no longer than this in all: a daemon that it left behind may write for ever.
const DRAIN: Duration = Duration::from_secs(5);

/// While those of a group have time to end, they are looked after this often.
const AGAIN: Duration = Duration::from_millis(100);

/// One run of a process.
#[derive(Debug)]
pub(super) struct Run {
    number: u64,
    started: Instant,
    child: Child,
    group: Group,
    pipes: Pipes,
    stop: Stop,
    /// Why it was asked to end, and when it is killed.
    stopping: Option<(EndCause, Instant)>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Running,
    /// The process ended; its pipes are read until `quiet`, at most until `last`.
    Draining {
        end: RunEnd,
        quiet: Instant,
        last: Instant,
        killed: bool,
    },
    Ended,
}

impl Run {
    /// Starts it, as run `number`.
    pub(super) fn start(
        spec: &Stream,
        source: &ProcessSource,
        options: &Options,
        number: u64,
    ) -> Result<Self, SourceError> {
        let started = spawn::spawn(source, options)?;
        Ok(Self {
            number,
            started: Instant::now(),
            child: started.child,
            group: Group::new(started.pid, !options.same_group),
            pipes: Pipes::new(spec, started.ends),
            stop: source.stop.clone(),
            stopping: None,
            phase: Phase::Running,
        })
    }

    /// The process id.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Adds what comes next to `batch`; the end of the run, once nothing more can come. May be dropped at any time.
    pub(super) async fn next(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> Option<RunEnd> {
        loop {
            let open = !self.pipes.is_ended();
            let patient = self.stopping.is_none() && tee.is_some();
            match &mut self.phase {
                Phase::Running => {
                    let kill = self.stopping.map(|(_, kill)| kill);
                    select! {
                        _ = self.pipes.read(tee, batch), if open => return None,
                        status = self.child.wait() => self.drain(status.unwrap_or_default()),
                        () = until(kill) => self.kill(),
                    }
                }
                Phase::Draining { quiet, last, .. } => {
                    // What is passed on waits for its reader, as long as nobody wants an end.
                    let waits = tee.as_ref().is_some_and(Tee::waits);
                    let last = Some(*last).filter(|_| !patient);
                    let rest = Some(*quiet).filter(|_| !(patient && waits));
                    let read = select! {
                        biased;
                        () = until(last) => Read::End,
                        read = self.pipes.read(tee, batch), if open => read,
                        () = until(rest) => Read::End,
                    };
                    match read {
                        Read::Bytes => {
                            *quiet = Instant::now() + QUIET;
                            return None;
                        }
                        Read::Shown => return None,
                        Read::End => {
                            if let Some(end) = self.over(batch) {
                                return Some(end);
                            }
                        }
                    }
                }
                Phase::Ended => pending().await,
            }
        }
    }

    /// Asks it to end; `KILL` follows when its time is over.
    pub(super) fn stop(&mut self, cause: EndCause) {
        let signal = Signal::from_named_raw(self.stop.signal.number()).unwrap_or(Signal::TERM);
        self.stopping = Some((cause, Instant::now() + self.stop.grace));
        self.group.signal(signal);
        // One that is stopped would not hear of it.
        self.group.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    fn kill(&mut self) {
        self.group.signal(Signal::KILL);
        if let Some((_, kill)) = &mut self.stopping {
            // Should it not be enough, again later.
            *kill = Instant::now() + DRAIN;
        }
    }

    /// The process ended.
    fn drain(&mut self, status: ExitStatus) {
        self.group.leader_ended();
        let now = Instant::now();
        let signal = status.signal();
        let cause = match (self.stopping, signal) {
            (Some((cause, _)), _) => cause,
            (None, Some(_)) => EndCause::Signalled,
            (None, None) => EndCause::Exited,
        };
        let duration = now.duration_since(self.started).as_secs_f64();
        let end = RunEnd { run: self.number, code: status.code(), signal: signal.map(stop::name), duration, cause };
        self.phase = Phase::Draining { end, quiet: now + QUIET, last: now + DRAIN, killed: false };
    }
    /// The pipes are at their end, or their time is over: the end of the run, if nothing is left of its group.
    fn over(&mut self, batch: &mut Batch) -> Option<RunEnd> {
        let Phase::Draining { end, quiet, last, killed } = &mut self.phase else { return None };
        let now = Instant::now();
        if let Some((_, kill)) = self.stopping
            && now < kill
            && self.group.is_alive()
        {
            // All of the group were asked to end, and have as long for it as the process itself.
            (*quiet, *last) = ((now + AGAIN).min(kill), (now + AGAIN).min(kill));
            return None;
        }
        if !mem::replace(killed, true) && self.group.signal(Signal::KILL) && !self.pipes.is_ended() {
            (*quiet, *last) = (now + QUIET, now + QUIET);
            return None;
        }
        let end = end.clone();
        self.pipes.finish(batch);
        self.phase = Phase::Ended;
        Some(end)
    }
}

impl Drop for Run {
    /// What was not waited for is killed: nothing may go on that nobody reads.
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            self.group.signal(Signal::KILL);
        }
    }
}

/// Until then; for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::bench::{Bench, Place, numbered, process, shell};
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    fn texts(events: &[serde_json::Value], origin: &str) -> String {
        let of = events.iter().filter(|event| event["origin"] == origin);
        of.map(|event| event["text"].as_str().unwrap()).collect::<Vec<_>>().join("|")
    }

    #[tokio::test]
    async fn both_pipes_the_last_half_line_and_the_exit_code_come() {
        let script = "echo one; echo two >&2; printf three; printf four >&2; exit 3";
        let (events, end) = Bench::once(shell(script), Options::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "one|three");
        assert_eq!(texts(&events, "stderr"), "two|four");
        assert_eq!((&events[0]["state"], &events[0]["run"]), (&"running".into(), &1.into()));
        let partial = events.iter().filter(|event| event["partial"] == true).count();
        assert_eq!(partial, 2);
        let [.., ended, stopped] = &events[..] else { panic!() };
        assert_eq!((&ended["kind"], &ended["code"], &ended["cause"]), (&"end".into(), &3.into(), &"exited".into()));
        assert_eq!((&stopped["state"], &stopped["reason"]), (&"stopped".into(), &"exited with code 3".into()));
        assert_eq!(end.unwrap().unwrap().code, Some(3));
    }

    #[tokio::test]
    async fn no_shell_sees_the_arguments_and_standard_input_is_empty() {
        let (events, _) = Bench::once(process(&["echo", "$HOME", "a  b", "*"]), Options::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "$HOME a  b *");
        let (events, _) = Bench::once(process(&["cat"]), Options::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "");
    }

    #[tokio::test]
    async fn environment_and_directory_are_set() {
        let mut source = shell("echo $GREETING; echo $PATH; pwd");
        source.environment.insert("GREETING".to_owned(), "hello".to_owned());
        source.directory = Some("/usr".into());
        let (events, _) = Bench::once(source, Options::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), format!("hello|{}|/usr", std::env::var("PATH").unwrap()));
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let (events, end) = Bench::once(process(&["no-such-program"]), Options::default()).rest().await;
        let reason = "cannot start \"no-such-program\": No such file or directory (os error 2)";
        assert_eq!((&events[0]["state"], &events[0]["reason"]), (&"stopped".into(), &reason.into()));
        assert_eq!(end.unwrap_err().io().kind(), std::io::ErrorKind::NotFound);
        let mut source = process(&["true"]);
        source.directory = Some("/no/such".into());
        let (events, _) = Bench::once(source, Options::default()).rest().await;
        let reason = "cannot start \"true\" in the directory \"/no/such\": No such file or directory (os error 2)";
        assert_eq!(events[0]["reason"], reason);
    }

    #[tokio::test]
    async fn a_signal_from_outside_is_named() {
        let (events, _) = Bench::once(shell("kill -SEGV $$"), Options::default()).rest().await;
        let end = events.iter().find(|event| event["kind"] == "end").unwrap();
        assert_eq!((&end["signal"], &end["cause"]), (&"SEGV".into(), &"signalled".into()));
        assert_eq!(end.get("code"), None);
    }

    #[tokio::test]
    async fn a_megabyte_on_standard_error_comes_whole_and_in_pieces() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done";
        let (events, _) = Bench::once(shell(script), Options::default()).rest().await;
        assert_eq!(texts(&events, "stderr").replace('|', "").len(), 1_000_000);
        assert_eq!(texts(&events, "stdout"), "done");
    }

    #[tokio::test]
    async fn an_unfinished_line_is_shown_and_taken_back() {
        let place = Place::new();
        let fifo = place.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let script = format!("printf 'one t'; cat {fifo:?}; exec sleep 60");
        let mut bench = Bench::once(shell(&script), Options::default());
        bench.shown(Some("one t")).await;
        std::fs::write(&fifo, "wo\n").unwrap();
        assert_eq!(bench.line().await, "one two");
        bench.stop();
    }

    #[tokio::test]
    async fn a_redrawn_line_is_shown_as_it_is_now_and_kept_once() {
        let script = "for i in 1 2 3 4 5 6 7 8; do printf '\\r%s0%%' $i; sleep 0.1; done; echo";
        let mut bench = Bench::once(shell(script), Options::default());
        let mut seen = Vec::new();
        while seen.last().is_none_or(|text| text != "80%") && seen.len() < 5 {
            bench.shown_anew().await;
            seen.push(String::from_utf8(bench.open.clone().unwrap().text).unwrap());
        }
        assert!(seen.windows(2).all(|two| two[0] < two[1]), "{seen:?}");
        assert_eq!(bench.line().await, "80%");
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_the_pipe_is_read_for_a_while_and_killed() {
        let mut bench = Bench::once(shell("(sleep 0.1; echo late; exec sleep 1000) & echo $!"), Options::default());
        let pid = bench.line().await.parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let (events, end) = timeout(Duration::from_secs(10), bench.rest()).await.unwrap();
        assert_eq!(texts(&events, "stdout"), "late");
        assert!(end.unwrap().unwrap().duration < 5.0);
        assert!(is_gone(pid).await, "the grandchild lives");
    }

    /// Whether the process ends soon, or has.
    async fn is_gone(pid: rustix::process::Pid) -> bool {
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        for _ in 0..200 {
            match std::fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z") => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return true,
            }
        }
        false
    }

    #[tokio::test]
    async fn stopping_asks_the_whole_group_and_waits_for_the_last_words() {
        let script = "trap 'echo bye; exit 0' TERM; sleep 1000 & echo $!; wait";
        let mut bench = Bench::process(shell(script));
        let pid = rustix::process::Pid::from_raw(bench.line().await.parse().unwrap()).unwrap();
        bench.stop();
        let (events, end) = bench.rest().await;
        let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap_or("line")).collect();
        assert_eq!((kinds, texts(&events, "stdout")), (vec!["state", "line", "end"], "bye".to_owned()));
        assert_eq!(events[0]["state"], "stopping");
        assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
        assert!(is_gone(pid).await);
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed_after_the_grace() {
        let mut source = shell("trap '' TERM; echo deaf; while true; do sleep 0.05; done");
        source.stop.grace = Duration::from_millis(300);
        let mut bench = Bench::process(source);
        bench.line().await;
        bench.stop();
        let (events, end) = timeout(Duration::from_secs(10), bench.rest()).await.unwrap();
        assert_eq!(events.last().unwrap()["signal"], "KILL");
        assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
    }

    #[tokio::test]
    async fn a_signal_is_passed_on() {
        let (send, signals) = mpsc::channel(1);
        let options = Options { signals: Some(signals), ..Options::default() };
        let mut bench =
            Bench::once(shell("trap 'echo got; exit 7' USR1; echo ready; while true; do sleep 0.05; done"), options);
        bench.line().await;
        send.send(Signal::USR1).await.unwrap();
        // The shell may say first that its `sleep` was told, too.
        while bench.line().await != "got" {}
        assert_eq!(bench.rest().await.1.unwrap().unwrap().code, Some(7));
    }

    #[tokio::test]
    async fn what_is_passed_on_is_unchanged_and_waits_for_its_reader() {
        let (out, mut seen) = tokio::io::duplex(1000);
        let (err, mut seen_err) = tokio::io::duplex(1000);
        let options = Options { tee: Some(Tee::new(out, err)), ..Options::default() };
        let bench = Bench::once(shell("seq 1 20000; printf 'a\\rb\\r\\n\\0'; printf oops >&2"), options);
        let end = tokio::spawn(bench.rest());
        // Longer than a process without a tee would be read after its end.
        tokio::time::sleep(QUIET * 2).await;
        let (mut all, mut all_err) = (Vec::new(), Vec::new());
        tokio::try_join!(seen.read_to_end(&mut all), seen_err.read_to_end(&mut all_err)).unwrap();
        let numbers = numbered("", 1..=20000);
        assert_eq!(all, [numbers.as_bytes(), b"a\rb\r\n\0"].concat());
        assert_eq!(all_err, b"oops");
        let (events, end) = end.await.unwrap();
        assert_eq!(events.iter().filter(|event| event["origin"] == "stdout").count(), 20_002);
        assert_eq!(end.unwrap().unwrap().code, Some(0));
    }

    #[tokio::test]
    async fn when_nobody_reads_us_any_more_the_process_is_told() {
        let (out, seen) = tokio::io::duplex(1000);
        let options = Options { tee: Some(Tee::new(out, tokio::io::sink())), ..Options::default() };
        drop(seen);
        let (_, end) = Bench::once(process(&["yes"]), options).rest().await;
        assert_eq!(end.unwrap().unwrap().signal.as_deref(), Some("PIPE"));
    }
}
