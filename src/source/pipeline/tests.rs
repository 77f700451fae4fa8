//! Tests of the line pipeline: drawn blocks, live rows, progress, levels and sections, each from bytes to events of a batch.

use super::*;
use crate::config::{self, ConfigRegex, FileSourceConfig, MultilineConfig as Joined};
use crate::event::{Epoch, Level, Position};
use crate::line::PIPE_COLUMNS;
use crate::progress::MAX_PROGRESS_LINE_SIZE;
use crate::source::live_rows::{MIN_OPEN_LINE_INTERVAL, OPEN_LINE_DELAY};
use crate::source::origin_state::REDRAW_SETTLE_TIME;
use crate::source::testing::{process, spec};
use std::time::Duration;

struct TestPipeline {
    pipeline: LinePipeline,
    now: ClockReading,
    batch: Batch,
}

impl TestPipeline {
    fn new(spec: &Stream) -> Self {
        Self { pipeline: LinePipeline::new(spec, [Origin::stdout()]), now: ClockReading::read(), batch: Batch::new() }
    }

    fn push(&mut self, text: &str) {
        self.pipeline.push(0, text.as_bytes(), self.now, &mut self.batch);
    }

    /// Advances the time, and calls the pipeline whenever it is due.
    fn wait(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(due) = self.pipeline.due().filter(|due| *due <= end) {
            self.at(due);
            self.pipeline.run_due(due, &mut self.batch);
            assert!(self.pipeline.due().is_none_or(|next| next > due), "it would be called for ever");
        }
        self.at(end);
    }

    fn at(&mut self, instant: Instant) {
        let time = self.now.time.plus(instant - self.now.instant);
        self.now = ClockReading { instant, time };
    }

    fn lines(&self) -> Vec<String> {
        self.batch.lines().into_iter().map(|(_, _, text)| text).collect()
    }

    fn percent(&self) -> Option<f64> {
        self.batch.last_progress().and_then(|progress| progress.percent)
    }
}

fn commanded() -> Stream {
    spec(SourceKind::Process(process(&["x"])))
}

fn indented() -> Joined {
    let expression = ConfigRegex(regex::bytes::Regex::new("^ ").unwrap());
    Joined { begins: false, expression, timeout: Duration::from_secs(5) }
}

#[test]
fn a_drawn_block_goes_through_multiline_once_it_is_calm() {
    let mut test = TestPipeline::new(&Stream { multiline: Some(indented()), ..commanded() });
    test.push("x\n");
    for percent in 1..9 {
        test.push(&format!("\x1b[2A\x1b[2K\ra\n\x1b[2K\r {percent}0%\n"));
        test.wait(REDRAW_SETTLE_TIME / 2);
    }
    assert_eq!(test.lines(), Vec::<String>::new(), "it is drawn still, and x waits for what may go on");
    assert!(test.pipeline.is_open(0) && test.pipeline.held(0) > 0);
    test.wait(REDRAW_SETTLE_TIME * 2);
    assert_eq!(test.pipeline.origins[&0].lines.live_rows(), [&b"a"[..], b" 80%"], "it may still be redrawn");
    test.push("done\n");
    test.wait(REDRAW_SETTLE_TIME / 2);
    assert_eq!(test.lines(), Vec::<String>::new(), "the block may have grown by a row");
    test.wait(REDRAW_SETTLE_TIME);
    assert_eq!(test.lines(), ["x", "a\n 80%"]);
    test.wait(Duration::from_secs(5));
    assert_eq!(test.lines(), ["x", "a\n 80%", "done"]);
    assert!(!test.pipeline.is_open(0));
    assert!(test.pipeline.deadlines.is_empty());
}

