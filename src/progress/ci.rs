//! Messages for build servers: Azure Pipelines logging commands, `TeamCity` service messages, groups of GitHub and
//! Buildkite, sections of GitLab and folds of Travis.
//!
//! The page recognises the same lines by the same rules (`markers.js`); `tests/clients/page/markers.json` holds lines
//! that both are tested with.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use crate::event::{ProgressState, Time};

use super::Recogniser;
use super::report::{GroupBoundary, ObservedLine, ProgressReport, words};

/// Examines the beginning of a line; build servers add at most a time stamp before it.
#[derive(Debug, Default)]
pub(super) struct CiRecogniser {
    buildkite: BuildkiteHeadings,
}

impl Recogniser for CiRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        // An unfinished line may continue, and a title would be cut off.
        if seen.open {
            return None;
        }
        let text = without_time(seen.text);
        if let Some(title) = self.buildkite.title(text, seen.raw) {
            return next(title, seen.now);
        }
        let text = text.trim();
        match text.bytes().next()? {
            b'#' => azure(text, seen.now).or_else(|| teamcity(text, seen.now)),
            b':' => github(text, seen.now),
            b's' => gitlab(text, seen.now),
            b't' => travis(text, seen.now),
            _ => None,
        }
    }

    fn wants_all(&self) -> bool {
        self.buildkite.is_known
    }
}

/// Returns whether a marker of a build service may follow a time that the service added: `TIME ##[group]`, or GitLab's
/// `TIME 00O section_start:`.
pub(super) fn is_stamped_marker(raw: &[u8]) -> bool {
    if raw.get(10) != Some(&b'T') {
        return false;
    }
    let end = memchr::memchr(b' ', &raw[..raw.len().min(40)]);
    let after = end.and_then(|end| raw.get(end + 1..)).unwrap_or_default();
    matches!(after, [b'#', b'#', ..] | [b'0'..=b'9', b'0'..=b'9', b'O' | b'E', b' ' | b'+', ..])
}

/// The line without the time, and GitLab's number and kind of stream, which build servers write before it.
fn without_time(text: &str) -> &str {
    let is_time = |time: &str| {
        time.len() >= 20 && time.as_bytes()[10] == b'T' && time.bytes().all(|b| b"0123456789-:.TZ".contains(&b))
    };
    let Some((_, rest)) = text.split_once(' ').filter(|(time, _)| is_time(time)) else { return text };
    match rest.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9', b'O' | b'E', b' ' | b'+', ..] => rest.split_at(4).1,
        _ => rest,
    }
}

/// The key of Buildkite's groups, which have no names of their own.
const BUILDKITE_KEY: &str = "---";

/// A heading that only Buildkite has: an emoji by its name, two words after `~~~`, or `^^^ +++`.
static BUILDKITE_SIGN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:---|\+\+\+|~~~) +:[\w+-]+:(?: |$)|^~~~ [A-Z]\w+ \w|^\^\^\^ \+\+\+\s*$"));

/// Text after `--- ` that is no title: a file in a diff, a document of YAML, a result of `go test`, a rule.
static NO_TITLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:\S*[/.]\S*|[^\t]*\t.*|[#!|>&{%].*|(?:FAIL|PASS|SKIP|BENCH): .*|[^\p{L}\p{N}:\[]*)$")
});

/// A title after `+++ `; what bash traces at that depth begins with a command or an assignment.
static EXPANDED_TITLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[^a-z\s]"));
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\w+="));

/// A line that continues a diff.
static DIFF_LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:[-+ \\]|@@|index |(?:new|deleted) file|similarity|rename)"));
static DIFF_START: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:@@ -[0-9]|diff -|index [0-9a-f]+\.\.|Index: )"));

/// The length of the emoji by their names, such as `:hammer: `, before a title.
fn emoji_length(title: &str) -> usize {
    static EMOJI: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?::[\w+-]+: +)+"));
    EMOJI.find(title).map_or(0, |found| found.end())
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is valid")
}

/// Finds Buildkite's headings `--- Title`, `+++ Title` and `~~~ Title`.
///
/// Diffs, YAML and shells write similar lines, so a heading counts only if it has an emoji by its name, or after another
/// line has shown that the program writes for Buildkite.
#[derive(Debug, Default)]
struct BuildkiteHeadings {
    is_known: bool,
    /// The lines before are those of a diff.
    in_diff: bool,
}

