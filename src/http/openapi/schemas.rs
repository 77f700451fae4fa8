//! The parts that operations share: parameters, and the schemas of responses.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::event::{Level, MAX_GROUP_NAME_LENGTH, MAX_SUMMARY_GROUPS, Progress, StreamName};
use crate::http::guard::authenticate::{COOKIE_NAME, TOKEN_PARAMETER};
use crate::http::stream::steering::SESSION_TOKEN_SIZE;
use crate::wire::{SseData, WireFormat};

/// The media type of rtlogd's plain text responses.
pub(super) const PLAIN_TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// The parameters of a request that reads streams.
pub(super) const READER_PARAMETERS: [&str; 16] = [
    "after",
    "Last-Event-ID",
    "tail",
    "since",
    "run",
    "follow",
    "limit",
    "grep",
    "exclude",
    "where",
    "origin",
    "level",
    "data",
    "format",
    "ansi",
    "session",
];

/// An event id: the epoch, a hyphen and the sequence number.
pub(crate) fn id() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-z]+-[0-9]+$" })
}

/// A reference to a schema of [`components`].
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// References to parameters of [`components`].
pub(super) fn parameters(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
}

/// A query parameter.
pub(super) fn parameter(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// The events of streams in each format.
pub(super) fn event_formats() -> Value {
    let mut content = serde_json::Map::new();
    for wire_format in WireFormat::all(SseData::Text) {
        let schema = match wire_format {
            // A stream of events has no single schema: each event has its own.
            WireFormat::Sse(_) => json!({}),
            WireFormat::Ndjson | WireFormat::Text => json!({ "schema": { "type": "string" } }),
        };
        content.insert(wire_format.names().content_type.to_owned(), schema);
    }
    json!({ "description": "The events, as they occur.", "content": content })
}

/// The list of streams, or the events of several streams.
pub(super) fn list_or_event_formats() -> Value {
    let mut answer = event_formats();
    answer["description"] = "The list of streams, or with `stream` the events of these streams as they occur.".into();
    answer["content"]["application/json"] = json!({ "schema": {
        "type": "object",
        "properties": { "streams": { "type": "array", "items": reference("Stream") } },
        "required": ["streams"],
    } });
    answer
}

/// The response to a poll.
pub(super) fn poll_response() -> Value {
    json!({
        "type": "object",
        "properties": {
            "events": { "type": "array", "items": reference("Event") },
            "next": { "allOf": [id()], "description": "The value for `after` in the next request." },
            "gap": reference("Gap"),
            "progress": reference("Progress"),
            "ended": { "type": "boolean", "description": "True if no event follows: the run has ended, or the end that `before` or `follow=false` sets is reached." },
        },
        "required": ["events", "next"],
    })
}

pub(super) fn components() -> Value {
    json!({
        "parameters": parameter_components(),
        "responses": { "Problem": {
            "description": "Why the request was refused, and what would be accepted.",
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        } },
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            "cookie": { "type": "apiKey", "in": "cookie", "name": COOKIE_NAME, "description": "Set by `POST /login`. The name ends with the port at which the browser reached rtlogd, as in `rtlogd-7070`, unless that is the default port of http or https." },
            "query": {
                "type": "apiKey", "in": "query", "name": TOKEN_PARAMETER,
                "description": "Only for reading, and only for tokens that are valid for at most 12 hours.",
            },
        },
        "schemas": {
            "Problem": problem_schema(),
            "Stream": stream_schema(),
            "State": state_schema(),
            "Progress": progress_schema(),
            "Run": run_schema(),
            "Event": event_schema(),
            "Gap": {
                "type": "object",
                "description": "Events that were dropped before this reader received them.",
                "properties": { "missed": { "type": ["integer", "null"] }, "resume": id() },
                "required": ["missed", "resume"],
            },
        },
    })
}

