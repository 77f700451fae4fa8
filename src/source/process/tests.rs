//! Runs of real processes, as the readers of their streams see them.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Tee;
use super::draining::DRAIN_QUIET_TIME;
use super::procfs;
use super::run::{ProcessRun, SILENCE_NOTE_AFTER};
use super::run_record::{AfterStop, RunRecord};
use crate::config::{ProcessSourceConfig, TerminalSize};
use crate::control::{CommandError, RunCommand};
use crate::event::EndCause;
use crate::source::SourceOptions;
use crate::source::testing::{SourceHarness, TestDirectory, numbered_lines, process, shell};
use crate::stream::Batch;

fn texts(events: &[serde_json::Value], origin: &str) -> String {
    let of = events.iter().filter(|event| event["origin"] == origin);
    of.map(|event| event["text"].as_str().unwrap()).collect::<Vec<_>>().join("|")
}

#[tokio::test]
async fn both_pipes_the_last_half_line_and_the_exit_code_come() {
    let script = "echo one; echo two >&2; printf three; printf four >&2; exit 3";
    let (events, end) = SourceHarness::run_once(shell(script), SourceOptions::default()).remaining_events().await;
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
    let (events, _) = SourceHarness::run_once(process(&["echo", "$HOME", "a  b", "*"]), SourceOptions::default())
        .remaining_events()
        .await;
    assert_eq!(texts(&events, "stdout"), "$HOME a  b *");
    let (events, _) = SourceHarness::run_once(process(&["cat"]), SourceOptions::default()).remaining_events().await;
    assert_eq!(texts(&events, "stdout"), "");
}

#[tokio::test]
async fn environment_and_directory_are_set() {
    let mut source = shell("echo $GREETING; echo $PATH; pwd");
    source.environment.insert("GREETING".to_owned(), "hello".to_owned());
    source.directory = Some("/usr".into());
    let (events, _) = SourceHarness::run_once(source, SourceOptions::default()).remaining_events().await;
    assert_eq!(texts(&events, "stdout"), format!("hello|{}|/usr", std::env::var("PATH").unwrap()));
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let (events, end) =
        SourceHarness::run_once(process(&["no-such-program"]), SourceOptions::default()).remaining_events().await;
    let reason = "cannot start \"no-such-program\": No such file or directory (os error 2)";
    assert_eq!((&events[0]["state"], &events[0]["reason"]), (&"stopped".into(), &reason.into()));
    assert_eq!(end.unwrap_err().io().kind(), std::io::ErrorKind::NotFound);
    let mut source = process(&["true"]);
    source.directory = Some("/no/such".into());
    let (events, _) = SourceHarness::run_once(source, SourceOptions::default()).remaining_events().await;
    let reason = "cannot start \"true\" in the directory \"/no/such\": No such file or directory (os error 2)";
    assert_eq!(events[0]["reason"], reason);
}

#[tokio::test]
async fn a_signal_from_outside_is_named() {
    let (events, _) =
        SourceHarness::run_once(shell("kill -SEGV $$"), SourceOptions::default()).remaining_events().await;
    let end = events.iter().find(|event| event["kind"] == "end").unwrap();
    assert_eq!((&end["signal"], &end["cause"]), (&"SEGV".into(), &"signalled".into()));
    assert_eq!(end.get("code"), None);
}

#[tokio::test]
async fn a_megabyte_on_standard_error_comes_whole_and_in_pieces() {
    let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done";
    let (events, _) = SourceHarness::run_once(shell(script), SourceOptions::default()).remaining_events().await;
    assert_eq!(texts(&events, "stderr").replace('|', "").len(), 1_000_000);
    assert_eq!(texts(&events, "stdout"), "done");
}

