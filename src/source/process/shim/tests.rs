//! Runs that outlive their daemon: a run is left or forgotten, and another one takes its place.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::SHIM_DIRECTORY;
use super::start::{ShimPlan, connection};
use super::sweep::{end_unclaimed, end_unrecorded, sweep};
use crate::config::{ProcessSourceConfig, SourceKind, Stream, TerminalSize};
use crate::control::RunCommand;
use crate::event::{EndCause, RunEnd};
use crate::source::SourceOptions;
use crate::source::process::child::ExecTask;
use crate::source::process::procfs;
use crate::source::process::run::{ProcessRun, TakenOverRun};
use crate::source::process::run_record::{AfterStop, RunRecord};
use crate::source::process::spawn::own_program;
use crate::source::testing::{TestDirectory, shell, spec};
use crate::stream::Batch;

/// However slow the machine is, what has not come by then never will.
const DEADLINE: Duration = Duration::from_secs(20);

/// A stream, and the state directory of its daemon.
struct Setup {
    directory: TestDirectory,
    spec: Stream,
    source: ProcessSourceConfig,
    options: SourceOptions,
}

impl Setup {
    fn new(script: &str, change: impl FnOnce(&mut ProcessSourceConfig)) -> Self {
        let directory = TestDirectory::new();
        let shims = directory.path(SHIM_DIRECTORY);
        std::fs::create_dir(&shims).unwrap();
        let mut source = shell(script);
        change(&mut source);
        let spec = spec(SourceKind::Process(source.clone()));
        let options = SourceOptions { shim_directory: Some(shims), ..SourceOptions::default() };
        Self { directory, spec, source, options }
    }

    async fn start(&self) -> ProcessRun {
        ProcessRun::start(&self.spec, &self.source, &self.options, 7).await.unwrap()
    }

    /// Takes over a run; `lines` are extended by those that the earlier daemon had not recorded.
    async fn take_over(&self, record: &RunRecord, lines: &mut Vec<String>) -> Option<TakenOverRun> {
        let mut batch = Batch::new();
        let mut taken = ProcessRun::take_over(&self.spec, &self.source, &self.options, record, &mut batch).await?;
        taken.run.prepare(&mut batch);
        taken.run.settle();
        lines.extend(batch.lines().into_iter().map(|(_, _, line)| line));
        Some(taken)
    }

    /// The number of shims that have a socket.
    fn shims(&self) -> usize {
        std::fs::read_dir(self.directory.path(SHIM_DIRECTORY)).unwrap().count()
    }

