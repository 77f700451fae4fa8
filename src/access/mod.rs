//! Access control, independent of HTTP: the hosts that a request may be addressed to, the origins of pages that may
//! send it, and the rights of its sender.
//!
//! A page on the web can make its own name resolve to the address of this server, and its browser then sends that name
//! as `Host` (DNS rebinding). So a host name must be one of the configured names. An IP address is always accepted,
//! since nobody else can make one point here. In addition, any page can make its visitor's browser connect to this
//! server, so requests that do more than read are checked for the origin of the page that sent them.
//!
//! The files, in reading order: this file has the hosts and the origins. `rights` is the table of what each sender may
//! do, `proxies` has the proxies that name their clients, and `token` is a verified token. `keyring` verifies tokens
//! with all keys, which come from `keys` (rtlogd's own), `issuers` (those of other systems) and `revoked` (the ids that
//! are no longer valid). `key_reloader` reads these files again, and `directory` opens them safely. `quota` counts what
//! each sender uses of a limited resource.

use nix::unistd::{Uid, User};

mod rights;
mod proxies;
mod token;
mod keyring;
mod key_reloader;
mod issuers;
mod keys;
mod revoked;
#[cfg(test)]
mod source_tests;
pub(crate) mod directory;
pub(crate) mod quota;

pub(crate) use key_reloader::KeyReloader;
pub(crate) use keyring::{AccessError, Keyring};
pub(crate) use keys::{KeyError, KeyKind, SigningKeys, create_first_key, rotate_keys};
pub(crate) use proxies::{TrustedProxies, UnknownProxyUser};
pub(crate) use revoked::revoke;
pub(crate) use rights::{
    AccessControl, AccessDenied, AccessTarget, Audience, Caller, Credential, Peer, PresentedToken, ProxiedClient,
    UnnamedReason, Visibility,
};
pub(crate) use token::{BadToken, MAX_URL_TOKEN_LIFETIME, Token, is_valid_token_id};

use std::net::IpAddr;

use crate::config::WebOrigin;

/// The id by which a token is revoked, taken from its text; `None` if the text is not a token. Nothing is verified.
pub(crate) fn token_id_in(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct IdClaim {
        jti: Option<String>,
    }
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<IdClaim>(text).ok()?;
    Some(token::id_of(claims.jti.as_deref(), text))
}

/// The host names of this server, in addition to IP addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// A list with the configured names.
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Returns true if a request with this `Host` (port included) is addressed to this server.
    pub(crate) fn is_ours(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !host.ends_with(':') => host,
            _ => authority,
        };
        let host = host.to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        bare.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost") || self.0.contains(&host)
    }
}

/// The origins whose pages have the rights of the people who view them: this server's own pages, and the configured
/// origins.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebOrigins(Vec<WebOrigin>);

impl WebOrigins {
    /// A list with the configured origins.
    pub(crate) fn new(origins: &[WebOrigin]) -> Self {
        Self(origins.to_vec())
    }

    /// The origins whose pages may show rtlogd's pages in a frame, as a `frame-ancestors` list (Content Security Policy
    /// 3, section 6.4.2).
    pub(crate) fn frame_ancestors(&self) -> String {
        let mut framers = "'self'".to_owned();
        for origin in &self.0 {
            framers.push(' ');
            framers.push_str(origin.as_str());
        }
        framers
    }

    /// Returns true if a page of `origin` is allowed, given that its request is addressed to `host`, port included. A
    /// page whose host equals `host` is rtlogd's own, since `host` was checked before. The scheme is ignored: behind a
    /// proxy, rtlogd does not know whether the page was loaded by TLS.
    pub(crate) fn allow(&self, origin: &str, host: &str) -> bool {
        origin.parse::<WebOrigin>().is_ok_and(|origin| {
            let scheme = if origin.as_str().starts_with("https:") { "https" } else { "http" };
            let own = format!("{scheme}://{host}").parse::<WebOrigin>();
            own.is_ok_and(|own| own.authority() == origin.authority()) || self.0.contains(&origin)
        })
    }
}

/// The name of the effective user, whose rights apply; its number if the system has no name for it.
pub(crate) fn effective_user_name() -> String {
    let uid = Uid::effective();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        let hosts = AllowedHosts::new(&["CI.example.com".to_owned()]);
        let ours = [
            "localhost",
            "localhost:7070",
            "127.0.0.1:7070",
            "[::1]:7070",
            "[::1]",
            "::1",
            "10.0.0.1",
            "ci.example.COM:443",
        ];
        for host in ours {
            assert!(hosts.is_ours(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "ci.example.com.evil.example",
            "localhost.evil.example:7070",
            "127.0.0.1.evil.example",
            "localhost:evil.example",
            "localhost:@evil.example",
        ] {
            assert!(!hosts.is_ours(host), "{host}");
        }
    }

    #[test]
    fn a_page_that_is_not_ours_is_refused() {
        let origins = WebOrigins::new(&["https://dash.example.com".parse().unwrap()]);
        let table = [
            ("http://localhost:7070", "localhost:7070", true),
            ("https://ci.example.com", "CI.example.com", true),
            ("https://ci.example.com", "ci.example.com:443", true),
            ("https://dash.example.com", "ci.example.com", true),
            ("http://dash.example.com", "ci.example.com", false),
            ("https://dash.example.com.evil.example", "ci.example.com", false),
            ("http://localhost:8080", "localhost:7070", false),
            ("http://127.0.0.1:7070", "localhost:7070", false),
            ("http://evil.example", "localhost:7070", false),
            ("null", "localhost:7070", false),
            ("", "localhost:7070", false),
            ("file://", "localhost:7070", false),
        ];
        for (origin, host, allowed) in table {
            assert_eq!(origins.allow(origin, host), allowed, "{origin} to {host}");
        }
    }
    #[test]
    fn only_the_configured_origins_may_show_a_page_in_a_frame() {
        assert_eq!(WebOrigins::default().frame_ancestors(), "'self'");
        let origins = ["https://dash.example.com", "http://localhost:3000"].map(|origin| origin.parse().unwrap());
        assert_eq!(
            WebOrigins::new(&origins).frame_ancestors(),
            "'self' https://dash.example.com http://localhost:3000"
        );
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_by_what_is_signed() {
        let token = |header: &str, claims: &str, signature: &str| {
            format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
        };
        let header = r#"{"alg":"ES256"}"#;
        assert_eq!(token_id_in(&token(header, r#"{"jti":"job-7"}"#, "c2ln")).as_deref(), Some("job-7"));
        let without = token_id_in(&token(header, "{}", "c2ln"));
        assert_eq!(without.as_ref().map(String::len), Some(43), "the SHA-256 in base64");
        assert_eq!(token_id_in(&token(header, "{}", "b3RoZXI")), without, "the signature does not matter");
        assert_ne!(token_id_in(&token(header, r#"{"sub":"x"}"#, "c2ln")), without);
        assert_ne!(token_id_in(&token(header, r#"{"jti":"two words"}"#, "c2ln")).as_deref(), Some("two words"));
        for text in ["", "x", "a.b.c", &token(header, "no JSON", "c2ln")] {
            assert_eq!(token_id_in(text), None, "{text}");
        }
    }
}