fn parameter_components() -> Value {
    let levels: Vec<_> = (0..8).filter_map(Level::from_number).map(Level::name).collect();
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let text = json!({ "type": "string" });
    let (least, most) = (SESSION_TOKEN_SIZE.start(), SESSION_TOKEN_SIZE.end());
    let query = [
        (
            "after",
            text.clone(),
            "Continue strictly after the event with this id. For several streams, a list such as a:ID,b:ID. It takes \
            precedence over `since` and `tail`, and Last-Event-ID over it.",
        ),
        ("before", text.clone(), "End before the event with this id; `tail` then counts back from there."),
        (
            "tail",
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "const": "all" }], "default": 100 }),
            "Begin with this many of the last lines that pass the filter, or with all of them. With `run`, the default is the whole run.",
        ),
        (
            "since",
            text.clone(),
            "Begin with the first event of this time or later: a duration such as 5m (before now), or a time (RFC 3339).",
        ),
        (
            "run",
            json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "enum": ["current", "last", "passed"] }] }),
            "One run of the process, from its start to its end: the one with this number; `current`, or the last one if none is in \
            progress; `last`, which has ended; or `passed`, the last one that exited with code 0.",
        ),
        ("follow", json!({ "type": "boolean", "default": true }), "If false, the answer ends where the stream is now."),
        ("limit", json!({ "type": "integer", "minimum": 1 }), "End after this many lines."),
        (
            "grep",
            texts.clone(),
            "Only lines that match all of these regular expressions (in the syntax of the Rust crate regex); at most 16 together with `exclude`.",
        ),
        ("exclude", texts.clone(), "Only lines that match none of these."),
        (
            "where",
            texts.clone(),
            "Only lines whose fields meet all of these conditions: FIELD OP VALUE with =, !=, >, >=, < or <=, such as \
            status>=500. Only lines of streams with `format: json`, `logfmt` or `syslog` have fields; a line without the \
            field fails every operator but !=.",
        ),
        (
            "origin",
            texts,
            "Only lines of these origins: stdout, stderr, the path of a file, or the sender of a pushed line or of a journal entry.",
        ),
        ("level", json!({ "enum": levels }), "Only lines of this level or a more serious one."),
        (
            "data",
            json!({ "enum": ["text", "json"], "default": "text" }),
            "What the data of server-sent events contains.",
        ),
        (
            "format",
            json!({ "enum": WireFormat::all(SseData::Text).map(|wire_format| wire_format.names().name) }),
            "The format of the answer; it takes precedence over Accept.",
        ),
        (
            "ansi",
            json!({ "enum": ["keep", "strip"], "default": "keep" }),
            "With `strip`, lines and live rows come without escape sequences, such as those of colours and links.",
        ),
        (
            "session",
            json!({ "type": "string", "minLength": least, "maxLength": most, "pattern": "^[!-~]+$" }),
            "A name by which the control channel finds this connection. It must be hard to guess.",
        ),
    ];
    let mut all: serde_json::Map<_, _> =
        query.into_iter().map(|(name, schema, about)| (name.to_owned(), parameter(name, &schema, about))).collect();
    let signals = "^(SIG)?(HUP|INT|QUIT|KILL|USR1|USR2|ALRM|TERM|CONT|STOP|TSTP|WINCH)$";
    let mut signal =
        parameter("signal", &json!({ "type": "string", "pattern": signals }), "The name of the signal, such as TERM.");
    signal["required"] = true.into();
    all.insert("signal".to_owned(), signal);
    all.insert(
        "Last-Event-ID".to_owned(),
        json!({
            "name": "Last-Event-ID", "in": "header", "schema": text,
            "description": "The same as `after`; browsers send it when they reconnect.",
        }),
    );
    let name = format!("^[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{}}}$", StreamName::MAX_LENGTH - 1);
    all.insert(
        "name".to_owned(),
        json!({
            "name": "name", "in": "path", "required": true, "schema": { "type": "string", "pattern": name },
            "description": "The name of a stream.",
        }),
    );
    all.into()
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": { "type": "integer" },
            "title": { "type": "string" },
            "detail": { "type": "string" },
            "base_path": { "type": "string", "description": "what all paths begin with, if that of the request does not" },
            "unknown_stream": { "type": "string", "description": "the name of the request that no stream has" },
        },
        "required": ["status", "title", "detail"],
    })
}

fn progress_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Progress>().to_value()
}

