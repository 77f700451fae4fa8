//! A client for WebSocket (RFC 6455) and JSON-RPC with only what the tests need, and nothing hidden: a test can send
//! any bytes, and sees each frame that it receives.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};

use serde_json::{Value, json};

use super::Deadline;
use super::http::{Address, Response, Socket, header};

/// The key of RFC 6455, section 1.3, and the reply that it requires.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const PROTOCOL: &str = "rtlogd.v1";

/// The header lines of a proper handshake except `Host`, for a test to change.
pub(crate) fn handshake() -> Vec<(&'static str, &'static str)> {
    vec![
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Protocol", PROTOCOL),
    ]
}

/// A received frame, or the end of the connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A code and a reason, if the frame has them.
    Close(Option<(u16, String)>),
    /// The connection ended.
    End,
}

/// A control channel.
pub(crate) struct Channel {
    socket: BufReader<Box<dyn Socket>>,
    protocol: Option<String>,
    talked: Talked,
}

impl Channel {
    pub(crate) fn open(address: &Address) -> Self {
        let channel = Self::open_at(address, "/control");
        assert_eq!(channel.protocol.as_deref(), Some(PROTOCOL));
        channel
    }

    /// Opens a WebSocket at another path.
    pub(crate) fn open_at(address: &Address, path: &str) -> Self {
        Self::open_with(address, path, &[])
    }

    /// Opens a WebSocket with additional header lines in the handshake.
    pub(crate) fn open_with(address: &Address, path: &str, headers: &[(&str, &str)]) -> Self {
        let response = Response::get(address, path, &[&handshake(), headers].concat());
        assert_eq!(response.status, 101, "{}", String::from_utf8_lossy(&response.body.all()));
        assert_eq!(response.header("sec-websocket-accept"), ACCEPT);
        let protocol = header(&response.headers, "sec-websocket-protocol").map(str::to_owned);
        Self { protocol, socket: response.body.into_socket(), talked: Talked::default() }
    }

    /// Sends bytes unchanged. The other side may have closed the connection already.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Sets the time for which a write may wait.
    pub(crate) fn patience(&self, patience: std::time::Duration) {
        self.socket.get_ref().patience(patience);
    }

    /// The next frame. A reset of the connection is treated as its end.
    pub(crate) fn frame(&mut self, deadline: Deadline) -> Frame {
        let left = deadline.left().unwrap_or_else(|| panic!("no frame in time; told before: {:#?}", self.talked));
        self.socket.get_ref().patience(left);
        let mut head = [0; 2];
        if let Err(error) = self.socket.read_exact(&mut head) {
            assert!(
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
                "no frame in time"
            );
            return Frame::End;
        }
        assert_eq!(head[0] & 0xf0, 0x80, "a whole message in one frame, without reserved bits");
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.socket.read_exact(&mut length).unwrap();
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.socket.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut payload).unwrap();
        match head[0] & 0x0f {
            1 => Frame::Text(String::from_utf8(payload).unwrap()),
            8 if payload.is_empty() => Frame::Close(None),
            8 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Frame::Close(Some((code, String::from_utf8(payload[2..].to_vec()).unwrap())))
            }
            9 => Frame::Ping(payload),
            10 => Frame::Pong(payload),
            other => panic!("a frame of kind {other}: {payload:?}"),
        }
    }

    /// The code with which the channel is closed; messages before that are skipped.
    pub(crate) fn closed(&mut self) -> Option<u16> {
        let deadline = Deadline::new();
        loop {
            match self.frame(deadline) {
                Frame::Close(reason) => return reason.map(|(code, _)| code),
                Frame::End => panic!("it ended without a word"),
                Frame::Text(_) | Frame::Ping(_) | Frame::Pong(_) => {}
            }
        }
    }
}

impl Talk for Channel {
    fn talked(&mut self) -> &mut Talked {
        &mut self.talked
    }

    fn send_text(&mut self, text: &str) {
        self.send_raw(&frame(0x81, text.as_bytes())).unwrap();
    }

    /// The next message. Pings are answered.
    fn message(&mut self, deadline: Deadline) -> Value {
        loop {
            match self.frame(deadline) {
                Frame::Text(text) => return serde_json::from_str(&text).unwrap(),
                Frame::Ping(payload) => self.send_raw(&frame(0x8a, &payload)).unwrap(),
                Frame::Pong(_) => {}
                other => panic!("{other:?} instead of a message; told before: {:#?}", self.talked),
            }
        }
    }
}

