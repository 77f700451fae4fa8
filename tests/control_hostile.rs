//! What nobody should send to the control channel: each has its error or its close code, and the daemon is unharmed.

use serde_json::{Value, json};

use crate::harness::ws::{Channel, Frame, Talk, frame};
use crate::harness::{Daemon, Deadline, TestDir};

fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.start("listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\nstreams: { app: { file: app.log, from: start } }")
}

/// Checks that the daemon serves as before.
fn assert_fine(daemon: &Daemon) {
    assert_eq!(daemon.follow("app").query("tail=all").take(1)[0].data, "one");
    let mut channel = Channel::open(daemon.address());
    assert_eq!(channel.call("streams.list", &json!({}))["streams"][0]["name"], "app");
}

const PARSE: i64 = -32700;
const REQUEST: i64 = -32600;
const METHOD: i64 = -32601;
const PARAMETERS: i64 = -32602;
const NOT_FOUND: i64 = -32001;

/// A request with these parameters, written as they are.
fn with(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

fn texts() -> Vec<(String, i64)> {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deep_object = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let whole = [
        ("", PARSE),
        (" ", PARSE),
        ("{", PARSE),
        ("}", PARSE),
        ("nonsense", PARSE),
        ("\u{0}", PARSE),
        ("\u{feff}{}", PARSE),
        ("{'jsonrpc':'2.0'}", PARSE),
        (r#"{"jsonrpc":"2.0","id":1,"method":"streams.list"} {}"#, PARSE),
        (r#"{"jsonrpc":"2.0","id":NaN,"method":"streams.list"}"#, PARSE),
        (r#"{"jsonrpc":"2.0","id":0x10,"method":"streams.list"}"#, PARSE),
        (r#"{"jsonrpc":"2.0","id":01,"method":"streams.list"}"#, PARSE),
        (r#"{"jsonrpc":"2.0","id":"\x","method":"streams.list"}"#, PARSE),
        ("{\"jsonrpc\":\"2.0\",\"id\":\"\n\",\"method\":\"streams.list\"}", PARSE),
        ("[1,2,", PARSE),
        ("null", REQUEST),
        ("true", REQUEST),
        ("1", REQUEST),
        ("-1e400", REQUEST),
        ("\"streams.list\"", REQUEST),
        ("[]", REQUEST),
        ("{}", REQUEST),
        (r#"{"id":1,"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"1.0","id":1,"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":2,"id":1,"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":["streams.list"]}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":[],"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":{},"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":false,"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":"streams.list","method":"streams.list"}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, METHOD),
        (r#"{"jsonrpc":"2.0","id":1,"method":"Streams.List"}"#, METHOD),
        (r#"{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}"#, METHOD),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stream.events"}"#, METHOD),
        (r#"{"jsonrpc":"2.0","id":1,"method":"streams.list\u0000"}"#, METHOD),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, REQUEST),
    ];
    let mut table: Vec<_> = whole.map(|(text, code)| (text.to_owned(), code)).into();
    table.extend([
        (deep(50_000), REQUEST),
        (deep_object(10_000), REQUEST),
        ("[".repeat(50_000), PARSE),
        (format!("[{}]", ["{}"; 33].join(",")), REQUEST),
        (format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"streams.list"}}"#, "x".repeat(1000)), REQUEST),
        (format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(100_000)), METHOD),
        (with("streams.list", &deep(50_000)), PARAMETERS),
        (with("stream.subscribe", &format!(r#"{{"stream":{}}}"#, deep(50_000))), PARAMETERS),
        (with("stream.subscribe", &format!(r#"{{"stream":"app","grep":{}}}"#, deep_object(9_000))), PARAMETERS),
        (with("stream.subscribe", &format!(r#"{{"stream":"app","grep":"{}"}}"#, "a".repeat(5_000))), PARAMETERS),
        (with("stream.subscribe", &format!(r#"{{"stream":"{}"}}"#, "a".repeat(100_000))), PARAMETERS),
    ]);
    table.extend(parameters().into_iter().map(|(method, params, code)| (with(method, params), code)));
    table
}

fn parameters() -> [(&'static str, &'static str, i64); 44] {
    [
        ("streams.list", "[]", PARAMETERS),
        ("streams.list", "null", PARAMETERS),
        ("streams.list", "7", PARAMETERS),
        ("streams.list", r#"{"stream":"app"}"#, PARAMETERS),
        ("stream.subscribe", "{}", PARAMETERS),
        ("stream.subscribe", r#"["app"]"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":7}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":null}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"../etc/passwd"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"nope"}"#, NOT_FOUND),
        ("stream.subscribe", r#"{"stream":"app","stream":"app"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","nonsense":1}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","tail":-1}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","tail":1.5}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","tail":99999999999999999999999}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","tail":"some"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","tail":1,"since":"1h"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","after":"7"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","after":7}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","since":"yesterday"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","run":"first"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","run":0}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","run":1.5}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","run":7}"#, NOT_FOUND),
        ("stream.subscribe", r#"{"stream":"app","run":"last"}"#, NOT_FOUND),
        ("stream.subscribe", r#"{"stream":"app","grep":"("}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","grep":"(a{1000}){1000}"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","grep":[1]}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","exclude":"*"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","level":"loud"}"#, PARAMETERS),
        ("stream.subscribe", r#"{"stream":"app","level":4}"#, PARAMETERS),
        ("subscription.pause", "{}", PARAMETERS),
        ("subscription.pause", r#"{"subscription":1,"session":"0123456789abcdef"}"#, PARAMETERS),
        ("subscription.pause", r#"{"subscription":99}"#, NOT_FOUND),
        ("subscription.pause", r#"{"subscription":-1}"#, PARAMETERS),
        ("subscription.pause", r#"{"subscription":18446744073709551616}"#, PARAMETERS),
        ("subscription.resume", r#"{"session":"0123456789abcdef"}"#, NOT_FOUND),
        ("subscription.resume", r#"{"session":""}"#, NOT_FOUND),
        ("subscription.filter", r#"{"subscription":99,"grep":"x"}"#, NOT_FOUND),
        ("subscription.filter", r#"{"subscription":99,"from":7}"#, PARAMETERS),
        ("subscription.unsubscribe", r#"{"subscription":"1"}"#, PARAMETERS),
        ("process.detach", r#"{"attachment":1}"#, NOT_FOUND),
        ("process.signal", r#"{"stream":"app","signal":"RTMIN+99"}"#, PARAMETERS),
        ("process.resize", r#"{"stream":"app","rows":65536,"columns":1}"#, PARAMETERS),
    ]
}

#[test]
fn a_wrong_message_gets_its_error_and_the_channel_stays_open() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.unix());
    let table = texts();
    assert!(table.len() >= 90, "{}", table.len());
    for (text, code) in table {
        let shown: String = text.chars().take(200).collect();
        channel.send_text(&text);
        let mut reply = channel.message(Deadline::new());
        if let [first, ..] = reply.as_array().map_or(&[][..], Vec::as_slice) {
            reply = first.clone();
        }
        assert_eq!(reply["error"]["code"], code, "{shown}: {reply}");
        assert!(reply["error"]["data"]["detail"].is_string() && reply["jsonrpc"] == "2.0", "{shown}: {reply}");
        assert!(reply.to_string().len() < 2000, "{shown}: an answer is not an echo");
    }
    for params in
        [r#"{"stream":"app"}"#, r#"{"stream":"app","text":"a","base64":"YQ=="}"#, r#"{"stream":"app","base64":"?"}"#]
    {
        channel.send_text(&with("process.input", params));
        assert_eq!(channel.message(Deadline::new())["error"]["code"], PARAMETERS, "{params}");
    }
    // Errors of notifications are nobody's.
    channel.send_text(r#"{"jsonrpc":"2.0","method":"nope"}"#);
    channel.call("streams.list", &json!({}));
    assert!(channel.told_before().is_empty());
    assert_fine(&daemon);
}

/// A message, and the close code with which it is answered.
fn frames() -> Vec<(&'static str, Vec<u8>, u16)> {
    let cut = |first: u8, payload: &[u8], rest: &[u8]| [frame(first, payload), rest.to_vec()].concat();
    let header = |first: u8, length: u64| {
        let mut head = vec![first, 0x80 | 127];
        head.extend(length.to_be_bytes());
        head.extend([1, 2, 3, 4]);
        head
    };
    let text = frame(0x01, b"{");
    let unmasked_close = vec![0x88, 0x02, 0x03, 0xe8];
    vec![
        ("an unmasked text", vec![0x81, 0x02, b'{', b'}'], 1002),
        ("an unmasked close", unmasked_close, 1002),
        ("an unmasked ping", vec![0x89, 0x00], 1002),
        ("RSV1", frame(0xc1, b"{}"), 1002),
        ("RSV2", frame(0xa1, b"{}"), 1002),
        ("RSV3", frame(0x91, b"{}"), 1002),
        ("RSV1 on a ping", frame(0xc9, b""), 1002),
        ("opcode 3", frame(0x83, b""), 1002),
        ("opcode 7", frame(0x87, b"x"), 1002),
        ("opcode 11", frame(0x8b, b""), 1002),
        ("opcode 15", frame(0x8f, b"x"), 1002),
        ("a ping in pieces", frame(0x09, b"a"), 1002),
        ("a pong in pieces", frame(0x0a, b"a"), 1002),
        ("a close in pieces", frame(0x08, &[3, 232]), 1002),
        ("a ping of 126 bytes", frame(0x89, &[b'x'; 126]), 1002),
        ("a pong of 200 bytes", frame(0x8a, &[b'x'; 200]), 1002),
        ("a close of 126 bytes", frame(0x88, &[[3, 232].to_vec(), vec![b'x'; 124]].concat()), 1002),
        ("a close of one byte", frame(0x88, &[3]), 1002),
        ("close code 0", frame(0x88, &[0, 0]), 1002),
        ("close code 999", frame(0x88, &999u16.to_be_bytes()), 1002),
        ("close code 1005", frame(0x88, &1005u16.to_be_bytes()), 1002),
        ("close code 1006", frame(0x88, &1006u16.to_be_bytes()), 1002),
        ("close code 1015", frame(0x88, &1015u16.to_be_bytes()), 1002),
        ("close code 2999", frame(0x88, &2999u16.to_be_bytes()), 1002),
        ("close code 65535", frame(0x88, &65535u16.to_be_bytes()), 1002),
        ("a close whose reason is not UTF-8", frame(0x88, &[3, 232, 0xff]), 1007),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        ("a text within a text", cut(0x01, b"{", &frame(0x81, b"}")), 1002),
        ("a binary within a text", cut(0x01, b"{", &frame(0x82, b"}")), 1002),
        ("a text that is not UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        ("a text that ends within a letter", frame(0x81, b"\"\xc3"), 1007),
        ("a surrogate", frame(0x81, b"\xed\xa0\x80"), 1007),
        ("an overlong slash", frame(0x81, b"\xc0\xaf"), 1007),
        ("beyond Unicode", frame(0x81, b"\xf4\x90\x80\x80"), 1007),
        ("pieces that are not UTF-8", [text, frame(0x80, b"\xff")].concat(), 1007),
        ("a binary message", frame(0x82, b"{}"), 1003),
        ("a message of 129 KiB", frame(0x81, &vec![b' '; 129 << 10]), 1009),
        ("a message of 1 MiB", frame(0x81, &vec![b' '; 1 << 20]), 1009),
        ("pieces of 130 KiB", [frame(0x01, &vec![b' '; 65 << 10]), frame(0x80, &vec![b' '; 65 << 10])].concat(), 1009),
        ("the head of 2^62 bytes", header(0x81, 1 << 62), 1009),
        ("the head of 2^64-1 bytes", header(0x82, u64::MAX), 1009),
    ]
}

#[test]
fn a_wrong_frame_closes_the_channel_with_the_right_code() {
    let daemon = daemon();
    for (what, bytes, code) in frames() {
        let mut channel = Channel::open(daemon.address());
        // The connection may be cut off while the client sends.
        channel.send_raw(&bytes).unwrap_or_default();
        match channel.frame(Deadline::new()) {
            Frame::Close(Some((seen, reason))) => assert_eq!(seen, code, "{what}: {reason}"),
            other => panic!("{what}: {other:?} instead of a close with {code}"),
        }
    }
    assert_fine(&daemon);
}

#[test]
fn a_channel_cut_at_any_byte_does_not_disturb_others() {
    let daemon = daemon();
    let request = frame(0x81, with("stream.subscribe", r#"{"stream":"app","tail":"all"}"#).as_bytes());
    for length in (0..request.len()).step_by(7) {
        let mut channel = Channel::open(daemon.address());
        channel.send_raw(&request[..length]).unwrap();
    }
    assert_fine(&daemon);
}

#[test]
fn a_message_in_many_fragments_with_pings_in_between_is_one_message() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.address());
    let text = with("streams.list", "{}").into_bytes();
    let (first, rest) = text.split_first().unwrap();
    channel.send_raw(&frame(0x01, &[*first])).unwrap();
    for byte in rest {
        channel.send_raw(&frame(0x00, &[*byte])).unwrap();
        channel.send_raw(&frame(0x89, b"")).unwrap();
    }
    channel.send_raw(&frame(0x80, b"")).unwrap();
    let reply: Value = channel.message(Deadline::new());
    assert_eq!(reply["result"]["streams"][0]["name"], "app", "{reply}");
}

#[test]
fn a_channel_that_reads_nothing_does_not_slow_others() {
    let dir = TestDir::new();
    dir.write("app.log", "0\n");
    let yaml =
        "limits: { stalled_write: 2s }\nstreams: { app: { file: app.log, from: start, history: { memory: 64MiB } } }";
    let daemon = dir.start(yaml);
    let mut stuck = Channel::open(daemon.address());
    let asks = stuck.ask("stream.subscribe", &json!({ "stream": "app", "tail": "all" }));
    stuck.reply(asks);
    daemon.follow("app").query("tail=all").take(1);
    let mut reader = daemon.follow("app").query("tail=0").open();
    for piece in 0..20 {
        daemon.write("app.log", format!("{piece:01000}\n").repeat(1000));
        reader.take(1000);
    }
    // The client read nothing for two seconds: it is dropped, and its reader with it.
    daemon.until_readers("app", 1);
    daemon.write("app.log", "last\n");
    assert_eq!(reader.take(1)[0].data, "last");
}

#[test]
fn an_echo_over_the_same_stack_returns_every_message() {
    let daemon = daemon();
    let mut echo = Channel::open_at(daemon.address(), "/echo");
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
        let (first, rest) = text.as_bytes().split_at(text.len() / 3);
        echo.send_raw(&[frame(0x01, first), frame(0x89, b"p"), frame(0x80, rest)].concat()).unwrap();
        let mut seen = [echo.frame(Deadline::new()), echo.frame(Deadline::new())];
        seen.sort_by_key(|frame| matches!(frame, Frame::Text(_)));
        assert!(seen == [Frame::Pong(b"p".to_vec()), Frame::Text(text)], "{length}");
    }
    echo.send_raw(&frame(0x88, &4321u16.to_be_bytes())).unwrap();
    assert_eq!(echo.closed(), Some(4321));
}