#[test]
fn live_rows_show_no_secret_that_begins_far_above_or_in_another_row() {
    let key = "-----BEGIN RSA PRIVATE KEY-----\n".to_owned() + &"MIIESECRET\n".repeat(230);
    let table = [
        // More rows than are shown.
        format!("x\n\x1b[1A{key}"),
        format!("x\n\x1b[1A{}{key}", "row\n".repeat(150)),
        // More bytes than are shown.
        format!("x\n\x1b[1A-----BEGIN RSA PRIVATE KEY-----\n{}", format!("SECRET{}\n", "x".repeat(480)).repeat(22)),
        // Rows that wrap, on both screens.
        format!("x\n\x1b[1Aauthorization: Bearer {}SECRET\r\nx y ", "t".repeat(600)),
        format!("\x1b[?1049h\x1b[Hauthorization: Bearer {}SECRET\r\nx y ", "t".repeat(600)),
    ];
    for text in table {
        let mut source = process(&["x"]);
        source.pty = Some(config::TerminalSize { columns: 500, rows: 600 });
        let redacted = Stream { redact: Some(Vec::new()), ..spec(SourceKind::Process(source)) };
        let mut test = TestPipeline::new(&redacted);
        test.push(&text);
        let rows = test.pipeline.origins[&0].live_rows();
        let shown = String::from_utf8_lossy(&rows.concat()).into_owned();
        assert!(shown.contains("[redacted]") && !shown.contains("SECRET"), "{text:.60}: {rows:?}");
    }
}

/// A header that a terminal hides is recognised, whatever becomes of carriage returns.
#[test]
fn sections_are_recognised_in_files_and_processes() {
    let lines = [
        "\x1b[0Ksection_start:1000000003:get[collapsed=true]\r\x1b[0KGet it",
        "section_end:1000000004:get\r\x1b[0Ksection_start:1000000004:build\r\x1b[0KBuild it",
        "section_end:1000000005:build\r\x1b[0K",
        "travis_fold:start:check\r\x1b[0KCheck it",
    ];
    let sources =
        [SourceKind::File(FileSourceConfig::new("/x".into())), SourceKind::Process(process(&["x"])), SourceKind::Push];
    let modes = [config::CarriageReturn::Keep, config::CarriageReturn::Fold];
    for (source, mode) in sources.iter().flat_map(|source| modes.map(|mode| (source, mode))) {
        for end in ["\n", "\r\n"] {
            let mut test = TestPipeline::new(&Stream { carriage_return: mode, ..spec(source.clone()) });
            for line in lines {
                test.push(&format!("{line}{end}x\n"));
                test.wait(REDRAW_SETTLE_TIME);
            }
            let groups = test.batch.last_progress().map(|progress| progress.groups.clone()).unwrap_or_default();
            let names: Vec<_> = groups.iter().map(|group| (&*group.name, group.duration.is_some())).collect();
            let expected = [("Get it", true), ("Build it", true), ("Check it", false)];
            assert_eq!(names, expected, "{mode:?}, {end:?}, {source:?}: {:?}", test.lines());
        }
    }
}

#[test]
fn a_settled_block_is_recorded_with_its_checkpoint() {
    let mut test = TestPipeline::new(&commanded());
    test.push("a\nb\n\x1b[2A\x1b[KA\n\x1b[KB\nnext\n");
    test.at(test.now.instant + REDRAW_SETTLE_TIME);
    assert_eq!(test.pipeline.run_due(test.now.instant, &mut test.batch), [0]);
    assert_eq!(test.lines(), ["a", "b", "A", "B", "next"]);
}

#[test]
fn what_is_left_of_a_calm_block_is_shown() {
    let mut test = TestPipeline::new(&commanded());
    test.push("a\nb\n\x1b[1A\x1b[2Kc\nhalf");
    test.wait(REDRAW_SETTLE_TIME * 2);
    assert_eq!(test.lines(), ["a", "b", "c"]);
    assert_eq!(test.pipeline.origins[&0].live_rows().last().unwrap(), b"half");
    assert!(test.pipeline.live_rows.is_shown(0, &Origin::stdout()));
    test.pipeline.finish(0, test.now, &mut test.batch);
    assert_eq!(test.lines(), ["a", "b", "c", "half"]);
}