/// The state of a JSON-RPC client.
#[derive(Debug, Default)]
pub(crate) struct Talked {
    /// Notifications and replies that came before the awaited one.
    told: VecDeque<Value>,
    last_id: u64,
}

/// A client that speaks JSON-RPC on a control channel, over any transport.
pub(crate) trait Talk {
    fn talked(&mut self) -> &mut Talked;

    fn send_text(&mut self, text: &str);

    /// The next message.
    fn message(&mut self, deadline: Deadline) -> Value;

    /// Sends a request, and returns its id.
    fn ask(&mut self, method: &str, params: &Value) -> u64 {
        self.talked().last_id += 1;
        let id = self.talked().last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send_text(&request.to_string());
        id
    }

    /// The reply to a request. Other messages that come before it are kept for later calls.
    fn reply(&mut self, id: u64) -> Value {
        let deadline = Deadline::new();
        let told = &mut self.talked().told;
        if let Some(at) = told.iter().position(|message| message["id"] == id) {
            return told.remove(at).unwrap();
        }
        loop {
            let message = self.message(deadline);
            if message["id"] == id {
                return message;
            }
            self.talked().told.push_back(message);
        }
    }

    /// The result of a call.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.ask(method, params);
        let mut reply = self.reply(id);
        assert!(reply["error"].is_null(), "{method} {params}: {reply}");
        reply["result"].take()
    }

    /// The error code and the detail of a call that is refused.
    fn refused(&mut self, method: &str, params: &Value) -> (i64, String) {
        let id = self.ask(method, params);
        let reply = self.reply(id);
        assert!(reply["result"].is_null(), "{method} {params}: {reply}");
        let data = &reply["error"]["data"];
        assert!(data["reason"].is_string(), "{reply}");
        (reply["error"]["code"].as_i64().unwrap(), data["detail"].as_str().unwrap().to_owned())
    }

    /// Subscribes, and returns the number of the subscription.
    fn subscribe(&mut self, params: &Value) -> u64 {
        self.call("stream.subscribe", params)["subscription"].as_u64().unwrap()
    }

    /// The next notification.
    fn told(&mut self) -> Value {
        let message = match self.talked().told.pop_front() {
            Some(message) => message,
            None => self.message(Deadline::new()),
        };
        assert!(message["method"].is_string(), "a reply that nobody waits for: {message}");
        message
    }

    /// The parameters of the next notification of this method; others are skipped.
    fn until(&mut self, method: &str) -> Value {
        loop {
            let mut told = self.told();
            if told["method"] == method {
                return told["params"].take();
            }
        }
    }

    /// The texts of the next `count` lines of a subscription. A gap or a loss among them is a failure.
    fn lines(&mut self, subscription: u64, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let told = self.told();
            let params = &told["params"];
            if params["subscription"] != subscription {
                continue;
            }
            assert_ne!(told["method"], "stream.gap", "{told} behind {:?}", lines.last());
            for event in params["events"].as_array().into_iter().flatten() {
                assert_ne!(event["kind"], "loss", "{event}");
                lines.extend(event["kind"].is_null().then(|| event["text"].as_str().unwrap().to_owned()));
            }
        }
        assert_eq!(lines.len(), count, "more than was expected: {:?}", lines.last());
        lines
    }

    /// The texts of the next `count` lines of one subscription. Messages for others are kept for them.
    fn lines_of(&mut self, subscription: u64, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut others = VecDeque::new();
        while lines.len() < count {
            let told = self.told();
            if told["params"]["subscription"] == subscription {
                let events = told["params"]["events"].as_array().unwrap_or_else(|| panic!("no events: {told}"));
                lines.extend(events.iter().map(|event| event["text"].as_str().unwrap().to_owned()));
            } else {
                others.push_back(told);
            }
        }
        others.append(&mut self.talked().told);
        self.talked().told = others;
        assert_eq!(lines.len(), count);
        lines
    }

    /// The messages that were received already, without waiting.
    fn told_before(&mut self) -> Vec<Value> {
        self.talked().told.drain(..).collect()
    }
}

/// A masked frame. `first` is its first byte: the FIN bit, the reserved bits and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
