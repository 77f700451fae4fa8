//! The lines of programs inside envelopes, as the pipeline emits them.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use crate::config::{
    CarriageReturn, ConfigRegex, FileSelector, FileSourceConfig, LineFormat, MultilineConfig, SourceKind, Stream,
};
use crate::event::{Flags, Origin};
use crate::source::ClockReading;
use crate::source::pipeline::LinePipeline;
use crate::source::testing::spec;
use crate::stream::Batch;

const TIME: &str = "2026-11-23T05:11:12.123456Z";

fn stream(format: LineFormat) -> Stream {
    let source = SourceKind::File(FileSourceConfig::new("/x".into()));
    Stream { format, carriage_return: CarriageReturn::Fold, ..spec(source) }
}

fn cri(stream: &str, tag: &str, text: &str) -> String {
    format!("{TIME} {stream} {tag} {text}\n")
}

fn docker(stream: &str, text: &str) -> String {
    serde_json::json!({ "log": text, "stream": stream, "time": TIME }).to_string() + "\n"
}

fn now() -> ClockReading {
    ClockReading::read()
}

/// The lines as `ORIGIN TEXT`, followed by `+` if continued and by `...` if partial.
fn shown(batch: &Batch) -> Vec<String> {
    let mark = |flags: Flags| match (flags.has(Flags::CONTINUED), flags.has(Flags::PARTIAL)) {
        (true, _) => "+",
        (false, true) => "...",
        (false, false) => "",
    };
    batch.lines().into_iter().map(|(origin, flags, text)| format!("{origin} {text}{}", mark(flags))).collect()
}

fn read(spec: &Stream, text: &str) -> (LinePipeline, Batch) {
    let (mut pipeline, mut batch) = (LinePipeline::new(spec, [Origin::from("/x")]), Batch::new());
    pipeline.push(0, text.as_bytes(), now(), &mut batch);
    (pipeline, batch)
}

#[test]
fn pieces_are_joined_for_each_stream() {
    let text = cri("stdout", "P", "a") + &cri("stderr", "P", "x") + &cri("stdout", "F", "b") + &cri("stderr", "F", "y");
    assert_eq!(shown(&read(&stream(LineFormat::Cri), &text).1), ["stdout ab", "stderr xy"]);
    let text = docker("stdout", "a") + &docker("stderr", "x") + &docker("stdout", "b\n") + &docker("stderr", "y\n");
    assert_eq!(shown(&read(&stream(LineFormat::Docker), &text).1), ["stdout ab", "stderr xy"]);
}

#[test]
fn everything_works_on_what_the_program_wrote() {
    let continued = ConfigRegex(regex::bytes::Regex::new("^ ").unwrap());
    let multiline = MultilineConfig { begins: false, expression: continued, timeout: Duration::from_secs(5) };
    let spec = Stream { multiline: Some(multiline), redact: Some(Vec::new()), ..stream(LineFormat::Cri) };
    let text = [
        cri("stderr", "F", "10%\r50%\r100%"),
        cri("stdout", "F", "\u{1b}[31mone\u{1b}[0m"),
        cri("stderr", "F", "password=hunter2hunter2"),
        cri("stdout", "F", "\u{1b}[2m two\u{1b}[0m"),
        "no envelope\n".to_owned(),
        cri("stdout", "F", "three"),
    ];
    let (mut pipeline, mut batch) = read(&spec, &text.concat());
    pipeline.finish(0, now(), &mut batch);
    let expected = [
        "stderr 100%",
        "stdout \u{1b}[31mone\u{1b}[0m\n\u{1b}[2m two\u{1b}[0m",
        "stdout three",
        "stderr password=[redacted]",
        "/x no envelope",
    ];
    let mut lines = shown(&batch);
    lines.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(&expected) {
        let is_secret = expected.contains("password");
        assert!(line == expected || (is_secret && !line.contains("hunter2")), "{lines:?}");
    }
}

#[test]
fn a_pattern_names_the_file_and_the_stream() {
    let files = vec![FileSelector::Path("/a".into()), FileSelector::Path("/b".into())];
    let source = FileSourceConfig { files, ..FileSourceConfig::new("/x".into()) };
    let spec = Stream { source: SourceKind::File(source), ..stream(LineFormat::Cri) };
    let text = cri("stdout", "F", "one") + &cri("stderr", "F", "two") + "three\n";
    assert_eq!(shown(&read(&spec, &text).1), ["/x:stdout one", "/x:stderr two", "/x three"]);
}

