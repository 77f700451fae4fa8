//! Who may do what; no HTTP in it. Whom a request may be addressed to, from whose page it may come, and what the peer at the
//! other end may do.
//!
//! A page on the web can let its own name point to our address, and its browser then sends us that name as `Host` (DNS
//! rebinding). So a name must be one of ours. An address is none that anybody could have bound to us. And any page can let its
//! visitor's browser connect to us: what is more than reading asks from whose page it comes.

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

pub(crate) use key_reloader::KeyReloader;
pub(crate) use keyring::{AccessError, Keyring};
pub(crate) use keys::{KeyError, KeyKind, SigningKeys, create_first_key, rotate_keys};
pub(crate) use proxies::{TrustedProxies, UnknownProxyUser};
pub(crate) use revoked::revoke;
pub(crate) use rights::{
    AccessControl, AccessDenied, AccessTarget, Audience, Caller, Credential, Peer, PresentedToken, ProxiedClient,
    UnnamedReason,
};
pub(crate) use token::{BadToken, MAX_URL_TOKEN_LIFETIME, Token, is_valid_token_id};

use std::net::IpAddr;

use crate::config::WebOrigin;

/// The id by which a token is revoked, whatever else it says; `Cleared` for what is no token. Nothing is proved.
pub(crate) fn token_id_in(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct IdClaim {
        jti: Option<String>,
    }
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<IdClaim>(text).ok()?;
    Some(token::id_of(claims.jti.as_deref(), text))
}

/// The names we answer to, beside addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// The configured names.
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a request to this host, port included, is for us.
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

/// The pages that may read and do what their readers may: our own, and those of these origins.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebOrigins(Vec<WebOrigin>);

impl WebOrigins {
    /// The configured ones.
    pub(crate) fn new(origins: &[WebOrigin]) -> Self {
        Self(origins.to_vec())
    }

    /// Whose pages may show ours in a frame, as `frame-ancestors` has it (Content Security Policy 3, section 6.4.2).
    pub(crate) fn frame_ancestors(&self) -> String {
        let mut framers = "'self'".to_owned();
        for origin in &self.0 {
            framers.push(' ');
            framers.push_str(origin.as_str());
        }
        framers
    }

    /// Whether a page of `origin` may, as it says in a request to `host`, port included. A page's own host is ours, since
    /// `host` is one of ours; whether it came by TLS a proxy knows, we do not, so the scheme does not count.
    pub(crate) fn allow(&self, origin: &str, host: &str) -> bool {
        origin.parse::<WebOrigin>().is_ok_and(|origin| {
            let scheme = if origin.as_str().starts_with("https:") { "https" } else { "http" };
            let own = format!("{scheme}://{host}").parse::<WebOrigin>();
            own.is_ok_and(|own| own.authority() == origin.authority()) || self.0.contains(&origin)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        let hosts = AllowedHosts::new(&["CI.example.com".to_owned()]);
        let ours =
            ["localhost", "localhost:7070", "127.0.0.1:7070", "[::1]:7070", "[::1]", "10.0.0.1", "ci.example.COM:443"];
        for host in ours {
            assert!(hosts.is_ours(host), "{host}");
        }
        for host in
            ["", "evil.example", "ci.example.com.evil.example", "localhost.evil.example:7070", "127.0.0.1.evil.example"]
        {
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
}