impl BuildkiteHeadings {
    fn title<'a>(&mut self, text: &'a str, raw: &[u8]) -> Option<&'a str> {
        self.is_known |= raw.starts_with(b"\x1b_bk;");
        let is_heading = ["--- ", "+++ ", "~~~ ", "^^^ "].iter().any(|mark| text.starts_with(mark));
        if self.is_known {
            self.in_diff = DIFF_START.is_match(text) || self.in_diff && DIFF_LINE.is_match(text);
        }
        if !is_heading {
            return None;
        }
        let is_sure = BUILDKITE_SIGN.is_match(text);
        self.is_known |= is_sure;
        let (mark, title) = text.split_at(4);
        let is_plain_title = || {
            !self.in_diff
                && !NO_TITLE.is_match(title)
                && (mark != "+++ " || EXPANDED_TITLE.is_match(title.trim()) && !ASSIGNMENT.is_match(title.trim()))
        };
        let is_title = mark != "^^^ " && (is_sure || self.is_known && is_plain_title());
        is_title.then(|| title.trim_start().split_at(emoji_length(title.trim_start())).1)
    }
}

fn begin(title: &str, at: Time) -> Option<ProgressReport> {
    let title = words(title)?;
    Some(ProgressReport {
        group: Some(GroupBoundary::Begin { key: title.clone(), title, at }),
        ..ProgressReport::default()
    })
}

/// Ends the last group of Buildkite, and begins another one.
fn next(title: &str, at: Time) -> Option<ProgressReport> {
    let title = words(title)?;
    Some(ProgressReport {
        group: Some(GroupBoundary::Next { ended: BUILDKITE_KEY.to_owned(), key: BUILDKITE_KEY.to_owned(), title, at }),
        ..ProgressReport::default()
    })
}

fn end(key: Option<&str>, at: Time) -> ProgressReport {
    ProgressReport { group: Some(GroupBoundary::End { key: key.map(str::to_owned), at }), ..ProgressReport::default() }
}

/// Recognises `##vso[task.setprogress value=75;]Upload`, `##vso[task.complete result=Failed;]`, `##[group]Title`,
/// `##[endgroup]`.
fn azure(text: &str, now: Time) -> Option<ProgressReport> {
    if let Some(title) = text.strip_prefix("##[group]") {
        return begin(title, now);
    }
    if text.starts_with("##[endgroup]") {
        return Some(end(None, now));
    }
    let (command, message) = text.strip_prefix("##vso[")?.split_once(']')?;
    let (name, properties) = command.split_once(' ').unwrap_or((command, ""));
    let value = |wanted: &str| {
        let mut pairs = properties.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value)
    };
    match name {
        "task.setprogress" => {
            let percent = value("value")?.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
            Some(ProgressReport { percent: Some(percent), message: words(message), ..ProgressReport::default() })
        }
        "task.complete" => {
            let failed = value("result") == Some("Failed");
            let state = if failed { ProgressState::Error } else { ProgressState::Done };
            Some(ProgressReport { message: words(message), ..ProgressReport::of_state(state) })
        }
        _ => None,
    }
}

/// Recognises `##teamcity[progressMessage 'text']`, `[progressStart 'text']`, `[blockOpened name='x']`, `[buildProblem
/// ...]` and their counterparts.
fn teamcity(text: &str, now: Time) -> Option<ProgressReport> {
    let inside = text.strip_prefix("##teamcity[")?.strip_suffix(']')?;
    let (name, rest) = inside.split_once(' ')?;
    let message = || {
        let quoted = rest.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        words(&unescaped(quoted))
    };
    match name {
        "progressMessage" => Some(ProgressReport { message: Some(message()?), ..ProgressReport::default() }),
        "progressStart" => begin(&message()?, now),
        "progressFinish" => Some(end(Some(&message()?), now)),
        "blockOpened" | "testSuiteStarted" | "compilationStarted" => begin(&attribute(rest, "name")?, now),
        "blockClosed" | "testSuiteFinished" | "compilationFinished" => {
            Some(end(words(&attribute(rest, "name")?).as_deref(), now))
        }
        "buildProblem" => {
            let message = attribute(rest, "description").and_then(|text| words(&text));
            Some(ProgressReport { message, ..ProgressReport::of_state(ProgressState::Error) })
        }
        "buildStatus" => {
            let message = attribute(rest, "text").and_then(|text| words(&text));
            let failed = attribute(rest, "status").is_some_and(|status| status == "FAILURE");
            Some(ProgressReport { message, state: failed.then_some(ProgressState::Error), ..ProgressReport::default() })
        }
        _ => None,
    }
}

