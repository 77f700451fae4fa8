//! `rtlogd ls`: the table of streams. A terminal shows as much of it as its width has room for; everything else receives
//! all of it.

use std::process::ExitCode;

use jiff::Timestamp;

use crate::event::{duration_words, one_line};

use super::connect::RemoteDaemon;
use super::table::TableForm;
use super::terminal::{self, SafeText};
use super::{ClientError, RemoteRunEnd, RemoteStream, streams};

/// The columns, of which the last one is the description.
const FORM: TableForm = TableForm {
    headers: &["NAME", "KIND", "STATE", "STARTED", "DURATION", "LINES/S", "READERS", "DESCRIPTION"],
    numbers: &[4, 5, 6],
    optional: &[(1, LEAST_DESCRIPTION), (6, LEAST_DESCRIPTION), (5, LEAST_DESCRIPTION), (3, 12), (4, 12)],
    name: Some(0),
};

/// The columns of a terminal that descriptions and reasons have at least, before columns of numbers are left out.
const LEAST_DESCRIPTION: usize = 24;

/// Prints the streams that the caller may read.
pub(super) async fn list(server: &RemoteDaemon) -> Result<ExitCode, ClientError> {
    let streams = streams(server).await?;
    let columns = terminal::is_terminal().then(|| terminal::terminal_size().0);
    let text = table(&streams, Timestamp::now(), columns);
    terminal::print(&SafeText::lines(&text)).map_err(ClientError::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// The table as lines, on a terminal of this many columns.
fn table(streams: &[RemoteStream], now: Timestamp, columns: Option<usize>) -> String {
    let rows: Vec<_> = streams.iter().map(|stream| row(stream, now, columns.is_some())).collect();
    FORM.format(&rows, columns)
}

/// The fields of a stream. None but the last is empty or contains two spaces, so that programs can tell them apart.
fn row(stream: &RemoteStream, now: Timestamp, is_for_people: bool) -> Vec<String> {
    let started = stream.last_run.as_ref().and_then(|run| run.started.parse::<Timestamp>().ok());
    let fields = [
        stream.name.clone(),
        stream.kind.clone(),
        state(stream),
        started.map_or_else(String::new, |started| if is_for_people { ago(started, now) } else { clock(started) }),
        duration(stream, started, now).map_or_else(String::new, duration_words),
        format!("{:.1}", stream.rate),
        stream.readers.to_string(),
    ];
    let description = [Some(stream.description.clone()), reason(stream)].into_iter().flatten();
    let description = description.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    // Each field is escaped separately, so that none of them can begin a line.
    let fields = fields.iter().map(|field| if field.is_empty() { "-".to_owned() } else { one_line(field) });
    fields.chain([one_line(&description)]).collect()
}

/// The state of a stream: what its source does, how far it is, or how the last run ended.
fn state(stream: &RemoteStream) -> String {
    let Some(source) = &stream.source else { return String::new() };
    if let Some(last) = source.last.as_ref().filter(|_| !source.is_working()) {
        return state_after(last);
    }
    let progress = stream.progress.as_ref().filter(|progress| matches!(progress.state.as_str(), "running" | "paused"));
    let is_paused = progress.is_some_and(|progress| progress.state == "paused");
    let word = if is_paused && stream.is_running() { "paused" } else { source.state.as_str() };
    match progress.and_then(|progress| progress.percent) {
        Some(percent) => format!("{word} {}%", percent.floor()),
        None => word.to_owned(),
    }
}

/// How a run ended, in the words of the page.
pub(super) fn state_after(end: &RemoteRunEnd) -> String {
    match (end.cause.as_str(), end.code, &end.signal) {
        ("stopped" | "daemon-stopped", ..) => "stopped".to_owned(),
        ("lost" | "daemon-killed", ..) => "lost".to_owned(),
        (_, Some(0), _) => "passed".to_owned(),
        (_, Some(code), _) => format!("failed (exit {code})"),
        (_, None, Some(signal)) => format!("killed ({signal})"),
        (_, None, None) => "ended".to_owned(),
    }
}

/// Why a source is in its state, unless the state says it already.
fn reason(stream: &RemoteStream) -> Option<String> {
    let source = stream.source.as_ref()?;
    let told = source.error.as_ref().or(source.reason.as_ref()).or(source.note.as_ref());
    let is_said = |why: &&String| {
        source.last.as_ref().is_some_and(|last| {
            let by_code = last.code.map(|code| format!("exited with code {code}"));
            let by_signal = last.signal.as_ref().map(|signal| format!("was killed by signal {signal}"));
            [by_code, by_signal].iter().flatten().any(|said| said == *why)
        })
    };
    let restarts = (source.state == "backing-off").then(|| "restarts soon".to_owned());
    let parts: Vec<_> = restarts.into_iter().chain(told.filter(|why| !is_said(why)).cloned()).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

/// The seconds that the last run took, or the whole ones that it has taken so far.
fn duration(stream: &RemoteStream, started: Option<Timestamp>, now: Timestamp) -> Option<f64> {
    let run = stream.last_run.as_ref();
    let last = stream.source.as_ref().and_then(|source| source.last.as_ref());
    let taken = run.and_then(|run| run.duration).or_else(|| last.and_then(|last| last.duration));
    taken.or_else(|| match &run?.ended {
        Some(ended) => Some(seconds(started?, ended.parse().ok()?)),
        None => Some(seconds(started?, now).floor()),
    })
}

pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    // The clock of the daemon may be ahead of this one.
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// How long ago something was, in its largest unit: `12m ago`.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let words = duration_words(seconds(then, now).floor());
    format!("{} ago", words.split(' ').next().unwrap_or_default())
}

/// A point in time for programs: RFC 3339, in UTC and whole seconds.
pub(super) fn clock(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::width;
    use super::*;

    fn stream(name: &str, members: &serde_json::Value) -> RemoteStream {
        let mut all = json!({ "name": name, "kind": "process", "rate": 0.04, "readers": 2, "source": null });
        for (key, value) in members.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-30T12:00:00Z".parse().unwrap()
    }

    fn streams() -> Vec<RemoteStream> {
        let end = json!({ "run": 3, "code": 2, "cause": "exited", "duration": 192.4 });
        let run =
            json!({ "started": "2026-11-30T11:44:00.123456Z", "ended": "2026-11-30T11:47:12Z", "duration": 192.4 });
        vec![
            stream(
                "build",
                &json!({
                    "description": "Release build of the whole tree, amd64 and arm64, with all of the tests",
                    "source": { "state": "running", "run": 4 }, "rate": 1234.56,
                    "progress": { "state": "running", "percent": 45.9 },
                    "last_run": { "started": "2026-11-30T11:55:00Z" },
                }),
            ),
            stream(
                "deploy",
                &json!({ "source": { "state": "stopped", "reason": "exited with code 2", "last": end }, "last_run": run }),
            ),
            stream(
                "log",
                &json!({ "kind": "file", "source": { "state": "waiting", "reason": "/var/log/x does not exist" } }),
            ),
        ]
    }

    #[test]
    fn a_pipe_receives_all_fields() {
        let expected = "\
NAME    KIND     STATE            STARTED               DURATION  LINES/S  READERS  DESCRIPTION
build   process  running 45%      2026-11-30T11:55:00Z     5m 0s   1234.6        2  Release build of the whole tree, amd64 and arm64, with all of the tests
deploy  process  failed (exit 2)  2026-11-30T11:44:00Z    3m 12s      0.0        2
log     file     waiting          -                            -      0.0        2  /var/log/x does not exist
";
        assert_eq!(table(&streams(), now(), None), expected);
    }

    #[test]
    fn a_terminal_shows_what_it_has_room_for() {
        let wide = "\
NAME    KIND     STATE            STARTED  DURATION  LINES/S  READERS  DESCRIPTION
build   process  running 45%      5m ago      5m 0s   1234.6        2  Release build of the whole tree, amd64 and arm…
deploy  process  failed (exit 2)  15m ago    3m 12s      0.0        2
log     file     waiting          -               -      0.0        2  /var/log/x does not exist
";
        assert_eq!(table(&streams(), now(), Some(118)), wide);
        let narrow = "\
NAME    STATE            STARTED  DURATION  LINES/S  DESCRIPTION
build   running 45%      5m ago      5m 0s   1234.6  Release build of the whole…
deploy  failed (exit 2)  15m ago    3m 12s      0.0
log     waiting          -               -      0.0  /var/log/x does not exist
";
        assert_eq!(table(&streams(), now(), Some(80)), narrow);
        let phone = "\
NAME    STATE            DESCRIPTION
build   running 45%      Release buil…
deploy  failed (exit 2)
log     waiting          /var/log/x d…
";
        assert_eq!(table(&streams(), now(), Some(38)), phone);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_one_long_name_costs_the_others_nothing() {
        let mut streams = streams();
        streams.push(stream("a-stream-with-a-name-that-is-as-long-as-names-may-be-1234567890", &json!({})));
        streams.push(stream("wide", &json!({ "description": "日本語の説明文、とても長い説明文がここにあります" })));
        for columns in 1..200 {
            for line in table(&streams, now(), Some(columns)).lines() {
                assert!(width(line) <= columns, "{columns}: {line}");
            }
        }
        let shown = table(&streams, now(), Some(80));
        assert!(shown.contains("\na-stream-with…e-1234567890  "), "{shown}");
        assert!(shown.starts_with("NAME                        STATE            STARTED  "), "{shown}");
    }

    #[test]
    fn the_state_says_how_a_run_ended_and_the_description_why_there_is_none() {
        let last = |members: serde_json::Value| {
            let mut all = json!({ "run": 1, "cause": "exited" });
            all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            all
        };
        let table = [
            (
                json!({ "state": "stopped", "reason": "exited with code 0", "last": last(json!({ "code": 0 })) }),
                "passed",
                None,
            ),
            (
                json!({ "state": "stopped", "reason": "was killed by signal SEGV", "last": last(json!({ "signal": "SEGV", "cause": "signalled" })) }),
                "killed (SEGV)",
                None,
            ),
            (
                json!({ "state": "backing-off", "error": "exited with code 3", "last": last(json!({ "code": 3 })) }),
                "failed (exit 3)",
                Some("restarts soon"),
            ),
            (
                json!({ "state": "backing-off", "error": "cannot start" }),
                "backing-off",
                Some("restarts soon: cannot start"),
            ),
            (
                json!({ "state": "stopped", "reason": "an operator stopped it", "last": last(json!({ "code": 0, "cause": "stopped" })) }),
                "stopped",
                Some("an operator stopped it"),
            ),
            (
                json!({ "state": "stopped", "reason": "gone", "last": last(json!({ "cause": "lost" })) }),
                "lost",
                Some("gone"),
            ),
            (json!({ "state": "running", "run": 2, "last": last(json!({ "code": 1 })) }), "running", None),
            (json!({ "state": "following", "files": 2 }), "following", None),
        ];
        for (source, word, why) in table {
            let stream = stream("s", &json!({ "source": source }));
            assert_eq!((state(&stream).as_str(), reason(&stream).as_deref()), (word, why), "{source}");
        }
        let paused = json!({ "source": { "state": "running" }, "progress": { "state": "paused", "percent": 7.0 } });
        assert_eq!(state(&stream("s", &paused)), "paused 7%");
        let done = json!({ "source": { "state": "running" }, "progress": { "state": "done", "percent": 100.0 } });
        assert_eq!(state(&stream("s", &done)), "running");
    }
}
