//! Addresses to listen on, trusted proxies, and origins of web pages. Nothing here resolves names or opens sockets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path of a Unix socket, in bytes: `sun_path` holds 108 on Linux, including the zero at the end (unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;

/// An address to listen on: `127.0.0.1:7070`, `[::1]:7070`, `localhost:7070` or `unix:/run/rtlogd/rtlogd.sock`.
///
/// `localhost` is 127.0.0.1. Displayed as it is parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A text that is not a [`ListenAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadListenAddress {
    /// A port alone.
    #[error("{0:?} has no address (use 127.0.0.1:{1} for this machine only, or 0.0.0.0:{1} for all networks)")]
    NoAddress(String, u16),
    /// An address alone.
    #[error("{0:?} has no port (such as {1})")]
    NoPort(String, SocketAddr),
    /// A URL, a name, or anything else.
    #[error(
        "not an address to listen on: {0:?} (such as 127.0.0.1:7070, [::1]:7070 or unix:/run/rtlogd/rtlogd.sock; names are not looked up)"
    )]
    Other(String),
    /// A path for a Unix socket that the system cannot use.
    #[error("the path of a Unix socket must have 1 to {MAX_SOCKET_PATH} bytes: {0:?}")]
    Path(PathBuf),
}

/// The port in examples of error messages.
const EXAMPLE_PORT: u16 = 7070;

impl ListenAddress {
    /// Returns whether only this machine can connect: a Unix socket or a loopback address.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = BadListenAddress;
    fn from_str(text: &str) -> Result<Self, BadListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = (1..=MAX_SOCKET_PATH).contains(&path.len()) && !path.contains('\0');
            return if fits { Ok(Self::Unix(path.into())) } else { Err(BadListenAddress::Path(path.into())) };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        let written = || text.chars().take(100).collect();
        if let Some(port) = port(text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text)) {
            return Err(BadListenAddress::NoAddress(written(), port));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address = if bare == "localhost" { Ok(Ipv4Addr::LOCALHOST.into()) } else { bare.parse::<IpAddr>() };
        Err(match address {
            Ok(address) => BadListenAddress::NoPort(written(), (address, EXAMPLE_PORT).into()),
            Err(_) => BadListenAddress::Other(written()),
        })
    }
}

/// Parses digits as a port, without a sign, which `u16::from_str` accepts.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A network, `10.0.0.0/8`, or one address, `127.0.0.1`.
///
/// An IPv4 address that is mapped into IPv6 (`::ffff:127.0.0.1`) is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is not a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetworkAddress {
    /// Neither an address nor a network.
    #[error("not an IP address or network: {0:?} (such as 127.0.0.1, 10.0.0.0/8 or fd00::/8)")]
    Form(String),
    /// The address has more bits than the prefix covers.
    #[error("{0} has host bits set (write {1} for the network or {2} for the machine)")]
    HostBitsSet(String, Network, IpAddr),
}

impl Network {
    /// Returns whether the network contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.address)
    }
}

/// The first `prefix` bits of `address`, then zeros; `None` if the address has fewer bits.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let rest = 32u32.checked_sub(prefix)?;
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Some(IpAddr::V4((address.to_bits() & mask).into()))
        }
        IpAddr::V6(address) => {
            let rest = 128u32.checked_sub(prefix)?;
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Some(IpAddr::V6((address.to_bits() & mask).into()))
        }
    }
}

impl FromStr for Network {
    type Err = BadNetworkAddress;
    fn from_str(text: &str) -> Result<Self, BadNetworkAddress> {
        let bad = || BadNetworkAddress::Form(text.chars().take(100).collect());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let Some(prefix) = prefix else {
            let address = address.to_canonical();
            return Ok(Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } });
        };
        let plain = !prefix.is_empty() && prefix.bytes().all(|c| c.is_ascii_digit());
        let prefix = if plain { prefix.parse().map_err(|_| bad())? } else { return Err(bad()) };
        let network = Self { address: masked(address, prefix).ok_or_else(bad)?, prefix };
        if network.address == address {
            Ok(network)
        } else {
            Err(BadNetworkAddress::HostBitsSet(text.into(), network, address))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A proxy that is trusted to name its client: a network, or a user on the Unix socket (`unix:www-data`).
///
/// Displayed as it is parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TrustedProxy {
    /// Proxies that connect over TCP from an address in this network.
    Network(Network),
    /// Proxies that connect to the Unix socket as this user, given by name or number.
    SocketUser(String),
}