/// The value of `name='value'`, in which `|` is the escape character.
fn attribute(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{name}='"))?;
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '\'' && !escaped;
        escaped = c == '|' && !escaped;
        ends
    })?;
    Some(unescaped(rest.get(..end)?))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        plain.push(match (c, if c == '|' { letters.next() } else { None }) {
            (_, Some('n' | 'r' | 'x' | 'l' | 'p')) => ' ',
            (_, Some('0')) if letters.as_str().starts_with('x') => {
                let code = letters.as_str().get(1..5).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                letters.by_ref().take(5).for_each(drop);
                code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            (_, Some(escaped)) => escaped,
            (c, None) => c,
        });
    }
    plain
}

/// Recognises `::group::Title` and `::endgroup::`.
fn github(text: &str, now: Time) -> Option<ProgressReport> {
    match text.strip_prefix("::group::") {
        Some(title) => {
            let title =
                [("%0D", ""), ("%0A", " "), ("%25", "%")].iter().fold(title.to_owned(), |t, (c, by)| t.replace(c, by));
            begin(&title, now)
        }
        None => text.starts_with("::endgroup::").then(|| end(None, now)),
    }
}

/// Recognises `travis_fold:start:NAME\rTitle` and `travis_fold:end:NAME\r`, with `travis_time:...\r` before or after.
fn travis(text: &str, now: Time) -> Option<ProgressReport> {
    let text = match text.strip_prefix("travis_time:") {
        Some(rest) => rest.split_once([' ', '\r'])?.1,
        None => text,
    };
    let (edge, rest) = text.strip_prefix("travis_fold:")?.split_once(':')?;
    let (key, mut title) = rest.split_once([' ', '\r']).unwrap_or((rest, ""));
    if title.starts_with("travis_time:") {
        title = title.split_once([' ', '\r']).map_or("", |(_, title)| title);
    }
    match edge {
        "start" => Some(ProgressReport {
            group: Some(GroupBoundary::Begin {
                key: key.to_owned(),
                title: words(title).or_else(|| words(key))?,
                at: now,
            }),
            ..ProgressReport::default()
        }),
        "end" => Some(end(Some(key), now)),
        _ => None,
    }
}

/// Recognises `section_start:1560896352:my_section[collapsed=true]\rTitle` and `section_end:1560896353:my_section\r`, and
/// the end of one section and the beginning of the next one in the same line.
fn gitlab(text: &str, now: Time) -> Option<ProgressReport> {
    let (is_begin, rest) = match text.strip_prefix("section_start:") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("section_end:")?),
    };
    let (seconds, rest) = rest.split_once(':')?;
    // The time in the message is the most precise, since lines may arrive late; a time from another day is ignored.
    let reported = seconds.parse::<u64>().ok().map(|seconds| Time::default().plus(Duration::from_secs(seconds)));
    let at = reported.filter(|reported| (reported.0 - now.0).abs() < 86_400_000_000).unwrap_or(now);
    let key_end =
        rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-')).unwrap_or(rest.len());
    let (key, rest) = rest.split_at_checked(key_end)?;
    if key.is_empty() {
        return None;
    }
    if !is_begin {
        let following =
            rest.trim_start().starts_with("section_start:").then(|| gitlab(rest.trim_start(), now)).flatten();
        let Some(ProgressReport { group: Some(GroupBoundary::Begin { key: begun, title, at }), .. }) = following else {
            return Some(end(Some(key), at));
        };
        let boundary = GroupBoundary::Next { ended: key.to_owned(), key: begun, title, at };
        return Some(ProgressReport { group: Some(boundary), ..ProgressReport::default() });
    }
    let title = if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, title)| title) } else { rest };
    let title = words(title).or_else(|| words(&key.replace('_', " ")))?;
    Some(ProgressReport {
        group: Some(GroupBoundary::Begin { key: key.to_owned(), title, at }),
        ..ProgressReport::default()
    })
}
