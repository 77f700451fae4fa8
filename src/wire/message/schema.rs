//! The published schema of the control channel, generated from the types that read and write the messages.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::outgoing::{MethodResponse, Notification};
use super::requests::CONTROL_METHODS;
use super::{JSON_RPC_VERSION, MAX_BATCH_REQUESTS, RpcErrorCode};

/// The JSON Schema (draft 2020-12) of all messages in both directions. `$defs` has one entry for each method.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut requests = Vec::new();
    let mut methods = Map::new();
    for method in CONTROL_METHODS {
        let parameters = (method.parameters)(&mut generator).to_value();
        let needs = needs_parameters(&parameters, generator.definitions());
        let required = if needs { json!(["jsonrpc", "method", "params"]) } else { json!(["jsonrpc", "method"]) };
        let request = json!({
            "title": method.name,
            "description": format!("{} Result: {}.", method.description.trim(), method.result),
            "type": "object",
            "properties": {
                "jsonrpc": { "const": JSON_RPC_VERSION },
                "id": { "type": ["number", "string", "null"], "description": "Without it no reply is sent." },
                "method": { "const": method.name },
                "params": parameters,
            },
            "required": required,
        });
        methods.insert(method.name.to_owned(), request);
        requests.push(json!({ "$ref": format!("#/$defs/{}", method.name) }));
    }
    let result = generator.subschema_for::<MethodResponse>().to_value();
    let notification = generator.subschema_for::<Notification<'_>>().to_value();
    let mut defs = generator.take_definitions(true);
    defs.extend(methods);
    defs.insert("Request".into(), json!({ "oneOf": requests }));
    defs.insert(
        "Batch".into(),
        json!({ "type": "array", "items": { "$ref": "#/$defs/Request" }, "minItems": 1, "maxItems": MAX_BATCH_REQUESTS }),
    );
    defs.insert("Error".into(), error_schema());
    defs.insert("Reply".into(), reply_schema(&result));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The control channel of rtlogd",
        "description": "Messages of the WebSocket at /control, subprotocol rtlogd.v1: JSON-RPC 2.0 in text messages.",
        "anyOf": [
            { "$ref": "#/$defs/Request" },
            { "$ref": "#/$defs/Batch" },
            { "$ref": "#/$defs/Reply" },
            { "type": "array", "items": { "$ref": "#/$defs/Reply" } },
            notification,
        ],
        "$defs": defs,
    })
}

/// Returns whether the schema has required parameters, so that a call cannot omit `params`.
fn needs_parameters(schema: &Value, definitions: &Map<String, Value>) -> bool {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    let schema = name.and_then(|name| definitions.get(name)).unwrap_or(schema);
    schema["required"].as_array().is_some_and(|required| !required.is_empty())
}

fn reply_schema(result: &Value) -> Value {
    let id = json!({ "type": ["number", "string", "null"] });
    let version = json!({ "const": JSON_RPC_VERSION });
    json!({ "oneOf": [
        {
            "type": "object",
            "properties": { "jsonrpc": version, "id": id, "result": result },
            "required": ["jsonrpc", "id", "result"],
        },
        {
            "type": "object",
            "properties": { "jsonrpc": version, "id": id, "error": { "$ref": "#/$defs/Error" } },
            "required": ["jsonrpc", "id", "error"],
        },
    ] })
}

fn error_schema() -> Value {
    let codes: Vec<_> = RpcErrorCode::ALL
        .iter()
        .map(|code| json!({ "const": code.number(), "title": code.reason(), "description": code.meaning() }))
        .collect();
    json!({
        "type": "object",
        "properties": {
            "code": { "oneOf": codes },
            "message": { "type": "string" },
            "data": {
                "type": "object",
                "properties": {
                    "reason": { "enum": RpcErrorCode::ALL.map(RpcErrorCode::reason), "description": "The kind of the error, as a word." },
                    "detail": { "type": "string", "description": "The exact problem, and what would be right." },
                    "retry": { "type": "number", "description": "The number of seconds to wait; with `too-fast`." },
                },
                "required": ["reason", "detail"],
            },
        },
        "required": ["code", "message", "data"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects every `$ref` in the schema.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_schema_has_every_method_and_no_dangling_reference() {
        let schema = schema();
        let defs = schema["$defs"].as_object().unwrap();
        for method in CONTROL_METHODS {
            let request = &defs[method.name];
            assert_eq!(request["properties"]["method"]["const"], method.name);
            assert!(request["description"].as_str().unwrap().len() > 20);
        }
        assert_eq!(defs["stream.subscribe"]["required"], json!(["jsonrpc", "method", "params"]));
        assert_eq!(defs["streams.list"]["required"], json!(["jsonrpc", "method"]));
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > CONTROL_METHODS.len());
        for reference in found {
            let name = reference.strip_prefix("#/$defs/").unwrap();
            assert!(defs.contains_key(name), "{reference}");
        }
        for notification in
            ["stream.events", "stream.gap", "stream.open", "stream.progress", "process.leased", "process.output"]
        {
            assert!(schema.to_string().contains(&format!("\"const\":\"{notification}\"")), "{notification}");
        }
        let replies = defs["Reply"]["oneOf"].as_array().unwrap();
        assert_eq!(replies[0]["required"], json!(["jsonrpc", "id", "result"]));
        assert_eq!(replies[1]["required"], json!(["jsonrpc", "id", "error"]));
        assert_eq!(defs["Error"]["required"], json!(["code", "message", "data"]));
        let progress = &defs["Progress"];
        assert_eq!(progress["required"], json!(["state", "started", "updated"]));
        assert_eq!(progress["properties"]["eta"]["type"], json!(["string", "null"]));
    }
}
