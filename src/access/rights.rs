//! The table of rights: what each credential permits. A credential is being on this machine, being a certain user on
//! the Unix socket (the kernel tells which), or a token.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::Right;
use crate::event::StreamName;

use super::key_reloader::KeyringHandle;
use super::token::{BadToken, Token};

/// The sender of a request, as known from the connection: the peer itself, or the client behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A direct connection over TCP.
    Tcp(SocketAddr),
    /// A direct connection to the Unix socket: the user and, if known, the process (`SO_PEERCRED`).
    Unix { uid: u32, pid: Option<u32> },
    /// A client behind a proxy. It is never local, whatever address it claims.
    Proxied(ProxiedClient),
}

/// The client of a request that came through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxiedClient {
    /// The client that the trusted proxies name.
    Named(IpAddr),
    /// A client that no trusted proxy names; `proxy` is the address of the peer, `None` on the Unix socket.
    Unnamed { proxy: Option<IpAddr>, why: UnnamedReason },
}

/// The reason why the client behind a proxy is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnnamedReason {
    /// The proxy is trusted, but sends no header that names the client.
    NoHeader,
    /// The headers name different clients, or something that is not an address.
    Ambiguous,
    /// The request carries a header that only proxies write, and its sender is not a trusted proxy.
    UntrustedProxy,
}

/// The credential of a caller. Callers with equal credentials are treated as the same person: one may control what
/// another has opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Credential {
    /// Root or the daemon's own user, on the Unix socket.
    Owner,
    /// Another user who may open the Unix socket.
    User(u32),
    /// A direct connection from this machine.
    Loopback,
    /// Another machine, or the client behind a proxy.
    Network(IpAddr),
    /// A client that a proxy on the Unix socket does not name.
    Unnamed,
    /// A token: its issuer and its id.
    Token(Arc<str>, Arc<str>),
}

/// Callers who see the same streams and have the same rights on them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Audience {
    /// Callers without a token who may read public streams.
    Public,
    /// Callers with this credential; the second field is true if their token permits reading only.
    Credential(Credential, bool),
}

/// A token as it was presented.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PresentedToken<'a> {
    /// In a header (RFC 6750, section 2.1).
    Bearer(&'a str),
    /// In a cookie. Browsers send cookies without being asked, so one that is not valid is ignored.
    Cookie(&'a str),
    /// In a URL (RFC 6750, section 2.3); it permits reading only.
    Url(&'a str),
}

/// The sender of a request and its credential.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    credential: Credential,
    token: Option<Arc<Token>>,
    /// True if the token came in a cookie, so that a page may have sent it without the user's knowledge.
    pub(crate) from_cookie: bool,
    read_only: bool,
}

/// The access control of the daemon: decides which caller has which rights.
#[derive(Debug, Clone)]
pub(crate) struct AccessControl {
    /// The user that the daemon runs as.
    own_uid: u32,
    /// True if other machines may read without a token.
    is_insecure: bool,
    keys: KeyringHandle,
}

/// The stream that access is requested to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessTarget<'a> {
    pub(crate) name: &'a StreamName,
    pub(crate) visibility: Visibility,
}

/// Who may read a stream without a token, in addition to root and the daemon's own user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// Nobody.
    Private,
    /// Callers on this machine, and others if the configuration says so for all streams.
    Local,
    /// Every caller.
    Public,
}

/// The reasons why a request is not permitted, and what would permit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessDenied {
    /// Access requires a token. Behind a proxy, the message explains why the caller is not known.
    #[error("{}this needs a token: send it as `Authorization: Bearer TOKEN` (`rtlogd token` makes one)", unnamed_reason_text(*.0))]
    TokenNeeded(Peer),
    /// The caller lacks this right.
    #[error(
        "{deed} needs a token with that right, or a connection by root or the daemon's own user to the Unix socket; the sender of \
        this request ({credential}) does not have that right",
        deed = right_text(*right)
    )]
    Right { right: Right, credential: Credential },
    /// The token was sent in the URL, where it does not permit this.
    #[error(
        "{deed} needs a token with that right in a header or a cookie: in a URL, a token permits reading only (send it as \
        `Authorization: Bearer TOKEN`)",
        deed = right_text(*.0)
    )]
    TokenInUrl(Right),
    /// The caller has no right on this stream; the answer is the same as for a stream that does not exist.
    #[error("no stream is named {0:?}")]
    NoSuchStream(String),
}

