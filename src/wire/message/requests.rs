//! What can be asked for: one line of the table for each method, one struct for what it reads.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::event::StreamName;

use super::{RpcError, RpcErrorCode};

/// Makes the enum, its reader and its list of one table.
macro_rules! calls {
    ($($(#[doc = $doc:literal])+ $name:literal => $call:ident($parameters:ty) -> $result:literal,)+) => {
        /// A checked request. The names of the methods are in [`CONTROL_METHODS`].
        #[derive(Debug)]
        pub enum Call {
            $($(#[doc = $doc])+ $call($parameters),)+
        }

        impl Call {
            /// Reads what belongs to `method`.
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
    /// Begins to send a stream's events in `stream.events`, from where the parameters say; by default after the last 100 lines.
    "stream.subscribe" => Subscribe(SubscribeParameters) -> "Subscribed",
    /// Changes the filter from the next line on; with `from` it begins anew there.
    "subscription.filter" => Filter(FilterParameters) -> "Steered",
    /// Holds the place: nothing is sent until it is resumed.
    "subscription.pause" => Pause(SubscriptionTarget) -> "Steered",
    /// Goes on at the place that was held. What is gone by then is told by a `stream.gap`.
    "subscription.resume" => Resume(SubscriptionTarget) -> "Steered",
    /// Ends a subscription.
    "subscription.unsubscribe" => Unsubscribe(UnsubscribeParameters) -> "Nothing",
    /// Types into a process: a text, bytes in base64, the end of its input, or one of the first two and the end.
    "process.input" => Input(InputParameters) -> "Taken",
    /// Sends a signal to all of the process's group.
    "process.signal" => Signal(SignalParameters) -> "Carried",
    /// Stops the process's group where it is (SIGSTOP).
    "process.pause" => PauseProcess(StreamParameters) -> "Carried",
    /// Lets it go on (SIGCONT).
    "process.resume" => ResumeProcess(StreamParameters) -> "Carried",
    /// Starts the process, if it does not run.
    "process.start" => Start(StreamParameters) -> "Carried",
    /// Ends the process, and it stays ended.
    "process.stop" => Stop(StreamParameters) -> "Carried",
    /// Ends the process and starts it again.
    "process.restart" => Restart(StreamParameters) -> "Carried",
    /// Tells the process's terminal its size.
    "process.resize" => Resize(ResizeParameters) -> "Carried",
    /// Takes, keeps or gives back the lease to type: while one connection holds it, no other can.
    "process.lease" => Lease(LeaseParameters) -> "Leased",
    /// Begins to send what the process writes on its terminal, byte for byte, in `process.output`. Live only.
    "process.attach" => Attach(StreamParameters) -> "Attached",
    /// Ends that.
    "process.detach" => Detach(DetachParameters) -> "Nothing",
}

/// One line of the table.
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

/// Nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "List")]
pub struct ListParameters {}

/// A text or a list of texts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text or a list of texts")]
#[schemars(rename = "Words")]
pub enum OneOrManyStrings {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl Default for OneOrManyStrings {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrManyStrings {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

/// A number of lines, or all there are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a number of lines or \"all\"")]
#[schemars(rename = "Number")]
pub enum TailLines {
    /// So many.
    Lines(u64),
    /// `all`.
    All(String),
}

/// Which stream, where to begin and which lines to send; everything but the stream may be left out. Of `after`, `since` and
/// `tail` at most one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Subscribe")]
pub struct SubscribeParameters {
    /// The stream's name.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// Begin strictly after the event with this id.
    pub after: Option<String>,
    /// Begin at this time (RFC 3339), or so long ago (`5m`).
    pub since: Option<String>,
    /// Begin with the last so many lines that pass the filter, or with `all`. Default: 100.
    pub tail: Option<TailLines>,
    /// `current`: this run of the process, from its start to its end.
    pub run: Option<String>,
    /// Only lines that match each of these regular expressions.
    #[serde(default)]
    pub grep: OneOrManyStrings,
    /// No lines that match one of these.
    #[serde(default)]
    pub exclude: OneOrManyStrings,
    /// Only lines from one of these: `stdout`, `stderr`, a file's path.
    #[serde(default)]
    pub origin: OneOrManyStrings,
    /// Only lines that say they are at least as serious: `error`, `warning`, ...
    pub level: Option<String>,
}

/// Where to begin: at most one of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Begin")]
pub struct StartParameters {
    /// Strictly after the event with this id.
    pub after: Option<String>,
    /// At this time (RFC 3339), or so long ago (`5m`).
    pub since: Option<String>,
    /// With the last so many lines that pass the filter, or with `all`.
    pub tail: Option<TailLines>,
}

/// A subscription of this channel, or the event streams that were opened with this `session`; one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
pub struct SubscriptionTarget {
    /// The number that `stream.subscribe` gave.
    pub subscription: Option<u64>,
    /// What the reader gave as `?session=`.
    pub session: Option<String>,
}

/// A new filter, whole: what is left out does not filter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Filter")]
pub struct FilterParameters {
    /// The number that `stream.subscribe` gave.
    pub subscription: Option<u64>,
    /// What the reader gave as `?session=`.
    pub session: Option<String>,
    /// Only lines that match each of these regular expressions.
    #[serde(default)]
    pub grep: OneOrManyStrings,
    /// No lines that match one of these.
    #[serde(default)]
    pub exclude: OneOrManyStrings,
    /// Only lines from one of these: `stdout`, `stderr`, a file's path.
    #[serde(default)]
    pub origin: OneOrManyStrings,
    /// Only lines that say they are at least as serious: `error`, `warning`, ...
    pub level: Option<String>,
    /// Searches back: goes on from there. By default at the next line.
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

/// A stream that is a process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OnStream")]
pub struct StreamParameters {
    /// The stream's name.
    #[schemars(with = "String")]
    pub stream: StreamName,
}

/// What to type. Nothing is added: a line needs its `\n`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Input")]
pub struct InputParameters {
    /// The stream's name.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// A text.
    pub text: Option<String>,
    /// Bytes in base64, instead of `text`.
    pub base64: Option<String>,
    /// Whether the input ends behind it: a pipe is closed, a terminal gets its end-of-file character.
    #[serde(default)]
    pub eof: bool,
}

/// A signal for a process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Signal")]
pub struct SignalParameters {
    /// The stream's name.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// The signal's name, such as `TERM`.
    pub signal: String,
}

/// The size of a terminal, in characters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Resize")]
pub struct ResizeParameters {
    /// The stream's name.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// How wide.
    #[schemars(range(min = 1))]
    pub columns: u16,
    /// How high.
    #[schemars(range(min = 1))]
    pub rows: u16,
}

/// For how long to be the only one who types.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Lease")]
pub struct LeaseParameters {
    /// The stream's name.
    #[schemars(with = "String")]
    pub stream: StreamName,
    /// For so long, from now on; 0 gives it back.
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
