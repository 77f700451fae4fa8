//! `GET /openapi.json`: every route, as `OpenAPI` 3.1. Tests check that the document is complete and correct.
//!
//! HEAD is not listed: it is supported wherever GET is, and returns no body.
//!
//! This file has the operations, one for each method of a route; `schemas` has the parameters and the schemas of
//! responses that they share.

mod schemas;

use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::problem::Problem;
use super::request::HttpRequest;
use super::response::json as answer;

use schemas::{READER_PARAMETERS, parameter, parameters, reference};

/// Statuses of errors that any request may get: a malformed query, an invalid token, a missing right, a body that is
/// too slow, too long or encoded, a query that is too long, a foreign host, and a daemon that is overloaded or not
/// ready.
const COMMON_REFUSALS: [u16; 9] = [400, 401, 403, 408, 413, 414, 415, 421, 503];

/// `GET /openapi.json`.
pub(super) fn openapi(request: &HttpRequest) -> Result<Response, Problem> {
    request.only_parameter("")?;
    let mut response = answer(&document(&request.app.base_path));
    // Tools that show the document are loaded from other origins, and it contains nothing that is not public.
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}

/// The document of a server that is reached under `base_path`.
fn document(base_path: &str) -> Value {
    let server = if base_path.is_empty() { "/" } else { base_path };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rtlogd",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": "HEAD returns what GET returns, without the body. Every refusal is a problem (RFC 9457). A caller with a token \
                (`rtlogd token`) sends it as `Authorization: Bearer TOKEN`, or logs in. A token that is valid for at most 12 hours may \
                also be sent as `access_token=TOKEN` in the query, for reading only.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": server }],
        // Any one of these, or none: requests from this machine may read without a token, and the owner may do
        // everything.
        "security": [{}, { "bearer": [] }, { "cookie": [] }, { "query": [] }],
        "paths": paths(),
        "components": schemas::components(),
    })
}

fn paths() -> Value {
    let mut paths = Map::new();
    for Operation { path, method, id, summary, parameters, body, responses: answers, refusals } in operations() {
        let mut responses = Map::new();
        for (status, answer) in answers {
            responses.insert(status.to_string(), answer);
        }
        for status in COMMON_REFUSALS.iter().chain(refusals) {
            responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
        }
        let mut operation = json!({ "operationId": id, "summary": summary, "responses": responses });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = body {
            operation["requestBody"] = body;
        }
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }
    paths.into()
}

/// One method of one path.
struct Operation {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Vec<(u16, Value)>,
    /// Statuses of problems, in addition to [`COMMON_REFUSALS`].
    refusals: &'static [u16],
}

impl Operation {
    /// A GET with this response.
    fn get(path: &'static str, id: &'static str, summary: &'static str, answer: Value) -> Self {
        let (parameters, answers) = (Vec::new(), vec![(200, answer)]);
        Self { path, method: "get", id, summary, parameters, body: None, responses: answers, refusals: &[] }
    }

    /// A GET of one stream.
    fn of_stream(path: &'static str, id: &'static str, summary: &'static str, answer: Value) -> Self {
        let parameters = parameters(&["name"]);
        Self { parameters, refusals: &[404], ..Self::get(path, id, summary, answer) }
    }

    /// A command to the process of a stream.
    fn command(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        let done = json!({
            "type": "object",
            "properties": { "already": { "type": "boolean", "description": "The process already was in the requested state." } },
            "required": ["already"],
        });
        let refusals = &[404, 409, 429, 500];
        Self {
            method: "post",
            refusals,
            ..Self::of_stream(path, id, summary, json_content("The command was carried out.", &done))
        }
    }

    /// An operation that appends lines to a stream.
    fn push(method: &'static str, id: &'static str, summary: &'static str) -> Self {
        let id_or_null = json!({ "anyOf": [schemas::id(), { "type": "null" }] });
        let taken = json!({
            "type": "object",
            "properties": { "lines": { "type": "integer", "minimum": 0 }, "first": id_or_null, "last": id_or_null },
            "required": ["lines", "first", "last"],
        });
        let mut parameters = parameters(&["name"]);
        let origin = json!({ "type": "string", "minLength": 1, "maxLength": 128, "default": "push" });
        parameters.push(parameter("origin", &origin, "The origin of the lines."));
        Self {
            method,
            parameters,
            body: Some(any_body(
                "Lines, each ending with a newline; text after the last newline is a line as well. Any number of \
                lines is accepted, as they arrive.",
            )),
            refusals: &[404, 405],
            ..Self::of_stream("/streams/{name}", id, summary, json_content("All lines are in the stream.", &taken))
        }
    }

    fn with_parameters(mut self, more: Vec<Value>) -> Self {
        self.parameters.extend(more);
        self
    }

    fn or_response(mut self, status: u16, description: &str) -> Self {
        self.responses.push((status, json!({ "description": description })));
        self
    }
}