#[test]
fn the_rest_of_a_line_is_awaited_for_a_minute() {
    let (mut pipeline, mut batch) = read(&stream(LineFormat::Cri), &cri("stdout", "P", "half"));
    assert!(pipeline.held(0) > 0);
    let start = Instant::now();
    while let Some(due) = pipeline.due().filter(|due| *due < start + Duration::from_secs(50)) {
        pipeline.run_due(due, &mut batch);
    }
    assert_eq!(shown(&batch), [""; 0]);
    assert_eq!(pipeline.run_due(start + Duration::from_mins(2), &mut batch), [0], "its checkpoint is to be recorded");
    assert_eq!((shown(&batch), pipeline.held(0)), (vec!["stdout half...".to_owned()], 0));
    pipeline.push(0, cri("stdout", "F", "late").as_bytes(), now(), &mut batch);
    assert_eq!(shown(&batch), ["stdout half...", "stdout late"]);
}

/// What of several streams is emitted at the same time comes in the order in which it was written.
#[test]
fn joined_lines_of_several_streams_come_in_the_order_in_which_they_began() {
    let continued = ConfigRegex(regex::bytes::Regex::new("^ ").unwrap());
    let multiline = MultilineConfig { begins: false, expression: continued, timeout: Duration::from_secs(5) };
    let table = [
        (&[("stdout", "a"), ("stderr", "b")][..], &["stdout a", "stderr b"][..]),
        (&[("stderr", "a"), ("stdout", "b")], &["stderr a", "stdout b"]),
        (&[("stdout", "a"), ("stderr", "b"), ("stdout", "c")], &["stdout a", "stderr b", "stdout c"]),
        (&[("stderr", "a"), ("stdout", "b"), ("stderr", " a2")], &["stderr a\n a2", "stdout b"]),
    ];
    for (lines, expected) in table {
        for (format, due) in [(LineFormat::Cri, true), (LineFormat::Cri, false), (LineFormat::Docker, true)] {
            let line = |(name, text): &(&str, &str)| match format {
                LineFormat::Cri => cri(name, "F", text),
                _ => docker(name, &format!("{text}\n")),
            };
            let spec = Stream { multiline: Some(multiline.clone()), ..stream(format) };
            let (mut pipeline, mut batch) = read(&spec, &lines.iter().map(line).collect::<String>());
            if due {
                pipeline.run_due(Instant::now() + Duration::from_secs(9), &mut batch);
            } else {
                pipeline.finish(0, now(), &mut batch);
            }
            assert_eq!(shown(&batch), expected, "{format:?}, at a due time: {due}");
        }
    }
}

#[test]
fn a_rotation_ends_the_lines_of_all_streams() {
    let text = cri("stdout", "P", "a") + &cri("stderr", "P", "b") + "2026-11-23T05:11:12Z stdout F trunc";
    let (mut pipeline, mut batch) = read(&stream(LineFormat::Cri), &text);
    pipeline.finish(0, now(), &mut batch);
    let expected = ["/x 2026-11-23T05:11:12Z stdout F trunc...", "stdout a...", "stderr b..."];
    let mut lines = shown(&batch);
    lines.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!((lines, pipeline.held(0)), (expected.to_vec(), 0));
}

#[test]
fn a_progress_bar_without_an_end_takes_bounded_memory() {
    let (mut pipeline, mut batch) = read(&stream(LineFormat::Docker), &docker("stdout", "start\n"));
    for step in 0..10 * super::MAX_TRACKED_ENVELOPES {
        pipeline.push(0, docker("stderr", &format!("\r{step}")).as_bytes(), now(), &mut batch);
    }
    let (_, positions) = (pipeline.held(0), pipeline.positions(0));
    assert_eq!(positions.iter().map(|position| position.stream).collect::<Vec<_>>(), [0], "only stdout is ahead");
    // The line was drawn over, so the one after it shows that it is final.
    pipeline.push(0, docker("stderr", "\nx\n").as_bytes(), now(), &mut batch);
    assert_eq!((pipeline.held(0), pipeline.positions(0)), (0, Vec::new()));
}

/// The lines of each origin.
fn by_origin(lines: &[String]) -> Vec<Vec<String>> {
    let of = |name: &str| lines.iter().filter(|line| line.split(' ').next() == Some(name)).cloned().collect();
    ["stdout", "stderr", "/x"].map(of).into()
}

