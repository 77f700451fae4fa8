//! The messages of the control channel (JSON-RPC 2.0): text is parsed into a checked [`Call`], and replies are written
//! as text. Nothing here uses a socket.
//!
//! Each method is one line of the table in [`requests`]. The types that read its parameters also define the published
//! schema.
//!
//! The files, in reading order: this file parses a message and has its errors, `requests` the methods and their
//! parameters, `outgoing` the results and notifications, and `schema` the published schema of all of them.

mod requests;
mod schema;
mod outgoing;

pub use outgoing::{LeaseHolder, MethodResponse, Notification, events};
pub use requests::{
    Call, DetachParameters, FilterParameters, InputParameters, LeaseParameters, ListParameters, ResizeParameters,
    SignalParameters, StartParameters, StreamParameters, SubscribeParameters, SubscriptionTarget, TailLines,
};
pub use requests::{OneOrManyStrings, RunName, UnsubscribeParameters};
pub use schema::schema;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The most requests in one batch. A larger batch would be used as a queue.
pub const MAX_BATCH_REQUESTS: usize = 32;

/// The longest id of a request, in bytes, since it is sent back with the reply.
const MAX_REQUEST_ID_SIZE: usize = 128;

/// The JSON-RPC version in every message.
const JSON_RPC_VERSION: &str = "2.0";

/// The id of a request exactly as it was written: a number, a text or null.
#[derive(Debug, Clone)]
pub struct RequestId(Box<RawValue>);

/// One request. A request without an id gets no reply.
#[derive(Debug)]
pub struct RpcRequest {
    /// The id that the reply must have.
    pub id: Option<RequestId>,
    /// The call, or the reason why it is refused.
    pub call: Result<Call, RpcError>,
}

/// The content of one message.
#[derive(Debug)]
pub struct IncomingMessage {
    /// `true` if the message is a list, and is answered by a list.
    pub is_batch: bool,
    /// The requests in the order written; at least one.
    pub requests: Vec<RpcRequest>,
}

/// The kind of an error: the codes of JSON-RPC (section 5.1), and those of rtlogd from -32000 down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpcErrorCode {
    /// The message is not JSON.
    Parse,
    /// The message is JSON, but not a request.
    Request,
    /// The method does not exist.
    Method,
    /// Parameters are missing, unknown or of the wrong type.
    Parameters,
    /// The daemon failed.
    Internal,
    /// The stream, run, subscription, session or attachment does not exist, or nothing of the run is stored any more.
    NotFound,
    /// The caller does not have the right.
    Denied,
    /// The stream does not support the call, or not in its present state; a repetition has the same result.
    Refused,
    /// Another client holds the lease for input.
    Leased,
    /// The daemon or the process cannot take more at the moment; the client may try again.
    Busy,
    /// The channel or its caller already has as many as it may have.
    TooMany,
    /// The daemon is stopping.
    Stopping,
    /// Requests arrive faster than they are accepted; the client may try again later.
    TooFast,
}

impl RpcErrorCode {
    /// All codes, in order.
    pub const ALL: [Self; 13] = [
        Self::Parse,
        Self::Request,
        Self::Method,
        Self::Parameters,
        Self::Internal,
        Self::NotFound,
        Self::Denied,
        Self::Refused,
        Self::Leased,
        Self::Busy,
        Self::TooMany,
        Self::Stopping,
        Self::TooFast,
    ];

    /// The number on the wire.
    pub fn number(self) -> i32 {
        match self {
            Self::Parse => -32700,
            Self::Request => -32600,
            Self::Method => -32601,
            Self::Parameters => -32602,
            Self::Internal => -32603,
            Self::NotFound => -32001,
            Self::Denied => -32002,
            Self::Refused => -32003,
            Self::Leased => -32004,
            Self::Busy => -32005,
            Self::TooMany => -32006,
            Self::Stopping => -32007,
            Self::TooFast => -32008,
        }
    }