/// A text that is not a [`TrustedProxy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrustedProxy {
    /// Not an address or a network.
    #[error(transparent)]
    Network(#[from] BadNetworkAddress),
    /// A network so wide that it trusts clients, not proxies.
    #[error(
        "{0} is not a network of proxies: every client in it could claim to be any other; name the addresses of your proxies \
        (such as 10.0.0.5, or 10.0.0.0/8 at most)"
    )]
    TooWide(Network),
    /// Not a user after `unix:`.
    #[error("not a user on the Unix socket: {0:?} (such as unix:www-data or unix:33)")]
    User(String),
}

/// The widest networks that may be trusted: as wide as the largest private ones, `10.0.0.0/8` and `fc00::/7`.
const WIDEST_IPV4_PREFIX: u8 = 8;
const WIDEST_IPV6_PREFIX: u8 = 7;

impl FromStr for TrustedProxy {
    type Err = BadTrustedProxy;
    fn from_str(text: &str) -> Result<Self, BadTrustedProxy> {
        if let Some(user) = text.strip_prefix("unix:") {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "._-@$".contains(c);
            let is_user = !user.is_empty() && user.len() <= 256 && user.chars().all(is_name) && !user.starts_with('-');
            return if is_user { Ok(Self::SocketUser(user.into())) } else { Err(BadTrustedProxy::User(user.into())) };
        }
        let network: Network = text.parse()?;
        let widest = if network.address.is_ipv4() { WIDEST_IPV4_PREFIX } else { WIDEST_IPV6_PREFIX };
        if network.prefix < widest { Err(BadTrustedProxy::TooWide(network)) } else { Ok(Self::Network(network)) }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::SocketUser(user) => write!(f, "unix:{user}"),
        }
    }
}

/// The origin of a web page as a browser writes it (RFC 6454, section 6.1): `https://dash.example.com`.
///
/// The text is in lower case, and without the port if it is the default port of the scheme.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebOrigin(String);

/// A text that is not a [`WebOrigin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the origin of a web page: {0:?} (scheme, host and port, and nothing after them, such as https://dash.example.com)"
)]
pub struct BadWebOrigin(String);