/// All methods of all routes.
fn operations() -> Vec<Operation> {
    [
        reading_operations(),
        pushing_operations(),
        stream_operations(),
        process_operations(),
        token_operations(),
        daemon_operations(),
        page_operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The operations that read streams.
fn reading_operations() -> Vec<Operation> {
    const END_DESCRIPTION: &str = "No further events can follow: the answer that the reader asked for is complete, or the stream no longer exists.";
    let several = json!({ "type": "array", "items": { "type": "string" }, "maxItems": 64 });
    let several =
        parameter("stream", &several, "Streams to follow on one connection. The other parameters apply to these.");
    let wait = json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "default": "30s" });
    let wait = parameter("wait", &wait, "The longest time to wait. More than 55s is treated as 55s.");
    vec![
        Operation {
            refusals: &[404, 406, 410, 429],
            ..Operation::get(
                "/streams",
                "listStreams",
                "The current state of every stream; with `stream`, the events of several streams on one connection",
                schemas::list_or_event_formats(),
            )
        }
        .with_parameters(vec![several])
        .with_parameters(parameters(&READER_PARAMETERS))
        .or_response(204, END_DESCRIPTION),
        Operation {
            refusals: &[404, 406, 410, 429],
            ..Operation::of_stream(
                "/streams/{name}",
                "followStream",
                "The events of the stream: server-sent events, unless Accept or `format` says otherwise; the response continues for as long as the stream exists",
                schemas::event_formats(),
            )
        }
        .with_parameters(parameters(&READER_PARAMETERS))
        .with_parameters(parameters(&["before"]))
        .or_response(204, END_DESCRIPTION),
        Operation {
            refusals: &[404, 406, 410, 429],
            ..Operation::of_stream(
                "/streams/{name}/poll",
                "pollStream",
                "The next events, as soon as there are any",
                json_content("The events; none if none came within the time to wait.", &schemas::poll_response()),
            )
        }
        .with_parameters(parameters(&READER_PARAMETERS))
        .with_parameters(vec![wait]),
    ]
}

/// Operations that push lines.
fn pushing_operations() -> Vec<Operation> {
    vec![
        Operation::push("post", "pushLines", "Appends lines to a stream that has `push: true`"),
        Operation::push("put", "putLines", "The same as POST, since that is what `curl -T -` sends"),
    ]
}

/// Operations that describe one stream.
fn stream_operations() -> Vec<Operation> {
    vec![
        Operation::of_stream(
            "/streams/{name}/state",
            "streamState",
            "The current state of the stream",
            json_content("As in the list.", &reference("Stream")),
        ),
        Operation::of_stream(
            "/streams/{name}/runs",
            "streamRuns",
            "The runs of the stream's process, newest first",
            json_content(
                "The runs; none if the stream comes from no process.",
                &json!({
                    "type": "object",
                    "properties": {
                        "runs": { "type": "array", "items": reference("Run") },
                        "next": { "type": "integer", "minimum": 1, "description": "The value of `before` for the next older runs; absent if there are none." },
                    },
                    "required": ["runs"],
                }),
            ),
        )
        .with_parameters(vec![
            parameter(
                "limit",
                &json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }),
                "At most this many runs.",
            ),
            parameter(
                "before",
                &json!({ "type": "integer", "minimum": 1 }),
                "Only runs that are older than the run with this number.",
            ),
        ]),
        Operation::of_stream(
            "/streams/{name}/progress",
            "streamProgress",
            "The progress of the stream's source",
            json_content(
                "Null if no progress is known.",
                &json!({ "anyOf": [reference("Progress"), { "type": "null" }] }),
            ),
        ),
        Operation::of_stream(
            "/streams/{name}/badge.svg",
            "streamBadge",
            "The progress as an image",
            text_content("A badge.", &["image/svg+xml; charset=utf-8"]),
        )
        .or_response(304, "The badge has not changed since If-None-Match."),
    ]
}

/// Commands to a process.
fn process_operations() -> Vec<Operation> {
    let eof = parameter("eof", &json!({ "type": "boolean", "default": false }), "End the input after the body.");
    vec![
        Operation {
            body: Some(any_body("The input, at most 64 KiB; empty only with `eof`.")),
            responses: vec![(
                200,
                json_content(
                    "The input is queued.",
                    &json!({
                        "type": "object",
                        "properties": { "bytes": { "type": "integer", "minimum": 0 } },
                        "required": ["bytes"],
                    }),
                ),
            )],
            ..Operation::command("/streams/{name}/input", "typeInput", "Types the body into the process")
        }
        .with_parameters(vec![eof]),
        Operation::command("/streams/{name}/signal", "sendSignal", "Sends a signal to the process and its group")
            .with_parameters(parameters(&["signal"])),
        Operation::command("/streams/{name}/start", "startProcess", "Starts the process; answers once it runs"),
        Operation::command("/streams/{name}/stop", "stopProcess", "Ends the process; answers once it has ended"),
        Operation::command("/streams/{name}/restart", "restartProcess", "Ends the process and starts it again"),
    ]
}

