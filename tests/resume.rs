//! Coming back: strictly after the last id seen, or told what was missed.

use std::collections::BTreeSet;

use crate::harness::sse::{Message, lines};
use crate::harness::{Daemon, Deadline, TestDir, numbered};

/// A daemon with `count` lines, `1` and on, in a file's stream `app`; and these lines.
fn counted(count: usize) -> (Daemon, Vec<Message>) {
    let dir = TestDir::new();
    dir.write("app.log", numbered("", count));
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    let seen = daemon.follow("app").query("tail=all").take(count);
    (daemon, seen)
}

/// The part of an id in front of the number.
fn epoch(message: &Message) -> &str {
    message.id.rsplit_once('-').unwrap().0
}

/// What a reader gets that is told of a gap: the gap, and the lines up to the one that says `last`.
fn gap(seen: &[Message]) -> serde_json::Value {
    let gaps: Vec<_> = seen.iter().filter(|message| message.event == "gap").collect();
    assert!(gaps.len() == 1 && seen[0].event == "gap", "a gap in front, and only one: {seen:#?}");
    let gap = gaps[0].json();
    assert_eq!(gap["resume"], gaps[0].id.as_str(), "the gap's own id is where it goes on");
    gap
}

#[test]
fn a_reader_resumes_after_the_last_event_it_received() {
    let (daemon, seen) = counted(20);
    for at in [0, 1, 10, 18] {
        let rest = &seen[at + 1..];
        assert_eq!(daemon.follow("app").after(&seen[at].id).take(rest.len()), rest);
        assert_eq!(daemon.follow("app").last_event_id(&seen[at].id).take(rest.len()), rest);
    }
    let mut reader = daemon.follow("app").last_event_id(&seen[19].id).open();
    daemon.write("app.log", "21\n");
    let next = reader.take(1);
    assert_eq!(next[0].data, "21");
    assert_eq!(next[0].number(), seen[19].number() + 1);
}

#[test]
fn ids_count_up_by_one() {
    let (_daemon, seen) = counted(200);
    assert!(seen.is_sorted_by(|a, b| a.number() + 1 == b.number() && epoch(a) == epoch(b)), "{seen:#?}");
}

#[test]
fn an_id_of_another_epoch_gives_a_gap_and_continues() {
    let (daemon, _) = counted(3);
    for id in ["mib3k2x9-2", "mib3k2x9ab0z-1"] {
        for follow in [daemon.follow("app").after(id), daemon.follow("app").last_event_id(id)] {
            let seen = follow.until("the last line", |message| message.data == "3");
            assert_eq!(gap(&seen)["missed"], serde_json::Value::Null);
            assert_eq!(lines(&seen), ["1", "2", "3"]);
        }
    }
}

#[test]
fn an_id_ahead_of_the_end_gives_a_gap_and_continues() {
    let (daemon, all) = counted(3);
    let ahead = format!("{}-{}", epoch(&all[0]), all[2].number() + 1000);
    let mut reader = daemon.follow("app").last_event_id(&ahead).open();
    let mut seen = reader.until("the gap", |message| message.event == "gap");
    daemon.write("app.log", "4\n");
    seen.extend(reader.until("the next line", Message::is_line));
    assert_eq!(gap(&seen)["resume"], all[2].id.as_str(), "all that there is lies behind such a reader");
    assert_eq!(lines(&seen), ["4"]);
}

#[test]
fn a_dropped_id_gives_a_gap_with_the_number_of_missed_events() {
    let yaml = "streams: { p: { command: [seq, 1, 300000], restart: { when: never }, history: { memory: 1MiB } } }";
    let daemon = Daemon::start(yaml);
    // Without a reader, lest it is one that cannot keep up.
    let last = Deadline::new().until("the end of the process", || {
        let state = daemon.state("p");
        (state["source"]["state"] == "stopped").then(|| state["last"].as_str().unwrap().to_owned())
    });
    let first = format!("{}-1", last.rsplit_once('-').unwrap().0);
    let seen = daemon.follow("p").last_event_id(&first).until("the end", |message| message.event == "end");
    let gap = gap(&seen);
    let resume = seen[0].number();
    assert_eq!(gap["missed"], resume - 1, "all between the first and where it goes on");
    assert!(resume > 1000, "much was dropped");
    assert!(seen[1..].is_sorted_by(|a, b| a.number() + 1 == b.number()));
    assert_eq!(seen[1].number(), resume + 1);
    assert_eq!(lines(&seen).last(), Some(&"300000"));
    // The place of the gap is one to come back to.
    let again = daemon.follow("p").last_event_id(&seen[0].id).until("the end", |message| message.event == "end");
    assert_eq!(again, seen[1..]);
}