    async fn wait_until_swept(&self) {
        let deadline = Instant::now() + DEADLINE;
        while self.shims() > 0 {
            assert!(Instant::now() < deadline, "a shim is left");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads and records as a supervisor does. Returns the new lines, and the end of the run once it has ended.
async fn read_turn(run: &mut ProcessRun) -> (Vec<String>, Option<RunEnd>) {
    let mut batch = Batch::new();
    let end = run.next(&mut None, &mut batch).await;
    run.prepare(&mut batch);
    run.settle();
    (batch.lines().into_iter().map(|(_, _, line)| line).collect(), end)
}

/// Reads until a line has this text. Returns the lines up to it.
async fn read_until(run: &mut ProcessRun, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let reading = async {
        while !lines.iter().any(|line| line == text) {
            let (more, end) = read_turn(run).await;
            lines.extend(more);
            assert!(end.is_none(), "the run ended before {text}: {lines:?}");
        }
    };
    timeout(DEADLINE, reading).await.unwrap();
    lines
}

/// Ends the input, so that the program continues, and returns the lines that were read meanwhile.
async fn end_input(run: &mut ProcessRun) -> Vec<String> {
    run.command(RunCommand::EndOfInput, &mut None, &mut Batch::new()).unwrap();
    // A turn is not cut off between its reading and its recording.
    timeout(Duration::from_millis(20), read_turn(run)).await.map_or_else(|_| Vec::new(), |(lines, _)| lines)
}

async fn read_to_end(run: &mut ProcessRun) -> (Vec<String>, RunEnd) {
    let mut lines = Vec::new();
    let reading = async {
        loop {
            let (more, end) = read_turn(run).await;
            lines.extend(more);
            if let Some(end) = end {
                return end;
            }
        }
    };
    let end = timeout(DEADLINE, reading).await.unwrap();
    run.release();
    (lines, end)
}

#[tokio::test]
async fn a_run_that_was_left_continues_where_it_was() {
    for name in ["pipes", "a terminal"] {
        let setup = Setup::new("echo one; printf tw; read line; echo o $line; exit 3", |source| {
            source.input = true;
            source.pty = (name == "a terminal").then_some(TerminalSize { columns: 80, rows: 24 });
        });
        let mut run = setup.start().await;
        read_until(&mut run, "one").await;
        let mut batch = Batch::new();
        // The unfinished line was read when it is shown.
        while batch.last_open().is_none() {
            run.next(&mut None, &mut batch).await;
            run.prepare(&mut batch);
            run.settle();
        }
        let (pid, record) = (run.pid(), RunRecord::read(&run.record().to_text()).unwrap());
        assert!(run.can_be_left(), "{name}");
        run.leave();
        drop(run);
        let TakenOverRun { mut run, is_complete, is_same_spec, .. } =
            setup.take_over(&record, &mut Vec::new()).await.unwrap();
        assert!(is_complete && is_same_spec, "{name}");
        assert_eq!(run.pid(), pid, "{name}");
        run.command(RunCommand::Input(b"three\n"[..].into()), &mut None, &mut Batch::new()).unwrap();
        let (lines, end) = read_to_end(&mut run).await;
        let expected: &[&str] = if name == "pipes" { &["two three"] } else { &["twthree", "o three"] };
        assert_eq!(lines, expected, "{name}");
        assert_eq!((end.code, end.cause, end.run), (Some(3), EndCause::Exited, 7), "{name}");
        setup.wait_until_swept().await;
    }
}

#[tokio::test]
async fn a_run_that_was_forgotten_is_taken_over() {
    let setup = Setup::new("echo one; read line; echo two; exit 0", |source| source.input = true);
    let mut run = setup.start().await;
    read_until(&mut run, "one").await;
    let record = run.record();
    // The connection ends with the daemon; its processes are not killed.
    run.abandon();
    let TakenOverRun { mut run, is_complete, .. } = setup.take_over(&record, &mut Vec::new()).await.unwrap();
    assert!(is_complete, "nothing was on its way");
    run.command(RunCommand::EndOfInput, &mut None, &mut Batch::new()).unwrap();
    let (lines, end) = read_to_end(&mut run).await;
    assert_eq!((lines, end.code), (vec!["two".to_owned()], Some(0)));
}

/// The moments at which a daemon is killed, within the turn in which it reads `two`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kill {
    /// The bytes are in the staging pipe, and nothing became of them.
    Staged,
    /// The state is written, and the events are not recorded.
    Prepared,
    /// The events are recorded, and the bytes are still in the staging pipe.
    Recorded,
    Settled,
}

#[tokio::test]
async fn no_byte_is_lost_or_repeated_whenever_the_daemon_is_killed() {
    for pty in [false, true] {
        for kill in [Kill::Staged, Kill::Prepared, Kill::Recorded, Kill::Settled] {
            let setup = Setup::new(
                "stty -echo 2>/dev/null; echo one; read line; echo two; printf half; read line; echo ed",
                |source| {
                    source.input = true;
                    source.pty = pty.then_some(TerminalSize { columns: 80, rows: 24 });
                },
            );
            let mut run = setup.start().await;
            read_until(&mut run, "one").await;
            run.command(RunCommand::Input(b"go\n"[..].into()), &mut None, &mut Batch::new()).unwrap();
            let mut record = run.record();
            let mut lines = Vec::new();
            while !lines.contains(&"two".to_owned()) {
                let mut batch = Batch::new();
                timeout(DEADLINE, run.next(&mut None, &mut batch)).await.unwrap();
                let new: Vec<_> = batch.lines().into_iter().map(|(_, _, line)| line).collect();
                let is_last = new.contains(&"two".to_owned());
                if is_last && kill == Kill::Staged {
                    break;
                }
                run.prepare(&mut batch);
                if is_last && kill == Kill::Prepared {
                    break;
                }
                (lines, record) = ([lines, new].concat(), run.record());
                if is_last && kill == Kill::Recorded {
                    break;
                }
                run.settle();
            }
            run.abandon();
            let TakenOverRun { mut run, is_complete, .. } = setup.take_over(&record, &mut lines).await.unwrap();
            assert!(is_complete, "{kill:?}, pty: {pty}");
            run.command(RunCommand::Input(b"go\n"[..].into()), &mut None, &mut Batch::new()).unwrap();
            let (rest, end) = read_to_end(&mut run).await;
            lines.extend(rest);
            lines.retain(|line| line != "one");
            assert_eq!(
                (lines, end.code),
                (vec!["two".to_owned(), "halfed".to_owned()], Some(0)),
                "{kill:?}, pty: {pty}"
            );
        }
    }
}

#[tokio::test]
async fn a_secret_that_a_killed_daemon_had_read_in_part_is_not_shown() {
    for (first, rest) in [("pass", "word=hunter2"), ("password=hun", "ter2")] {
        let mut setup = Setup::new("printf 'one\n%s' \"$FIRST\"; read line; echo \"$REST\"", |source| {
            source.input = true;
            source.environment = [("FIRST".to_owned(), first.to_owned()), ("REST".to_owned(), rest.to_owned())].into();
        });
        setup.spec.redact = Some(Vec::new());
        let mut run = setup.start().await;
        // One write of the program, which is read at once.
        read_until(&mut run, "one").await;
        let record = run.record();
        run.abandon();
        let mut run = setup.take_over(&record, &mut Vec::new()).await.unwrap().run;
        run.command(RunCommand::EndOfInput, &mut None, &mut Batch::new()).unwrap();
        assert_eq!(read_to_end(&mut run).await.0, ["password=[redacted]"], "{first:?}, {rest:?}");
        setup.wait_until_swept().await;
    }
}

#[tokio::test]
async fn a_program_that_ends_without_a_daemon_has_its_status_and_its_output() {
    for (script, code, signal) in
        [("echo last; exit 7", Some(7), None), ("echo last; kill -SEGV $$", None, Some("SEGV".to_owned()))]
    {
        let setup = Setup::new(&format!("read line; {script}"), |source| source.input = true);
        let mut run = setup.start().await;
        let (pid, record) = (run.pid(), run.record());
        let read = end_input(&mut run).await;
        run.abandon();
        let deadline = Instant::now() + DEADLINE;
        while procfs::stat(Pid::from_raw(pid.cast_signed()).unwrap()).is_some() {
            assert!(Instant::now() < deadline, "the program does not end, or is not waited for");
            sleep(Duration::from_millis(5)).await;
        }
        let mut run = setup.take_over(&record, &mut Vec::new()).await.unwrap().run;
        let (lines, end) = read_to_end(&mut run).await;
        assert_eq!([read, lines].concat(), ["last"]);
        assert_eq!((end.code, end.signal), (code, signal));
        setup.wait_until_swept().await;
    }
}

#[tokio::test]
async fn without_a_daemon_a_program_ends_after_its_time_with_its_grace() {
    let setup = Setup::new("trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done", |source| {
        source.orphan_timeout = Duration::from_millis(50);
    });
    let mut run = setup.start().await;
    read_until(&mut run, "ready").await;
    let record = run.record();
    run.abandon();
    // Nobody comes: the program is asked to end, and its shim ends as well.
    setup.wait_until_swept().await;
    assert!(record.alive().is_empty());
    assert!(setup.take_over(&record, &mut Vec::new()).await.is_none());
}

#[tokio::test]
async fn nothing_is_left_after_a_sweep() {
    let kept = Setup::new("echo ready; sleep 1000", |_| {});
    let mut run = kept.start().await;
    read_until(&mut run, "ready").await;
    let record = run.record();
    let name = record.shim.as_ref().unwrap().name.clone();
    run.abandon();
    let (state, shims) = (kept.directory.0.path(), kept.directory.path(SHIM_DIRECTORY));
    // A socket without a process is removed.
    drop(std::os::unix::net::UnixListener::bind(shims.join("stale-0")));
    end_unclaimed(state, [kept.spec.name.as_str()]).unwrap();
    assert_eq!(end_unrecorded(&shims, kept.spec.name.as_str(), Some(&name)), 0);
    assert_eq!(kept.shims(), 1);
    assert!(!record.alive().is_empty());
    sweep(state).unwrap();
    assert_eq!((kept.shims(), record.alive().len()), (0, 0));
    sweep(&kept.directory.path("nothing")).unwrap();
}

#[tokio::test]
async fn a_shim_refuses_a_second_daemon_and_a_wrong_secret() {
    let setup = Setup::new("echo ready; read line", |source| source.input = true);
    let mut run = setup.start().await;
    read_until(&mut run, "ready").await;
    let record = run.record();
    assert!(setup.take_over(&record, &mut Vec::new()).await.is_none(), "a daemon is attached");
    let text: Value = serde_json::from_str(&record.to_text()).unwrap();
    let wrong = record.to_text().replace(text["shim"]["secret"].as_str().unwrap(), "0000");
    run.abandon();
    assert!(setup.take_over(&RunRecord::read(&wrong).unwrap(), &mut Vec::new()).await.is_none(), "the secret is wrong");
    let mut run = setup.take_over(&record, &mut Vec::new()).await.expect("the daemon with the record").run;
    run.command(RunCommand::EndOfInput, &mut None, &mut Batch::new()).unwrap();
    read_to_end(&mut run).await;
}

#[tokio::test]
async fn a_program_whose_shim_is_killed_is_asked_to_end_and_its_output_is_read() {
    let setup = Setup::new("trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done", |_| {});
    let mut run = setup.start().await;
    read_until(&mut run, "ready").await;
    let shim = procfs::stat(Pid::from_raw(run.pid().cast_signed()).unwrap()).unwrap().parent;
    kill_process(Pid::from_raw(shim).unwrap(), Signal::KILL).unwrap();
    let (lines, end) = read_to_end(&mut run).await;
    assert_eq!((lines, end.cause, end.code), (vec!["asked".to_owned()], EndCause::Lost, None));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_leaves_no_shim() {
    let setup = Setup::new("true", |source| source.argv = vec!["no-such-program".into()]);
    let error = ProcessRun::start(&setup.spec, &setup.source, &setup.options, 1).await.unwrap_err();
    assert_eq!(error.with_cause(), "cannot start \"no-such-program\": No such file or directory (os error 2)");
    setup.wait_until_swept().await;
}

#[tokio::test]
async fn a_program_is_not_started_for_a_daemon_that_is_gone() {
    let setup = Setup::new("", |source| source.orphan_timeout = Duration::from_millis(50));
    let plan = ShimPlan::new(setup.directory.path(SHIM_DIRECTORY), "p", 1, "mark", 2).unwrap();
    let (ours, shims) = connection().unwrap();
    let file = setup.directory.path("started");
    let exec = ExecTask {
        argv: vec!["touch".into(), file.clone().into()],
        environment: BTreeMap::new(),
        directory: None,
        user: None,
        group: None,
        umask: None,
        session: true,
        terminal: false,
        input: false,
        open_files: None,
        parent: 0,
        parent_death_signal: Signal::TERM.as_raw(),
    };
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let ends = [null.as_fd(), null.as_fd()];
    // The daemon sends the task, and is killed before its shim has begun.
    plan.start(&ours, &setup.source, exec, [&ends, &ends, &[]], Duration::from_millis(1)).unwrap_err();
    drop(ours);
    own_program(shims, "__shim").status().unwrap();
    assert!(!file.exists(), "the next daemon, which did not find the socket, starts the program a second time");
    assert_eq!(setup.shims(), 0);
}

#[tokio::test]
async fn another_command_is_told_from_another_policy() {
    let setup = Setup::new("echo ready; read line", |source| source.input = true);
    let mut run = setup.start().await;
    read_until(&mut run, "ready").await;
    let record = run.record();
    run.abandon();
    let with = |change: fn(&mut ProcessSourceConfig)| {
        let mut source = setup.source.clone();
        change(&mut source);
        source
    };
    let table = [
        (with(|source| source.stop.grace = Duration::ZERO), true),
        (with(|source| source.restart.limit = None), true),
        (with(|source| source.argv.push("more".into())), false),
        (with(|source| source.umask = Some(0)), false),
    ];
    for (source, is_same) in table {
        let taken =
            ProcessRun::take_over(&setup.spec, &source, &setup.options, &record, &mut Batch::new()).await.unwrap();
        assert_eq!(taken.is_same_spec, is_same, "{source:?}");
        taken.run.abandon();
    }
    sweep(setup.directory.0.path()).unwrap();
}

#[tokio::test]
async fn a_run_that_was_taken_over_ends_as_the_new_configuration_says() {
    let script =
        "trap 'echo term; exit 1' TERM; trap 'echo int >said; exit 2' INT; echo ready; while :; do sleep 0.01; done";
    let mut setup = Setup::new(script, |_| {});
    let place = setup.directory.0.path().to_owned();
    setup.source.directory = Some(place.clone());
    let mut run = setup.start().await;
    read_until(&mut run, "ready").await;
    let record = run.record();
    run.abandon();
    setup.source.orphan_timeout = Duration::from_millis(50);
    setup.source.stop.signal = "INT".parse().unwrap();
    setup.take_over(&record, &mut Vec::new()).await.unwrap().run.abandon();
    setup.wait_until_swept().await;
    assert_eq!(std::fs::read_to_string(place.join("said")).unwrap(), "int\n");
}

#[tokio::test]
async fn without_a_daemon_what_the_leader_leaves_behind_is_asked_before_it_is_killed() {
    // The leader ends by itself in the second case.
    for leader in ["while :; do sleep 0.01; done", "exit"] {
        let script = format!(
            "sh -c 'trap \"echo asked >asked; exit\" TERM; echo ready; while :; do sleep 0.01; done' & \
            read line; trap 'exit 3' TERM; {leader}"
        );
        let mut setup = Setup::new(&script, |source| {
            source.stop.only = crate::config::StopTarget::Leader;
            source.orphan_timeout = Duration::from_millis(50);
            source.input = true;
        });
        let place = setup.directory.0.path().to_owned();
        setup.source.directory = Some(place.clone());
        let mut run = setup.start().await;
        read_until(&mut run, "ready").await;
        end_input(&mut run).await;
        let record = run.record();
        run.abandon();
        setup.wait_until_swept().await;
        assert_eq!(std::fs::read_to_string(place.join("asked")).unwrap(), "asked\n", "{leader}");
        assert!(record.alive().is_empty());
    }
}

#[tokio::test]
async fn what_the_leader_left_behind_is_asked_even_if_the_daemon_is_killed_before_it_does_so() {
    let script = "sh -c 'trap \"echo asked >asked; exit\" TERM; echo ready; while :; do sleep 0.01; done' & \
        trap 'exit 3' TERM; while :; do sleep 0.01; done";
    let mut setup = Setup::new(script, |source| source.stop.only = crate::config::StopTarget::Leader);
    let place = setup.directory.0.path().to_owned();
    setup.source.directory = Some(place.clone());
    let mut run = setup.start().await;
    read_until(&mut run, "ready").await;
    run.stop(AfterStop::Stopped);
    let (record, leader) = (run.record(), Pid::from_raw(run.pid().cast_signed()).unwrap());
    // The shim reaps the leader, and its daemon, which has yet to ask the others, is killed.
    let deadline = Instant::now() + DEADLINE;
    while procfs::stat(leader).is_some() {
        assert!(Instant::now() < deadline, "the leader lives");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(!place.join("asked").exists());
    run.abandon();
    while !record.alive().is_empty() {
        assert!(Instant::now() < deadline, "what it left behind lives");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(std::fs::read_to_string(place.join("asked")).unwrap(), "asked\n");
    sweep(setup.directory.0.path()).unwrap();
}
