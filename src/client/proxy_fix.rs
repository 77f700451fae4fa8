//! The problems that a proxy may cause, and the settings of common proxies that fix them.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, header};

/// A proxy whose settings are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyKind {
    Nginx,
    Haproxy,
    Caddy,
    Traefik,
}

/// A problem between a client and the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathProblem {
    /// The first bytes of a stream do not arrive.
    Buffers,
    /// The first bytes of a stream arrive, and nothing more for this long.
    HoldsBack(Duration),
    /// Streams are compressed in this way.
    Compresses(String),
    /// A quiet stream is cut after this time.
    Cuts(Duration),
    /// The handshake of a WebSocket has another result than it should.
    NoWebSocket(String),
    /// The daemon sees another `Host` than the one that was sent.
    WrongHost,
    /// The proxy is trusted, and does not say who its clients are.
    NoForwardedFor,
    /// The proxy says who its clients are, and is not trusted.
    NotTrusted,
    /// The daemon takes the clients of the proxy for programs on its machine.
    ClientsAreLocal,
    /// The proxy passes on what clients claim in this header.
    ClaimsPass(&'static str),
    /// There is no stream to read.
    NothingToRead,
}

impl ProxyKind {
    const ALL: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Caddy, Self::Traefik];

    /// The proxy that names itself in the headers of a response.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut names = [header::SERVER, header::VIA].into_iter().flat_map(|name| headers.get_all(name));
        names.find_map(|value| Self::named(value.to_str().ok()?))
    }

    /// The proxy that a `Server` or `Via` header names.
    fn named(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        // OpenResty has the settings of nginx.
        let names = [("openresty", Self::Nginx)].into_iter().chain(Self::ALL.map(|kind| (kind.key(), kind)));
        names.into_iter().find(|(name, _)| text.contains(name)).map(|(_, kind)| kind)
    }

    fn key(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
        }
    }
}

impl PathProblem {
    /// The way to fix the problem, for this proxy or, if it is not known, for each.
    pub(super) fn fix(&self, proxy: Option<ProxyKind>) -> String {
        let settings = |kind: ProxyKind| self.setting(kind).map(|setting| format!("{}: {setting}", kind.name()));
        match self {
            Self::NotTrusted => "name the address of the proxy in `trusted_proxies` of rtlogd".to_owned(),
            Self::NothingToRead => "add a file or a push stream, or start a process, and check again".to_owned(),
            _ => match proxy {
                Some(kind) => settings(kind).unwrap_or_else(|| {
                    format!("{} does this only if its configuration says so, or if there is another proxy", kind.name())
                }),
                None => ProxyKind::ALL.into_iter().filter_map(settings).collect::<Vec<_>>().join("; "),
            },
        }
    }