#[tokio::test]
async fn an_unfinished_line_is_shown_and_taken_back() {
    let directory = TestDirectory::new();
    let fifo = directory.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let script = format!("printf 'one t'; cat {fifo:?}; exec sleep 60");
    let mut harness = SourceHarness::run_once(shell(&script), SourceOptions::default());
    harness.wait_for_open_line(Some("one t")).await;
    std::fs::write(&fifo, "wo\n").unwrap();
    assert_eq!(harness.line().await, "one two");
    harness.stop();
}

#[tokio::test]
async fn a_redrawn_line_is_shown_as_it_is_now_and_kept_once() {
    let script = "for i in 1 2 3 4 5 6 7 8; do printf '\\r%s0%%' $i; sleep 0.1; done; echo";
    let mut harness = SourceHarness::run_once(shell(script), SourceOptions::default());
    let mut seen = Vec::new();
    while seen.last().is_none_or(|text| text != "80%") && seen.len() < 5 {
        harness.wait_for_new_open_line().await;
        seen.push(String::from_utf8(harness.open.as_ref().unwrap().text().to_vec()).unwrap());
    }
    assert!(seen.windows(2).all(|two| two[0] < two[1]), "{seen:?}");
    assert_eq!(harness.line().await, "80%");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_is_read_for_a_while_and_killed() {
    let mut harness =
        SourceHarness::run_once(shell("(sleep 0.1; echo late; exec sleep 1000) & echo $!"), SourceOptions::default());
    let pid = harness.line().await.parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let (events, end) = timeout(Duration::from_secs(10), harness.remaining_events()).await.unwrap();
    assert_eq!(texts(&events, "stdout"), "late");
    assert!(end.unwrap().unwrap().duration < Some(5.0));
    assert!(is_gone(pid).await, "the grandchild lives");
}

/// Returns whether the process ends within 20 seconds, or has ended.
async fn is_gone(pid: rustix::process::Pid) -> bool {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    for _ in 0..1000 {
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
    let mut harness = SourceHarness::process(shell(script));
    let pid = rustix::process::Pid::from_raw(harness.line().await.parse().unwrap()).unwrap();
    harness.stop();
    let (events, end) = harness.remaining_events().await;
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap_or("line")).collect();
    assert_eq!((kinds, texts(&events, "stdout")), (vec!["state", "line", "end"], "bye".to_owned()));
    assert_eq!(events[0]["state"], "stopping");
    assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
    assert!(is_gone(pid).await);
}

#[tokio::test]
async fn a_process_that_ignores_the_signal_is_killed_after_the_grace_period() {
    let mut source = shell("trap '' TERM; echo deaf; while true; do sleep 0.05; done");
    source.stop.grace = Duration::from_millis(300);
    let mut harness = SourceHarness::process(source);
    harness.line().await;
    harness.stop();
    let (events, end) = timeout(Duration::from_secs(10), harness.remaining_events()).await.unwrap();
    assert_eq!(events.last().unwrap()["signal"], "KILL");
    assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
}

#[tokio::test]
async fn a_signal_is_passed_on() {
    let (send, signals) = mpsc::channel(1);
    let options = SourceOptions { signals: Some(signals), ..SourceOptions::default() };
    let mut harness = SourceHarness::run_once(
        shell("trap 'echo got; exit 7' USR1; echo ready; while true; do sleep 0.05; done"),
        options,
    );
    harness.line().await;
    send.send(Signal::USR1).await.unwrap();
    // The shell may first report that its `sleep` received the signal, too.
    while harness.line().await != "got" {}
    assert_eq!(harness.remaining_events().await.1.unwrap().unwrap().code, Some(7));
}

#[tokio::test]
async fn what_is_passed_on_is_unchanged_and_waits_for_its_reader() {
    let (out, mut seen) = tokio::io::duplex(1000);
    let (err, mut seen_err) = tokio::io::duplex(1000);
    let options = SourceOptions { tee: Some(Tee::new(out, err)), ..SourceOptions::default() };
    let mut harness = SourceHarness::run_once(shell("seq 1 5000; printf 'a\\rb\\r\\n!'; printf oops >&2"), options);
    let pid = harness.state("running").await["pid"].as_i64().and_then(|pid| pid.try_into().ok()).unwrap();
    // The output fits into a pipe, so the process ends although nobody reads the copy.
    assert!(is_gone(rustix::process::Pid::from_raw(pid).unwrap()).await);
    let end = tokio::spawn(harness.remaining_events());
    // Without a tee, the output of a process would be read for a shorter time after its end. The paused clock
    // advances as soon as there is nothing else to do.
    tokio::time::pause();
    tokio::time::sleep(DRAIN_QUIET_TIME * 2).await;
    tokio::time::resume();
    let (mut all, mut all_err) = (Vec::new(), Vec::new());
    tokio::try_join!(seen.read_to_end(&mut all), seen_err.read_to_end(&mut all_err)).unwrap();
    let numbers = numbered_lines("", 1..=5000);
    assert_eq!(all, [numbers.as_bytes(), b"a\rb\r\n!"].concat());
    assert_eq!(all_err, b"oops");
    let (events, end) = end.await.unwrap();
    assert_eq!(events.iter().filter(|event| event["origin"] == "stdout").count(), 5002);
    assert_eq!(end.unwrap().unwrap().code, Some(0));
}

#[tokio::test]
async fn a_run_whose_pipes_ended_before_the_process_ends_with_it() {
    let directory = TestDirectory::new();
    let fifo = directory.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let source = shell(&format!("exec >/dev/null 2>&1; exec cat {fifo:?}"));
    let spec = crate::source::testing::spec(crate::config::SourceKind::Process(source.clone()));
    let mut run = ProcessRun::start(&spec, &source, &SourceOptions::default(), 1).await.unwrap();
    let mut batch = Batch::new();
    while !run.is_output_ended() {
        assert!(timeout(Duration::from_secs(10), run.next(&mut None, &mut batch)).await.unwrap().is_none());
    }
    std::fs::write(&fifo, "").unwrap();
    assert!(is_gone(rustix::process::Pid::from_raw(run.pid().cast_signed()).unwrap()).await);
    // The paused clock advances only when there is nothing left to do but to wait.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    while run.next(&mut None, &mut batch).await.is_none() {}
    assert!(begin.elapsed() < DRAIN_QUIET_TIME, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_process_learns_that_the_output_has_no_reader() {
    let (out, seen) = tokio::io::duplex(1000);
    let options = SourceOptions { tee: Some(Tee::new(out, tokio::io::sink())), ..SourceOptions::default() };
    drop(seen);
    let (_, end) = SourceHarness::run_once(process(&["yes"]), options).remaining_events().await;
    assert_eq!(end.unwrap().unwrap().signal.as_deref(), Some("PIPE"));
}

#[tokio::test]
async fn held_back_output_is_reported_once() {
    // One block as the C library writes it, with an unfinished line at its end.
    let block = "x".repeat(4096);
    let mut harness = SourceHarness::process(shell(&format!("printf {block}; exec sleep 1000")));
    harness.wait_for_open_line(Some(&block)).await;
    // The paused clock advances as long as there is nothing else to do.
    tokio::time::pause();
    let state = harness.state("running").await;
    assert!(state["note"].is_null(), "{state}");
    let note = harness.state("running").await["note"].to_string();
    assert!(note.contains("`pty: true`"), "{note}");
    tokio::time::advance(10 * SILENCE_NOTE_AFTER).await;
    tokio::time::resume();
    harness.stop();
    let (events, _) = harness.remaining_events().await;
    assert!(events.iter().all(|event| event["note"].is_null()), "{events:#?}");
}

fn record_in(text: &str) -> RunRecord {
    RunRecord::read(text).unwrap()
}

fn on_terminal(mut source: ProcessSourceConfig, input: bool) -> ProcessSourceConfig {
    (source.pty, source.input) = (Some(TerminalSize { columns: 77, rows: 11 }), input);
    source
}

fn typing(text: &'static str) -> RunCommand {
    RunCommand::Input(text.into())
}

#[tokio::test]
async fn on_a_terminal_it_has_a_size_and_a_kind_and_one_output() {
    let script =
        "test -t 1 && test -t 2 && ! test -t 0 && tty >/dev/tty; stty size </dev/tty; echo $TERM; echo err >&2; cat";
    let (events, end) =
        SourceHarness::run_once(on_terminal(shell(script), false), SourceOptions::default()).remaining_events().await;
    assert_eq!(texts(&events, "stdout"), "not a tty|11 77|xterm-256color|err");
    assert_eq!(texts(&events, "stderr"), "");
    assert_eq!(end.unwrap().unwrap().code, Some(0));
}

#[tokio::test]
async fn input_on_a_terminal_is_echoed_and_its_size_can_change() {
    // The signal for the new size interrupts the first `read`, if the shell has reached it.
    let script =
        "trap 'stty size' WINCH; printf 'name: '; read name; echo hello $name; cat; echo over; read x || read x";
    let mut harness = SourceHarness::run_once(on_terminal(shell(script), true), SourceOptions::default());
    harness.wait_for_open_line(Some("name: ")).await;
    let Ok(mut screen) = harness.control.attach().await else { panic!() };
    harness.control.send(typing("world\n")).await.unwrap();
    assert_eq!(harness.lines(2).await, ["name: world", "hello world"]);
    harness.control.send(RunCommand::EndOfInput).await.unwrap();
    // The echo of Ctrl-D, if there is one, is on the same line.
    assert!(harness.line().await.ends_with("over"));
    harness.control.send(RunCommand::Resize { rows: 50, columns: 132 }).await.unwrap();
    assert_eq!(harness.line().await, "50 132");
    harness.control.send(typing("\n")).await.unwrap();
    harness.remaining_events().await.1.unwrap();
    let mut raw = Vec::new();
    while let Some(crate::control::RawOutput::Bytes(bytes)) = screen.next().await {
        raw.extend(bytes);
    }
    assert!(raw.starts_with(b"world\r\nhello world\r\n"), "{:?}", String::from_utf8_lossy(&raw));
}

#[tokio::test]
async fn a_bar_fills_the_terminal_before_and_after_its_size_changes() {
    let script = "bar() { printf '\\r%s' $(head -c $1 /dev/zero | tr '\\0' =); }; trap 'bar 30; bar 30' WINCH; bar 77; bar 77; \
        read x || read x; echo end";
    let mut harness = SourceHarness::run_once(on_terminal(shell(script), true), SourceOptions::default());
    harness.wait_for_open_line(Some(&"=".repeat(77))).await;
    harness.control.send(RunCommand::Resize { rows: 11, columns: 30 }).await.unwrap();
    harness.wait_for_open_line(Some(&"=".repeat(30))).await;
    harness.control.send(typing("\n")).await.unwrap();
    let (events, _) = harness.remaining_events().await;
    assert_eq!(texts(&events, "stdout"), format!("{}|end", "=".repeat(30)));
}

#[tokio::test]
async fn input_goes_through_a_pipe_until_its_end() {
    let directory = TestDirectory::new();
    let fifo = directory.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // The process outlives the end of its input until the FIFO is opened.
    let mut source = shell(&format!("cat; exec cat {fifo:?}"));
    source.input = true;
    let mut harness = SourceHarness::run_once(source, SourceOptions::default());
    harness.state("running").await;
    harness.control.send(typing("one\ntw")).await.unwrap();
    assert_eq!(harness.line().await, "one");
    harness.control.send(typing("o")).await.unwrap();
    harness.control.send(RunCommand::EndOfInput).await.unwrap();
    assert_eq!(harness.control.send(typing("x")).await.unwrap_err(), CommandError::InputEnded);
    assert_eq!(harness.control.attach().await.unwrap_err(), CommandError::NoPty);
    std::fs::write(&fifo, "").unwrap();
    assert_eq!(harness.line().await, "two...");
    assert_eq!(harness.remaining_events().await.1.unwrap().unwrap().code, Some(0));
}

#[tokio::test]
async fn input_without_permission_and_too_much_input_are_refused() {
    let mut harness = SourceHarness::run_once(process(&["sleep", "1000"]), SourceOptions::default());
    harness.state("running").await;
    assert_eq!(harness.control.send(typing("x")).await.unwrap_err(), CommandError::NoInput);
    harness.stop();
    let mut source = process(&["sleep", "1000"]);
    source.input = true;
    let mut harness = SourceHarness::run_once(source, SourceOptions::default());
    harness.state("running").await;
    let piece = vec![b'x'; 60_000];
    let mut taken = 0;
    let refused = loop {
        match harness.control.send(RunCommand::Input(piece.clone().into())).await {
            Ok(_) => taken += piece.len(),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, CommandError::Busy);
    assert!(taken < 300_000, "{taken}");
    harness.stop();
}

#[tokio::test]
async fn what_escapes_the_group_ends_with_the_run_or_the_daemon() {
    let script = "setsid sh -c 'setsid sleep 1000 & echo $!; exec sleep 1000' & wait";
    let mut source = shell(script);
    // A process that was just being started when all were asked to end is killed after the grace period.
    source.stop.grace = Duration::from_millis(500);
    let mut harness = SourceHarness::process(source);
    let pid = rustix::process::Pid::from_raw(harness.line().await.parse().unwrap()).unwrap();
    assert!(procfs::stat(pid).is_some());
    harness.stop();
    let (_, end) = timeout(Duration::from_secs(10), harness.remaining_events()).await.unwrap();
    assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
    assert!(is_gone(pid).await, "what escaped lives");
}

#[tokio::test]
async fn it_knows_its_stream_and_the_peak_of_its_memory() {
    let script = "echo $RTLOGD_STREAM; head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null";
    let (events, end) = SourceHarness::run_once(shell(script), SourceOptions::default()).remaining_events().await;
    assert_eq!(texts(&events, "stdout"), "test");
    // The memory of this process is a floor, and one run of many tests may use more than that.
    let (end, ours) = (end.unwrap().unwrap(), procfs::peak_memory(rustix::process::getpid()).unwrap());
    assert!(end.peak_memory.is_none_or(|peak| peak > 90_000_000 || ours > 90_000_000), "{end:?}");
}

#[tokio::test]
async fn an_unknown_user_is_named() {
    let mut source = process(&["true"]);
    source.user = Some("no-such-user".to_owned());
    let (events, _) = SourceHarness::run_once(source, SourceOptions::default()).remaining_events().await;
    let reason = events[0]["reason"].as_str().unwrap();
    assert!(reason.contains("\"no-such-user\"") && reason.ends_with("there is no such user"), "{reason}");
}

#[tokio::test]
async fn a_run_is_written_down_as_it_is() {
    let (spec, options) = (
        crate::source::testing::spec(crate::config::SourceKind::Process(shell("printf ab; exec sleep 1000"))),
        SourceOptions::default(),
    );
    let crate::config::SourceKind::Process(source) = spec.source.clone() else { panic!() };
    let mut run = ProcessRun::start(&spec, &source, &options, 7).await.unwrap();
    let mut batch = Batch::new();
    run.next(&mut None, &mut batch).await;
    let record = record_in(&run.record().to_text());
    assert_eq!((record.run, record.pid.cast_unsigned(), record.ended), (7, run.pid(), false));
    assert_eq!(record.alive().len(), 1);
    run.stop(AfterStop::Stopped);
    while run.next(&mut None, &mut batch).await.is_none() {}
    assert!(run.record().ended && record.alive().is_empty());
}