#[test]
fn lines_above_a_bar_leave_it_in_sight() {
    let mut test = TestPipeline::new(&commanded());
    test.push("\r 10% a");
    test.wait(OPEN_LINE_DELAY);
    let rows = |test: &mut TestPipeline| {
        let rows = test.batch.last_open().map(|line| String::from_utf8_lossy(&line.rows.join(&b'|')).into_owned());
        std::mem::take(&mut test.batch.open);
        rows
    };
    assert_eq!(rows(&mut test).as_deref(), Some(" 10% a"));
    // As Cargo does it, many times a second.
    for number in 2..9 {
        test.push(&format!("\r\x1b[K line\n {number}0% a\r"));
        assert_eq!(rows(&mut test), None);
        test.wait(MIN_OPEN_LINE_INTERVAL);
        assert_eq!(rows(&mut test), Some(format!(" {number}0% a")));
    }
    assert_eq!(test.lines().len(), 7);
    // A bar that is erased is withdrawn, though no line follows.
    test.push("\r\x1b[K");
    test.wait(MIN_OPEN_LINE_INTERVAL);
    assert_eq!(rows(&mut test).as_deref(), Some(""));
    // The end of a plain line withdraws it at once.
    test.push("\nplain\nhalf");
    test.wait(OPEN_LINE_DELAY);
    assert_eq!(rows(&mut test).as_deref(), Some("half"));
    test.push(" a line\nand");
    assert_eq!(rows(&mut test).as_deref(), Some(""));
    test.wait(OPEN_LINE_DELAY);
    assert_eq!(rows(&mut test).as_deref(), Some("and"));
    test.pipeline.finish(0, test.now, &mut test.batch);
    assert_eq!(rows(&mut test).as_deref(), Some(""));
}

#[test]
fn files_are_not_drawn_and_every_byte_held_is_counted() {
    let file = spec(SourceKind::File(FileSourceConfig::new("/x".into())));
    let mut test = TestPipeline::new(&Stream { carriage_return: config::CarriageReturn::Fold, ..file });
    let drawing = "\x1b[1A\x1b[2K\rb";
    test.push(&format!("a\n{drawing}"));
    assert_eq!((test.lines(), test.pipeline.held(0)), (vec!["a".to_owned()], drawing.len() as u64));
    test.wait(REDRAW_SETTLE_TIME * 2);
    test.push("c\n");
    assert_eq!((test.lines(), test.pipeline.held(0)), (vec!["a".to_owned(), "bc".to_owned()], 0));
}

#[test]
fn progress_sees_each_line_and_the_unfinished_one() {
    let mut test = TestPipeline::new(&commanded());
    test.push("[ 10%] a\n");
    assert_eq!(test.percent(), Some(10.0));
    test.push("[ 20%] b");
    assert_eq!(test.percent(), Some(10.0), "ten times a second at most");
    test.wait(MIN_OPEN_LINE_INTERVAL);
    assert_eq!(test.percent(), Some(20.0));
    test.wait(Duration::from_mins(1));
    assert!(test.batch.last_progress().unwrap().stale);
    let mut off = TestPipeline::new(&Stream { progress: config::ProgressDetection::Off, ..commanded() });
    off.push("[ 10%] a\n");
    assert_eq!((off.percent(), off.pipeline.due()), (None, None));
}

