//! The methods: one line of the table for each, and one struct for the parameters of each kind.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::event::StreamName;

use super::{RpcError, RpcErrorCode};

/// Defines the enum of calls, its parser and the list of methods from one table.
macro_rules! calls {
    ($($(#[doc = $doc:literal])+ $name:literal => $call:ident($parameters:ty) -> $result:literal,)+) => {
        /// A checked request. The names of the methods are in [`CONTROL_METHODS`].
        #[derive(Debug)]
        pub enum Call {
            $($(#[doc = $doc])+ $call($parameters),)+
        }

        impl Call {
            /// Parses the parameters of `method`.
            pub(super) fn read(method: &str, parameters: Option<&RawValue>) -> Result<Self, RpcError> {
                match method {
                    $($name => parse_parameters(parameters).map(Self::$call),)+
                    _ => Err(unknown_method(method)),
                }
            }
        }

        /// Every method, as the published schema shows it.
        pub(super) const CONTROL_METHODS: &[ControlMethod] = &[
            $(ControlMethod {
                name: $name,
                description: concat!($($doc),+),
                parameters: |generator| generator.subschema_for::<$parameters>(),
                result: $result,
            },)+
        ];
    };
}

calls! {
    /// All streams, as `GET /streams` lists them.
    "streams.list" => List(ListParameters) -> "Streams",
    /// Sends a stream's events in `stream.events`, from the start that the parameters give; by default, from the last
    /// 100 lines on, or from the start of the `run`.
    "stream.subscribe" => Subscribe(SubscribeParameters) -> "Subscribed",
    /// Replaces the filter from the next line on; with `from`, the events are sent again from there.
    "subscription.filter" => Filter(FilterParameters) -> "Steered",
    /// Holds the position: nothing is sent until it is resumed.
    "subscription.pause" => Pause(SubscriptionTarget) -> "Steered",
    /// Continues from the held position. If events were dropped meanwhile, a `stream.gap` says so.
    "subscription.resume" => Resume(SubscriptionTarget) -> "Steered",
    /// Ends a subscription.
    "subscription.unsubscribe" => Unsubscribe(UnsubscribeParameters) -> "Nothing",
    /// Types a text or bytes in base64 into a process, ends its input, or both.
    "process.input" => Input(InputParameters) -> "Taken",
    /// Sends a signal to the process and its group.
    "process.signal" => Signal(SignalParameters) -> "Carried",
    /// Suspends the process and its group (SIGSTOP).
    "process.pause" => PauseProcess(StreamParameters) -> "Carried",
    /// Lets the process and its group continue (SIGCONT).
    "process.resume" => ResumeProcess(StreamParameters) -> "Carried",
    /// Starts the process, if it does not run.
    "process.start" => Start(StreamParameters) -> "Carried",
    /// Ends the process. It is not started again automatically.
    "process.stop" => Stop(StreamParameters) -> "Carried",
    /// Ends the process and starts it again.
    "process.restart" => Restart(StreamParameters) -> "Carried",
    /// Sets the size of the process's terminal.
    "process.resize" => Resize(ResizeParameters) -> "Carried",
    /// Takes, extends or gives back the lease for typing: while one channel holds it, no other client can type.
    "process.lease" => Lease(LeaseParameters) -> "Leased",
    /// Sends the bytes that the process writes to its terminal from now on, in `process.output`.
    "process.attach" => Attach(StreamParameters) -> "Attached",
    /// Ends an attachment.
    "process.detach" => Detach(DetachParameters) -> "Nothing",
}

/// One method of the table.
pub(super) struct ControlMethod {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) parameters: fn(&mut SchemaGenerator) -> Schema,
    pub(super) result: &'static str,
}

fn parse_parameters<T: DeserializeOwned>(raw: Option<&RawValue>) -> Result<T, RpcError> {
    let text = raw.map_or("{}", RawValue::get);
    // Serde would read a list as the members in their order.
    if !text.starts_with('{') {
        return Err(RpcError::new(RpcErrorCode::Parameters, "params must be an object: parameters go by name"));
    }
    serde_json::from_str(text).map_err(|error| RpcError::new(RpcErrorCode::Parameters, format!("params: {error}")))
}

fn unknown_method(method: &str) -> RpcError {
    let known: Vec<_> = CONTROL_METHODS.iter().map(|method| method.name).collect();
    let shown: String = method.chars().take(64).collect();
    RpcError::new(RpcErrorCode::Method, format!("{shown:?} is not a method; there are {}", known.join(", ")))
}

/// No parameters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "List")]
pub struct ListParameters {}

/// A text or a list of texts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text or a list of texts")]
#[schemars(rename = "Words")]
pub enum OneOrManyStrings {
    /// One text.
    One(String),
    /// Any number of texts.
    Many(Vec<String>),
}

impl Default for OneOrManyStrings {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrManyStrings {
    /// The texts as a list.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

/// A number of lines, or `all`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a number of lines or \"all\"")]
#[schemars(rename = "Number")]
pub enum TailLines {
    /// This many lines.
    Lines(u64),
    /// The word `all`; any other word is refused.
    All(String),
}

/// One of the runs of a stream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the number of a run, \"current\", \"last\" or \"passed\"")]
#[schemars(rename = "Run")]
pub enum RunName {
    /// The run with this number.
    Number(u64),
    /// `current`, `last` or `passed`; any other word is refused.
    Word(String),
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Word(word) => word.fmt(f),
        }
    }
}

/// The stream, the start and the filter of a subscription; only the stream is required. At most one of `after`, `since`
/// and `tail` may be given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Subscribe")]
pub struct SubscribeParameters {
    /// The name of the stream.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// Begin strictly after the event with this id.
    pub after: Option<String>,
    /// Begin at this time (RFC 3339), or this long ago (`5m`).
    pub since: Option<String>,
    /// Begin with this many of the last lines that pass the filter, or with `all`. Default: 100; with `run`, the whole run.
    pub tail: Option<TailLines>,
    /// Only one run of the process, from its start to its end: `current`, which is the last one if none is in progress, `last`,
    /// which has ended, `passed`, the last one that exited with code 0, or the number of a run.
    pub run: Option<RunName>,
    /// Only lines that match all of these regular expressions.
    #[serde(default)]
    pub grep: OneOrManyStrings,
    /// Only lines that match none of these regular expressions.
    #[serde(default)]
    pub exclude: OneOrManyStrings,
    /// Only lines of these origins: `stdout`, `stderr`, the path of a file, or the sender of a pushed or journal line.
    #[serde(default)]
    pub origin: OneOrManyStrings,
    /// Only lines for whose fields all of these conditions hold, such as `status>=500`. Only lines of streams with
    /// `format: json`, `logfmt` or `syslog` have fields.
    #[serde(default, rename = "where")]
    pub conditions: OneOrManyStrings,
    /// Only lines of this level, such as `error` or `warning`, or a more serious one.
    pub level: Option<String>,
}

/// A start; at most one member may be given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Begin")]
pub struct StartParameters {
    /// The start strictly after the event with this id.
    pub after: Option<String>,
    /// The start at this time (RFC 3339), or this long ago (`5m`).
    pub since: Option<String>,
    /// The start with this many of the last lines that pass the filter, or with `all`.
    pub tail: Option<TailLines>,
}

/// A subscription of this channel, or all readers that were opened over HTTP with this `session`; one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
pub struct SubscriptionTarget {
    /// The number that `stream.subscribe` gave.
    pub subscription: Option<u64>,
    /// The `session=` with which the readers were opened.
    pub session: Option<String>,
}

/// A complete filter: criteria that are left out no longer apply.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Filter")]
pub struct FilterParameters {
    /// The number that `stream.subscribe` gave.
    pub subscription: Option<u64>,
    /// The `session=` with which the readers were opened.
    pub session: Option<String>,
    /// Only lines that match all of these regular expressions.
    #[serde(default)]
    pub grep: OneOrManyStrings,
    /// Only lines that match none of these regular expressions.
    #[serde(default)]
    pub exclude: OneOrManyStrings,
    /// Only lines of these origins: `stdout`, `stderr`, the path of a file, or the sender of a pushed or journal line.
    #[serde(default)]
    pub origin: OneOrManyStrings,
    /// Only lines for whose fields all of these conditions hold, such as `status>=500`. Only lines of streams with
    /// `format: json`, `logfmt` or `syslog` have fields.
    #[serde(default, rename = "where")]
    pub conditions: OneOrManyStrings,
    /// Only lines of this level, such as `error` or `warning`, or a more serious one.
    pub level: Option<String>,
    /// The start from which the events are sent again. By default, the filter applies from the next line on.
    pub from: Option<StartParameters>,
}

/// A subscription of this channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Unsubscribe")]
pub struct UnsubscribeParameters {
    /// The number that `stream.subscribe` gave.
    pub subscription: u64,
}

/// A stream whose source is a process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OnStream")]
pub struct StreamParameters {
    /// The name of the stream.
    #[schemars(with = "String")]
    pub stream: StreamName,
}

/// The input. Nothing is added to it: a line needs its `\n`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Input")]
pub struct InputParameters {
    /// The name of the stream.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// The input as text.
    pub text: Option<String>,
    /// The input in base64, instead of `text`.
    pub base64: Option<String>,
    /// True if the input ends after it: a pipe is closed, and a terminal receives its end-of-file character.
    #[serde(default)]
    pub eof: bool,
}

/// A signal for a process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Signal")]
pub struct SignalParameters {
    /// The name of the stream.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// The name of the signal, such as `TERM`.
    pub signal: String,
}

/// The size of a terminal, in characters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Resize")]
pub struct ResizeParameters {
    /// The name of the stream.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// The width.
    #[schemars(range(min = 1))]
    pub columns: u16,
    /// The height.
    #[schemars(range(min = 1))]
    pub rows: u16,
}

/// The lease for typing, and its duration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Lease")]
pub struct LeaseParameters {
    /// The name of the stream.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// The duration in seconds, from now on; 0 gives the lease back.
    #[schemars(range(max = 3600))]
    pub seconds: u32,
}

/// An attachment of this channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Detach")]
pub struct DetachParameters {
    /// The number that `process.attach` gave.
    pub attachment: u64,
}
