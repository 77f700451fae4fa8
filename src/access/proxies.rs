//! The trusted proxies in front of rtlogd, whose user names were resolved.

use std::net::IpAddr;

use nix::unistd::User;

use crate::config::{Network, TrustedProxy};

use super::rights::Peer;

/// The proxies whose statements about their clients are trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    /// The users on the Unix socket, by their numbers.
    users: Vec<u32>,
}

/// A user in `trusted_proxies` that this system does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "`trusted_proxies` names the user {0:?}, who does not exist on this system; correct the name, or install the proxy whose \
    package creates the user"
)]
pub(crate) struct UnknownProxyUser(String);

impl TrustedProxies {
    /// The configured proxies. Blocks: users are looked up in the system's databases (NSS).
    ///
    /// # Errors
    /// If a user cannot be found. The error is not ignored, since the requests of the user's proxy would count as those
    /// of a local user.
    pub(crate) fn new(configured: &[TrustedProxy]) -> Result<Self, UnknownProxyUser> {
        let mut proxies = Self::default();
        for proxy in configured {
            match proxy {
                TrustedProxy::Network(network) => proxies.networks.push(*network),
                TrustedProxy::SocketUser(user) => {
                    let number = match user.parse() {
                        Ok(number) => Some(number),
                        Err(_) => User::from_name(user).ok().flatten().map(|found| found.uid.as_raw()),
                    };
                    proxies.users.push(number.ok_or_else(|| UnknownProxyUser(user.clone()))?);
                }
            }
        }
        Ok(proxies)
    }

    /// Proxies that are identified by their addresses only.
    pub(crate) fn from_networks(networks: &[Network]) -> Self {
        Self { networks: networks.to_vec(), users: Vec::new() }
    }

    /// Returns whether a proxy has this address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Returns whether this peer is a proxy.
    pub(crate) fn is_proxy(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.contains(address.ip()),
            Peer::Unix { uid, .. } => self.users.contains(&uid),
            Peer::Proxied(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_known_by_address_or_by_user() {
        let configured: Vec<TrustedProxy> =
            ["127.0.0.1", "10.0.0.0/8", "unix:nobody", "unix:4711"].map(|text| text.parse().unwrap()).into();
        let proxies = TrustedProxies::new(&configured).unwrap();
        let nobody = User::from_name("nobody").unwrap().unwrap().uid.as_raw();
        let tcp = |text: &str| Peer::tcp(text.parse().unwrap());
        let unix = |uid| Peer::Unix { uid, pid: Some(1) };
        for peer in [tcp("127.0.0.1:9"), tcp("[::ffff:127.0.0.1]:9"), tcp("10.9.9.9:1"), unix(nobody), unix(4711)] {
            assert!(proxies.is_proxy(peer), "{peer}");
        }
        for peer in [tcp("127.0.0.2:9"), tcp("[::1]:9"), tcp("11.0.0.1:1"), unix(0), unix(4712)] {
            assert!(!proxies.is_proxy(peer), "{peer}");
        }
        let network = TrustedProxies::from_networks(&["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(["10.9.9.9:1", "11.0.0.1:1"].map(|peer| network.is_proxy(tcp(peer))), [true, false]);
        let unknown = TrustedProxies::new(&["unix:no-such-user".parse().unwrap()]).unwrap_err();
        assert!(unknown.to_string().contains("\"no-such-user\", who does not exist on this system"), "{unknown}");
    }
}
