//! Streams as response bodies: each response is a loop over a cursor.
//!
//! The path of a stream has one handler, [`follow_or_push`]: `follow` answers GET and sends events as they arrive, and
//! `push` answers POST and accepts lines. `poll` responds once. `steering` lets a control channel change what a reader
//! sees.

mod content_coding;
pub(crate) mod follow;
pub(super) mod poll;
mod push;
pub(super) mod steering;

use http::Method;
use warp::reply::Response;

use super::guard::body::RequestBody;
use super::problem::Problem;
use super::request::HttpRequest;

/// The handler of `/streams/NAME`: GET and HEAD follow the stream, POST and PUT append lines to it.
pub(super) async fn follow_or_push(
    name: &str,
    request: HttpRequest,
    body: Option<RequestBody>,
) -> Result<Response, Problem> {
    if request.method == Method::GET || request.is_head() {
        follow::follow_one(name, &request).await
    } else {
        push::push(name, &request, body).await
    }
}
