//! Advice on a valid configuration: consequences that its author may not expect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Config, TrustedProxy};

/// One sentence for each such consequence; `rtlogd check` prints them.
pub fn advice(config: &Config) -> Vec<String> {
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let note = |proxy: &TrustedProxy| match proxy {
        TrustedProxy::Network(network) if loopback.into_iter().any(|address| network.contains(address)) => {
            Some(format!(
                "{proxy} is in `trusted_proxies`, so requests from this machine over TCP need a token; programs on this \
                machine can use the Unix socket instead"
            ))
        }
        TrustedProxy::SocketUser(user) if user == "root" || user == "0" => Some(format!(
            "{proxy} is in `trusted_proxies`, so commands of root on the Unix socket need a token; let the proxy run as a \
            user of its own"
        )),
        TrustedProxy::Network(_) | TrustedProxy::SocketUser(_) => None,
    };
    config.trusted_proxies.iter().filter_map(note).collect()
}

/// The key that suggests a proxy in front of rtlogd, although no proxy is trusted. Without trust, all clients behind
/// the proxy have its address, and a proxy on this machine that writes no header makes all of them local users.
pub fn hints_at_proxy(config: &Config) -> Option<&'static str> {
    if !config.trusted_proxies.is_empty() {
        None
    } else if config.base_path != "/" {
        Some("base_path")
    } else if !config.hosts.is_empty() && config.tls.is_none() {
        Some("hosts")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_on_this_machine_are_mentioned() {
        let table = [
            ("127.0.0.1", "requests from this machine"),
            ("127.0.0.0/8", "requests from this machine"),
            ("::1", "requests from this machine"),
            ("unix:root", "commands of root"),
            ("unix:0", "commands of root"),
            ("10.0.0.5", ""),
            ("unix:www-data", ""),
        ];
        for (proxy, expected) in table {
            let config = Config { trusted_proxies: vec![proxy.parse().unwrap()], ..Config::default() };
            let notes = advice(&config);
            assert_eq!(notes.is_empty(), expected.is_empty(), "{proxy}: {notes:?}");
            assert!(notes.iter().all(|note| note.contains(expected)), "{proxy}: {notes:?}");
        }
    }

    #[test]
    fn a_proxy_that_is_not_named_is_suspected() {
        let hosts = || vec!["ci.example.com".to_owned()];
        let none = Config::default();
        assert_eq!(hints_at_proxy(&none), None);
        assert_eq!(hints_at_proxy(&Config { base_path: "/logs".into(), ..none.clone() }), Some("base_path"));
        let named = Config { hosts: hosts(), ..none };
        assert_eq!(hints_at_proxy(&named), Some("hosts"));
        let trusted_proxies = vec!["10.0.0.5".parse().unwrap()];
        assert_eq!(hints_at_proxy(&Config { trusted_proxies, ..named }), None);
    }
}
