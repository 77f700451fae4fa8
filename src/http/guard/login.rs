//! `POST /login` and `/logout`: a token is stored in a cookie that scripts cannot read, and removed from it. Browsers
//! send cookies without being asked, so requests that do more than read are checked for the origin of their page.

use std::time::SystemTime;

use http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use crate::access::PresentedToken;

use super::authenticate::{cookie_name, refused};
use crate::http::problem::Problem;
use crate::http::request::HttpRequest;

/// `POST /login`: the body is the token, or a form with the field `token`.
pub(crate) async fn login(request: &HttpRequest) -> Result<Response, Problem> {
    let form =
        request.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let text = std::str::from_utf8(&request.body).map_err(|_| Problem::bad("the token is not text"))?.trim();
    // A JWT has no character that a form would escape.
    let token = if form {
        let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == "token").map_or("", |(_, value)| value)
    } else {
        text
    };
    if token.is_empty() {
        return Err(Problem::bad("send the token as the body, or as `token` of a form"));
    }
    let caller = request.app.access.identify(request.connection.peer, Some(PresentedToken::Bearer(token))).await;
    let caller = caller.map_err(|why| refused(&why))?;
    let expires = caller.token().map_or(SystemTime::now(), crate::access::Token::expires);
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    Ok(cookie_response(request, token, left))
}

/// `POST /logout`: removes the cookie. The token stays valid until it expires or is revoked.
pub(crate) fn logout(request: &HttpRequest) -> Response {
    cookie_response(request, "", 0)
}

fn cookie_response(request: &HttpRequest, value: &str, seconds: u64) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let (secure, path) = (if request.connection.is_secure { "; Secure" } else { "" }, &request.app.base_path);
    let name = cookie_name(&request.headers);
    let text = format!("{name}={value}; Max-Age={seconds}; Path={path}/; HttpOnly; SameSite=Strict{secure}");
    let mut cookie = HeaderValue::try_from(text).expect("a token that was proved is letters, and so is the path");
    cookie.set_sensitive(true);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