impl Peer {
    /// A peer over TCP. An IPv4-mapped IPv6 address becomes the IPv4 address.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl AccessControl {
    /// An access control for a daemon that runs as the user `own_uid`; if `is_insecure` is true, other machines may read
    /// without a token.
    pub(crate) fn new(own_uid: u32, is_insecure: bool, keys: KeyringHandle) -> Self {
        Self { own_uid, is_insecure, keys }
    }

    /// The keyring handle, through which other keys and issuers can be set.
    pub(crate) fn keys(&self) -> &KeyringHandle {
        &self.keys
    }

    /// Identifies the caller as [`identify_now`](Self::identify_now) does, but for a token with an unknown key the key
    /// files are checked first, so that a new key works at once. This does not apply to cookies: their token was
    /// verified when the cookie was set.
    pub(crate) async fn identify(&self, peer: Peer, shown: Option<PresentedToken<'_>>) -> Result<Caller, BadToken> {
        match self.identify_now(peer, shown) {
            Err(BadToken::UnknownKey | BadToken::UnknownIssuer) => {
                self.keys.poll_files().await;
                self.identify_now(peer, shown)
            }
            known => known,
        }
    }

    /// Identifies the sender of a request by its connection and its token. If there is a token, only the token matters.
    pub(crate) fn identify_now(&self, peer: Peer, shown: Option<PresentedToken<'_>>) -> Result<Caller, BadToken> {
        let nobody = Caller {
            peer,
            credential: self.credential_without_token(peer),
            token: None,
            from_cookie: false,
            read_only: false,
        };
        let prove = |text| self.keys.keyring().verify(text, SystemTime::now());
        let (token, by_cookie, only_reads) = match shown {
            None => return Ok(nobody),
            Some(PresentedToken::Bearer(text)) => (prove(text)?, false, false),
            Some(PresentedToken::Cookie(text)) => match prove(text) {
                Ok(token) => (token, true, false),
                Err(_) => return Ok(nobody),
            },
            Some(PresentedToken::Url(text)) => {
                let token = prove(text)?;
                if !token.is_allowed_in_url() {
                    return Err(BadToken::LongInUrl);
                }
                (token, false, true)
            }
        };
        let credential = Credential::Token(token.issuer.clone(), token.id.clone());
        Ok(Caller { credential, token: Some(Arc::new(token)), from_cookie: by_cookie, read_only: only_reads, ..nobody })
    }

    fn credential_without_token(&self, peer: Peer) -> Credential {
        match peer {
            Peer::Unix { uid, .. } if uid == 0 || uid == self.own_uid => Credential::Owner,
            Peer::Unix { uid, .. } => Credential::User(uid),
            Peer::Tcp(address) if address.ip().is_loopback() => Credential::Loopback,
            Peer::Tcp(address) => Credential::Network(address.ip()),
            Peer::Proxied(ProxiedClient::Named(client)) => Credential::Network(client),
            Peer::Proxied(ProxiedClient::Unnamed { proxy: Some(proxy), .. }) => Credential::Network(proxy),
            Peer::Proxied(ProxiedClient::Unnamed { proxy: None, .. }) => Credential::Unnamed,
        }
    }

    /// Checks that `caller` has this right on at least one stream.
    pub(crate) fn check_any_stream(&self, caller: &Caller, right: Right) -> Result<(), AccessDenied> {
        if self.allows(caller, right, None) { Ok(()) } else { Err(self.denial(caller, right)) }
    }

