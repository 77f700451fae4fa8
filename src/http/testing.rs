//! The state of HTTP without sockets, for the tests of handlers: streams, callers, their requests, and what they
//! receive.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, watch};
use warp::reply::Response;

use crate::access::{AccessControl, KeyReloader, Peer, WebOrigins};
use crate::config::{Limits, Right};
use crate::control::{
    CommandError, CommandReply, CommandRouter, ProcessCommand, ProcessRequest, SourceHandle, TerminalOutput,
    process_requests,
};
use crate::event::{Epoch, Flags, Origin, Position, StreamName, Time};
use crate::listen::ConnectionInfo;
use crate::stream::{Appender, Batch, Budget, Catalog, CatalogEntry, open};

use super::app::App;
use super::problem::Problem;
use super::request::HttpRequest;

/// The owner of the daemon, who may do everything.
pub(super) const OWNER: Peer = Peer::Unix { uid: 0, pid: None };

/// Another user of this machine, who may read public streams.
pub(super) const USER: Peer = Peer::Unix { uid: 4711, pid: None };

/// An [`App`] and the writers of its streams.
pub(super) struct TestServer {
    pub(super) app: Arc<App>,
    pub(super) limits: Limits,
    ready: watch::Sender<bool>,
    appenders: BTreeMap<StreamName, Appender>,
}

/// The id of the event with this sequence number in any stream of a [`TestServer`].
pub(super) fn id(number: u64) -> Position {
    Position { epoch: Epoch::persistent(7), number }
}

impl TestServer {
    /// A server that is ready, with these streams: a name and a kind for each.
    pub(super) fn new(streams: &[(&str, &'static str)]) -> Self {
        let (reloader, _token) = KeyReloader::with_ephemeral_key().unwrap();
        let access = AccessControl::new(990, false, reloader.handle());
        let ready = watch::Sender::new(true);
        let (catalog, commands) = (Catalog::default(), CommandRouter::default());
        let app = App::new(catalog, commands, ready.subscribe(), access, Arc::new(WebOrigins::default()), "");
        let mut server = Self { app: Arc::new(app), limits: Limits::default(), ready, appenders: BTreeMap::new() };
        for (name, kind) in streams {
            let (appender, log) = open(name.parse().unwrap(), id(0), 1 << 20, &Budget::new(usize::MAX));
            let takes_input = *kind == "process";
            let entry = CatalogEntry {
                log,
                kind,
                takes_input,
                public_access: None,
                description: None,
                labels: BTreeMap::new(),
            };
            server.app.catalog.insert(entry);
            server.appenders.insert(name.parse().unwrap(), appender);
        }
        server
    }

    /// Receives the requests to a process from now on.
    pub(super) fn requests(&self, stream: &str) -> mpsc::Receiver<ProcessRequest> {
        let (handle, requests) = process_requests();
        self.app.commands.insert(stream.parse().unwrap(), SourceHandle::Process(handle));
        requests
    }

    /// Answers each request to a process with this, from now on. Returns the commands that the process receives.
    pub(super) fn process(
        &self,
        stream: &str,
        answer: impl Fn() -> Result<CommandReply, CommandError> + Send + 'static,
    ) -> mpsc::Receiver<ProcessCommand> {
        let mut requests = self.requests(stream);
        let (sender, received) = mpsc::channel(100);
        let terminal = TerminalOutput::default();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    ProcessRequest::Lifecycle(command, reply) => {
                        sender.send(command.into()).await.unwrap_or_default();
                        reply.send(answer());
                    }
                    ProcessRequest::Run(command, reply) => {
                        sender.send(command.into()).await.unwrap_or_default();
                        reply.send(answer().map(drop));
                    }
                    ProcessRequest::Attach(reply) => reply.send(answer().map(|_| terminal.attach())),
                }
            }
        });
        received
    }

    /// Appends these lines to a stream.
    pub(super) async fn write(&mut self, stream: &str, lines: &[&str]) {
        let mut batch = Batch::new();
        for line in lines {
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, line.as_bytes());
        }
        self.append(stream, &mut batch).await;
    }

    /// Appends a batch to a stream.
    pub(super) async fn append(&mut self, stream: &str, batch: &mut Batch) {
        self.appenders.get_mut(&stream.parse::<StreamName>().unwrap()).unwrap().append(batch).await;
    }

    /// Ends the log of a stream, as the end of its source does.
    pub(super) fn end(&mut self, stream: &str) {
        self.appenders.remove(&stream.parse::<StreamName>().unwrap()).unwrap();
    }

    /// Begins to stop.
    pub(super) fn stop(&self) {
        self.ready.send_replace(false);
    }

    /// A request with this query, written as in a URL without escapes.
    pub(super) fn request(&self, peer: Peer, method: Method, right: Right, query: &str) -> HttpRequest {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        HttpRequest {
            app: self.app.clone(),
            right,
            method,
            parameters: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            connection: ConnectionInfo::without_socket(peer, self.limits.clone()),
            caller: self.app.access.identify_now(peer, None).unwrap(),
        }
    }

    /// A GET request of another user.
    pub(super) fn get(&self, query: &str) -> HttpRequest {
        self.request(USER, Method::GET, Right::Read, query)
    }

    /// A GET request of another user whose browser reconnects with this id.
    pub(super) fn reconnect(&self, query: &str, last_id: &str) -> HttpRequest {
        let mut request = self.get(query);
        request.headers.insert("last-event-id", last_id.parse().unwrap());
        request
    }
}

/// The status and the whole body of a response, or the status and the detail of a refusal.
pub(super) async fn read(result: Result<Response, Problem>) -> (u16, String) {
    match result {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
        Err(problem) => problem.into_parts(),
    }
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn next_piece(response: &mut Response) -> Option<String> {
    let frame = response.body_mut().frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}
