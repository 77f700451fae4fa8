//! What a token says, once it is proved: whose it is, what it gives, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Grant, Right};

/// What our own tokens have as `iss`.
pub(super) const OURS: &str = "rtlogd";

/// Longest token, in bytes: a cookie has no more (RFC 6265, section 6.1), and those of a CI are half of it.
pub(super) const LONGEST: usize = 4 << 10;

/// Longest life of a token that comes in a URL, from when it was made: URLs are kept in histories and logs, so what is in
/// one must soon be worth nothing. A working day.
pub(crate) const URL_LIFE: Duration = Duration::from_hours(12);

/// A token that was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(super) issuer: Arc<str>,
    /// The key, of one of ours.
    pub(super) key: Option<String>,
    pub(super) id: Arc<str>,
    /// For whom it is, if it says so.
    pub(super) who: Option<String>,
    pub(super) expires: SystemTime,
    /// When it was made, if it says so.
    pub(super) made: Option<SystemTime>,
    pub(super) grants: Vec<Grant>,
}

impl Token {
    pub(super) fn gives(&self, right: Right, stream: Option<&str>) -> bool {
        self.grants.iter().any(|grant| grant.gives(right, stream))
    }

    /// When it ends.
    pub(crate) fn expires(&self) -> SystemTime {
        self.expires
    }

    /// What people call it by.
    pub(super) fn name(&self) -> String {
        match &self.who {
            Some(who) => format!("token {:?} of {who:?}", self.id),
            None => format!("token {:?}", self.id),
        }
    }

    /// Whether it may come in a URL.
    pub(super) fn is_short(&self) -> bool {
        let life = self.made.and_then(|made| self.expires.duration_since(made).ok());
        life.is_some_and(|life| life <= URL_LIFE)
    }
}

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token is not a JWT, or longer than {LONGEST} bytes")]
    Form,
    #[error("the token is of nobody whose tokens count here")]
    Issuer,
    #[error("the token is signed by no key that is known here")]
    Signature,
    #[error("the token is for others (aud), or says not all that it must")]
    Claims,
    #[error("the token is over; get a new one")]
    Expired,
    #[error("the token does not count yet (nbf)")]
    Early,
    #[error("the token was revoked; get a new one")]
    Revoked,
    #[error(
        "a token in a URL may live at most {} h from when it was made; send this one as `Authorization: Bearer`",
        URL_LIFE.as_secs() / 3600
    )]
    LongInUrl,
    #[error("send one token, not two")]
    Two,
}