/// A pipeline that continues at an offset with these positions.
fn resumed(spec: &Stream, bytes: &[u8], at: usize, positions: &[super::StreamPosition]) -> (LinePipeline, Batch) {
    let (mut pipeline, mut batch) = (LinePipeline::new(spec, [Origin::from("/x")]), Batch::new());
    let before = at.saturating_sub(pipeline.lookback(0));
    pipeline.look_back(0, &bytes[before..at], now());
    pipeline.resume(0, positions, now(), &mut batch);
    (pipeline, batch)
}

/// Reads `bytes` with a restart after each of the first `cuts` reads, which are as long as they say.
fn with_restarts(spec: &Stream, bytes: &[u8], cuts: &[usize]) -> Vec<String> {
    let (mut lines, mut at, mut positions) = (Vec::new(), 0, Vec::new());
    for cut in cuts {
        let (mut pipeline, mut batch) = resumed(spec, bytes, at, &positions);
        let end = bytes.len().min(at + cut);
        pipeline.push(0, &bytes[at..end], now(), &mut batch);
        lines.extend(shown(&batch));
        let held;
        (held, positions) = pipeline.checkpoint(0);
        at = end - usize::try_from(held).unwrap();
        let text = serde_json::to_string(&positions).unwrap();
        assert_eq!(serde_json::from_str::<Vec<super::StreamPosition>>(&text).unwrap(), positions);
    }
    let (mut pipeline, mut batch) = resumed(spec, bytes, at, &positions);
    pipeline.push(0, &bytes[at..], now(), &mut batch);
    pipeline.finish(0, now(), &mut batch);
    lines.extend(shown(&batch));
    lines
}

fn sample(format: LineFormat, parts: &[(u8, u8)]) -> String {
    let part = |(at, &(kind, length)): (usize, &(u8, u8))| {
        let text = format!("{at}{}", "-".repeat(usize::from(length)));
        let name = if kind & 1 == 0 { "stdout" } else { "stderr" };
        match (kind % 8, format == LineFormat::Cri) {
            (6, _) => format!("plain {text}\n"),
            (7, true) => cri(name, "F", &format!(" {text}")),
            (7, false) => docker(name, &format!(" {text}\n")),
            (0..=2, true) => cri(name, "P", &text),
            (0..=2, false) => docker(name, &text),
            (_, true) => cri(name, "F", &text),
            (_, false) => docker(name, &format!("{text}\n")),
        }
    };
    parts.iter().enumerate().map(part).collect()
}

/// Streams whose lines are held for different reasons.
fn specs() -> Vec<Stream> {
    let plain = || stream(LineFormat::Cri);
    let expression = ConfigRegex(regex::bytes::Regex::new("^ ").unwrap());
    let multiline = MultilineConfig { begins: false, expression, timeout: Duration::from_secs(5) };
    vec![
        plain(),
        Stream { max_line: 1024, ..plain() },
        Stream { multiline: Some(multiline.clone()), ..plain() },
        Stream { redact: Some(Vec::new()), ..plain() },
        Stream { multiline: Some(multiline), redact: Some(Vec::new()), format: LineFormat::Docker, ..plain() },
        stream(LineFormat::Docker),
    ]
}

#[test]
fn a_restart_at_any_byte_neither_loses_nor_repeats() {
    let parts =
        [(0, 3), (1, 2), (3, 1), (0, 4), (1, 1), (7, 2), (6, 1), (4, 2), (1, 0), (2, 5), (6, 0), (5, 1), (4, 3)];
    for spec in specs() {
        let bytes = sample(spec.format, &parts).into_bytes();
        let expected = with_restarts(&spec, &bytes, &[]);
        assert!(expected.len() >= 6, "{expected:?}");
        for cut in 0..=bytes.len() {
            let lines = with_restarts(&spec, &bytes, &[cut]);
            assert_eq!(by_origin(&lines), by_origin(&expected), "cut at {cut}");
        }
    }
}