fn stream_schema() -> Value {
    let count = |about: &str| json!({ "type": "integer", "minimum": 0, "description": about });
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "kind": { "enum": ["file", "process", "journal", "push"] },
            "description": { "type": "string" },
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            "source": or_null(reference("State")),
            "progress": or_null(reference("Progress")),
            "last_run": {
                "type": "object",
                "description": "The last run of a process; without a history, since the daemon was started. The members of its `end` follow once it has ended.",
                "properties": {
                    "started": { "type": "string", "format": "date-time" },
                    "ended": { "type": "string", "format": "date-time" },
                    "run": { "type": "integer", "minimum": 1 },
                    "code": { "type": "integer" },
                    "signal": { "type": "string" },
                    "duration": { "type": "number", "description": "Seconds." },
                    "cause": { "type": "string" },
                },
                "required": ["started"],
            },
            "drawn": {
                "type": "string", "format": "date-time",
                "description": "When the program last changed rows that it can still change; absent without such rows.",
            },
            "first": or_null(id()),
            "last": id(),
            "rate": { "type": "number", "description": "Lines a second." },
            "readers": count("Connected readers."),
            "memory": count("Bytes in memory."),
            "disk": count("Bytes on disk, if the stream has a history."),
            "degraded": { "type": "string", "description": "Why the history is not written at the moment." },
            "filtered": count("Lines that were matched against a filter."),
            "redacted": count("Secrets that were removed from lines; absent if there were none."),
            "ended": { "type": "boolean", "description": "No further events can follow." },
            "may": {
                "type": "array",
                "items": { "enum": ["input", "admin"] },
                "description": "What the caller may do in addition to reading.",
            },
        },
        "required":
            ["name", "kind", "source", "progress", "first", "last", "rate", "readers", "memory", "filtered", "ended", "may"],
    })
}

fn run_schema() -> Value {
    let count = |about: &str| json!({ "type": "integer", "minimum": 0, "description": about });
    let seconds = json!({ "type": "number", "minimum": 0, "description": "Seconds." });
    let group = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "maxLength": MAX_GROUP_NAME_LENGTH }, "duration": seconds },
        "required": ["name", "duration"],
    });
    let counted = "Absent if rtlogd has not seen all of the run.";
    json!({
        "type": "object",
        "description": "A run of a process. The members that follow from its end are absent while it lasts.",
        "properties": {
            "run": { "type": "integer", "minimum": 1 },
            "stream": { "type": "string" },
            "started": { "type": "string", "format": "date-time" },
            "ended": { "type": "string", "format": "date-time" },
            "duration": seconds,
            "code": { "type": "integer", "description": "The exit code, if it ended with one." },
            "signal": { "type": "string", "description": "The signal, if it ended with one." },
            "cause": { "type": "string", "description": "As in the event `end`." },
            "passed": { "type": "boolean", "description": "The process exited on its own, with code 0." },
            "lines": count(counted),
            "errors": count("Lines of the level error or a more serious one. Absent with `lines`."),
            "warnings": count("Lines of the level warning. Absent with `lines`."),
            "first": id(),
            "last": id(),
            "kept": { "type": "boolean", "description": "Events of the run are still stored, so that `run=` can read them." },
            "peak_memory": count("The peak memory of any one process of the run, in bytes."),
            "groups": {
                "type": "array", "items": group, "maxItems": MAX_SUMMARY_GROUPS,
                "description": "The groups that the program named, in the order in which they began; of more, the newest.",
            },
        },
        "required": ["run", "stream", "started", "kept", "groups"],
    })
}

fn state_schema() -> Value {
    json!({
        "type": "object",
        "description": "The state of a source; the other members depend on it.",
        "properties": {
            "state": { "enum": [
                "following", "reading", "receiving", "running", "waiting", "denied", "polling", "backing-off", "degraded",
                "stopping", "stopped",
            ] },
            "lag": { "type": "integer", "minimum": 0, "description": "Bytes that exist and have not been read yet." },
        },
        "required": ["state"],
    })
}

fn event_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": id(),
            "time": { "type": "string", "format": "date-time" },
            "stream": { "type": "string", "description": "Present if the connection carries several streams." },
            "origin": { "type": "string" },
            "kind": {
                "enum": ["state", "loss", "end"],
                "description": "Absent for a line. The other kinds of events have further members.",
            },
            "text": { "type": "string" },
            "bytes": { "type": "string", "contentEncoding": "base64", "description": "The line, if it is not valid UTF-8." },
            "level": { "type": "string" },
            "continued": { "const": true },
            "partial": { "const": true },
            "new": { "const": true, "description": "Reserved for a later version; ignore it." },
            "fields": {
                "type": "object",
                "description": "The fields that the line declares, if its stream has `format: json`, `logfmt` or `syslog`.",
            },
            "logged": { "type": "string", "format": "date-time", "description": "The time that the line itself declares." },
        },
        "required": ["id", "time"],
        "anyOf": [{ "required": ["text"] }, { "required": ["kind"] }],
    })
}