    /// The settings of one proxy; `None` if its defaults do not cause the problem.
    fn setting(&self, proxy: ProxyKind) -> Option<&'static str> {
        use ProxyKind::{Caddy, Haproxy, Nginx, Traefik};
        Some(match (self, proxy) {
            (Self::Buffers | Self::HoldsBack(_), Nginx) => {
                "`proxy_buffering off;`, and `proxy_pass_header X-Accel-Buffering;` in each nginx that is behind another one"
            }
            (Self::Buffers | Self::HoldsBack(_), Caddy) => "`flush_interval -1` in `reverse_proxy`",
            (Self::Buffers | Self::HoldsBack(_), Traefik) => {
                "`responseForwarding: { flushInterval: -1ms }`, and no middleware `buffering`"
            }
            (Self::Compresses(_), Nginx) => "`gzip off;` in the location",
            (Self::Compresses(_), Haproxy) => "no `compression` in the frontend and the backend",
            (Self::Compresses(_), Caddy) => "no `encode` for this path",
            (Self::Compresses(_), Traefik) => {
                "`excludedContentTypes: [text/event-stream]` in the middleware `compress`"
            }
            (Self::Cuts(_), Nginx) => "`proxy_read_timeout 5m;` and `send_timeout 5m;`",
            (Self::Cuts(_), Haproxy) => "`timeout client 5m`, `timeout server 5m` and `timeout tunnel 5m`",
            (Self::Cuts(_), Caddy) => "a longer `read_timeout` of the transport, and no `write_timeout` of the server",
            (Self::Cuts(_), Traefik) => "`respondingTimeouts: { writeTimeout: 0 }` of the entry point",
            (Self::NoWebSocket(_), Nginx) => {
                "`proxy_http_version 1.1;`, `proxy_set_header Upgrade $http_upgrade;` and `proxy_set_header Connection \
                $connection_upgrade;`"
            }
            (Self::WrongHost, Nginx) => "`proxy_set_header Host $http_host;`",
            (Self::WrongHost, Haproxy) => "no `http-request set-header Host`",
            (Self::WrongHost, Caddy) => "no `header_up Host`",
            (Self::WrongHost, Traefik) => "`passHostHeader: true`",
            (Self::NoForwardedFor | Self::ClientsAreLocal, Nginx) => {
                "`proxy_set_header X-Forwarded-For $remote_addr;` and `proxy_set_header X-Forwarded-Proto $scheme;`"
            }
            (Self::NoForwardedFor | Self::ClientsAreLocal, Haproxy) => {
                "`http-request set-header X-Forwarded-For %[src]` and `http-request set-header X-Forwarded-Proto https`"
            }
            (Self::ClaimsPass(_), Nginx) => "`proxy_set_header X-Real-IP \"\";` and `proxy_set_header Forwarded \"\";`",
            (Self::ClaimsPass(_), Haproxy) => {
                "`http-request del-header X-Real-IP` and `http-request del-header Forwarded`"
            }
            (Self::ClaimsPass(_), Caddy) => "`header_up -X-Real-IP` and `header_up -Forwarded`",
            (Self::ClaimsPass(_), Traefik) => "`customRequestHeaders: { X-Real-Ip: \"\", Forwarded: \"\" }`",
            (Self::Buffers | Self::HoldsBack(_), Haproxy)
            | (Self::NoWebSocket(_), Haproxy | Caddy | Traefik)
            | (Self::NoForwardedFor | Self::ClientsAreLocal, Caddy | Traefik)
            | (Self::NotTrusted | Self::NothingToRead, _) => return None,
        })
    }
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffers => f.write_str("a proxy buffers responses: the first bytes of a stream do not arrive"),
            Self::HoldsBack(time) => write!(
                f,
                "nothing arrived on a stream for {} s: a proxy collects its data into blocks, or \
                `limits: keep_alive` is longer",
                time.as_secs()
            ),
            Self::Compresses(coding) => {
                write!(f, "a proxy compresses streams ({coding}), which may delay lines and uses its CPU")
            }
            Self::Cuts(time) => {
                write!(
                    f,
                    "a proxy cuts a quiet stream after {:.0} s, before rtlogd sends something",
                    time.as_secs_f64()
                )
            }
            Self::NoWebSocket(result) => {
                write!(
                    f,
                    "a proxy does not pass on WebSockets ({result}): the page has to work without its control channel"
                )
            }
            Self::WrongHost => {
                f.write_str("a proxy changes `Host`: rtlogd refuses logins and commands of its own page")
            }
            Self::NoForwardedFor => f.write_str("a proxy does not say who its clients are (X-Forwarded-For)"),
            Self::NotTrusted => f.write_str("rtlogd does not know this proxy, so all its clients need a token"),
            Self::ClientsAreLocal => f.write_str(
                "rtlogd mistakes the clients of a proxy for programs on its own machine, which need no token, \
                because the proxy does not say who they are (X-Forwarded-For)",
            ),
            Self::ClaimsPass(name) => {
                write!(f, "a proxy passes on what clients claim in the header {name}, so their address is not known")
            }
            Self::NothingToRead => f.write_str(
                "rtlogd has no stream that can be read without starting a process, so reading was not checked",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_headers() {
        let table = [
            ("nginx/1.22.1", Some(ProxyKind::Nginx)),
            ("openresty/1.21", Some(ProxyKind::Nginx)),
            ("Caddy", Some(ProxyKind::Caddy)),
            ("1.1 Caddy", Some(ProxyKind::Caddy)),
            ("1.1 haproxy", Some(ProxyKind::Haproxy)),
            ("Traefik", Some(ProxyKind::Traefik)),
            ("Apache/2.4", None),
            ("", None),
        ];
        for (header, kind) in table {
            assert_eq!(ProxyKind::named(header), kind, "{header}");
        }
    }

    #[test]
    fn each_problem_has_a_fix_for_each_proxy_and_for_an_unknown_one() {
        let problems = [
            PathProblem::Buffers,
            PathProblem::HoldsBack(Duration::from_secs(20)),
            PathProblem::Compresses("gzip".into()),
            PathProblem::Cuts(Duration::from_secs(3)),
            PathProblem::NoWebSocket("426".into()),
            PathProblem::WrongHost,
            PathProblem::NoForwardedFor,
            PathProblem::NotTrusted,
            PathProblem::ClientsAreLocal,
            PathProblem::ClaimsPass("x-real-ip"),
            PathProblem::NothingToRead,
        ];
        for problem in problems {
            for proxy in ProxyKind::ALL.map(Some).into_iter().chain([None]) {
                let fix = problem.fix(proxy);
                assert!(fix.len() > 10, "{problem:?} {proxy:?}: {fix}");
            }
            assert!(problem.to_string().len() > 20, "{problem:?}");
        }
        assert!(PathProblem::Buffers.fix(Some(ProxyKind::Nginx)).starts_with("nginx: `proxy_buffering off;`"));
        let all = PathProblem::Compresses("gzip".into()).fix(None);
        assert!(["nginx: ", "; HAProxy: ", "; Caddy: ", "; Traefik: "].iter().all(|name| all.contains(name)), "{all}");
    }
}