    /// Checks that `caller` has this right on the stream. A caller without any right on it does not learn that it
    /// exists.
    pub(crate) fn check(&self, caller: &Caller, right: Right, stream: AccessTarget<'_>) -> Result<(), AccessDenied> {
        if self.allows(caller, right, Some(stream)) {
            return Ok(());
        }
        if Right::ALL.into_iter().any(|right| self.allows(caller, right, Some(stream))) {
            return Err(self.denial(caller, right));
        }
        // The order of the checks is that of `check_any_stream`, which is used if no stream has this name.
        self.check_any_stream(caller, right)?;
        Err(AccessDenied::NoSuchStream(stream.name.to_string()))
    }

    fn denial(&self, caller: &Caller, right: Right) -> AccessDenied {
        if caller.read_only && right != Right::Read {
            return AccessDenied::TokenInUrl(right);
        }
        match caller.credential {
            Credential::Network(_) | Credential::Unnamed if !self.is_insecure => AccessDenied::TokenNeeded(caller.peer),
            Credential::Owner
            | Credential::User(_)
            | Credential::Loopback
            | Credential::Network(_)
            | Credential::Unnamed
            | Credential::Token(..) => AccessDenied::Right { right, credential: caller.credential.clone() },
        }
    }

    fn allows(&self, caller: &Caller, right: Right, stream: Option<AccessTarget<'_>>) -> bool {
        let visibility = stream.map_or(Visibility::Local, |stream| stream.visibility);
        if right == Right::Read && visibility == Visibility::Public {
            return true;
        }
        let is_open = visibility != Visibility::Private;
        match (&caller.credential, &caller.token) {
            (_, Some(token)) => {
                let name = stream.map(|stream| stream.name.as_str());
                token.allows(right, name) && (right == Right::Read || !caller.read_only)
            }
            (Credential::Owner, None) => true,
            (Credential::User(_) | Credential::Loopback, None) => right == Right::Read && is_open,
            (Credential::Network(_) | Credential::Unnamed, None) => right == Right::Read && is_open && self.is_insecure,
            // A token credential without the token itself gives no rights.
            (Credential::Token(..), None) => false,
        }
    }

    /// Waits until the caller's credential is no longer valid, and returns the reason; `None` if it is valid for ever.
    pub(crate) fn until_invalid(
        &self,
        caller: &Caller,
    ) -> Option<impl Future<Output = BadToken> + Send + Sync + 'static> {
        let token = caller.token.clone()?;
        Some(self.keys.clone().until_invalid(token))
    }
}

impl Credential {
    /// Returns true for root and the daemon's own user. Quotas do not apply to them, since they can only harm
    /// themselves.
    pub(crate) fn is_owner(&self) -> bool {
        *self == Self::Owner
    }

    /// Returns true if the only credential is being on this machine, which many people may share.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Owner | Self::User(_) | Self::Loopback)
    }
}

impl Caller {
    /// The caller's credential.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The audience that the caller belongs to.
    pub(crate) fn audience(&self) -> Audience {
        match &self.credential {
            Credential::User(_) | Credential::Loopback | Credential::Network(_) | Credential::Unnamed => {
                Audience::Public
            }
            Credential::Owner | Credential::Token(..) => Audience::Credential(self.credential.clone(), self.read_only),
        }
    }

    /// The caller's token.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Self::Unix { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Proxied(ProxiedClient::Named(client)) => client.fmt(f),
            Self::Proxied(ProxiedClient::Unnamed { proxy: Some(proxy), .. }) => write!(f, "unknown, by {proxy}"),
            Self::Proxied(ProxiedClient::Unnamed { proxy: None, .. }) => f.write_str("unknown, by the Unix socket"),
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("the owner"),
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Loopback => f.write_str("TCP from this machine"),
            Self::Network(_) => f.write_str("TCP from another machine"),
            Self::Unnamed => f.write_str("a proxy on the Unix socket"),
            Self::Token(_, id) => write!(f, "the token {id:?}"),
        }
    }
}