#[test]
fn a_malformed_after_is_refused_and_a_malformed_last_event_id_is_a_gap() {
    let (daemon, _) = counted(3);
    for bad in ["7", "mib3k2x9", "mib3k2x9-01", "MIB3K2X9-1", "%00"] {
        let response = daemon.follow("app").after(bad).response();
        assert_eq!(response.status, 400, "{bad}");
        response.problem();
    }
    for bad in ["7", "mib3k2x9-01", "nonsense, really", "\u{e9}", "a-1,b-2"] {
        let seen = daemon.follow("app").last_event_id(bad).until("the last line", |message| message.data == "3");
        assert_eq!(gap(&seen)["missed"], serde_json::Value::Null);
        assert_eq!(lines(&seen), ["1", "2", "3"]);
    }
}

#[test]
fn an_empty_last_event_id_is_ignored() {
    let (daemon, seen) = counted(3);
    assert_eq!(daemon.follow("app").query("tail=1").last_event_id("").take(1), seen[2..]);
}

#[test]
fn last_event_id_takes_precedence_over_after_since_and_tail() {
    let (daemon, seen) = counted(20);
    let both = daemon.follow("app").query("tail=2&since=1h").after(&seen[4].id);
    assert_eq!(both.take(1)[0], seen[5]);
    assert_eq!(both.clone().last_event_id(&seen[9].id).take(1)[0], seen[10]);
    assert_eq!(daemon.follow("app").query("tail=2&since=1h").take(1)[0], seen[0], "since before tail");
    assert_eq!(daemon.follow("app").query("tail=2").take(1)[0], seen[18]);
}

#[test]
fn two_streams_on_one_connection_resume_from_any_frame() {
    let dir = TestDir::new();
    for name in ["a", "b"] {
        dir.write(name, numbered(name, 25));
    }
    let daemon = dir.start("streams: { a: { file: a, from: start }, b: { file: b, from: start } }");
    for name in ["a", "b"] {
        daemon.follow(name).query("tail=all").take(25);
    }
    let both = daemon.request("/streams?stream=a&stream=b&data=json&follow=false");
    let key = |message: &Message| (message.json()["stream"].to_string(), message.json()["id"].to_string());
    let all = both.clone().query("tail=all").until_end();
    let everything: BTreeSet<_> = all.iter().map(key).collect();
    assert_eq!(everything.len(), all.len(), "each once");
    let texts: Vec<_> =
        all.iter().filter(|m| m.is_line()).map(|m| m.json()["text"].as_str().unwrap().to_owned()).collect();
    for name in ["a", "b"] {
        let of_one: Vec<_> = texts.iter().filter(|text| text.starts_with(name)).cloned().collect();
        assert_eq!(of_one, (1..=25).map(|number| format!("{name}{number}")).collect::<Vec<_>>());
    }
    // A reader that saw the last frame has received everything that it requested.
    let last = all.len() - 1;
    assert_eq!(both.clone().last_event_id(&all[last].id).status(), 204);
    for at in 0..last {
        let rest = both.clone().last_event_id(&all[at].id).until_end();
        let joined: Vec<_> = all[..=at].iter().chain(&rest).map(key).collect();
        assert_eq!(joined.len(), everything.len(), "from {}: {rest:#?}", all[at].id);
        assert_eq!(joined.into_iter().collect::<BTreeSet<_>>(), everything, "from {}", all[at].id);
    }
    let by_query = both.clone().after(&all[10].id).until_end();
    assert_eq!(by_query.len(), all.len() - 11);
    assert_eq!(both.clone().after("nonsense").status(), 400);
    let gaps = both.last_event_id("nonsense").until_end();
    assert_eq!(gaps.iter().filter(|message| message.event == "gap").count(), 2, "{gaps:#?}");
}

#[test]
fn several_streams_on_one_connection_show_new_lines() {
    let dir = TestDir::new();
    dir.write("a", "");
    dir.write("b", "");
    let daemon = dir.start("streams: { a: { file: a, from: start }, b: { file: b, from: start } }");
    let both = daemon.request("/streams?stream=a&stream=b");
    let mut reader = both.clone().query("tail=all").open();
    daemon.write("a", "a1\n");
    assert_eq!(reader.take(1)[0].data, "a1");
    daemon.write("b", "b1\n");
    let last = reader.take(1).remove(0);
    assert_eq!(last.data, "b1");
    drop(reader);
    daemon.write("a", "a2\n");
    let mut reader = both.last_event_id(&last.id).open();
    assert_eq!(reader.take(1)[0].data, "a2");
    daemon.write("b", "b2\n");
    assert_eq!(reader.take(1)[0].data, "b2");
}

