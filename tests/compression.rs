//! Compressed streams: every client decodes what others read, and each line as soon as it was written.

use std::io::Write;
use std::process::{Command, Stdio};

use flate2::write::GzDecoder;

use crate::harness::http::{Response, header};
use crate::harness::{Daemon, Deadline, Program, TestDir};

/// A reader that takes gzip.
struct GzipReader {
    response: Response,
    decoder: GzDecoder<Vec<u8>>,
    /// The number of bytes that were received.
    received: usize,
}

impl GzipReader {
    fn open(daemon: &Daemon, query: &str, headers: &[(&str, &str)]) -> Self {
        let headers = [headers, &[("Accept-Encoding", "gzip, deflate, br, zstd")]].concat();
        let response = Response::get(daemon.address(), &format!("/streams/app?{query}"), &headers);
        assert_eq!((response.status, response.header("content-encoding")), (200, "gzip"), "{query}");
        assert_eq!(response.header("vary"), "accept, accept-encoding");
        Self { response, decoder: GzDecoder::new(Vec::new()), received: 0 }
    }

    fn text(&self) -> String {
        String::from_utf8(self.decoder.get_ref().clone()).unwrap()
    }

    /// Reads until the decoded text contains `last`.
    fn until(&mut self, last: &str) -> &mut Self {
        let deadline = Deadline::new();
        while !self.text().contains(last) {
            let some = self.response.body.some(deadline);
            let some = some.unwrap_or_else(|error| panic!("{error} before {last:?} in {:?}", self.text()));
            self.push(&some.unwrap_or_else(|| panic!("the end before {last:?}")));
        }
        self
    }

    /// Reads up to the end, which must be that of a complete gzip file. Returns the text and the number of bytes in
    /// compressed form.
    fn read_to_end(mut self) -> (String, usize) {
        let deadline = Deadline::new();
        while let Some(some) = self.response.body.some(deadline).unwrap() {
            self.push(&some);
        }
        self.decoder.try_finish().expect("the checksum and the size are those of the text");
        (self.text(), self.received)
    }

    fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len();
        self.decoder.write_all(bytes).unwrap();
        // The decoder returns what it can make of these bytes.
        self.decoder.flush().unwrap();
    }
}

/// A line of the usual length, which ends with its number and a dot.
fn line(number: usize) -> String {
    format!(
        "2026-11-30T04:17:{:02}Z INFO request handled for client 10.0.{}.{} number {number}.\n",
        number % 60,
        number % 7,
        number * 31 % 251
    )
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(line).collect()
}