/// Operations that store a token in a cookie.
fn token_operations() -> Vec<Operation> {
    let operation = |path, id, summary, answer: &str| Operation {
        method: "post",
        responses: vec![(204, json!({ "description": answer }))],
        ..Operation::get(path, id, summary, json!({}))
    };
    let login = "Stores a token in a cookie that the browser sends with each request and that scripts cannot read";
    vec![
        Operation {
            body: Some(any_body("The token, or a form (application/x-www-form-urlencoded) with the field `token`.")),
            ..operation("/login", "login", login, "The cookie is set for as long as the token is valid.")
        },
        operation("/logout", "logout", "Removes the cookie; the token stays valid", "The cookie is removed."),
    ]
}

/// Operations on the daemon.
fn daemon_operations() -> Vec<Operation> {
    vec![
        Operation {
            responses: vec![(
                101,
                json!({ "description": "The channel is open; `rtlogd schema control` prints the schema of its messages." }),
            )],
            refusals: &[426, 429],
            ..Operation::get(
                "/control",
                "openControl",
                "The control channel: a WebSocket, subprotocol rtlogd.v1",
                json!({}),
            )
        },
        Operation::get(
            "/metrics",
            "metrics",
            "Metrics of the streams, of HTTP and of the process",
            text_content(
                "OpenMetrics, or the older Prometheus format for clients that accept only that.",
                &[
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    "text/plain; version=0.0.4; charset=utf-8",
                ],
            ),
        ),
        Operation::get(
            "/health/live",
            "isAlive",
            "Whether the daemon is alive",
            text_content("The daemon is alive.", &[schemas::PLAIN_TEXT_TYPE]),
        ),
        Operation::get(
            "/health/ready",
            "isReady",
            "Whether requests are served",
            text_content("Requests are served.", &[schemas::PLAIN_TEXT_TYPE]),
        ),
        Operation::get(
            "/openapi.json",
            "openapi",
            "This document",
            json_content("OpenAPI 3.1.", &json!({ "type": "object" })),
        ),
    ]
}

/// The pages.
fn page_operations() -> Vec<Operation> {
    const NOT_MODIFIED_DESCRIPTION: &str = "The content has not changed since If-None-Match.";
    let html = || text_content("A page.", &["text/html; charset=utf-8"]);
    let script = text_content("A script.", &["text/javascript; charset=utf-8"]);
    let part = text_content("A part.", &["text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml"]);
    let named = |name: &str, about: &str| json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" } });
    vec![
        Operation::get("/", "page", "The page that shows all streams", html())
            .or_response(304, NOT_MODIFIED_DESCRIPTION),
        Operation::of_stream("/embed/{name}", "embed", "One stream, for a frame on another page", html())
            .or_response(304, NOT_MODIFIED_DESCRIPTION),
        Operation::get("/rtlogd.js", "element", "The custom element `rtlogd-stream`", script)
            .or_response(304, NOT_MODIFIED_DESCRIPTION),
        Operation {
            refusals: &[404],
            ..Operation::get("/page/{version}/{file}", "part", "The scripts and styles of the pages", part)
        }
        .with_parameters(vec![
            named("version", "The version that the page names."),
            named("file", "The name of the file."),
        ])
        .or_response(304, NOT_MODIFIED_DESCRIPTION),
    ]
}

fn json_content(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn text_content(description: &str, media_types: &[&str]) -> Value {
    let content: Map<_, _> =
        media_types.iter().map(|name| ((*name).to_owned(), json!({ "schema": { "type": "string" } }))).collect();
    json!({ "description": description, "content": content })
}

/// A request body of any media type.
fn any_body(description: &str) -> Value {
    json!({ "description": description, "content": { "*/*": {} } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::query::STREAM_PARAMETERS;

    #[test]
    fn the_document_has_every_parameter_of_readers_and_no_other() {
        let components = schemas::components();
        let mut documented = BTreeSet::new();
        for operation in reading_operations() {
            for parameter in &operation.parameters {
                let reference = parameter["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
                let parameter = reference.map_or(parameter, |path| {
                    let path = path.strip_prefix("/components").expect("a reference to a component");
                    components.pointer(path).unwrap_or_else(|| panic!("there is no component {path}"))
                });
                if parameter["in"] == "query" {
                    documented.insert(parameter["name"].as_str().expect("a parameter has a name").to_owned());
                }
            }
        }
        let accepted: BTreeSet<_> = STREAM_PARAMETERS.split(", ").map(str::to_owned).collect();
        assert_eq!(documented, accepted);
    }
}
