//! `GET /metrics`: numbers that are true, in the formats that scrapers read.

use std::collections::BTreeMap;

use crate::harness::{Daemon, Deadline, TestDir};

/// All samples, by name and labels as they are written.
fn samples(daemon: &Daemon) -> BTreeMap<String, f64> {
    let (status, headers, body) = daemon.get("/metrics", &[]);
    assert_eq!(status, 200);
    let media_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    assert_eq!(media_type, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = String::from_utf8(body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn metrics_count_the_activity_of_a_stream() {
    let dir = TestDir::new();
    dir.write("app.log", "one\ntwo\n");
    let yaml = "state_directory: state
streams:
  app: { file: app.log, from: start }
  job: { command: [sh, -c, 'echo \"[ 50%] half\"; exit 1'], restart: { when: always, backoff: 100ms..100ms } }
  idle: { push: true }";
    let daemon = dir.start(yaml);
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.until("two", |message| message.data == "two");
    daemon.follow("app").after("nonsense1-7").until("a gap", |message| message.event == "gap");
    let is = |name: &str, value: f64| {
        Deadline::new()
            .until(&format!("{name} {value}"), || (samples(&daemon).get(name) == Some(&value)).then_some(()));
    };
    is(r#"rtlogd_stream_lines_total{stream="app"}"#, 2.0);
    is(r#"rtlogd_stream_bytes_total{stream="app"}"#, 6.0);
    is(r#"rtlogd_stream_readers{stream="app"}"#, 1.0);
    is(r#"rtlogd_stream_gaps_total{stream="app"}"#, 1.0);
    is(r#"rtlogd_stream_losses_total{stream="app"}"#, 0.0);
    is(r#"rtlogd_stream_lag_bytes{stream="app"}"#, 0.0);
    is(r#"rtlogd_stream_degraded{stream="app"}"#, 0.0);
    is(r#"rtlogd_stream_state{stream="app",state="following"}"#, 1.0);
    is(r#"rtlogd_stream_state{stream="idle",state="receiving"}"#, 1.0);
    is(r#"rtlogd_stream_progress_ratio{stream="job"}"#, 0.5);
    is(r#"rtlogd_http_requests_total{method="GET",code="404"}"#, {
        assert_eq!(daemon.get("/nowhere", &[]).0, 404);
        1.0
    });
    Deadline::new().until("restarts of the job", || {
        let all = samples(&daemon);
        let (lines, restarts) =
            (all[r#"rtlogd_stream_lines_total{stream="job"}"#], all[r#"rtlogd_stream_restarts_total{stream="job"}"#]);
        (restarts >= 2.0 && lines >= restarts).then_some(())
    });
    let all = samples(&daemon);
    assert!(all[r#"rtlogd_stream_history_bytes{stream="app"}"#] > 6.0, "{all:#?}");
    assert!(all["process_resident_memory_bytes"] > 1e6 && all["process_open_fds"] > 3.0, "{all:#?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - all["process_start_time_seconds"]).abs() < 60.0, "{all:#?}");
}

#[test]
fn clients_that_accept_only_the_older_metrics_format_get_it() {
    let daemon = Daemon::start("streams: { app: { file: app.log } }");
    let (status, headers, body) = daemon.get("/metrics", &[("Accept", "text/plain;version=0.0.4;q=0.5, */*;q=0.1")]);
    assert_eq!(status, 200);
    assert!(headers.contains(&("content-type".to_owned(), "text/plain; version=0.0.4; charset=utf-8".to_owned())));
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("# TYPE rtlogd_stream_lines_total counter\n"), "{text}");
    assert_eq!(daemon.get("/metrics?x=1", &[]).0, 400);
}
