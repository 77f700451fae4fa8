//! Runs that outlive their daemon: a run is left or forgotten, and another one takes its place.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::SHIM_DIRECTORY;
use super::sweep::{end_unclaimed, end_unrecorded, sweep};
use crate::config::{ProcessSourceConfig, SourceKind, Stream, TerminalSize};
use crate::control::RunCommand;
use crate::event::{EndCause, RunEnd};
use crate::source::SourceOptions;
use crate::source::process::procfs;
use crate::source::process::run::{ProcessRun, TakenOverRun};
use crate::source::process::run_record::RunRecord;
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

    async fn take_over(&self, record: &RunRecord) -> Option<TakenOverRun> {
        ProcessRun::take_over(&self.spec, &self.source, &self.options, record, &mut Batch::new()).await
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

/// Reads until a line has this text. Returns the lines up to it.
async fn read_until(run: &mut ProcessRun, text: &str) -> Vec<String> {
    let mut batch = Batch::new();
    let reading = async {
        while !batch.lines().iter().any(|(_, _, line)| line == text) {
            assert!(
                run.next(&mut None, &mut batch).await.is_none(),
                "the run ended before {text}: {:?}",
                batch.lines()
            );
        }
    };
    timeout(DEADLINE, reading).await.unwrap();
    batch.lines().into_iter().map(|(_, _, line)| line).collect()
}

/// Ends the input, so that the program continues, and returns the lines that were read meanwhile.
async fn end_input(run: &mut ProcessRun) -> Vec<String> {
    run.command(RunCommand::EndOfInput, &mut None, &mut Batch::new()).unwrap();
    let mut batch = Batch::new();
    timeout(Duration::from_millis(20), run.next(&mut None, &mut batch)).await.unwrap_or_default();
    batch.lines().into_iter().map(|(_, _, line)| line).collect()
}

async fn read_to_end(run: &mut ProcessRun) -> (Vec<String>, RunEnd) {
    let mut batch = Batch::new();
    let reading = async {
        loop {
            if let Some(end) = run.next(&mut None, &mut batch).await {
                return end;
            }
        }
    };
    let end = timeout(DEADLINE, reading).await.unwrap();
    run.release();
    (batch.lines().into_iter().map(|(_, _, line)| line).collect(), end)
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
        }
        let (pid, record) = (run.pid(), RunRecord::read(&run.record().to_text()).unwrap());
        assert!(run.can_be_left() && run.leave(), "{name}");
        drop(run);
        let TakenOverRun { mut run, is_complete, is_same_spec, .. } = setup.take_over(&record).await.unwrap();
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
async fn a_run_that_was_forgotten_is_taken_over_and_says_that_it_is_not_complete() {
    let setup = Setup::new("echo one; read line; echo two; exit 0", |source| source.input = true);
    let mut run = setup.start().await;
    read_until(&mut run, "one").await;
    let record = run.record();
    // The connection ends with the daemon; its processes are not killed.
    run.abandon();
    let TakenOverRun { mut run, is_complete, .. } = setup.take_over(&record).await.unwrap();
    assert!(!is_complete);
    run.command(RunCommand::EndOfInput, &mut None, &mut Batch::new()).unwrap();
    let (lines, end) = read_to_end(&mut run).await;
    assert_eq!((lines, end.code), (vec!["two".to_owned()], Some(0)));
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
        let mut run = setup.take_over(&record).await.unwrap().run;
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
    assert!(setup.take_over(&record).await.is_none());
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
    drop(std::os::unix::net::UnixListener::bind(shims.join("stale")));
    end_unclaimed(state, [kept.spec.name.as_str()]).unwrap();
    end_unrecorded(&shims, kept.spec.name.as_str(), Some(&name));
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
    assert!(setup.take_over(&record).await.is_none(), "a daemon is attached");
    let text: Value = serde_json::from_str(&record.to_text()).unwrap();
    let wrong = record.to_text().replace(text["shim"]["secret"].as_str().unwrap(), "0000");
    run.abandon();
    assert!(setup.take_over(&RunRecord::read(&wrong).unwrap()).await.is_none(), "the secret is wrong");
    let mut run = setup.take_over(&record).await.expect("the daemon with the record").run;
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