    /// The name in `data.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Parse => "not-json",
            Self::Request => "not-a-request",
            Self::Method => "no-such-method",
            Self::Parameters => "wrong-parameters",
            Self::Internal => "failed",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Leased => "leased",
            Self::Busy => "busy",
            Self::TooMany => "too-many",
            Self::Stopping => "stopping",
            Self::TooFast => "too-fast",
        }
    }

    /// The meaning of the code, as the `message` of the error.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Parse => "the message is not JSON",
            Self::Request => "not a JSON-RPC 2.0 request",
            Self::Method => "no such method",
            Self::Parameters => "the parameters do not fit the method",
            Self::Internal => "the daemon failed",
            Self::NotFound => {
                "no such stream, run, subscription, session or attachment, or nothing of the run is stored any more"
            }
            Self::Denied => "the caller does not have the right",
            Self::Refused => "the stream cannot do this, or not now",
            Self::Leased => "another client holds the lease for input",
            Self::Busy => "the daemon or the process cannot take more at the moment; try again",
            Self::TooMany => "the channel or its caller already has as many as it may have",
            Self::Stopping => "the daemon is stopping",
            Self::TooFast => "requests arrive too fast; try again after `data.retry` seconds",
        }
    }
}

/// An error reply: the failure, and how to correct the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// The kind of the error.
    pub code: RpcErrorCode,
    /// The details, in words.
    pub detail: String,
    /// The time after which the client may try again, if known.
    pub retry_after: Option<Duration>,
}

impl RpcError {
    /// An error of this kind.
    pub fn new(code: RpcErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// An error for a request that is accepted again `after` some time.
    pub fn too_fast(detail: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(RpcErrorCode::TooFast, detail) }
    }
}

/// Parses a message.
///
/// # Errors
/// If the message is not JSON, or is a list of no requests or of more than [`MAX_BATCH_REQUESTS`]. The error is then
/// the reply to the message as a whole.
pub fn read(text: &str) -> Result<IncomingMessage, RpcError> {
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| RpcError::new(RpcErrorCode::Parse, error.to_string()))?;
    if !raw.get().starts_with('[') {
        return Ok(IncomingMessage { is_batch: false, requests: vec![parse_request(raw)] });
    }
    let parts: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|error| RpcError::new(RpcErrorCode::Parse, error.to_string()))?;
    match parts.len() {
        0 => Err(RpcError::new(RpcErrorCode::Request, "an empty batch asks for nothing")),
        1..=MAX_BATCH_REQUESTS => {
            Ok(IncomingMessage { is_batch: true, requests: parts.into_iter().map(parse_request).collect() })
        }
        count => Err(RpcError::new(
            RpcErrorCode::Request,
            format!("{count} requests in one batch; the limit is {MAX_BATCH_REQUESTS}"),
        )),
    }
}

/// The members of a request, each of any type.
#[derive(Deserialize)]
struct RawRequest<'a> {
    #[serde(borrow, default, deserialize_with = "deserialize_present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "deserialize_present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "deserialize_present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "deserialize_present")]
    params: Option<&'a RawValue>,
}

/// Returns the value as written, so that `null` is distinguished from a missing member.
fn deserialize_present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

fn parse_request(raw: &RawValue) -> RpcRequest {
    let bad = |detail: String| RpcRequest {
        id: Some(RequestId::null()),
        call: Err(RpcError::new(RpcErrorCode::Request, detail)),
    };
    // Serde would accept a list as the members in order.
    if !raw.get().starts_with('{') {
        return bad("a request is an object".to_owned());
    }
    let envelope: RawRequest<'_> = match serde_json::from_str(raw.get()) {
        Ok(envelope) => envelope,
        Err(error) => return bad(error.to_string()),
    };
    let id = match envelope.id.map(RequestId::new).transpose() {
        Ok(id) => id,
        Err(error) => return RpcRequest { id: Some(RequestId::null()), call: Err(error) },
    };
    let text = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    if text(envelope.jsonrpc).as_deref() != Some(JSON_RPC_VERSION) {
        return RpcRequest {
            id: id.or(Some(RequestId::null())),
            call: Err(RpcError::new(RpcErrorCode::Request, "jsonrpc must be \"2.0\"")),
        };
    }
    let Some(method) = text(envelope.method) else {
        let call = Err(RpcError::new(RpcErrorCode::Request, "method must be a text, such as \"streams.list\""));
        return RpcRequest { id: id.or(Some(RequestId::null())), call };
    };
    RpcRequest { id, call: Call::read(&method, envelope.params) }
}