#[test]
fn a_line_that_is_too_long_for_progress_is_not_copied_for_each_piece_of_it() {
    let file = || spec(SourceKind::File(FileSourceConfig::new("/x".into())));
    let terminal = || {
        let size = config::TerminalSize { columns: 80, rows: 24 };
        spec(SourceKind::Process(config::ProcessSourceConfig { pty: Some(size), ..process(&["x"]) }))
    };
    // The stream, the start of the line, and its pieces.
    let table = [
        (file(), "", "x"),
        (Stream { redact: Some(Vec::new()), ..file() }, "", "x "),
        (Stream { multiline: Some(indented()), ..file() }, "a\n", " b\n"),
        (spec(SourceKind::Push), "", "x"),
        (commanded(), "", "x"),
        (commanded(), "\x1b[31m", "x"),
        (terminal(), "", "x"),
        (terminal(), "\x1b[31m", "x"),
        (terminal(), "x\n\x1b[31m", "x"),
        (Stream { redact: Some(Vec::new()), ..terminal() }, "\x1b[31m", "x "),
    ];
    for (at, (spec, start, piece)) in table.into_iter().enumerate() {
        let mut test = TestPipeline::new(&spec);
        test.push(start);
        for read in (0..3 * MAX_PROGRESS_LINE_SIZE).step_by(piece.len()) {
            test.push(piece);
            // The rows are looked at now and then, since that takes longer than everything else.
            if read % 128 == 0 {
                let copied = test.pipeline.origins[&0].live_rows_for_progress().concat().len();
                assert!(copied > 0 || read > MAX_PROGRESS_LINE_SIZE / 2, "{at}: {read} bytes are not too many");
                // A full row of a pipe has 500 columns.
                let is_too_long = read > MAX_PROGRESS_LINE_SIZE + usize::from(PIPE_COLUMNS);
                assert!(copied == 0 || !is_too_long, "{at}: the line is copied although {read} bytes were read");
            }
        }
    }
    let mut off = TestPipeline::new(&Stream { progress: config::ProgressDetection::Off, ..commanded() });
    off.push("[ 10%] a");
    off.pipeline.progress.open(0, || panic!("nothing examines the rows"), off.now, &mut off.batch);
}

#[test]
fn progress_is_seen_in_lines_that_are_joined() {
    let mut test = TestPipeline::new(&Stream { multiline: Some(indented()), ..commanded() });
    test.push("[ 10%] a\n");
    assert_eq!(test.percent(), Some(10.0), "it is not waited for");
    test.push("[ 20%] b\n");
    test.wait(Duration::from_secs(5));
    assert_eq!(test.percent(), Some(20.0));
    assert_eq!(test.lines(), ["[ 10%] a", "[ 20%] b"]);
}

#[test]
fn the_pieces_of_a_long_line_have_the_level_of_the_first() {
    let long = |head: &str, tail: &str| format!("{head}{}{tail}\n", "x".repeat(4096 - head.len()));
    for (line, level) in [
        (long("WARN: a", "ERROR: b"), Some(Level::Warning)),
        (long("plain", "ERROR: b"), None),
        (long("\x1b[31mERROR: a", "plain"), Some(Level::Error)),
    ] {
        let file = spec(SourceKind::File(FileSourceConfig::new("/x".into())));
        let mut test = TestPipeline::new(&Stream { max_line: 4096, ..file });
        // The next line declares its own.
        test.push(&(line.clone() + "INFO: next\n"));
        let id = Position { epoch: Epoch::persistent(1), number: 1 };
        let segment = test.batch.take_segments(id, 0).remove(0);
        let levels: Vec<_> = (0..segment.len()).map(|at| segment.kind(at).1.level()).collect();
        assert_eq!(levels, [level, level, Some(Level::Info)], "{level:?}");
    }
}

#[test]
fn kept_carriage_returns_hide_nothing_and_the_end_is_shown() {
    let mut test = TestPipeline::new(&spec(SourceKind::File(FileSourceConfig::new("/x".into()))));
    test.push("Failed password\rnothing to see\n[ 10%] a\r[ 20%] b\r");
    test.wait(OPEN_LINE_DELAY * 2);
    assert_eq!(test.lines(), ["Failed password\rnothing to see"]);
    assert_eq!(test.percent(), Some(20.0));
    assert!(test.pipeline.live_rows.is_shown(0, &Origin::stdout()));
    assert_eq!(test.pipeline.origins[&0].live_rows(), [b"[ 20%] b"]);
    test.push("\n");
    assert_eq!(test.lines()[1], "[ 10%] a\r[ 20%] b");
}
