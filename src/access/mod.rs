//! Who may do what; no HTTP in it. Now: whom a request may be addressed to.
//!
//! A page on the web can let its own name point to our address, and its browser then sends us that name as `Host` (DNS
//! rebinding). So a name must be one of ours. An address is none that anybody could have bound to us.

use std::net::IpAddr;

/// The names we answer to, beside addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        let hosts = Hosts::new(&["CI.example.com".to_owned()]);
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
}
