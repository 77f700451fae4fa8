//! A verified token: its issuer, its grants, its expiry.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::{Grant, Right};

/// The `iss` of rtlogd's own tokens.
pub(super) const OWN_ISSUER: &str = "rtlogd";

/// The maximum size of a token, in bytes: a cookie cannot be longer (RFC 6265, section 6.1), and the tokens of CI
/// systems are half as long.
pub(super) const MAX_TOKEN_SIZE: usize = 4 << 10;

/// The maximum time between the issue and the expiry of a token that is sent in a URL: a working day. URLs are kept in
/// histories and logs, so that a token in one must soon be worthless.
pub(crate) const MAX_URL_TOKEN_LIFETIME: Duration = Duration::from_hours(12);

/// A token that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(super) issuer: Arc<str>,
    /// The id by which it is revoked: see [`id_of`].
    pub(super) id: Arc<str>,
    /// The id of the key that signed it, if the key has one.
    pub(super) key: Option<Box<str>>,
    /// The person or program that it was issued to, if it says so.
    pub(super) subject: Option<String>,
    /// The time of its expiry, including the allowed skew of its issuer's clock.
    pub(super) expires: SystemTime,
    /// The time between its issue and its expiry, if it says when it was issued.
    pub(super) lifetime: Option<Duration>,
    pub(super) grants: Vec<Grant>,
    /// The token itself, so that it can be verified again when keys or grants change.
    pub(super) text: TokenText,
    /// The generation of the keys and grants that it was verified with: see [`Keyring`](super::keyring::Keyring).
    pub(super) generation: u64,
}

/// The text of a token. Its holder has its rights, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TokenText(pub(super) Box<str>);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The id by which a token is revoked: its `jti`. If it has none, or one that does not fit a line of the list, the id
/// is the SHA-256 of the signed part. The signature is left out, since a second valid one can be derived from an ECDSA
/// signature.
pub(super) fn id_of(jti: Option<&str>, text: &str) -> String {
    match jti {
        Some(jti) if is_valid_token_id(jti) => jti.to_owned(),
        _ => {
            let signed = text.rsplit_once('.').map_or(text, |(signed, _)| signed);
            URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signed.as_bytes()))
        }
    }
}

/// Returns whether the id is one word that fits a line of the list of revoked tokens, as every result of [`id_of`]
/// does.
pub(crate) fn is_valid_token_id(id: &str) -> bool {
    !id.is_empty() && !id.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

impl Token {
    pub(super) fn allows(&self, right: Right, stream: Option<&str>) -> bool {
        self.grants.iter().any(|grant| grant.gives(right, stream))
    }

    /// The time of its expiry.
    pub(crate) fn expires(&self) -> SystemTime {
        self.expires
    }

    /// The id of the key that signed it, if the key has one.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The name of the token in logs: its id and, if it has one, its subject.
    pub(crate) fn display_name(&self) -> String {
        match &self.subject {
            Some(subject) => format!("token {:?} of {subject:?}", self.id),
            None => format!("token {:?}", self.id),
        }
    }

    /// Returns whether the token may be sent in a URL.
    pub(super) fn is_allowed_in_url(&self) -> bool {
        self.lifetime.is_some_and(|life| life <= MAX_URL_TOKEN_LIFETIME)
    }
}

/// The reason why a token is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token is not a JWT, or it is longer than {MAX_TOKEN_SIZE} bytes")]
    Malformed,
    #[error("rtlogd does not trust the issuer of the token")]
    UnknownIssuer,
    #[error("the token is not signed by a key that rtlogd knows")]
    UnknownKey,
    #[error("the token is for another audience (aud), or lacks a claim that it must have")]
    InvalidClaims,
    #[error("the token has expired; get a new one")]
    Expired,
    #[error("the token is not valid yet (nbf, or issued in the future)")]
    NotYetValid,
    #[error(
        "the header of the token has `crit`, which asks for an extension that rtlogd does not support (RFC 7515, section 4.1.11)"
    )]
    UnknownExtension,
    #[error("the rights of the token have changed; connect again")]
    GrantsChanged,
    #[error("the list of revoked tokens cannot be read, and no token is accepted until it can be")]
    RevocationListUnreadable,
    #[error("the token was revoked; get a new one")]
    Revoked,
    #[error(
        "a token in a URL must expire at most {} h after it was issued; send this one as `Authorization: Bearer`",
        MAX_URL_TOKEN_LIFETIME.as_secs() / 3600
    )]
    LongInUrl,
    #[error("send one token, not two")]
    SeveralTokens,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_an_id_that_can_be_revoked() {
        assert_eq!(id_of(Some("job-7"), "a.b.c"), "job-7");
        let unnamed = id_of(None, "a.b.c");
        assert!(unnamed.len() == 43 && is_valid_token_id(&unnamed), "{unnamed}");
        for jti in ["", "two words", "a#b", "a\nb", " a", "\u{0}"] {
            assert_eq!(id_of(Some(jti), "a.b.c"), unnamed, "{jti:?}");
        }
        for (id, is_valid) in
            [("a-B_9", true), ("a b", false), ("a#b", false), ("", false), ("a\n", false), ("\u{7f}", false)]
        {
            assert_eq!(is_valid_token_id(id), is_valid, "{id:?}");
        }
        assert_eq!(id_of(None, "a.b.another signature"), unnamed);
        assert_ne!(id_of(None, "a.x.c"), unnamed);
    }
}
