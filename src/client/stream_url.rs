//! A stream that is named by its URL, as curl and browsers take it.

use crate::event::percent_decode;

use super::connect::{BadUrl, RemoteDaemon};

/// A stream of a daemon, and what its URL asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamUrl {
    pub(super) daemon: RemoteDaemon,
    pub(super) name: String,
    /// The parameters of the URL other than the name of the stream, decoded.
    pub(super) parameters: Vec<(String, String)>,
}

/// The reason why a URL names no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStreamUrl {
    #[error("not the URL of a stream: {0:?} (such as http://127.0.0.1:7070/streams/build)")]
    NoStream(String),
    #[error(transparent)]
    NoDaemon(#[from] BadUrl),
}

impl StreamUrl {
    /// The stream at a URL: that of the stream, or of anything below it, or of the page that shows it. `None` for a text
    /// that is no URL, and so the name of a stream.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, BadStreamUrl> {
        if !text.contains("://") && !text.contains("/streams/") {
            return Ok(None);
        }
        let bad = || BadStreamUrl::NoStream(text.chars().take(100).collect());
        let (text, _) = text.split_once('#').unwrap_or((text, ""));
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let decode = |text: &str| String::from_utf8_lossy(&percent_decode(&text.replace('+', " "))).into_owned();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut parameters: Vec<(String, String)> = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        let (base, name) = if let Some((base, path)) = address.rsplit_once("/streams/") {
            let name = path.split('/').next().unwrap_or_default();
            (base, String::from_utf8_lossy(&percent_decode(name)).into_owned())
        } else {
            let shown = parameters.iter().position(|(name, _)| name == "stream").ok_or_else(bad)?;
            (address, parameters.remove(shown).1)
        };
        if name.is_empty() {
            return Err(bad());
        }
        Ok(Some(Self { daemon: base.parse()?, name, parameters }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_by_its_url() {
        for (url, daemon, name, parameters) in [
            ("http://ci:7070/streams/build", "http://ci:7070", "build", &[][..]),
            ("https://ci/logs/streams/build/", "https://ci/logs", "build", &[]),
            ("http://ci:7070/streams/build/state", "http://ci:7070", "build", &[]),
            ("ci:7070/streams/build", "http://ci:7070", "build", &[]),
            ("http://ci/streams/a%20b", "http://ci", "a b", &[]),
            (
                "http://ci/streams/a?tail=5&grep=a+b%2B&x",
                "http://ci",
                "a",
                &[("tail", "5"), ("grep", "a b+"), ("x", "")],
            ),
            ("http://ci/streams/a?#7", "http://ci", "a", &[]),
            ("http://ci/logs/?stream=a&level=error#mwt8m4l3-64", "http://ci/logs", "a", &[("level", "error")]),
        ] {
            let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let expected = StreamUrl { daemon: daemon.parse().unwrap(), name: name.to_owned(), parameters };
            assert_eq!(StreamUrl::parse(url), Ok(Some(expected)), "{url}");
        }
        for name in ["build", "streams", "a.b", "streams/a", "a b", ""] {
            assert_eq!(StreamUrl::parse(name), Ok(None), "{name}");
        }
        for bad in
            ["http://ci:7070", "http://ci/streams", "http://ci/streams/", "ftp://ci/streams/a", "http:///streams/a"]
        {
            assert!(StreamUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
