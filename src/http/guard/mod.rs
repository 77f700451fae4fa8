//! What stands between a connection and a handler: who asks, from where, how often, for how long, and with how much of a body.
//!
//! `forwarded` finds out who sent a request through which proxies, `authenticate` reads its token, `cross_site` and `cors` judge the
//! page that sent it. `lifetime` ends an answer with its token, `rate_limit` and `body` bound what one caller may ask for, `lease`
//! decides who may type, and `login` keeps a token in a cookie.

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
