//! Messages of the control channel: each holds calls, or is refused as JSON-RPC 2.0 wants, with the id that it came with.

use rtlogd::wire::message::{self, IncomingMessage, MAX_BATCH_REQUESTS, RequestId, RpcErrorCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A reply as a client reads it. Its id may be a number that no machine can hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    error: Refusal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    code: i32,
    message: String,
    data: Value,
}

/// A message as text.
pub fn rpc(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let value = serde_json::from_str::<Value>(text).ok();
    match message::read(text) {
        Ok(incoming) => all(incoming, value),
        Err(error) => {
            let refused = refused(&RequestId::null(), &error);
            assert_eq!(refused, Value::Null);
            match error.code {
                RpcErrorCode::Parse => assert!(value.is_none(), "it is JSON: {text}"),
                _ => assert_eq!(error.code, RpcErrorCode::Request, "{error:?}"),
            }
        }
    }
}

fn all(incoming: IncomingMessage, value: Option<Value>) {
    assert!((1..=MAX_BATCH_REQUESTS).contains(&incoming.requests.len()), "a batch of {}", incoming.requests.len());
    let parts = match value {
        Some(Value::Array(parts)) => {
            assert!(incoming.is_batch, "a list is a batch");
            parts
        }
        Some(part) => {
            assert!(!incoming.is_batch, "not a list");
            vec![part]
        }
        // No machine can hold a number in it, or a text has half a character.
        None => vec![Value::Null; incoming.requests.len()],
    };
    let known = parts.iter().any(|part| !part.is_null());
    assert_eq!(parts.len(), incoming.requests.len());
    for (request, part) in incoming.requests.into_iter().zip(parts) {
        let sent = part.get("id");
        match request.call {
            Ok(call) => {
                assert!(format!("{call:?}").len() < 100_000, "a call is small");
                if known {
                    assert_eq!(part["jsonrpc"], "2.0");
                    assert!(part["method"].is_string() && part.get("params").is_none_or(Value::is_object), "{part}");
                    assert_eq!(request.id.is_some(), sent.is_some(), "{part}");
                }
                let echo = request.id.map(|id| refused(&id, &message::RpcError::new(RpcErrorCode::Busy, "later")));
                assert!(!known || echo.as_ref() == sent, "another id than in {part}");
            }
            Err(error) => {
                assert!(!matches!(error.code, RpcErrorCode::Parse | RpcErrorCode::Internal), "{error:?}");
                let id = request.id.unwrap_or_else(RequestId::null);
                let echo = refused(&id, &error);
                assert!(!known || echo.is_null() || Some(&echo) == sent, "another id than in {part}");
            }
        }
    }
}

/// The refusal as a client reads it: its id.
fn refused(id: &RequestId, error: &message::RpcError) -> Value {
    let text = message::reply(id, Err(error));
    let reply: Reply<'_> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((reply.jsonrpc, reply.error.code), ("2.0", error.code.number()));
    assert!(RpcErrorCode::ALL.contains(&error.code) && !reply.error.message.is_empty());
    assert_eq!(reply.error.data["detail"], error.detail);
    serde_json::from_str(reply.id.get()).unwrap_or(Value::Null)
}
