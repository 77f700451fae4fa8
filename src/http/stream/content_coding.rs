//! The content coding of a streamed body (RFC 9110, section 8.4): the frames of a stream as they are, or in gzip.

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, header};

use crate::config::Limits;
use crate::stream::{EncodedFrames, Log};
use crate::wire::accepts_gzip;
use crate::wire::gzip::GzipBody;

/// A part of a streamed body.
#[derive(Debug)]
pub(super) enum BodyPart {
    /// Events, which many readers may receive.
    Frames(EncodedFrames),
    /// Bytes for this reader alone.
    Own(Bytes),
}

impl From<Bytes> for BodyPart {
    fn from(bytes: Bytes) -> Self {
        Self::Own(bytes)
    }
}

/// The content coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentCoding {
    /// No coding.
    Identity,
    /// Gzip (RFC 1952): each batch is compressed once for all readers of its view.
    Gzip,
}

impl ContentCoding {
    /// The coding in which a request receives the frames of `log`. A private stream is not compressed: the size of
    /// compressed text reveals which parts of it repeat others.
    pub(super) fn of(headers: &HeaderMap, limits: &Limits, log: &Log) -> Self {
        let values: Vec<_> =
            headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
        if limits.compress && !log.private().is_set() && accepts_gzip(&values.join(",")) {
            Self::Gzip
        } else {
            Self::Identity
        }
    }

    /// The value of the `Content-Encoding` header, if there is one.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
        }
    }

    /// The bytes of a body with these parts. The body is complete once the parts have ended.
    pub(super) fn encode(
        self,
        parts: impl Stream<Item = BodyPart> + Send + Sync + 'static,
    ) -> impl Stream<Item = Bytes> + Send + Sync + 'static {
        match self {
            Self::Identity => Either::Left(parts.map(|part| match part {
                BodyPart::Frames(frames) => frames.bytes,
                BodyPart::Own(bytes) => bytes,
            })),
            Self::Gzip => {
                let open = Some((Box::pin(parts), GzipBody::new()));
                Either::Right(stream::unfold(open, |open| async move {
                    let (mut parts, mut body) = open?;
                    let Some(part) = parts.next().await else { return Some((body.end(), None)) };
                    let bytes = match part {
                        BodyPart::Frames(EncodedFrames { compressed: Some(batch), .. }) => body.batch(&batch),
                        BodyPart::Frames(EncodedFrames { bytes, .. }) | BodyPart::Own(bytes) => body.text(&bytes),
                    };
                    Some((bytes, Some((parts, body))))
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use flate2::read::GzDecoder;
    use http::Method;
    use http_body_util::BodyExt;
    use warp::reply::Response;

    use super::*;
    use crate::config::Right;
    use crate::http::stream::follow::follow_one;
    use crate::http::testing::{OWNER, TestServer};

    /// The response to the owner's request, which accepts gzip.
    async fn follow(server: &TestServer, query: &str) -> Response {
        let mut request = server.request(OWNER, Method::GET, Right::Read, query);
        request.headers.insert(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        follow_one("a", &request).await.unwrap()
    }

    async fn next_piece(response: &mut Response) -> Option<Bytes> {
        Some(response.body_mut().frame().await?.unwrap().into_data().unwrap())
    }

    /// The text of the beginning of a body.
    fn text_so_far(body: &[u8]) -> String {
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        decoder.write_all(body).unwrap();
        decoder.flush().unwrap();
        String::from_utf8(decoder.get_ref().clone()).unwrap()
    }

    /// The text of a complete body.
    fn text_of(body: &[u8]) -> String {
        let mut text = String::new();
        GzDecoder::new(body).read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_compressed_once_for_all_of_its_readers() {
        let mut server = TestServer::new(&[("a", "file")]);
        let line = "the same words in each line, ".repeat(5);
        server.write("a", &[&line]).await;
        let mut readers = vec![];
        for _ in 0..3 {
            let mut response = follow(&server, "tail=1&format=text").await;
            // The first bytes of a reader contain the header, and are its own.
            next_piece(&mut response).await.unwrap();
            readers.push(response);
        }
        server.write("a", &[line.as_str(); 100]).await;
        let mut pieces = vec![];
        for reader in &mut readers {
            pieces.push(next_piece(reader).await.unwrap());
        }
        assert!(pieces[0].len() < 1000, "{} bytes", pieces[0].len());
        assert!(pieces.iter().all(|piece| piece.as_ptr() == pieces[0].as_ptr()), "each reader has the same bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_come_once_a_stream_is_private_are_not_compressed() {
        // A reader that shares its frames, and two for which a batch is encoded alone.
        for query in ["tail=10&format=text", "tail=10&format=text&limit=150", "tail=10&limit=150"] {
            let mut server = TestServer::new(&[("a", "file")]);
            let word = |name: &str| format!("{name} words that repeat themselves ").repeat(4);
            server.write("a", &[word("public").as_str(); 10]).await;
            let mut response = follow(&server, query).await;
            let mut body = Vec::new();
            while text_so_far(&body).matches(&word("public")).count() < 10 {
                body.extend(next_piece(&mut response).await.unwrap());
            }
            assert!(body.len() < 500, "{query}: compressed so far");
            server.app.catalog.get(&"a".parse().unwrap()).unwrap().log.private().set();
            let from = body.len();
            server.write("a", &[word("secret").as_str(); 100]).await;
            server.end("a");
            while let Some(piece) = next_piece(&mut response).await {
                body.extend(piece);
            }
            let plain =
                body[from..].windows(word("secret").len()).filter(|window| *window == word("secret").as_bytes());
            assert_eq!(plain.count(), 100, "{query}");
            assert_eq!(text_of(&body).matches(&word("secret")).count(), 100, "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_known_to_be_short_is_not_compressed() {
        let mut server = TestServer::new(&[("a", "file")]);
        server.write("a", &["0123456789012345678"; 100]).await;
        let table = [
            ("follow=false&format=text&tail=0", None),
            ("follow=false&format=text&tail=51", None),
            ("follow=false&format=text&tail=52", Some("gzip")),
            ("format=text&tail=1", Some("gzip")),
        ];
        for (query, expected) in table {
            let response = follow(&server, query).await;
            let coding = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(coding, expected, "{query}");
            if query.starts_with("follow=false") {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let text = if expected.is_some() { text_of(&body) } else { String::from_utf8(body.to_vec()).unwrap() };
                assert_eq!(text.lines().count().to_string(), query.rsplit('=').next().unwrap(), "{query}");
            }
        }
    }
}