fn append(daemon: &Daemon, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(daemon.path("app.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A daemon that follows a file with lines 0 to before `count`.
fn daemon(count: usize, yaml: &str) -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", lines(0..count));
    dir.start(&format!("listen: \"127.0.0.1:0\"\n{yaml}streams:\n  app: {{ file: app.log, from: start }}\n"))
}

/// The numbers of the lines in a body of any format.
fn numbers(text: &str) -> Vec<usize> {
    text.split(" number ").skip(1).map(|rest| rest.split('.').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn each_line_can_be_decoded_as_soon_as_it_is_written_also_by_readers_that_join_or_resume() {
    for format in ["sse", "ndjson", "text"] {
        let daemon = daemon(1, "");
        let mut first = GzipReader::open(&daemon, &format!("tail=all&format={format}"), &[]);
        first.until(" number 0.");
        // Single lines, which are not worth compressing, and batches, which are.
        let mut next = 1;
        let mut readers = vec![(0, first)];
        for batch in [1, 1, 40, 1, 3, 500, 1, 40] {
            append(&daemon, &lines(next..next + batch));
            next += batch;
            let last = format!(" number {}.", next - 1);
            for (_, reader) in &mut readers {
                reader.until(&last);
            }
            // One reader joins in the middle, and another resumes after the last event.
            let join = GzipReader::open(&daemon, &format!("tail=5&format={format}"), &[]);
            readers.push((next.saturating_sub(5), join));
            if format == "sse" {
                let text = readers[0].1.text();
                let id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
                readers.push((next, GzipReader::open(&daemon, "", &[("Last-Event-ID", &id)])));
            }
        }
        daemon.terminate();
        for (from, reader) in readers {
            let (text, _) = reader.read_to_end();
            assert_eq!(numbers(&text), (from..next).collect::<Vec<_>>(), "{format} from {from}");
        }
    }
}

/// The output of curl.
fn curl(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments).current_dir(daemon.path(""));
    let ended = Program::start(command.stdin(Stdio::null())).ended();
    assert!(ended.status.success(), "{arguments:?}: {}", ended.err);
    String::from_utf8(ended.out).unwrap()
}

#[test]
fn curl_decodes_the_same_text_from_a_quarter_of_the_bytes_over_both_versions_of_http() {
    let daemon = daemon(2000, "");
    GzipReader::open(&daemon, "tail=all&format=text", &[]).until(" number 1999.");
    for format in ["sse", "ndjson", "text"] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            // A limit ends in the middle of a batch, so that no other reader has the same bytes.
            for query in ["follow=false&tail=all", "tail=all&limit=1500"] {
                let url = daemon.url(&format!("/streams/app?{query}&format={format}"));
                let read = |compressed: bool| {
                    let more: &[&str] = if compressed { &["--compressed"] } else { &[] };
                    let output = curl(&daemon, &[more, &["-w", "\n%{size_download}", version, &url]].concat());
                    let (text, size) = output.rsplit_once('\n').unwrap();
                    // The time to wait before a reconnect is random.
                    let text: Vec<_> = text.lines().filter(|line| !line.starts_with("retry: ")).collect();
                    (text.join("\n"), size.parse::<usize>().unwrap())
                };
                let ((plain, plain_size), (text, size)) = (read(false), read(true));
                assert!(plain == text && numbers(&plain).len() >= 1500, "{url}");
                assert!(size * 4 <= plain_size, "{url}: {size} of {plain_size} bytes");
            }
        }
    }
}

#[test]
fn what_should_not_be_compressed_is_not() {
    let gzip = [("Accept-Encoding", "gzip")];
    let dir = TestDir::new();
    for name in ["app.log", "own.log"] {
        dir.write(name, lines(0..100));
    }
    let yaml =
        "streams:\n  app: { file: app.log, from: start }\n  own: { file: own.log, from: start, private: true }\n";
    let daemon = dir.start(&format!("listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\n{yaml}"));
    let all = "follow=false&tail=all&format=text";
    for stream in ["app", "own"] {
        let read = || {
            let response = Response::get(daemon.unix(), &format!("/streams/{stream}?{all}"), &[]);
            String::from_utf8(response.body.all()).unwrap().contains(" number 99.").then_some(())
        };
        Deadline::new().until("all lines", read);
    }
    // The address, the path, and whether the response is compressed.
    let table = [
        (daemon.address(), format!("/streams/app?{all}"), true),
        (daemon.address(), "/streams/app?follow=false&tail=2&format=text".to_owned(), false),
        (daemon.address(), "/streams/app?follow=false&tail=0".to_owned(), false),
        // A reader that can be paused has its response before the size of its first lines is known.
        (daemon.address(), "/streams/app?follow=false&tail=2&format=text&session=0123456789abcdef".to_owned(), true),
        (daemon.address(), format!("/streams?stream=app&{all}"), false),
        (daemon.address(), "/streams/app/poll?tail=100".to_owned(), false),
        (daemon.unix(), format!("/streams/app?{all}"), true),
        (daemon.unix(), format!("/streams/own?{all}"), false),
    ];
    for (address, path, expected) in table {
        let response = Response::get(address, &path, &gzip);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(header(&response.headers, "content-encoding"), expected.then_some("gzip"), "{path}");
        let plain = Response::get(address, &path, &[]);
        assert_eq!(header(&plain.headers, "content-encoding"), None, "{path}");
    }
    let daemon = self::daemon(100, "limits: { compress: false }\n");
    let response = Response::get(daemon.address(), &format!("/streams/app?{all}"), &gzip);
    assert_eq!(header(&response.headers, "content-encoding"), None);
}
