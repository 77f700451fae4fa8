//! The checks between a connection and a handler: the sender of a request, its page, its rate, its lifetime and its
//! body.
//!
//! The files, in reading order: `gateway` runs the checks that every request passes first. `forwarded` finds the sender
//! behind proxies, `authenticate` reads the token, `cross_site` and `cors` check the page that sent the request.
//! `lifetime` ends a response with its token, `quota`, `rate_limit` and `body` limit the resources of one caller,
//! `lease` decides who may type, and `login` stores a token in a cookie.

pub(super) mod authenticate;
pub(crate) mod body;
pub(crate) mod cors;
pub(super) mod cross_site;
pub(crate) mod forwarded;
pub(crate) mod gateway;
pub(super) mod lease;
pub(super) mod lifetime;
pub(super) mod login;
pub(crate) mod quota;
pub(super) mod rate_limit;