impl RequestId {
    fn new(raw: &RawValue) -> Result<Self, RpcError> {
        let text = raw.get();
        let scalar = text == "null" || text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        if !scalar {
            return Err(RpcError::new(RpcErrorCode::Request, "id must be a number, a text or null"));
        }
        if text.len() > MAX_REQUEST_ID_SIZE {
            return Err(RpcError::new(RpcErrorCode::Request, format!("an id has at most {MAX_REQUEST_ID_SIZE} bytes")));
        }
        Ok(Self(raw.to_owned()))
    }

    /// The id of the reply to a request whose id is missing or cannot be read.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

/// The reply to a request, as JSON text.
pub fn reply(id: &RequestId, outcome: Result<&MethodResponse, &RpcError>) -> String {
    #[derive(Serialize)]
    struct ReplyMessage<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a MethodResponse>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorFields<'a>>,
    }
    #[derive(Serialize)]
    struct ErrorFields<'a> {
        code: i32,
        message: &'static str,
        data: ErrorData<'a>,
    }
    let error = outcome.err().map(|error| ErrorFields {
        code: error.code.number(),
        message: error.code.meaning(),
        data: ErrorData {
            reason: error.code.reason(),
            detail: &error.detail,
            retry_after_seconds: error.retry_after.map(|after| after.as_secs_f64()),
        },
    });
    let reply = ReplyMessage { jsonrpc: JSON_RPC_VERSION, id: &id.0, result: outcome.ok(), error };
    to_json_text(&reply)
}

fn to_json_text(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages have text keys and finite numbers")
}

