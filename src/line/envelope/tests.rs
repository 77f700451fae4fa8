//! Lines as container runtimes and programs write them, and the text inside.

use proptest::prelude::*;

use super::*;
use EnvelopeFormat::{Cri, Docker};

/// The stream, the time and the text with its newline; `-` as the stream if the line is no envelope.
fn unwrapped(format: EnvelopeFormat, line: &[u8]) -> (&'static str, String, String) {
    let Some(envelope) = Envelope::parse(format, line) else { return ("-", String::new(), String::new()) };
    let mut text = envelope.text.to_vec();
    text.extend(envelope.newline.then_some(b'\n'));
    let stream = envelope.stream.name().unwrap_or("");
    (stream, envelope.logged.unwrap().to_string(), String::from_utf8(text).unwrap())
}

/// Lines of containerd and CRI-O: nginx, a JVM, Go (klog, zap), Python, Node, `PostgreSQL`, progress bars and colours.
const CRI_LINES: [(&str, &str, &str, &str); 34] = [
    ("2016-10-06T00:17:09.669794202Z stdout P log content 1", "stdout", "2016-10-06T00:17:09.669794Z", "log content 1"),
    (
        "2016-10-06T00:17:09.669794203Z stderr F log content 2",
        "stderr",
        "2016-10-06T00:17:09.669794Z",
        "log content 2\n",
    ),
    ("2026-11-23T05:11:12.123456789+01:00 stdout F hello", "stdout", "2026-11-23T04:11:12.123456Z", "hello\n"),
    (
        "2026-11-23T05:11:12.1-07:00 stdout F short fraction",
        "stdout",
        "2026-11-23T12:11:12.100000Z",
        "short fraction\n",
    ),
    ("2026-11-23T05:11:12Z stdout F no fraction", "stdout", "2026-11-23T05:11:12.000000Z", "no fraction\n"),
    ("2026-11-23T05:11:12.123456789Z stdout F ", "stdout", "2026-11-23T05:11:12.123456Z", "\n"),
    ("2026-11-23T05:11:12.123456789Z stdout F", "stdout", "2026-11-23T05:11:12.123456Z", "\n"),
    ("2026-11-23T05:11:12.123456789Z stdout P ", "stdout", "2026-11-23T05:11:12.123456Z", ""),
    (
        "2026-11-23T05:11:12.123456789Z stdout F:x one more tag",
        "stdout",
        "2026-11-23T05:11:12.123456Z",
        "one more tag\n",
    ),
    ("2026-11-23T05:11:12.123456789Z stderr P:a:b three tags", "stderr", "2026-11-23T05:11:12.123456Z", "three tags"),
    ("2026-11-23T05:11:12.123456789Z stdout F   indented", "stdout", "2026-11-23T05:11:12.123456Z", "  indented\n"),
    (
        "2026-11-23T05:11:12.123456789Z stdout F \tat a.b.C.d(C.java:7)",
        "stdout",
        "2026-11-23T05:11:12.123456Z",
        "\tat a.b.C.d(C.java:7)\n",
    ),
    (
        "2026-11-23T05:11:12.000000001Z stdout F 10.42.0.1 - - [23/Nov/2026:05:11:12 +0000] \"GET /healthz HTTP/1.1\" 200 2 \"-\" \"kube-probe/1.31\" \"-\"",
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "10.42.0.1 - - [23/Nov/2026:05:11:12 +0000] \"GET /healthz HTTP/1.1\" 200 2 \"-\" \"kube-probe/1.31\" \"-\"\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr F I1123 05:11:12.123456       1 leaderelection.go:254] attempting to acquire leader lease",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "I1123 05:11:12.123456       1 leaderelection.go:254] attempting to acquire leader lease\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr F E1123 05:11:12.123456       1 reflector.go:150] failed to list *v1.Pod",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "E1123 05:11:12.123456       1 reflector.go:150] failed to list *v1.Pod\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr F {\"level\":\"info\",\"ts\":1763874672.5,\"logger\":\"setup\",\"msg\":\"starting manager\"}",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "{\"level\":\"info\",\"ts\":1763874672.5,\"logger\":\"setup\",\"msg\":\"starting manager\"}\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stdout F level=warn ts=2026-11-23T05:11:12Z caller=main.go:1 msg=\"slow\"",
        "stdout",
        "2026-11-23T05:11:12.500000Z",
        "level=warn ts=2026-11-23T05:11:12Z caller=main.go:1 msg=\"slow\"\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr F Traceback (most recent call last):",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "Traceback (most recent call last):\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr F   File \"/app/main.py\", line 3, in <module>",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "  File \"/app/main.py\", line 3, in <module>\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr F ValueError: bad value",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "ValueError: bad value\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stdout F \u{1b}[32mINFO\u{1b}[0m started",
        "stdout",
        "2026-11-23T05:11:12.500000Z",
        "\u{1b}[32mINFO\u{1b}[0m started\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stderr P \r 10%|#         | 1/10",
        "stderr",
        "2026-11-23T05:11:12.500000Z",
        "\r 10%|#         | 1/10",
    ),
    ("2026-11-23T05:11:12.5Z stdout F 10%\r50%\r100%", "stdout", "2026-11-23T05:11:12.500000Z", "10%\r50%\r100%\n"),
    ("2026-11-23T05:11:12.5Z stdout F Windows line\r", "stdout", "2026-11-23T05:11:12.500000Z", "Windows line\r\n"),
    ("2026-11-23T05:11:12.5Z stdout F 漢字 ä € 😀", "stdout", "2026-11-23T05:11:12.500000Z", "漢字 ä € 😀\n"),
    (
        "2026-11-23T05:11:12.5Z stdout F 2026-11-23 05:11:12.123 UTC [27] LOG:  checkpoint starting: time",
        "stdout",
        "2026-11-23T05:11:12.500000Z",
        "2026-11-23 05:11:12.123 UTC [27] LOG:  checkpoint starting: time\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stdout F 2026-11-23T05:11:11.5Z stdout F nested",
        "stdout",
        "2026-11-23T05:11:12.500000Z",
        "2026-11-23T05:11:11.5Z stdout F nested\n",
    ),
    (
        "2026-11-23T05:11:12.5Z stdout F [INFO] 10.42.0.5:51234 - 1 \"A IN kubernetes.default.svc. udp 45 false 512\" NOERROR",
        "stdout",
        "2026-11-23T05:11:12.500000Z",
        "[INFO] 10.42.0.5:51234 - 1 \"A IN kubernetes.default.svc. udp 45 false 512\" NOERROR\n",
    ),
    // No envelopes: a truncated line, other streams, tags and times, and text.
    ("2026-11-23T05:11:12.5Z stdout", "-", "", ""),
    ("2026-11-23T05:11:12.5Z stdlog F text", "-", "", ""),
    ("2026-11-23T05:11:12.5Z stdout X text", "-", "", ""),
    ("2026-11-23T05:11:12.5 stdout F no zone", "-", "", ""),
    ("yesterday stdout F text", "-", "", ""),
    ("", "-", "", ""),
];

