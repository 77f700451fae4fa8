//! `rtlogd runs`: the table of the runs of one stream, newest first.

use std::process::ExitCode;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;

use crate::event::{duration_words, one_line};

use super::connect::{RemoteDaemon, percent_encode};
use super::stream_list::{ago, clock, seconds, state_after};
use super::table::TableForm;
use super::terminal::{self, SafeText};
use super::{ClientError, MAX_RESPONSE_SIZE, RemoteRunEnd, parse};

/// The columns, of which the last one is what else there is to say.
const FORM: TableForm = TableForm {
    headers: &["RUN", "STATE", "STARTED", "DURATION", "LINES", "ERRORS", "WARNINGS", "NOTE"],
    numbers: &[0, 3, 4, 5, 6],
    optional: &[(6, 1), (4, 1), (2, 1), (5, 1), (3, 1)],
    name: None,
};

/// What is said of a run of which nothing is stored any more.
const NOT_KEPT: &str = "lines no longer stored";

/// A run, as the list of runs has it.
#[derive(Debug, Deserialize)]
struct RemoteRunSummary {
    run: u64,
    started: String,
    /// `None` while the run lasts.
    ended: Option<String>,
    duration: Option<f64>,
    code: Option<i32>,
    signal: Option<String>,
    cause: Option<String>,
    lines: Option<u64>,
    errors: Option<u64>,
    warnings: Option<u64>,
    kept: bool,
}

/// Prints the newest runs of the stream, at most `limit`.
pub(super) async fn list(server: &RemoteDaemon, name: &str, limit: u64) -> Result<ExitCode, ClientError> {
    #[derive(Deserialize)]
    struct RunListResponse {
        runs: Vec<RemoteRunSummary>,
    }
    let path = format!("/streams/{}/runs?limit={limit}", percent_encode(name));
    let answer = server.send_request(Method::GET, &path, &[], Bytes::new()).await?;
    let RunListResponse { runs } = parse(&answer.read_all(MAX_RESPONSE_SIZE).await?)?;
    if runs.is_empty() {
        let text = format!("rtlogd: {name} has had no run (a run is one execution of a process)");
        terminal::print_error(&SafeText::message(&text));
    }
    let columns = terminal::is_terminal().then(|| terminal::terminal_size().0);
    let text = table(&runs, Timestamp::now(), columns);
    terminal::print(&SafeText::lines(&text)).map_err(ClientError::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn table(runs: &[RemoteRunSummary], now: Timestamp, columns: Option<usize>) -> String {
    let rows: Vec<_> = runs.iter().map(|run| row(run, now, columns.is_some())).collect();
    FORM.format(&rows, columns)
}

/// The fields of a run. None but the last is empty or contains two spaces, so that programs can tell them apart.
fn row(run: &RemoteRunSummary, now: Timestamp, is_for_people: bool) -> Vec<String> {
    let started = run.started.parse::<Timestamp>().ok();
    let state = match &run.ended {
        Some(_) => state_after(&RemoteRunEnd {
            run: run.run,
            code: run.code,
            signal: run.signal.clone(),
            cause: run.cause.clone().unwrap_or_default(),
            duration: run.duration,
        }),
        None => "running".to_owned(),
    };
    let so_far = || started.filter(|_| run.ended.is_none()).map(|started| seconds(started, now).floor());
    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    let fields = [
        run.run.to_string(),
        state,
        started.map_or_else(String::new, |started| if is_for_people { ago(started, now) } else { clock(started) }),
        run.duration.or_else(so_far).map_or_else(String::new, duration_words),
        count(run.lines),
        count(run.errors),
        count(run.warnings),
    ];
    // Each field is escaped separately, so that none of them can begin a line.
    let fields = fields.iter().map(|field| if field.is_empty() { "-".to_owned() } else { one_line(field) });
    fields.chain([if run.kept { String::new() } else { NOT_KEPT.to_owned() }]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::width;
    use super::*;

    fn runs() -> Vec<RemoteRunSummary> {
        let all = json!([
            { "run": 42, "started": "2026-11-30T11:55:00.5Z", "lines": 1024, "errors": 0, "warnings": 3, "kept": true },
            { "run": 41, "started": "2026-11-30T11:44:00Z", "ended": "2026-11-30T11:47:12Z", "duration": 192.4, "code": 2,
                "cause": "exited", "lines": 3182, "errors": 12, "warnings": 17, "kept": true },
            { "run": 40, "started": "2026-11-30T10:44:00Z", "ended": "2026-11-30T10:47:12Z", "duration": 192.0, "code": 0,
                "cause": "exited", "kept": false },
            { "run": 9, "started": "2026-11-29T10:44:00Z", "ended": "2026-11-29T10:44:01Z", "duration": 0.9,
                "signal": "SEGV", "cause": "signalled", "lines": 1, "errors": 0, "warnings": 0, "kept": false },
        ]);
        serde_json::from_value(all).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-30T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_pipe_receives_all_fields() {
        let expected = "\
RUN  STATE            STARTED               DURATION  LINES  ERRORS  WARNINGS  NOTE
 42  running          2026-11-30T11:55:00Z    4m 59s   1024       0         3
 41  failed (exit 2)  2026-11-30T11:44:00Z    3m 12s   3182      12        17
 40  passed           2026-11-30T10:44:00Z    3m 12s      -       -         -  lines no longer stored
  9  killed (SEGV)    2026-11-29T10:44:00Z      0.9s      1       0         0  lines no longer stored
";
        assert_eq!(table(&runs(), now(), None), expected);
    }

    #[test]
    fn a_terminal_shows_what_it_has_room_for() {
        let usual = "\
RUN  STATE            STARTED  DURATION  LINES  ERRORS  WARNINGS  NOTE
 42  running          4m ago     4m 59s   1024       0         3
 41  failed (exit 2)  16m ago    3m 12s   3182      12        17
 40  passed           1h ago     3m 12s      -       -         -  lines no long…
  9  killed (SEGV)    1d ago       0.9s      1       0         0  lines no long…
";
        assert_eq!(table(&runs(), now(), Some(80)), usual);
        for columns in 1..200 {
            for line in table(&runs(), now(), Some(columns)).lines() {
                assert!(width(line) <= columns, "{columns}: {line}");
            }
        }
        let narrow = table(&runs(), now(), Some(30));
        assert!(narrow.starts_with("RUN  STATE") && narrow.contains("failed (exit 2)"), "{narrow}");
    }
}
