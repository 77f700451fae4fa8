//! The parts that operations share: parameters, and the schemas of responses.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::event::{Level, Progress, StreamName};
use crate::http::guard::authenticate::{COOKIE_NAME, TOKEN_PARAMETER};
use crate::http::stream::steering::SESSION_TOKEN_SIZE;

/// The media type of rtlogd's plain text responses.
pub(super) const PLAIN_TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// The parameters of a request that reads streams.
pub(super) const READER_PARAMETERS: [&str; 14] = [
    "after",
    "Last-Event-ID",
    "tail",
    "since",
    "run",
    "follow",
    "limit",
    "grep",
    "exclude",
    "origin",
    "level",
    "data",
    "format",
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
    let frames = json!({ "schema": { "type": "string" } });
    // A stream of events has no single schema: each event has its own.
    let content = json!({ "text/event-stream": {}, "application/x-ndjson": frames, PLAIN_TEXT_TYPE: frames });
    json!({ "description": "The events, as they come.", "content": content })
}

/// The list of streams, or the events of several streams.
pub(super) fn list_or_event_formats() -> Value {
    let mut answer = event_formats();
    answer["description"] = "The list; or with `stream` the events, as they come.".into();
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
            "next": { "allOf": [id()], "description": "What to send as `after` next." },
            "gap": reference("Gap"),
            "progress": reference("Progress"),
        },
        "required": ["events", "next"],
    })
}

pub(super) fn components() -> Value {
    json!({
        "parameters": parameter_components(),
        "responses": { "Problem": {
            "description": "What was asked, and what would be right.",
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        } },
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            "cookie": { "type": "apiKey", "in": "cookie", "name": COOKIE_NAME, "description": "As `POST /login` sets it; behind the name stands the port at which the browser reached rtlogd, as in `rtlogd-7070`, but for the ports of http and https." },
            "query": {
                "type": "apiKey", "in": "query", "name": TOKEN_PARAMETER,
                "description": "To read alone, and if it lives at most 12 hours.",
            },
        },
        "schemas": {
            "Problem": problem_schema(),
            "Stream": stream(),
            "State": state(),
            "Progress": progress(),
            "Event": event(),
            "Gap": {
                "type": "object",
                "description": "Events that were kept and dropped before the reader had them.",
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
            "Go on strictly behind the event of this id; with several streams it is a list such as \
            a:ID,b:ID. It counts before `since` and `tail`, and Last-Event-ID before it.",
        ),
        (
            "tail",
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "const": "all" }], "default": 100 }),
            "Begin with so many of the last lines, or with all.",
        ),
        (
            "since",
            text.clone(),
            "Begin with what was read since then: a length of time such as 5m, or a time (RFC 3339).",
        ),
        (
            "run",
            json!({ "const": "current" }),
            "The run of the process that is or was last, from its start to its end.",
        ),
        ("follow", json!({ "type": "boolean", "default": true }), "False ends the answer where the stream is now."),
        ("limit", json!({ "type": "integer", "minimum": 1 }), "End behind so many lines."),
        (
            "grep",
            texts.clone(),
            "Lines that match each of these regular expressions (those of the Rust crate regex); at most 16 with those of exclude.",
        ),
        ("exclude", texts.clone(), "Not those that match one of these."),
        ("origin", texts, "Lines from one of these: stdout, stderr, the path of a file, who wrote into the journal."),
        ("level", json!({ "enum": levels }), "Lines that are at least so serious."),
        ("data", json!({ "enum": ["text", "json"], "default": "text" }), "What server-sent events hold."),
        ("format", json!({ "enum": ["sse", "ndjson", "text"] }), "The form of the answer; it counts before Accept."),
        (
            "session",
            json!({ "type": "string", "minLength": least, "maxLength": most, "pattern": "^[!-~]+$" }),
            "By what the control channel finds this connection; nobody should be able to guess it.",
        ),
    ];
    let mut all: serde_json::Map<_, _> =
        query.into_iter().map(|(name, schema, about)| (name.to_owned(), parameter(name, &schema, about))).collect();
    let signals = "^(SIG)?(HUP|INT|QUIT|KILL|USR1|USR2|ALRM|TERM|CONT|STOP|TSTP|WINCH)$";
    let mut signal = parameter("signal", &json!({ "type": "string", "pattern": signals }), "Its name, such as TERM.");
    signal["required"] = true.into();
    all.insert("signal".to_owned(), signal);
    all.insert(
        "Last-Event-ID".to_owned(),
        json!({
            "name": "Last-Event-ID", "in": "header", "schema": text,
            "description": "The same as `after`, as browsers send it when they come back.",
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
        },
        "required": ["status", "title", "detail"],
    })
}

fn progress() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Progress>().to_value()
}

fn stream() -> Value {
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
            "first": or_null(id()),
            "last": id(),
            "rate": { "type": "number", "description": "Events a second." },
            "readers": count("Readers that are connected."),
            "memory": count("Bytes in memory."),
            "disk": count("Bytes on disk, if it is recorded."),
            "degraded": { "type": "string", "description": "Why nothing is recorded at the moment." },
            "filtered": count("Lines that were held against a filter."),
            "redacted": count("Secrets that were taken out of its lines; not there if there were none."),
            "ended": { "type": "boolean", "description": "Nothing more can come." },
            "may": {
                "type": "array",
                "items": { "enum": ["input", "admin"] },
                "description": "What who asks may do beside reading.",
            },
        },
        "required":
            ["name", "kind", "source", "progress", "first", "last", "rate", "readers", "memory", "filtered", "ended", "may"],
    })
}

fn state() -> Value {
    json!({
        "type": "object",
        "description": "How a source is; the other members depend on the state.",
        "properties": {
            "state": { "enum": [
                "following", "reading", "receiving", "running", "waiting", "denied", "polling", "backing-off", "degraded",
                "stopping", "stopped",
            ] },
            "lag": { "type": "integer", "minimum": 0, "description": "Bytes that are there and were not read yet." },
        },
        "required": ["state"],
    })
}

fn event() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": id(),
            "time": { "type": "string", "format": "date-time" },
            "stream": { "type": "string", "description": "Where several are on one connection." },
            "origin": { "type": "string" },
            "kind": {
                "enum": ["state", "loss", "end"],
                "description": "Not there for a line; the members of such an event stand beside it.",
            },
            "text": { "type": "string" },
            "bytes": { "type": "string", "contentEncoding": "base64", "description": "The line, if it is not UTF-8." },
            "level": { "type": "string" },
            "continued": { "const": true },
            "partial": { "const": true },
        },
        "required": ["id", "time"],
        "anyOf": [{ "required": ["text"] }, { "required": ["kind"] }],
    })
}
