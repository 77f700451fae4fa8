//! `POST /login` and `/logout`: a token becomes a cookie that pages cannot read, and is taken back. Browsers send it by
//! themselves, so what is more than reading asks from whose page it comes.

use std::time::SystemTime;

use http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use crate::access::Shown;

use super::Request;
use super::problem::Problem;
use super::who::{cookie_name, refused};

/// `POST /login`: the body is the token, or a form with it as `token`.
pub(super) async fn login(ask: &Request) -> Result<Response, Problem> {
    let form = ask.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let text = std::str::from_utf8(&ask.body).map_err(|_| Problem::bad("the token is not text"))?.trim();
    // A JWT has nothing that a form would escape.
    let token = if form {
        let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == "token").map_or("", |(_, value)| value)
    } else {
        text
    };
    if token.is_empty() {
        return Err(Problem::bad("send the token as the body, or as `token` of a form"));
    }
    let caller = ask.app.access.identify(ask.guest.peer, Some(Shown::Bearer(token))).await;
    let caller = caller.map_err(|why| refused(&why))?;
    let expires = caller.token().map_or(SystemTime::now(), crate::access::Token::expires);
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    Ok(with_cookie(ask, token, left))
}

/// `POST /logout`: the cookie is gone. The token counts on, until it ends or is revoked.
pub(super) fn logout(ask: &Request) -> Response {
    with_cookie(ask, "", 0)
}

fn with_cookie(ask: &Request, value: &str, seconds: u64) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let (secure, path) = (if ask.guest.secure { "; Secure" } else { "" }, &ask.app.base_path);
    let name = cookie_name(&ask.headers);
    let text = format!("{name}={value}; Max-Age={seconds}; Path={path}/; HttpOnly; SameSite=Strict{secure}");
    let mut cookie = HeaderValue::try_from(text).expect("a token that was proved is letters, and so is the path");
    cookie.set_sensitive(true);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
