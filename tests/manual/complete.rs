//! The pages name everything that a running daemon offers.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use crate::harness::{Daemon, Deadline, TestDir};

use super::Page;

/// The names of all members that objects of this JSON Schema may have, at any depth.
fn members(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|inner| members(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| members(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Checks that the page has each of `names` as code.
fn names_all(page: &Page, names: impl IntoIterator<Item = String>) {
    let names: BTreeSet<_> = names.into_iter().collect();
    assert!(!names.is_empty());
    let missing: Vec<_> = names.iter().filter(|name| !page.text.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "{} does not mention {missing:?}", page.path);
}

#[test]
fn endpoints_parameters_and_statuses_are_in_the_manual() {
    let daemon = Daemon::start("streams: { a: { command: [true] } }");
    let document: Value = serde_json::from_slice(&daemon.get("/openapi.json", &[]).2).unwrap();
    let page = Page::read("packaging/man/rtlogd-http.7.md");
    let mut endpoints = Vec::new();
    let mut statuses = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path = path.replace("{name}", "NAME");
            // PUT is described with POST; what the page is made of has no fixed address.
            if method != "put" && !path.starts_with("/page/") {
                endpoints.push(format!("{} {path}", method.to_uppercase()));
            }
            statuses.extend(operation["responses"].as_object().unwrap().keys().cloned());
        }
    }
    names_all(&page, endpoints);
    for status in statuses.iter().filter(|status| status.as_str() >= "4") {
        let row = Regex::new(&format!(r"(?m)^\|[0-9, ]*{status}[0-9, ]*\|")).unwrap();
        assert!(row.is_match(&page.text), "{} does not explain status {status}", page.path);
    }
    let parameters = document["components"]["parameters"].as_object().unwrap().values();
    let query =
        parameters.filter(|parameter| parameter["in"] == "query").filter_map(|parameter| parameter["name"].as_str());
    names_all(&page, query.filter(|name| *name != "signal").map(|name| format!("{name}=")));
    let schemas = &document["components"]["schemas"];
    let states = schemas["State"]["properties"]["state"]["enum"].as_array().unwrap();
    names_all(&page, states.iter().map(|state| state.as_str().unwrap().to_owned()));
    let mut events = BTreeSet::new();
    for schema in ["Event", "Gap", "Progress"] {
        members(&schemas[schema], &mut events);
    }
    assert!(["text", "resume", "percent", "depth"].iter().all(|known| events.contains(*known)), "{events:?}");
    names_all(&page, events);
}

#[test]
fn everything_on_the_control_channel_is_in_the_manual() {
    let ended = TestDir::new().execute(&["schema", "control"]);
    let schema: Value = serde_json::from_slice(&ended.out).unwrap();
    let page = Page::read("packaging/man/rtlogd-http.7.md");
    let definitions = schema["$defs"].as_object().unwrap();
    names_all(&page, definitions.keys().filter(|name| name.contains('.')).cloned());
    let choices = definitions.values().filter_map(|definition| definition["oneOf"].as_array()).flatten();
    let told = choices.filter_map(|choice| choice["properties"]["method"]["const"].as_str());
    names_all(&page, told.map(str::to_owned));
    for error in schema["$defs"]["Error"]["properties"]["code"]["oneOf"].as_array().unwrap() {
        let row = format!("| {} | `{}`", error["const"], error["title"].as_str().unwrap());
        assert!(page.text.contains(&row), "{} has no {row}", page.path);
    }
}

#[test]
fn every_metric_is_in_the_manual() {
    let daemon = Daemon::start("streams: { a: { command: [sh, -c, 'echo \"[ 50%] half\"'] } }");
    let text = Deadline::new().until("metrics with progress", || {
        let text = String::from_utf8(daemon.get("/metrics", &[]).2).unwrap();
        text.contains("progress_ratio{").then_some(text)
    });
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    names_all(&Page::read("packaging/man/rtlogd-operation.7.md"), samples.map(str::to_owned));
}