/// Lines without the marks of a cut: a line that is longer than the limit is cut elsewhere after a restart.
fn joined(lines: &[String]) -> Vec<Vec<String>> {
    let mut origins = by_origin(lines);
    for lines in &mut origins {
        let mut whole: Vec<String> = Vec::new();
        let mut continues = false;
        for line in lines.drain(..) {
            let text = line.strip_suffix('+').unwrap_or(&line);
            match whole.last_mut().filter(|_| continues) {
                Some(last) => last.push_str(text.split_once(' ').map_or("", |(_, text)| text)),
                None => whole.push(text.to_owned()),
            }
            continues = line.ends_with('+');
        }
        *lines = whole;
    }
    origins
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn restarts_neither_lose_nor_repeat(
        parts in prop::collection::vec((0u8..8, 0u8..250), 0..24),
        cuts in prop::collection::vec(0usize..3000, 1..5),
        which in 0usize..6,
    ) {
        let spec = &specs()[which];
        let bytes = sample(spec.format, &parts).into_bytes();
        prop_assert_eq!(joined(&with_restarts(spec, &bytes, &cuts)), joined(&with_restarts(spec, &bytes, &[])));
    }
}
#[test]
fn a_second_restart_while_lines_are_skipped_repeats_nothing() {
    let spec = stream(LineFormat::Cri);
    let parts = [(0, 3), (3, 2), (3, 1), (3, 4), (3, 1), (3, 2), (3, 1), (4, 2), (3, 0)];
    let bytes = sample(spec.format, &parts).into_bytes();
    let expected = by_origin(&with_restarts(&spec, &bytes, &[]));
    let ends: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').map(|at| at + 1).collect();
    for first in &ends {
        for second in 0..=bytes.len() {
            let lines = with_restarts(&spec, &bytes, &[*first, second]);
            assert_eq!(by_origin(&lines), expected, "cuts at {first} and {second}");
        }
    }
}

#[test]
fn a_long_line_of_many_pieces_is_skipped_through_two_restarts() {
    let spec = Stream { max_line: 1024, ..stream(LineFormat::Docker) };
    let pieces = 3 * super::MAX_TRACKED_ENVELOPES;
    let text: String =
        (0..pieces).map(|at| docker("stdout", &format!("{at} ")) + &docker("stderr", &format!("e{at}\n"))).collect();
    let text = text + &docker("stdout", "end\n");
    let bytes = text.into_bytes();
    let expected = joined(&with_restarts(&spec, &bytes, &[]));
    for cuts in [[bytes.len() / 2, 500], [bytes.len() / 2, 20_000], [bytes.len() - 300, 1], [bytes.len() - 300, 40_000]]
    {
        assert_eq!(joined(&with_restarts(&spec, &bytes, &cuts)), expected, "{cuts:?}");
    }
}

/// What programs draw, as pieces of their output, and the lines at the end.
fn drawings() -> Vec<(Vec<String>, Vec<String>)> {
    let bar =
        |at: usize| format!("\r\x1b[K log {at}\n\x1b[1;32m[{}>{}] {at}/9\x1b[0m", "=".repeat(at), " ".repeat(9 - at));
    let block = |at: usize| format!("\x1b[2A\r\x1b[J log {at}\na {at}0%\nb 日 {at}0%\n");
    let bars = (1..9).map(bar).chain(["\r\x1b[Kdone\n".to_owned()]);
    let blocks = ["a 0%\n".to_owned(), "b 0%\n".to_owned()].into_iter().chain((1..9).map(block));
    let logs = || (1..9).map(|at| format!(" log {at}"));
    let rows = ["a 80%".to_owned(), "b 日 80%".to_owned()];
    vec![
        (bars.collect(), logs().chain(["done".to_owned()]).collect()),
        (blocks.collect(), ["a 0%", "b 0%"].map(str::to_owned).into_iter().chain(logs()).chain(rows).collect()),
    ]
}

#[test]
fn what_is_drawn_comes_once_through_restarts() {
    for (pieces, expected) in drawings() {
        let envelopes = pieces.iter().enumerate();
        let envelopes: Vec<String> =
            envelopes.map(|(at, piece)| docker("stdout", piece) + &docker("stderr", &format!("err {at}\n"))).collect();
        let text = envelopes.concat();
        let begin = envelopes[..3].concat().len();
        let expected: Vec<String> = expected.iter().map(|line| format!("stdout {line}")).collect();
        let stdout = |spec: &Stream, cuts: &[usize]| by_origin(&with_restarts(spec, text.as_bytes(), cuts)).remove(0);
        let spec = stream(LineFormat::Docker);
        for cut in (0..=text.len()).step_by(13) {
            for cuts in [&[cut][..], &[begin, cut.saturating_sub(begin)], &[cut, 1, 1, 200]] {
                assert_eq!(stdout(&spec, cuts), expected, "cuts after {cuts:?}");
            }
        }
        // What may contain a secret is read again from the file instead, and so may come twice, but is not lost.
        let redacted = Stream { redact: Some(Vec::new()), ..spec };
        for cut in (0..=text.len()).step_by(13) {
            let mut lines = stdout(&redacted, &[cut]);
            lines.dedup();
            assert!(expected.iter().all(|line| lines.contains(line)), "cut after {cut}: {lines:?}");
        }
    }
}