/// The members of an error in addition to its code.
#[derive(Debug, Serialize, JsonSchema)]
struct ErrorData<'a> {
    /// The kind of the error, as a word.
    reason: &'static str,
    /// The exact problem, and what would be right.
    detail: &'a str,
    /// After how many seconds it goes.
    #[serde(rename = "retry", skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The replies to a message: each as the code, or 0 for a valid call, and the id.
    fn answers(text: &str) -> Vec<(i32, String)> {
        let one = |request: RpcRequest| {
            let id = request.id.map_or("none".to_owned(), |id| id.0.get().to_owned());
            (request.call.err().map_or(0, |error| error.code.number()), id)
        };
        match read(text) {
            Err(error) => vec![(error.code.number(), "null".to_owned())],
            Ok(incoming) => incoming.requests.into_iter().map(one).collect(),
        }
    }

    #[test]
    fn a_message_is_a_request_or_what_is_wrong_with_it() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_parameters = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"streams.list","params":{deep}}}"#);
        let long_id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"streams.list"}}"#, "x".repeat(200));
        let many = format!("[{}]", vec!["1"; MAX_BATCH_REQUESTS + 1].join(","));
        let table: [(&str, &[(i32, &str)]); 29] = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"streams.list"}"#, &[(0, "1")]),
            (r#"{"jsonrpc":"2.0","id":null,"method":"streams.list"}"#, &[(0, "null")]),
            (r#"{"jsonrpc":"2.0","method":"streams.list","params":{}}"#, &[(0, "none")]),
            (r#"{"jsonrpc":"2.0","id":1e999999,"method":"streams.list"}"#, &[(0, "1e999999")]),
            (r#"{"jsonrpc":"2.0","id":"ä","method":"streams.list","more":[]}"#, &[(0, "\"ä\"")]),
            ("", &[(-32700, "null")]),
            ("{", &[(-32700, "null")]),
            ("nonsense", &[(-32700, "null")]),
            ("{} {}", &[(-32700, "null")]),
            (r#"{"a":NaN}"#, &[(-32700, "null")]),
            ("[1,]", &[(-32700, "null")]),
            ("1", &[(-32600, "null")]),
            ("null", &[(-32600, "null")]),
            ("\"x\"", &[(-32600, "null")]),
            ("{}", &[(-32600, "null")]),
            ("[]", &[(-32600, "null")]),
            ("[[]]", &[(-32600, "null")]),
            (r#"["2.0",1,"streams.list"]"#, &[(-32600, "null"), (-32600, "null"), (-32600, "null")]),
            (&many, &[(-32600, "null")]),
            (&deep, &[(-32600, "null")]),
            (&deep_parameters, &[(-32602, "1")]),
            (&long_id, &[(-32600, "null")]),
            (r#"{"jsonrpc":"2.0","id":{},"method":"streams.list"}"#, &[(-32600, "null")]),
            (r#"{"jsonrpc":"2.0","id":true,"method":"streams.list"}"#, &[(-32600, "null")]),
            (r#"{"jsonrpc":2.0,"id":7,"method":"streams.list"}"#, &[(-32600, "7")]),
            (r#"{"jsonrpc":"2.0","id":7,"method":1}"#, &[(-32600, "7")]),
            (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"streams.list"}"#, &[(-32600, "null")]),
            (r#"{"jsonrpc":"2.0","id":7,"method":"rpc.discover"}"#, &[(-32601, "7")]),
            (r#"{"jsonrpc":"2.0","id":7,"method":"streams.list","params":[1]}"#, &[(-32602, "7")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected.iter().map(|&(code, id)| (code, id.to_owned())).collect();
            assert_eq!(answers(text), expected, "{}", text.chars().take(200).collect::<String>());
        }
    }

    #[test]
    fn a_reply_names_its_request() {
        let id = RequestId(serde_json::value::to_raw_value("a").unwrap());
        assert_eq!(reply(&id, Ok(&MethodResponse::Nothing {})), r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
        let error = RpcError::new(RpcErrorCode::Busy, "why");
        let shown: serde_json::Value = serde_json::from_str(&reply(&RequestId::null(), Err(&error))).unwrap();
        assert_eq!(shown["error"]["code"], -32005);
        assert_eq!(shown["error"]["data"], serde_json::json!({ "reason": "busy", "detail": "why" }));
        assert!(shown["id"].is_null() && shown.get("result").is_none());
    }
    #[test]
    fn every_error_has_its_own_number_reason_and_meaning() {
        let published = [
            (-32700, "not-json"),
            (-32600, "not-a-request"),
            (-32601, "no-such-method"),
            (-32602, "wrong-parameters"),
            (-32603, "failed"),
            (-32001, "not-found"),
            (-32002, "denied"),
            (-32003, "refused"),
            (-32004, "leased"),
            (-32005, "busy"),
            (-32006, "too-many"),
            (-32007, "stopping"),
            (-32008, "too-fast"),
        ];
        assert_eq!(RpcErrorCode::ALL.map(|code| (code.number(), code.reason())), published);
        let meanings: HashSet<_> = RpcErrorCode::ALL.map(RpcErrorCode::meaning).into();
        assert_eq!(meanings.len(), published.len());
    }

    #[test]
    fn a_client_that_is_too_fast_learns_when_to_try_again() {
        let error = RpcError::too_fast("why", Duration::from_millis(2500));
        let shown: serde_json::Value = serde_json::from_str(&reply(&RequestId::null(), Err(&error))).unwrap();
        let data = serde_json::json!({ "reason": "too-fast", "detail": "why", "retry": 2.5 });
        assert_eq!((&shown["error"]["code"], &shown["error"]["data"]), (&(-32008).into(), &data));
    }

    #[test]
    fn a_condition_is_one_text_or_several() {
        for (parameters, expected) in [
            (r#"{"stream":"s"}"#, &[][..]),
            (r#"{"stream":"s","grep":"a"}"#, &["a"]),
            (r#"{"stream":"s","grep":["a","b"]}"#, &["a", "b"]),
        ] {
            let parsed: SubscribeParameters = serde_json::from_str(parameters).unwrap();
            assert_eq!(parsed.grep.all(), expected, "{parameters}");
        }
    }
}