#[test]
fn a_missing_stream_among_several_is_named() {
    let (daemon, _) = counted(1);
    let response = daemon.request("/streams?stream=app&stream=nope").response();
    assert_eq!(response.status, 404);
    assert!(response.problem()["detail"].as_str().unwrap().contains("nope"));
}

#[test]
fn a_reader_that_received_everything_does_not_reconnect() {
    let (daemon, seen) = counted(10);
    let several = daemon.request("/streams?stream=app");
    for (follow, expected) in [
        (daemon.follow("app").query("follow=false&tail=all"), 10),
        (daemon.follow("app").query("limit=2&tail=3"), 2),
        (several.clone().query("follow=false&tail=4"), 4),
        (several.query("limit=2&tail=3"), 2),
    ] {
        let mut reader = follow.open();
        let all = reader.until_end();
        assert_eq!(lines(&all).len(), expected, "{all:#?}");
        assert!(reader.last_id().ends_with('!'), "{:?}", reader.last_id());
        assert!(
            !all.iter().any(|message| message.id.ends_with('!')),
            "the last frame is an id and nothing else: {all:#?}"
        );
        let response = follow.clone().last_event_id(reader.last_id()).response();
        assert_eq!(response.status, 204);
        assert!(response.body.all().is_empty());
        // A body that was cut before is not: it goes on.
        assert_eq!(follow.last_event_id(&all[0].id).status(), 200);
    }
    // The mark says nothing to one who did not ask for an end.
    daemon.write("app.log", "11\n");
    let on = daemon.follow("app").last_event_id(&format!("{}!", seen[9].id)).take(1);
    assert_eq!(on[0].data, "11");
}

#[test]
fn a_removed_stream_ends_browsers_and_is_not_found_by_others() {
    let (daemon, seen) = counted(1);
    let response = daemon.follow("nope").response();
    assert_eq!(response.status, 404);
    assert!(response.problem()["detail"].as_str().unwrap().contains("nope"));
    assert_eq!(daemon.follow("nope").last_event_id(&seen[0].id).status(), 204);
}

#[test]
fn the_memory_of_readers_does_not_displace_events() {
    let dir = TestDir::new();
    dir.write("app.log", numbered("", 9000));
    let daemon = dir.start("streams: { app: { file: app.log, from: start, history: { memory: 1MiB } } }");
    let mut readers: Vec<_> = ["data=text", "data=json", "data=json&exclude=x", "data=json&exclude=y"]
        .map(|query| daemon.follow("app").query("tail=all").query(query).open())
        .into();
    let first = readers[0].take(9000).remove(0);
    for reader in &mut readers[1..] {
        reader.take(9000);
    }
    daemon.write("app.log", "9001\n");
    readers[0].take(1);
    // 50 KB of lines in 1 MiB: all of them are there to come back to.
    let rest = daemon.follow("app").last_event_id(&first.id).take(9000);
    assert_eq!(rest[0].data, "2");
}

/// `before=` counts back from an event, in memory and on disk, and tells where the event is not known.
#[test]
fn lines_before_an_event_are_found_by_its_id() {
    let dir = TestDir::new();
    let line = |number: usize| format!("line {number}{}\n", if number % 1000 == 7 { " seven" } else { "" });
    dir.write("app.log", (0..60_000).map(line).collect::<String>());
    let daemon = dir
        .start("state_directory: state\nhistory: { memory: 1MiB }\nstreams: { app: { file: app.log, from: start } }");
    let all = daemon.follow("app").query("tail=all").until("the last", |message| message.data == "line 59999");
    let id = |text: &str| all.iter().find(|message| message.data == text).unwrap().id.clone();
    let texts = |query: &str| {
        let (status, _, body) = daemon.get(&format!("/streams/app?follow=false&format=text&{query}"), &[]);
        assert_eq!(status, 200, "{query}");
        String::from_utf8(body).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for at in [59_998, 9_000, 5] {
        let before = format!("before={}", id(&format!("line {at}")));
        let expected: Vec<_> = (at - 3..at).map(|number| format!("line {number}")).collect();
        assert_eq!(texts(&format!("tail=3&{before}")), expected, "{at}");
    }
    let before = format!("before={}", id("line 15000"));
    assert_eq!(texts(&format!("tail=2&grep=seven&{before}")), ["line 13007 seven", "line 14007 seven"]);
    assert_eq!(texts(&format!("tail=all&grep=seven&limit=1&{before}")), ["line 7 seven"]);
    let (_, _, gap) = daemon.get("/streams/app?before=aaaaaaaa-7&format=ndjson", &[]);
    let gap = String::from_utf8(gap).unwrap();
    assert!(gap.contains("\"kind\":\"gap\"") && gap.lines().count() == 1, "{gap}");
    assert_eq!(daemon.get("/streams/app?before=nonsense", &[]).0, 400);
}