#[test]
fn no_secret_is_recorded_with_a_drawing() {
    let text = docker("stdout", "10%\r20% password=hunter2 \x1b[1mx");
    for (redact, is_recorded) in [(None, true), (Some(Vec::new()), false)] {
        let (pipeline, _) = read(&Stream { redact, ..stream(LineFormat::Docker) }, &text);
        let (held, positions) = pipeline.checkpoint(0);
        assert_eq!(
            (held == 0, serde_json::to_string(&positions).unwrap().contains("hunter2")),
            (is_recorded, is_recorded)
        );
    }
}

#[test]
fn a_drawing_that_is_too_large_for_a_checkpoint_is_read_again() {
    let cell = |at: usize| format!("\x1b[38;5;{}m{}", at % 256, at % 10);
    let row = |at: usize| (at..at + 80).map(cell).collect::<Vec<_>>().concat();
    let frame: String = (0..20).map(|at| row(at) + "\n").collect();
    let small = docker("stdout", "a\n\x1b[1A\x1b[Kb");
    for (text, is_recorded) in [(small.clone(), true), (small + &docker("stdout", &frame), false)] {
        let (pipeline, _) = read(&stream(LineFormat::Docker), &text);
        let (held, positions) = pipeline.checkpoint(0);
        let recorded = serde_json::to_string(&positions).unwrap();
        assert_eq!(
            (held == 0, positions.iter().any(|position| position.drawing.is_some())),
            (is_recorded, is_recorded)
        );
        assert!(recorded.len() < 16 << 10, "{}", recorded.len());
    }
}

#[test]
fn positions_of_all_versions_are_read() {
    let drawing = r#"{"version":2}"#;
    let table = [("[0,12,3]".to_owned(), None), (serde_json::json!([1, 0, 0, drawing]).to_string(), Some(drawing))];
    for (text, expected) in table {
        let position: super::StreamPosition = serde_json::from_str(&text).unwrap();
        assert_eq!((position.drawing.as_deref(), serde_json::to_string(&position).unwrap()), (expected, text));
        // What a later version drew is not known, and the reader learns that.
        let (_, batch) = resumed(&stream(LineFormat::Docker), b"", 0, &[position]);
        assert_eq!(batch.losses(), usize::from(expected.is_some()), "{:?}", batch.loss_texts());
    }
}

/// A drawing as the first version recorded it: a bold bar below a line. JSON may have blanks and line ends.
const FIRST_VERSION: &str = r#"{"version":1,"grid":{"columns":500,"height":24,"rows":[{"cells":[[{},"a"]],"drawn":true,
    "finished":true,"committed":"a"},{"cells":[[{"attributes":1},"20%"]],"drawn":true,"redrawn":true,
    "returned":true}],"cursor":{"row":1,"column":3,"wraps":false},"saved":{"row":0,"column":0,"pen":{},
    "charsets":{"draws_lines":[false,false],"shifted":false},"modes":{"autowrap":true,"insert":false,
    "origin":false}},"pen":{"attributes":1},"charsets":{"draws_lines":[false,false],"shifted":false},
    "modes":{"autowrap":true,"insert":false,"origin":false},"region":{"start":0,"end":24},
    "drawing":{"front":1,"kind":"Nothing","count":0,"reaches":[],"last_front":0,"moved":null},
    "lines":{"start":null},"main":null,"links":[],"last_character":"%"},"uses_grid":true,"open":[],
    "sequence":[]}"#;

#[test]
fn a_drawing_of_the_first_version_is_continued() {
    let recorded = serde_json::json!([[0, 0, 0, FIRST_VERSION]]);
    let positions: Vec<super::StreamPosition> = serde_json::from_value(recorded).unwrap();
    let (mut pipeline, mut batch) = resumed(&stream(LineFormat::Docker), b"", 0, &positions);
    pipeline.push(0, docker("stdout", "\r\u{1b}[Kb\n").as_bytes(), now(), &mut batch);
    pipeline.finish(0, now(), &mut batch);
    assert_eq!((shown(&batch), batch.losses()), (vec!["stdout \u{1b}[1mb\u{1b}[0m".to_owned()], 0));
}