/// The caller as the log shows it: the peer, and the token with its subject.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{}, {}", self.peer, token.display_name()),
            None => self.peer.fmt(f),
        }
    }
}

/// The reason why a client behind a proxy is not known, ending with a colon; empty for other peers.
fn unnamed_reason_text(peer: Peer) -> &'static str {
    let Peer::Proxied(ProxiedClient::Unnamed { why, .. }) = peer else { return "" };
    match why {
        UnnamedReason::NoHeader => {
            "the request comes from a proxy in `trusted_proxies` that does not name its client (let it send \
            X-Forwarded-For; programs on this machine must use the Unix socket or a token): "
        }
        UnnamedReason::Ambiguous => {
            "the headers of the request (Forwarded, X-Forwarded-For, X-Real-IP) do not agree on the client (let the proxy \
            remove those that it does not set): "
        }
        UnnamedReason::UntrustedProxy => {
            "the request came through a proxy, and the address or user that sent it is not in `trusted_proxies`: "
        }
    }
}

/// A right, as a phrase for error messages.
fn right_text(right: Right) -> &'static str {
    match right {
        Right::Read => "reading",
        Right::Input => "typing into a process or sending lines",
        Right::Admin => "starting, stopping or signalling a process",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::keyring::Keyring;
    use crate::access::{KeyKind, SigningKeys};
    use crate::config::Grant;
    use std::time::Duration;

    /// An access control whose keys are not reloaded from files.
    fn access(open: bool) -> (AccessControl, Arc<Keyring>) {
        let ring = Arc::new(Keyring::with_keys(SigningKeys::ephemeral(KeyKind::Ed25519).unwrap()));
        (AccessControl::new(990, open, KeyringHandle::fixed(ring.clone())), ring)
    }

    fn tcp(text: &str) -> Peer {
        Peer::tcp(text.parse().unwrap())
    }

    fn refuse(access: &AccessControl, shown: PresentedToken<'_>) -> BadToken {
        access.identify_now(tcp("127.0.0.1:9"), Some(shown)).unwrap_err()
    }

    /// The rights on a stream without `public` or `private`, and on a private one. Everybody may read a public one.
    fn rights_of(access: &AccessControl, caller: &Caller, name: &str) -> [[bool; 3]; 2] {
        let name = name.parse().unwrap();
        let rights = |visibility| {
            Right::ALL.map(|right| access.check(caller, right, AccessTarget { name: &name, visibility }).is_ok())
        };
        let (local, public) = (rights(Visibility::Local), rights(Visibility::Public));
        assert_eq!(public, [true, local[1], local[2]], "{caller}");
        [local, rights(Visibility::Private)]
    }

    #[test]
    fn what_each_may_do_that_shows_no_token() {
        let unix = |uid| Peer::Unix { uid, pid: Some(1) };
        let (all, read, none) = ([true; 3], [true, false, false], [false; 3]);
        let network = |address: [u8; 4]| Credential::Network(address.into());
        let named = |address: [u8; 4]| Peer::Proxied(ProxiedClient::Named(address.into()));
        let unnamed = |proxy: Option<[u8; 4]>| {
            Peer::Proxied(ProxiedClient::Unnamed { proxy: proxy.map(IpAddr::from), why: UnnamedReason::NoHeader })
        };
        let table = [
            (unix(990), Credential::Owner, false, [all, all]),
            (unix(0), Credential::Owner, false, [all, all]),
            (unix(1000), Credential::User(1000), false, [read, none]),
            (tcp("127.0.0.1:9"), Credential::Loopback, false, [read, none]),
            (tcp("[::1]:9"), Credential::Loopback, false, [read, none]),
            (tcp("[::ffff:127.0.0.1]:9"), Credential::Loopback, false, [read, none]),
            (tcp("10.0.0.1:9"), network([10, 0, 0, 1]), false, [none, none]),
            (tcp("10.0.0.1:9"), network([10, 0, 0, 1]), true, [read, none]),
            // A client behind a proxy is never local, whatever address it claims.
            (named([127, 0, 0, 1]), network([127, 0, 0, 1]), false, [none, none]),
            (named([203, 0, 113, 9]), network([203, 0, 113, 9]), true, [read, none]),
            (unnamed(Some([127, 0, 0, 1])), network([127, 0, 0, 1]), false, [none, none]),
            (unnamed(None), Credential::Unnamed, false, [none, none]),
            (unnamed(None), Credential::Unnamed, true, [read, none]),
        ];
        for (peer, credential, open, allowed) in table {
            let (access, _ring) = access(open);
            let caller = access.identify_now(peer, None).unwrap();
            assert_eq!(caller.credential(), &credential);
            assert_eq!(rights_of(&access, &caller, "build"), allowed, "{peer}");
            assert_eq!(access.check_any_stream(&caller, Right::Read).is_ok(), allowed[0][0], "{peer}");
        }
        let (access, _ring) = access(false);
        let denied =
            access.check_any_stream(&access.identify_now(tcp("127.0.0.1:9"), None).unwrap(), Right::Input).unwrap_err();
        assert!(denied.to_string().contains("TCP from this machine"), "{denied}");
        assert!(denied.to_string().contains("sending lines"), "{denied}");
        let denied =
            access.check_any_stream(&access.identify_now(tcp("10.0.0.1:9"), None).unwrap(), Right::Read).unwrap_err();
        assert_eq!(denied, AccessDenied::TokenNeeded(tcp("10.0.0.1:9")));
        assert!(denied.to_string().starts_with("this needs a token"), "{denied}");
        let denied =
            access.check_any_stream(&access.identify_now(unnamed(None), None).unwrap(), Right::Read).unwrap_err();
        assert!(denied.to_string().contains("does not name its client"), "{denied}");
        // Where reading needs no token, a token would not be what is missing.
        let (access, _ring) = super::tests::access(true);
        let caller = access.identify_now(tcp("10.0.0.1:9"), None).unwrap();
        let denied = access.check_any_stream(&caller, Right::Admin).unwrap_err();
        let credential = network([10, 0, 0, 1]);
        assert_eq!(denied, AccessDenied::Right { right: Right::Admin, credential });
    }

    #[test]
    fn only_a_caller_of_this_machine_is_local_and_only_root_and_the_daemon_own_it() {
        let table = [
            (Credential::Owner, true, true),
            (Credential::User(1000), false, true),
            (Credential::Loopback, false, true),
            (Credential::Network([10, 0, 0, 1].into()), false, false),
            (Credential::Unnamed, false, false),
            (Credential::Token("rtlogd".into(), "one".into()), false, false),
        ];
        for (credential, owner, local) in table {
            assert_eq!((credential.is_owner(), credential.is_local()), (owner, local), "{credential:?}");
        }
    }

    #[test]
    fn a_token_gives_what_it_says_and_nothing_else() {
        let (access, ring) = access(true);
        let sign = |streams: &[&str], allow: &[Right], seconds| {
            let streams = streams.iter().map(|text| text.parse().unwrap()).collect();
            let grant = Grant { streams, allow: allow.to_vec() };
            ring.sign(&grant, Duration::from_secs(seconds)).token
        };
        let (none, peer) = ([false; 3], tcp("127.0.0.1:9"));
        let read = sign(&["build-*"], &[Right::Read], 3600);
        let caller = access.identify_now(peer, Some(PresentedToken::Bearer(&read))).unwrap();
        assert_eq!(rights_of(&access, &caller, "build-1"), [[true, false, false]; 2]);
        // Without the token, the stream could be read.
        assert_eq!(rights_of(&access, &caller, "web"), [none; 2]);
        let name = "web".parse().unwrap();
        let hidden = access.check(&caller, Right::Read, AccessTarget { name: &name, visibility: Visibility::Local });
        assert_eq!(hidden, Err(AccessDenied::NoSuchStream("web".into())));
        let all = sign(&["*"], &Right::ALL, 3600);
        for (shown, allowed) in [
            (PresentedToken::Bearer(&all), [true; 3]),
            (PresentedToken::Cookie(&all), [true; 3]),
            (PresentedToken::Url(&all), [true, false, false]),
        ] {
            let caller = access.identify_now(peer, Some(shown)).unwrap();
            assert_eq!(rights_of(&access, &caller, "web"), [allowed; 2], "{shown:?}");
            let denied = access.check_any_stream(&caller, Right::Admin).err();
            assert_eq!(denied, (!allowed[2]).then_some(AccessDenied::TokenInUrl(Right::Admin)), "{shown:?}");
            assert_eq!(caller.from_cookie, matches!(shown, PresentedToken::Cookie(_)), "{shown:?}");
            let token = caller.token().unwrap();
            assert_eq!(caller.credential(), &Credential::Token(token.issuer.clone(), token.id.clone()), "{shown:?}");
        }
        // The token gives the same rights to callers from elsewhere and to the owner.
        let caller =
            access.identify_now(Peer::Unix { uid: 0, pid: None }, Some(PresentedToken::Bearer(&read))).unwrap();
        assert_eq!(rights_of(&access, &caller, "web"), [none; 2]);
        let input =
            access.identify_now(peer, Some(PresentedToken::Bearer(&sign(&["web"], &[Right::Input], 60)))).unwrap();
        assert_eq!(rights_of(&access, &input, "web"), [[false, true, false]; 2]);
    }

    #[test]
    fn what_does_not_count_is_refused_and_says_why() {
        let (access, ring) = access(true);
        let peer = tcp("127.0.0.1:9");
        let sign = |seconds| {
            let grant = Grant { streams: vec!["*".parse().unwrap()], allow: vec![Right::Read] };
            ring.sign(&grant, Duration::from_secs(seconds)).token
        };
        let good = sign(3600);
        let (body, signature) = good.rsplit_once('.').unwrap();
        let (head, _) = body.split_once('.').unwrap();
        let forged = format!("{body}.{}", signature.chars().rev().collect::<String>());
        assert_eq!(refuse(&access, PresentedToken::Bearer(&forged)), BadToken::UnknownKey);
        assert_eq!(refuse(&access, PresentedToken::Bearer("x")), BadToken::Malformed);
        assert_eq!(refuse(&access, PresentedToken::Bearer(&"x".repeat(10_000))), BadToken::Malformed);
        assert_eq!(refuse(&access, PresentedToken::Bearer(&sign(0))), BadToken::Expired);
        assert_eq!(refuse(&access, PresentedToken::Url(&sign(3600 * 24))), BadToken::LongInUrl);
        let (other, _ring) = super::tests::access(true);
        assert_eq!(other.identify_now(peer, Some(PresentedToken::Bearer(&good))).unwrap_err(), BadToken::UnknownKey);
        // The tokens are unsigned, and signed with the public key as if it were a secret (RFC 8725, section 3.1).
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", body.split_once('.').unwrap().1);
        assert_eq!(refuse(&access, PresentedToken::Bearer(&unsigned)), BadToken::Malformed);
        let as_secret = format!("eyJhbGciOiJIUzI1NiJ9.{}.{signature}", body.split_once('.').unwrap().1);
        assert_eq!(refuse(&access, PresentedToken::Bearer(&as_secret)), BadToken::UnknownKey);
        assert!(!head.is_empty());
        // A cookie that is not valid is ignored, since the browser cannot take it back.
        let caller = access.identify_now(peer, Some(PresentedToken::Cookie(&forged))).unwrap();
        assert_eq!(caller.credential(), &Credential::Loopback);
    }
}