/// Lines of Docker's `json-file` driver.
const DOCKER_LINES: [(&str, &str, &str, &str); 36] = [
    (
        r#"{"log":"hello\n","stream":"stdout","time":"2026-11-23T05:11:12.123456789Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.123456Z",
        "hello\n",
    ),
    (
        r#"{"log":"oops\n","stream":"stderr","time":"2026-11-23T05:11:12.1Z"}"#,
        "stderr",
        "2026-11-23T05:11:12.100000Z",
        "oops\n",
    ),
    (
        r#"{"log":"a piece of 16 KiB","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "a piece of 16 KiB",
    ),
    (r#"{"log":"\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#, "stdout", "2026-11-23T05:11:12.000000Z", "\n"),
    (r#"{"log":"","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#, "stdout", "2026-11-23T05:11:12.000000Z", ""),
    (
        r#"{"log":"x\n","stream":"stdout","attrs":{"tag":"web/1","com.docker.compose.service":"web"},"time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "x\n",
    ),
    (
        r#"{"time":"2026-11-23T05:11:12Z","stream":"stderr","log":"another order\n"}"#,
        "stderr",
        "2026-11-23T05:11:12.000000Z",
        "another order\n",
    ),
    (
        r#"{ "stream" : "stdout", "log" : "spaces\n", "time" : "2026-11-23T05:11:12Z" }"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "spaces\n",
    ),
    (r#"{"log":"no stream\n","time":"2026-11-23T05:11:12Z"}"#, "", "2026-11-23T05:11:12.000000Z", "no stream\n"),
    (
        r#"{"log":"zone\n","stream":"stdout","time":"2026-11-23T05:11:12.5+02:00"}"#,
        "stdout",
        "2026-11-23T03:11:12.500000Z",
        "zone\n",
    ),
    (
        r#"{"log":"tty\r\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "tty\r\n",
    ),
    (
        r#"{"log":"10%\r50%\r100%\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "10%\r50%\r100%\n",
    ),
    (
        r#"{"log":"\u001b[31mred\u001b[0m\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "\u{1b}[31mred\u{1b}[0m\n",
    ),
    (
        r#"{"log":"a \"quoted\" C:\\path\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "a \"quoted\" C:\\path\n",
    ),
    (
        r#"{"log":"\u003chtml\u003e \u0026amp;\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "<html> &amp;\n",
    ),
    (
        r#"{"log":"\u2028separator\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "\u{2028}separator\n",
    ),
    (
        r#"{"log":"\ud83d\ude00\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "😀\n",
    ),
    (
        r#"{"log":"漢字 ä €\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "漢字 ä €\n",
    ),
    (
        r#"{"log":"\tat a.b.C.d(C.java:7)\n","stream":"stderr","time":"2026-11-23T05:11:12Z"}"#,
        "stderr",
        "2026-11-23T05:11:12.000000Z",
        "\tat a.b.C.d(C.java:7)\n",
    ),
    (
        r#"{"log":"bell\u0007 nul\u0000 del\u007f\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "bell\u{7} nul\0 del\u{7f}\n",
    ),
    (
        r#"{"log":"{\"level\":\"error\",\"msg\":\"nested\"}\n","stream":"stderr","time":"2026-11-23T05:11:12Z"}"#,
        "stderr",
        "2026-11-23T05:11:12.000000Z",
        "{\"level\":\"error\",\"msg\":\"nested\"}\n",
    ),
    (
        r#"{"log":"172.17.0.1 - - [23/Nov/2026:05:11:12 +0000] \"GET / HTTP/1.1\" 200 615 \"-\" \"curl/8.5.0\" \"-\"\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "172.17.0.1 - - [23/Nov/2026:05:11:12 +0000] \"GET / HTTP/1.1\" 200 615 \"-\" \"curl/8.5.0\" \"-\"\n",
    ),
    (
        r#"{"log":"2026-11-23 05:11:12.123 UTC [1] LOG:  database system is ready\n","stream":"stderr","time":"2026-11-23T05:11:12Z"}"#,
        "stderr",
        "2026-11-23T05:11:12.000000Z",
        "2026-11-23 05:11:12.123 UTC [1] LOG:  database system is ready\n",
    ),
    (
        r#"{"log":"\r 42%|####  | 42/100","stream":"stderr","time":"2026-11-23T05:11:12Z"}"#,
        "stderr",
        "2026-11-23T05:11:12.000000Z",
        "\r 42%|####  | 42/100",
    ),
    (
        r#"{"log":"slash \/ form\f\b\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "slash / form\u{c}\u{8}\n",
    ),
    (
        r#"{"log":"x\n","stream":"stdout","time":"2026-11-23T05:11:12Z","partial":false}"#,
        "stdout",
        "2026-11-23T05:11:12.000000Z",
        "x\n",
    ),
    // No envelopes: truncated ones, invalid escapes and times, other values, members that come twice, and text.
    (r#"{"log":"x\n","stream":"stdout","time":"2026-11-23T05:1"#, "-", "", ""),
    (r#"{"log":"\x1b\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#, "-", "", ""),
    (r#"{"log":"x\n","stream":"stdout","time":"yesterday"}"#, "-", "", ""),
    (r#"{"log":"x\n","stream":"stdout"}"#, "-", "", ""),
    (r#"{"log":1,"stream":"stdout","time":"2026-11-23T05:11:12Z"}"#, "-", "", ""),
    (r#"{"log":"x\n","log":"y\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#, "-", "", ""),
    (r#"{"log":"x\n","stream":"stdout","time":"2026-11-23T05:11:12Z"} y"#, "-", "", ""),
    (r#"["x\n","stdout","2026-11-23T05:11:12Z"]"#, "-", "", ""),
    (r#" ["x\n",null,"2026-11-23T05:11:12Z"]"#, "-", "", ""),
    ("plain text", "-", "", ""),
];

#[test]
fn real_lines_are_unwrapped() {
    for (format, table) in [(Cri, &CRI_LINES[..]), (Docker, &DOCKER_LINES[..])] {
        for (line, stream, time, text) in table {
            let expected = (*stream, (*time).to_owned(), (*text).to_owned());
            assert_eq!(unwrapped(format, line.as_bytes()), expected, "{format:?}: {line}");
        }
    }
}

#[test]
fn half_of_a_surrogate_pair_does_not_cost_the_line() {
    let line = br#"{"log":"a\ud83dz\n","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#;
    assert_eq!(&*Envelope::parse(Docker, line).unwrap().text, b"a\xed\xa0\xbdz\n");
}

#[test]
fn bytes_that_are_not_utf_8_stay_as_they_are() {
    let line = b"2026-11-23T05:11:12Z stdout F caf\xe9";
    assert_eq!(&*Envelope::parse(Cri, line).unwrap().text, b"caf\xe9");
}

type Piece = (u64, EnvelopeStream, Vec<u8>);

/// The text of `chunks` by stream, with the offset of each line; neighbours from the same line are joined.
fn split(format: EnvelopeFormat, chunks: &[&[u8]], finish: bool) -> (Vec<Piece>, u64) {
    let mut splitter = EnvelopeSplitter::new(format);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut add = |start: u64, envelope: Envelope<'_>| {
        let mut text = envelope.text.into_owned();
        text.extend(envelope.newline.then_some(b'\n'));
        match pieces.last_mut().filter(|last| (last.0, last.1) == (start, envelope.stream)) {
            Some(last) => last.2.extend(text),
            None => pieces.push((start, envelope.stream, text)),
        }
    };
    for chunk in chunks {
        splitter.push(chunk, &mut add);
    }
    if finish {
        splitter.finish(&mut add);
    }
    (pieces, splitter.received() - splitter.line_start())
}

#[test]
fn a_line_that_is_too_long_or_cut_off_is_plain_text() {
    use EnvelopeStream::{Plain, Stdout};
    let long = [b"2026-11-23T05:11:12Z stdout F ".to_vec(), vec![b'x'; MAX_ENVELOPE_SIZE], b"\n".to_vec()].concat();
    let next = b"2026-11-23T05:11:12Z stdout F y\n";
    let cut = b"2026-11-23T05:11:12Z stdout F cut";
    let bytes = [&long[..], next, cut].concat();
    let expected = [
        (0, Plain, long.clone()),
        (long.len() as u64, Stdout, b"y\n".to_vec()),
        ((long.len() + next.len()) as u64, Plain, cut.to_vec()),
    ];
    for size in [1000, 4096, 2 << 20] {
        let chunks: Vec<_> = bytes.chunks(size).collect();
        assert_eq!(split(Cri, &chunks, true).0, expected, "in reads of {size}");
    }
    let whole = br#"{"log":"x","stream":"stdout","time":"2026-11-23T05:11:12Z"}"#;
    assert_eq!(split(Docker, &[whole], true).0, [(0, Stdout, b"x".to_vec())], "only its newline is missing");
    assert_eq!(split(Docker, &[&whole[..50]], true).0, [(0, Plain, whole[..50].to_vec())]);
    let marked = [BYTE_ORDER_MARK, next].concat();
    assert_eq!(split(Cri, &[&marked], true).0, [(0, Stdout, b"y\n".to_vec())]);
}

proptest! {
    #[test]
    fn where_reads_end_never_shows(
        lines in prop::collection::vec((0usize..CRI_LINES.len(), any::<bool>()), 0..12),
        step in 1usize..200, finish in any::<bool>(),
    ) {
        let bytes: Vec<u8> = lines
            .iter()
            .flat_map(|&(at, docker)| [if docker { DOCKER_LINES[at].0 } else { CRI_LINES[at].0 }, "\n"].concat().into_bytes())
            .collect();
        for format in [Cri, Docker] {
            let chunks: Vec<_> = bytes.chunks(step).collect();
            prop_assert_eq!(split(format, &chunks, finish), split(format, &[&bytes[..]], finish));
        }
    }

    #[test]
    fn any_text_comes_out_as_it_went_in(text in ".{0,80}", newline in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let log = if newline { format!("{text}\n") } else { text };
        let record = serde_json::json!({ "log": log, "stream": "stderr", "time": "2026-11-23T05:11:12Z" });
        let line = record.to_string();
        let envelope = Envelope::parse(Docker, line.as_bytes()).unwrap();
        prop_assert_eq!(&*envelope.text, log.as_bytes());
        let tag = if newline { "F" } else { "P" };
        let line = [format!("2026-11-23T05:11:12Z stderr {tag} ").as_bytes(), &bytes].concat();
        let envelope = Envelope::parse(Cri, &line).unwrap();
        prop_assert_eq!((&*envelope.text, envelope.newline), (&bytes[..], newline));
    }

    #[test]
    fn no_bytes_confuse_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..40) {
        for format in [Cri, Docker] {
            let chunks: Vec<_> = bytes.chunks(step).collect();
            let (pieces, _) = split(format, &chunks, true);
            let plain: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.2).collect();
            prop_assert_eq!(plain, bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes));
        }
    }
}