impl WebOrigin {
    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host and port, as in the `Host` header.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl FromStr for WebOrigin {
    type Err = BadWebOrigin;
    fn from_str(text: &str) -> Result<Self, BadWebOrigin> {
        let lower = text.to_ascii_lowercase();
        let bad = || BadWebOrigin(text.chars().take(100).collect());
        let (scheme, authority) = lower.split_once("://").ok_or_else(bad)?;
        let own = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(bad()),
        };
        let (host, digits) = match authority.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => (host, Some(digits)),
            _ => (authority, None),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let named =
            |host: &str| !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c));
        let is_host = bracketed.map_or_else(|| named(host), |host| host.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_host || digits.is_some_and(|digits| digits.is_empty() || port(digits).is_none()) {
            return Err(bad());
        }
        Ok(Self(format!("{scheme}://{}", authority.strip_suffix(own).unwrap_or(authority))))
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_to_listen() {
        let good = [
            ("127.0.0.1:7070", "127.0.0.1:7070", true),
            ("[::1]:7070", "[::1]:7070", true),
            ("localhost:0", "127.0.0.1:0", true),
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("[::]:80", "[::]:80", false),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", true),
            ("unix:/run/a b.sock", "unix:/run/a b.sock", true),
        ];
        for (text, shown, local) in good {
            let listen = text.parse::<ListenAddress>().unwrap();
            assert_eq!((listen.to_string().as_str(), listen.is_local()), (shown, local), "{text}");
        }
        let other = |text: &str| BadListenAddress::Other(text.into());
        let bad = [
            (":7070", BadListenAddress::NoAddress(":7070".into(), 7070)),
            ("*:80", BadListenAddress::NoAddress("*:80".into(), 80)),
            ("7070", BadListenAddress::NoAddress("7070".into(), 7070)),
            ("127.0.0.1", BadListenAddress::NoPort("127.0.0.1".into(), "127.0.0.1:7070".parse().unwrap())),
            ("::1", BadListenAddress::NoPort("::1".into(), "[::1]:7070".parse().unwrap())),
            ("http://127.0.0.1:80", other("http://127.0.0.1:80")),
            ("ci.example.com:80", other("ci.example.com:80")),
            ("127.0.0.1:+80", other("127.0.0.1:+80")),
            ("localhost:65536", other("localhost:65536")),
            ("", other("")),
            ("unix:", BadListenAddress::Path("".into())),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<ListenAddress>(), Err(error), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH)).parse::<ListenAddress>().is_err());
        let message = ":7070".parse::<ListenAddress>().unwrap_err().to_string();
        assert_eq!(
            message,
            r#"":7070" has no address (use 127.0.0.1:7070 for this machine only, or 0.0.0.0:7070 for all networks)"#
        );
    }

    #[test]
    fn networks() {
        let table = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("fd00::/8", "fd12::1", true),
            ("::1", "::1", true),
        ];
        for (network, address, is_in) in table {
            let network = network.parse::<Network>().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), is_in, "{network} {address}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10/8", "ci.example.com", "::/129", "10.0.0.0/8/8"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetworkAddress::Form(bad.into())));
        }
        let message = "10.0.0.1/8".parse::<Network>().unwrap_err().to_string();
        assert_eq!(
            message,
            "10.0.0.1/8 has host bits set (write 10.0.0.0/8 for the network or 10.0.0.1 for the machine)"
        );
    }

    #[test]
    fn trusted_proxies() {
        for good in ["127.0.0.1", "10.0.0.0/8", "fc00::/7", "::1", "unix:www-data", "unix:33", "unix:svc.proxy_1"] {
            let proxy = good.parse::<TrustedProxy>().unwrap();
            let shown = proxy.to_string();
            assert!(shown.starts_with(good), "{good}: {shown}");
            assert_eq!(shown.parse::<TrustedProxy>(), Ok(proxy));
        }
        for wide in ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/7", "::/6", "2000::/3"] {
            assert_eq!(wide.parse::<TrustedProxy>(), Err(BadTrustedProxy::TooWide(wide.parse().unwrap())), "{wide}");
        }
        for user in ["", "a b", "-x", "/run/x.sock", "a\u{e9}", "a\n"] {
            let text = format!("unix:{user}");
            assert_eq!(text.parse::<TrustedProxy>(), Err(BadTrustedProxy::User(user.into())), "{text:?}");
        }
        for bad in ["", "www-data", "10.0.0.1/8", "10/8", "localhost"] {
            assert!(matches!(bad.parse::<TrustedProxy>(), Err(BadTrustedProxy::Network(_))), "{bad:?}");
        }
    }

    #[test]
    fn origins() {
        let good = [
            ("https://dash.example.com", "https://dash.example.com"),
            ("HTTPS://Dash.Example.com:443", "https://dash.example.com"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[::1]", "http://[::1]"),
        ];
        for (text, shown) in good {
            let origin = text.parse::<WebOrigin>().unwrap();
            assert_eq!(origin.as_str(), shown);
            assert_eq!(origin.as_str().parse(), Ok(origin));
        }
        for bad in [
            "",
            "null",
            "*",
            "dash.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a:",
            "https://a:b",
            "ftp://a",
            "https://a b",
            "https://u@a",
            "https://*.a",
            "https://[::1",
            "https://[x]",
            "https://a:443:443",
            "https://a,b",
        ] {
            assert!(bad.parse::<WebOrigin>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(address: IpAddr, port: u16, prefix in 0u8..=128) {
            let listen = ListenAddress::Tcp((address, port).into());
            prop_assert_eq!(listen.to_string().parse(), Ok(listen));
            if let Some(address) = masked(address, prefix) {
                let network = Network { address, prefix };
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9a-f:.\\[\\]/*]{0,20}") {
            if let Ok(listen) = text.parse::<ListenAddress>() {
                prop_assert_eq!(listen.to_string().parse(), Ok(listen));
            }
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
