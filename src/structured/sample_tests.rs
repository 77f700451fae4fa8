//! Lines of structured logs as loggers write them, with the level, the time and some fields of each.

use super::{DeclaredValue, StructuredFormat, level_of_text};
use crate::event::{Level, Time};
use Level::{Critical, Debug, Emergency, Error, Info, Notice, Warning};

/// A line, its level, the time that it declares (with the zone of this system if it has none), and some of its fields.
type Sample<'a> = (&'a str, Option<Level>, Option<&'a str>, &'a [(&'a str, &'a str)]);

const NOON: Option<&str> = Some("2026-11-28T16:00:00Z");
const MILLI: Option<&str> = Some("2026-11-28T16:00:00.123Z");
const MICRO: Option<&str> = Some("2026-11-28T16:00:00.123456Z");
/// In the time zone of this system.
const HERE: Option<&str> = Some("2026-11-28T16:00:00");

fn check(format: StructuredFormat, samples: &[Sample<'_>]) {
    assert!(samples.len() >= 30, "{format:?} has {} samples", samples.len());
    let read = Time("2026-11-28T18:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond());
    for (line, level, logged, fields) in samples {
        assert_eq!(level_of_text(line.as_bytes()), *level, "{line}");
        let found = format.declaration_of(line.as_bytes(), read);
        let found = found.unwrap_or_else(|| panic!("not {format:?}: {line}"));
        let time = logged.map(|text| {
            text.parse::<jiff::Timestamp>().unwrap_or_else(|_| {
                let local = text.parse::<jiff::civil::DateTime>().unwrap();
                local.to_zoned(jiff::tz::TimeZone::system()).unwrap().timestamp()
            })
        });
        assert_eq!(found.logged, time.map(|time| Time(time.as_microsecond())), "{line}");
        for (name, value) in *fields {
            assert_eq!(found.fields.get(name).map(DeclaredValue::as_str), Some(*value), "{name} of {line}");
        }
    }
}

const JSON: &[Sample<'_>] = &[
    // Go: slog, zap, zerolog, logrus, Caddy, Traefik, Docker, Kubernetes.
    (
        r#"{"time":"2026-11-28T16:00:00.123Z","level":"INFO","msg":"started","port":8080}"#,
        Some(Info),
        MILLI,
        &[("port", "8080")],
    ),
    (
        r#"{"time":"2026-11-28T16:00:00Z","level":"ERROR","msg":"x","request":{"method":"GET","url":"/a"}}"#,
        Some(Error),
        NOON,
        &[("request.method", "GET")],
    ),
    (
        r#"{"level":"info","ts":1795881600.123,"caller":"app/main.go:12","msg":"ready"}"#,
        Some(Info),
        MILLI,
        &[("caller", "app/main.go:12")],
    ),
    (
        r#"{"level":"dpanic","ts":"2026-11-28T16:00:00.123Z","msg":"odd","stacktrace":"a\nb"}"#,
        Some(Critical),
        MILLI,
        &[("stacktrace", "a\nb")],
    ),
    (r#"{"L":"WARN","T":"2026-11-28T16:00:00.123Z","M":"low"}"#, Some(Warning), MILLI, &[("M", "low")]),
    (
        r#"{"level":"fatal","error":"refused","time":"2026-11-28T16:00:00Z","message":"bye"}"#,
        Some(Critical),
        NOON,
        &[("error", "refused")],
    ),
    (r#"{"level":"debug","time":1795881600,"message":"unix"}"#, Some(Debug), NOON, &[]),
    (
        r#"{"error":"timeout","level":"warning","msg":"retry","time":"2026-11-28T16:00:00Z"}"#,
        Some(Warning),
        NOON,
        &[("error", "timeout")],
    ),
    (
        r#"{"level":"info","ts":1795881600.123,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"1.2.3.4","uri":"/error"},"status":500}"#,
        Some(Info),
        MILLI,
        &[("request.uri", "/error"), ("status", "500")],
    ),
    (
        r#"{"ClientAddr":"1.2.3.4:5","DownstreamStatus":404,"level":"info","msg":"","time":"2026-11-28T16:00:00Z"}"#,
        Some(Info),
        NOON,
        &[("DownstreamStatus", "404")],
    ),
    (
        r#"{"ts":1795881600123.456,"caller":"x.go:1","msg":"m","v":0,"err":"none"}"#,
        None,
        Some("2026-11-28T16:00:00.123456Z"),
        &[("err", "none")],
    ),
    (
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","verb":"get","user":{"username":"a"}}"#,
        None,
        None,
        &[("user.username", "a")],
    ),
    // Node.js: pino, bunyan, winston, Fastify.
    (r#"{"level":30,"time":1795881600123,"pid":1,"hostname":"h","msg":"up"}"#, Some(Info), MILLI, &[("pid", "1")]),
    (
        r#"{"level":50,"time":1795881600123,"err":{"type":"TypeError","message":"x"},"msg":"x"}"#,
        Some(Error),
        MILLI,
        &[("err.type", "TypeError")],
    ),
    (
        r#"{"name":"app","hostname":"h","pid":1,"level":40,"msg":"low","time":"2026-11-28T16:00:00.123Z","v":0}"#,
        Some(Warning),
        MILLI,
        &[("name", "app")],
    ),
    (
        r#"{"level":"error","message":"broke","timestamp":"2026-11-28T16:00:00.123Z"}"#,
        Some(Error),
        MILLI,
        &[("message", "broke")],
    ),
    (
        r#"{"level":30,"time":1795881600123,"reqId":"req-1","res":{"statusCode":200},"responseTime":3.5,"msg":"request completed"}"#,
        Some(Info),
        MILLI,
        &[("res.statusCode", "200"), ("responseTime", "3.5")],
    ),
    // Java: Logstash encoder, ECS, Log4j.
    (
        r#"{"@timestamp":"2026-11-28T17:00:00.123+01:00","@version":"1","message":"m","logger_name":"a.B","thread_name":"main","level":"ERROR","level_value":40000}"#,
        Some(Error),
        MILLI,
        &[("logger_name", "a.B")],
    ),
    (
        r#"{"@timestamp":"2026-11-28T16:00:00.123Z","log.level":"WARN","message":"m","ecs.version":"1.2.0","process.thread.name":"main"}"#,
        Some(Warning),
        MILLI,
        &[("process.thread.name", "main")],
    ),
    (
        r#"{"instant":{"epochSecond":1795881600,"nanoOfSecond":123000000},"thread":"main","level":"INFO","loggerName":"a","message":"m"}"#,
        Some(Info),
        MILLI,
        &[("instant.epochSecond", "1795881600")],
    ),
    // Google: the logging agent, GKE, Cloud Logging; nginx.
    (
        r#"{"severity":"INFO","timestamp":{"seconds":1795881600,"nanos":123000000},"message":"m"}"#,
        Some(Info),
        MILLI,
        &[("timestamp.nanos", "123000000")],
    ),
    (
        r#"{"severity":"INFO","timestampSeconds":"1795881600","timestampNanos":"123000000","message":"m"}"#,
        Some(Info),
        MILLI,
        &[("message", "m")],
    ),
    (
        r#"{"severity":"INFO","receiveTimestamp":"2026-11-28T16:00:00.123Z","textPayload":"m"}"#,
        Some(Info),
        MILLI,
        &[("textPayload", "m")],
    ),
    (r#"{"time_local":"28/Nov/2026:16:00:00 +0000","status":200}"#, None, NOON, &[("status", "200")]),
    (
        r#"{"timeMillis":1795881600123,"thread":"main","level":"FATAL","message":"m"}"#,
        Some(Critical),
        MILLI,
        &[("thread", "main")],
    ),
    // .NET: Serilog, the console.
    (
        r#"{"@t":"2026-11-28T16:00:00.1230000Z","@mt":"User {Id}","@l":"Warning","Id":5}"#,
        Some(Warning),
        MILLI,
        &[("Id", "5")],
    ),
    (
        r#"{"Timestamp":"2026-11-28T16:00:00.123Z","EventId":1,"LogLevel":"Critical","Category":"A","Message":"m"}"#,
        Some(Critical),
        MILLI,
        &[("Category", "A")],
    ),
    // Python: python-json-logger, structlog.
    (
        r#"{"asctime":"2026-11-28 16:00:00,123","levelname":"ERROR","name":"app","message":"m"}"#,
        Some(Error),
        Some("2026-11-28T16:00:00.123"),
        &[("levelname", "ERROR")],
    ),
    (
        r#"{"event": "login failed", "level": "warning", "timestamp": "2026-11-28T16:00:00.123Z", "user": null}"#,
        Some(Warning),
        MILLI,
        &[("user", "null")],
    ),
    // Rust: tracing.
    (
        r#"{"timestamp":"2026-11-28T16:00:00.123Z","level":"TRACE","fields":{"message":"m","n":1},"target":"app"}"#,
        Some(Debug),
        MILLI,
        &[("fields.message", "m")],
    ),
    // PHP: Monolog.
    (
        r#"{"message":"m","context":{"id":1},"level":400,"level_name":"ERROR","channel":"app","datetime":"2026-11-28T16:00:00.123+00:00","extra":[]}"#,
        Some(Error),
        MILLI,
        &[("context.id", "1"), ("extra", "[]")],
    ),
    // Databases, clouds, the journal, GELF, Suricata, HashiCorp.
    (
        r#"{"t":{"$date":"2026-11-28T16:00:00.123+00:00"},"s":"E","c":"NETWORK","id":23024,"ctx":"conn1","msg":"m"}"#,
        Some(Error),
        MILLI,
        &[("ctx", "conn1")],
    ),
    (
        r#"{"severity":"ERROR","message":"m","timestamp":"2026-11-28T16:00:00Z","httpRequest":{"status":503}}"#,
        Some(Error),
        NOON,
        &[("httpRequest.status", "503")],
    ),
    (
        r#"{"__REALTIME_TIMESTAMP":"1795881600123000","PRIORITY":"3","MESSAGE":"m","_PID":"7"}"#,
        Some(Error),
        MILLI,
        &[("_PID", "7")],
    ),
    (
        r#"{"version":"1.1","host":"h","short_message":"m","timestamp":1795881600.123,"level":4}"#,
        Some(Warning),
        MILLI,
        &[("host", "h")],
    ),
    (
        r#"{"timestamp":"2026-11-28T16:00:00.123000+0000","event_type":"alert","alert":{"severity":2,"signature":"x"}}"#,
        None,
        MILLI,
        &[("alert.severity", "2")],
    ),
    (
        r#"{"@level":"info","@message":"m","@module":"agent","@timestamp":"2026-11-28T16:00:00.123Z"}"#,
        Some(Info),
        MILLI,
        &[("@module", "agent")],
    ),
    (
        r#"{"Timestamp":"2026-11-28T16:00:00.123Z","SeverityText":"WARN","SeverityNumber":13,"Body":"m","Attributes":{"k":"v"}}"#,
        Some(Warning),
        MILLI,
        &[("Attributes.k", "v")],
    ),
];

#[test]
fn json() {
    check(StructuredFormat::Json, JSON);
}

const LOGFMT: &[Sample<'_>] = &[
    (
        "time=\"2026-11-28T16:00:00Z\" level=info msg=\"API listen on /run/docker.sock\"",
        Some(Info),
        NOON,
        &[("msg", "API listen on /run/docker.sock")],
    ),
    (
        "time=\"2026-11-28T16:00:00.123Z\" level=error msg=\"x\" error=\"no such file\"",
        Some(Error),
        MILLI,
        &[("error", "no such file")],
    ),
    (
        "time=\"2026-11-28T16:00:00Z\" level=warning msg=\"say \\\"hi\\\"\"",
        Some(Warning),
        NOON,
        &[("msg", "say \"hi\"")],
    ),
    ("time=\"2026-11-28T16:00:00Z\" level=fatal msg=bye", Some(Critical), NOON, &[]),
    ("time=\"2026-11-28T16:00:00Z\" level=panic msg=x", Some(Critical), NOON, &[]),
    ("time=\"2026-11-28T16:00:00Z\" level=trace msg=x", Some(Debug), NOON, &[]),
    ("time=2026-11-28T16:00:00.123Z level=INFO msg=started port=8080", Some(Info), MILLI, &[("port", "8080")]),
    (
        "time=2026-11-28T17:00:00.123+01:00 level=WARN msg=\"slow query\" took=1.2s",
        Some(Warning),
        MILLI,
        &[("took", "1.2s")],
    ),
    ("time=2026-11-28T16:00:00.123Z level=ERROR+2 msg=x", Some(Error), MILLI, &[]),
    ("time=2026-11-28T16:00:00.123Z level=DEBUG-4 msg=x", Some(Debug), MILLI, &[]),
    (
        "ts=2026-11-28T16:00:00.123Z caller=main.go:12 level=info msg=\"Server is ready\"",
        Some(Info),
        MILLI,
        &[("caller", "main.go:12")],
    ),
    (
        "ts=2026-11-28T16:00:00.123Z caller=x.go:1 level=error component=tsdb err=\"open x: denied\"",
        Some(Error),
        MILLI,
        &[("component", "tsdb"), ("err", "open x: denied")],
    ),
    (
        "level=info ts=2026-11-28T16:00:00.123Z caller=loki.go:1 org_id=fake traceID=5 latency=fast query=\"{a=\\\"b\\\"} |= `error`\"",
        Some(Info),
        MILLI,
        &[("query", "{a=\"b\"} |= `error`")],
    ),
    (
        "logger=context userId=0 orgId=0 uname= t=2026-11-28T16:00:00.123Z level=info msg=\"Request Completed\" method=GET path=/error status=302",
        Some(Info),
        MILLI,
        &[("path", "/error"), ("uname", "")],
    ),
    ("t=2026-11-28T16:00:00+0000 lvl=eror msg=\"it broke\" logger=x", Some(Error), NOON, &[("logger", "x")]),
    ("t=2026-11-28T16:00:00+0000 lvl=dbug msg=x", Some(Debug), NOON, &[]),
    (
        "at=info method=GET path=\"/\" host=x fwd=\"1.2.3.4\" dyno=web.1 connect=1ms service=2ms status=200",
        None,
        None,
        &[("dyno", "web.1")],
    ),
    ("at=error code=H12 desc=\"Request timeout\" method=GET status=503", None, None, &[("code", "H12")]),
    ("ts=1795881600.123 level=debug msg=x", Some(Debug), MILLI, &[]),
    ("ts=1795881600 severity=crit msg=x", Some(Critical), NOON, &[]),
    ("timestamp=\"2026-11-28 16:00:00,123\" level=info msg=x", Some(Info), Some("2026-11-28T16:00:00.123"), &[]),
    ("level=notice msg=x", Some(Notice), None, &[]),
    ("error=\"<nil>\" level=info", Some(Info), None, &[("error", "<nil>")]),
    ("msg=\"retry on error\" level=warn", Some(Warning), None, &[]),
    ("level=emerg msg=x", Some(Emergency), None, &[]),
    ("level=loud msg=error", None, None, &[("level", "loud")]),
    ("status=500 path=/x duration=12.5", None, None, &[("duration", "12.5")]),
    (
        "method=GET path=/ format=html controller=A action=index status=200 duration=5.1 view=3.2 db=1.0",
        None,
        None,
        &[("action", "index")],
    ),
    (
        "severity=ERROR time=2026-11-28T16:00:00Z error.class=E error.message=\"a\\tb\"",
        Some(Error),
        NOON,
        &[("error.class", "E"), ("error.message", "a\tb")],
    ),
    ("\x1b[34mlevel\x1b[0m=info \x1b[34mmsg\x1b[0m=hi", Some(Info), None, &[("msg", "hi")]),
    (
        "source=rack-timeout id=1 timeout=15000ms service=20ms state=completed at=info",
        None,
        None,
        &[("state", "completed")],
    ),
];

#[test]
fn logfmt() {
    check(StructuredFormat::Logfmt, LOGFMT);
}

const SYSLOG: &[Sample<'_>] = &[
    (
        "Nov 28 16:00:00 web1 sshd[123]: Accepted publickey for root from 1.2.3.4 port 5",
        None,
        HERE,
        &[("host", "web1"), ("app", "sshd"), ("pid", "123")],
    ),
    (
        "Nov 28 16:00:00 web1 sshd[123]: error: maximum authentication attempts exceeded",
        Some(Error),
        HERE,
        &[("message", "error: maximum authentication attempts exceeded")],
    ),
    ("Nov 28 16:00:00 web1 systemd[1]: Started Session 5 of User root.", None, HERE, &[("app", "systemd")]),
    (
        "Nov 28 16:00:00 web1 kernel: [    1.234567] usb 1-1: new device",
        None,
        HERE,
        &[("app", "kernel"), ("message", "[    1.234567] usb 1-1: new device")],
    ),
    ("Nov 28 16:00:00 web1 CRON[9]: (root) CMD (/usr/bin/x)", None, HERE, &[("app", "CRON")]),
    (
        "Nov 28 16:00:00 web1 postfix/smtpd[7]: warning: hostname x does not resolve",
        Some(Warning),
        HERE,
        &[("app", "postfix/smtpd")],
    ),
    ("Nov 28 16:00:00 web1 dovecot: imap-login: Error: x", Some(Error), HERE, &[("app", "dovecot")]),
    ("Nov 28 16:00:00 web1 sudo:     root : TTY=pts/0 ; PWD=/root ; COMMAND=/bin/ls", None, HERE, &[("app", "sudo")]),
    (
        "Nov 28 16:00:00 10.0.0.1 haproxy[5]: 1.2.3.4:5 [28/Nov/2026:16:00:00.123] web app/1 0/0/1/2/3 200 5",
        None,
        HERE,
        &[("host", "10.0.0.1")],
    ),
    ("Nov 28 16:00:00 web1 (systemd)[9]: pam_unix: x", None, HERE, &[("app", "(systemd)")]),
    (
        "Nov 28 16:00:00 web1 last message repeated 2 times",
        None,
        HERE,
        &[("host", "web1"), ("message", "last message repeated 2 times")],
    ),
    ("Nov  8 16:00:00 web1 app: x", None, Some("2026-11-08T16:00:00"), &[("message", "x")]),
    ("Dec 31 23:59:59 web1 app: of last year", None, Some("2025-12-31T23:59:59"), &[]),
    (
        "<34>Nov 28 16:00:00 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
        Some(Critical),
        HERE,
        &[("facility", "auth"), ("severity", "critical"), ("host", "mymachine"), ("app", "su")],
    ),
    (
        "<13>Nov 28 16:00:00 host app[1]: x",
        Some(Notice),
        HERE,
        &[("facility", "user"), ("severity", "notice"), ("pid", "1")],
    ),
    ("<191>Nov 28 16:00:00 host app: x", Some(Debug), HERE, &[("facility", "local7")]),
    (
        "<189>Nov 28 16:00:00.000: %SYS-5-CONFIG_I: Configured from console",
        Some(Notice),
        HERE,
        &[("facility", "local7")],
    ),
    ("<3>disk failed", Some(Error), None, &[("facility", "kern"), ("severity", "error"), ("message", "disk failed")]),
    ("<30>systemd[1]: Started x.", Some(Info), None, &[("facility", "daemon"), ("message", "systemd[1]: Started x.")]),
    (
        "2026-11-28T16:00:00.123456+00:00 web1 sshd[123]: Server listening",
        None,
        MICRO,
        &[("host", "web1"), ("app", "sshd"), ("pid", "123"), ("message", "Server listening")],
    ),
    ("2026-11-28T17:00:00.123456+01:00 web1 kernel: x", None, MICRO, &[("app", "kernel")]),
    ("2026-11-28T16:00:00Z web1 app: ERROR x", Some(Error), NOON, &[("message", "ERROR x")]),
    (
        "<165>1 2026-11-28T16:00:00.123456Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"] \u{feff}An application event",
        Some(Notice),
        MICRO,
        &[
            ("host", "mymachine.example.com"),
            ("app", "evntslog"),
            ("msgid", "ID47"),
            ("exampleSDID@32473.iut", "3"),
            ("message", "An application event"),
        ],
    ),
    (
        "<165>1 2026-11-28T16:00:00Z h a - ID47 [a@1 x=\"1\"][b@1 y=\"2\"]",
        Some(Notice),
        NOON,
        &[("a@1.x", "1"), ("b@1.y", "2")],
    ),
    (
        "<34>1 2026-11-28T16:00:00Z mymachine.example.com su - ID47 - 'su root' failed",
        Some(Critical),
        NOON,
        &[("message", "'su root' failed")],
    ),
    (
        "<14>1 2026-11-28T16:00:00Z h a 77 - [x@1 q=\"a \\\"b\\\" \\\\ \\] \\n\"] m",
        Some(Info),
        NOON,
        &[("x@1.q", "a \"b\" \\ ] \\n"), ("pid", "77")],
    ),
    ("<14>1 - - - - - -", Some(Info), None, &[("facility", "user")]),
    ("<14>1 2026-11-28T16:00:00Z h a - - - ", Some(Info), NOON, &[("app", "a")]),
    (
        "<11>1 2026-11-28T17:00:00+01:00 h app 5 - - it broke",
        Some(Error),
        NOON,
        &[("severity", "error"), ("message", "it broke")],
    ),
    ("1 2026-11-28T16:00:00Z h app 5 - - error: x", None, NOON, &[("pid", "5"), ("message", "error: x")]),
    (
        "<14>1 2026-11-28T16:00:00Z h dockerd 5 web - {\"level\":\"error\"}",
        Some(Info),
        NOON,
        &[("message", "{\"level\":\"error\"}")],
    ),
];

#[test]
fn syslog() {
    check(StructuredFormat::Syslog, SYSLOG);
}

#[test]
fn other_lines_are_plain_text() {
    let table = [
        (StructuredFormat::Json, "plain text"),
        (StructuredFormat::Json, "{\"a\":1"),
        (StructuredFormat::Json, "[1]"),
        (StructuredFormat::Logfmt, "plain text"),
        (StructuredFormat::Logfmt, "started a=1"),
        (StructuredFormat::Syslog, "plain text"),
        (StructuredFormat::Syslog, "<1234>x"),
        (StructuredFormat::Syslog, "2026-11-28 is a day"),
        (StructuredFormat::Syslog, ""),
    ];
    for (format, line) in table {
        assert_eq!(format.declaration_of(line.as_bytes(), Time(0)), None, "{format:?} {line}");
    }
    assert_eq!(StructuredFormat::Json.declaration_of(b"{\"a\":\"\xff\"}", Time(0)), None);
}
