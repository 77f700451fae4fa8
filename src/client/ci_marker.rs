//! Lines that are meant for build services: groups, messages and commands of GitHub, Azure, GitLab, `TeamCity`, Buildkite
//! and Travis, as a person at a terminal wants to read them.
//!
//! The page recognises the same lines by the same rules (`markers.js`), and the daemon finds the groups of the progress in
//! them; `tests/clients/page/markers.json` holds lines that all of them are tested with.

use std::sync::LazyLock;

use regex::Regex;

/// The meaning of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CiMarker {
    /// A group with this title begins.
    Heading(String),
    /// Something to read: its severity, the place that it is about, and one or more lines of text.
    Message { severity: CiSeverity, about: Vec<String>, text: String },
    /// The line says nothing to people, such as the end of a group.
    Hidden,
}

/// The severity of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CiSeverity {
    Error,
    Warning,
    Notice,
    Debug,
    /// The message has none.
    Plain,
}

impl CiSeverity {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "error" => Self::Error,
            "warning" => Self::Warning,
            "notice" => Self::Notice,
            "debug" => Self::Debug,
            _ => return None,
        })
    }

    /// The word before a message.
    pub(super) fn tag(self) -> Option<&'static str> {
        match self {
            Self::Error => Some("Error"),
            Self::Warning => Some("Warning"),
            Self::Notice => Some("Notice"),
            Self::Debug => Some("Debug"),
            Self::Plain => None,
        }
    }
}

/// A pattern that is compiled when it is first needed.
macro_rules! pattern {
    ($text:expr) => {{
        static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("the pattern is valid"));
        &*PATTERN
    }};
}

/// Reads the markers of one origin, line by line.
#[derive(Debug, Default)]
pub(super) struct CiMarkers {
    /// `true` once a line has shown that the headings of Buildkite are meant.
    is_buildkite: bool,
    /// `true` while lines are those of a diff, whose files look like headings.
    in_diff: bool,
    /// The word that ends GitHub's `stop-commands`; `None` if commands are not stopped.
    stopped: Option<String>,
}

impl CiMarkers {
    /// Forgets what earlier lines began, since lines are missing or another run begins. A stream that has shown headings
    /// still has them.
    pub(super) fn restart(&mut self) {
        *self = Self { is_buildkite: self.is_buildkite, ..Self::default() };
    }

    /// The meaning of a line; `None` for an ordinary one.
    pub(super) fn read(&mut self, text: &str) -> Option<CiMarker> {
        // Most lines need no further look.
        let start = pattern!(
            r"^(?:\d{4}-\d\d-\d\dT[\d:.]+Z (?:\d\d[OE][ +])?)?(?:\x1b\[0?K|\x1b_bk;[^\x07\x1b]*\x07|\r)*(?<rest>[ \t]*(?:::[a-z]|##)|section_|travis_|\[command\]|(?:---|\+\+\+|~~~|\^\^\^) |@@ -|diff |index |Index: )"
        );
        if self.in_diff && !pattern!(r"^(?:[-+ \\]|@@|index |(?:new|deleted) file|similarity|rename)").is_match(text) {
            self.in_diff = false;
        }
        let rest = start.captures(text)?.name("rest")?.start();
        let (before, rest) = text.split_at(rest);
        self.is_buildkite |= before.contains("\x1b_bk;");
        match rest.as_bytes()[0] {
            b'@' | b'd' | b'i' | b'I' => {
                self.in_diff |= pattern!(r"^(?:@@ -\d|diff -|index [0-9a-f]+\.\.|Index: )").is_match(rest);
                None
            }
            b's' => gitlab(rest),
            b't' => travis(rest),
            b'[' => rest.strip_prefix("[command]").map(|command| plain(command.to_owned())),
            b'-' | b'+' | b'~' | b'^' => self.heading(rest),
            _ => {
                let rest = rest.trim();
                if rest.starts_with(':') { self.github(rest) } else { azure(rest).or_else(|| teamcity(rest)) }
            }
        }
    }

    /// Buildkite's `--- Title`, `+++ Title`, `~~~ Title` and `^^^ +++`.
    fn heading(&mut self, text: &str) -> Option<CiMarker> {
        let is_sure =
            pattern!(r"^(?:---|\+\+\+|~~~) +:[\w+-]+:(?: |$)|^~~~ [A-Z]\w+ \w|^\^\^\^ \+\+\+\s*$").is_match(text);
        self.is_buildkite |= is_sure;
        if !self.is_buildkite {
            return None;
        }
        let (mark, title) = text.split_at(4);
        if mark == "^^^ " {
            return is_sure.then_some(CiMarker::Hidden);
        }
        let no_title =
            pattern!(r"^(?:\S*[/.]\S*|[^\t]*\t.*|[#!|>&{%].*|(?:FAIL|PASS|SKIP|BENCH): .*|[^\p{L}\p{N}:\[]*)$");
        // An emoji by its name says nothing here, unless it is all there is.
        let words = title.trim();
        let words = words.split_at(pattern!(r"^(?::[\w+-]+: +)+").find(words).map_or(0, |emoji| emoji.end())).1;
        // What bash traces at that depth begins with a command or an assignment.
        let is_expanded_title = || !pattern!(r"^(?:\w+=|[a-z\s])").is_match(words);
        let is_title = || {
            !words.is_empty() && !self.in_diff && !no_title.is_match(title) && (mark != "+++ " || is_expanded_title())
        };
        (is_sure || is_title()).then(|| CiMarker::Heading(words.to_owned()))
    }

    /// GitHub's `::name key=value,key=value::text`.
    fn github(&mut self, text: &str) -> Option<CiMarker> {
        let found = pattern!(r"(?s)^::([a-z-]+)(?: (.*?))?::(.*)$").captures(text);
        let part = |number| found.as_ref().and_then(|found| found.get(number)).map_or("", |part| part.as_str());
        if let Some(word) = &self.stopped {
            let resumes = text == format!("::{word}::");
            if resumes {
                self.stopped = None;
            }
            return resumes.then_some(CiMarker::Hidden);
        }
        let (name, data) = (part(1), part(3));
        let value = |key| attribute(part(2), ',', key);
        match name {
            "group" => Some(heading(decoded(data))),
            "stop-commands" => {
                self.stopped = Some(data.to_owned());
                Some(CiMarker::Hidden)
            }
            "endgroup" | "add-mask" | "remove-mask" | "add-matcher" | "remove-matcher" | "add-path" | "remove-path"
            | "set-output" | "set-env" | "save-state" | "echo" => Some(CiMarker::Hidden),
            _ => {
                let severity = CiSeverity::parse(name)?;
                Some(message(severity, &[place(&["file", "line", "col"].map(value)), value("title")], decoded(data)))
            }
        }
    }
}

fn heading(title: String) -> CiMarker {
    CiMarker::Heading(if title.is_empty() { "group".to_owned() } else { title })
}

fn plain(text: String) -> CiMarker {
    message(CiSeverity::Plain, &[], text)
}

fn message(severity: CiSeverity, about: &[String], text: String) -> CiMarker {
    let about = about.iter().filter(|part| !part.is_empty()).cloned().collect();
    CiMarker::Message { severity, about, text }
}

/// Where something is wrong: `a.rs:3:5`.
fn place(parts: &[String]) -> String {
    parts.join(":").trim_end_matches(':').to_owned()
}

/// The characters that GitHub and Azure write as their numbers.
fn decoded(text: &str) -> String {
    let text = pattern!(r"(?i)%(?:0D%)?0A").replace_all(text, "\n");
    let text = pattern!(r"(?i)%0D").replace_all(&text, "");
    pattern!(r"(?i)%(?:25|AZP25)").replace_all(&text, "%").into_owned()
}

/// The value of a key in pairs that a character separates; empty if it is not there.
fn attribute(pairs: &str, between: char, key: &str) -> String {
    let found = pairs.split(between).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(key).then_some(value)
    });
    let mut value = found.unwrap_or_default().to_owned();
    for (code, character) in [("%3A", ":"), ("%2C", ","), ("%3B", ";"), ("%5D", "]")] {
        value = value.replace(code, character).replace(&code.to_lowercase(), character);
    }
    decoded(&value)
}

/// Azure's `##[name]text` and `##vso[name key=value;]text`.
fn azure(text: &str) -> Option<CiMarker> {
    if let Some(found) = pattern!(r"(?s)^##\[(\w+)\](.*)$").captures(text) {
        let data = found[2].to_owned();
        return Some(match &found[1] {
            "group" => heading(data),
            "endgroup" => CiMarker::Hidden,
            "command" | "section" => plain(data),
            name => message(CiSeverity::parse(name)?, &[], data),
        });
    }
    let found = pattern!(r"(?s)^##vso\[([\w.]+) ?(.*?)\](.*)$").captures(text)?;
    let (name, data) = (&found[1], decoded(&found[3]));
    let value = |key| attribute(&found[2], ';', key);
    Some(match name {
        "task.logissue" => {
            let severity = if value("type") == "warning" { CiSeverity::Warning } else { CiSeverity::Error };
            let place = place(&["sourcepath", "linenumber", "columnnumber"].map(value));
            message(severity, &[place, value("code")], data)
        }
        "task.debug" => message(CiSeverity::Debug, &[], data),
        "task.complete" | "task.setprogress" if !data.is_empty() => {
            let severity = if value("result") == "Failed" { CiSeverity::Error } else { CiSeverity::Plain };
            message(severity, &[], data)
        }
        _ => CiMarker::Hidden,
    })
}

/// `TeamCity`'s `##teamcity[name key='value' ...]` and `##teamcity[name 'text']`.
fn teamcity(text: &str) -> Option<CiMarker> {
    let found = pattern!(r"(?s)^##teamcity\[(\w+)(.*)\]$").captures(text)?;
    let (name, rest) = (&found[1], &found[2]);
    let value = |key: &str| teamcity_value(rest, key);
    let first = |keys: &[&str]| keys.iter().map(|key| value(key)).find(|value| !value.is_empty()).unwrap_or_default();
    let title = first(&["", "name=", "compiler="]);
    if let Some(edge) =
        pattern!(r"^(?:block|testSuite|compilation|progress)(?:(Opened|Start(?:ed)?)|Closed|Finish(?:ed)?)$")
            .captures(name)
    {
        return Some(if edge.get(1).is_some() { CiMarker::Heading(title) } else { CiMarker::Hidden });
    }
    // The attributes that are shown, and whether the name of the test stands before them.
    let (severity, keys, is_titled): (_, &[&str], _) = match name {
        "progressMessage" => (CiSeverity::Plain, &[""], false),
        "message" => (CiSeverity::Plain, &["text=", "errorDetails="], false),
        "buildProblem" => (CiSeverity::Error, &["description="], false),
        "buildStatus" => (CiSeverity::Plain, &["text="], false),
        "testFailed" => (CiSeverity::Error, &["message=", "details="], true),
        "testIgnored" => (CiSeverity::Notice, &["message="], true),
        "testStdOut" | "testStdErr" => (CiSeverity::Plain, &["out="], false),
        "testFinished" => (CiSeverity::Plain, &[], true),
        _ => return Some(CiMarker::Hidden),
    };
    let severity = match value("status=").as_str() {
        "WARNING" => CiSeverity::Warning,
        status if status.contains("ERROR") || status.contains("FAILURE") => CiSeverity::Error,
        _ => severity,
    };
    let said: Vec<_> = keys.iter().map(|key| value(key)).filter(|text| !text.is_empty()).collect();
    if said.is_empty() && !is_titled {
        return Some(CiMarker::Hidden);
    }
    let about = if is_titled { title } else { String::new() };
    Some(message(severity, &[about], said.join("\n")))
}

/// The value of ` key='value'`, in which `|` is the escape character.
fn teamcity_value(text: &str, key: &str) -> String {
    let Some((_, rest)) = text.split_once(&format!(" {key}'")) else { return String::new() };
    let mut value = String::new();
    let mut letters = rest.chars();
    while let Some(c) = letters.next() {
        value.push(match c {
            '\'' => return value,
            '|' => match letters.next() {
                Some('n' | 'r' | 'x' | 'l' | 'p') => '\n',
                Some('0') => match teamcity_character(letters.as_str()) {
                    Some(character) => {
                        letters.by_ref().take(5).for_each(drop);
                        character
                    }
                    None => '0',
                },
                Some(escaped) => escaped,
                None => break,
            },
            c => c,
        });
    }
    // It has no end.
    String::new()
}

/// The character whose code is in the text, as in `x00e9`.
fn teamcity_character(text: &str) -> Option<char> {
    let digits = text.strip_prefix('x')?.get(..4)?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// GitLab's `section_start:SECONDS:key[collapsed=true]`, a carriage return, and the title. The terminal model of the daemon
/// has made a space of the carriage return.
fn gitlab(text: &str) -> Option<CiMarker> {
    let text = text.replace("\x1b[0K", "");
    let found = gitlab_section(&text)?;
    // The next section may begin in the line in which one ends.
    let begun =
        if &found[1] == "end" { gitlab_section(&found[3]).filter(|next| &next[1] == "start") } else { Some(found) };
    let Some(begun) = begun else { return Some(CiMarker::Hidden) };
    let (key, title) = (&begun[2], &begun[3]);
    Some(CiMarker::Heading(if title.is_empty() { key } else { title }.to_owned()))
}

/// A header of GitLab: whether a section starts or ends, its key, and the rest of the line.
fn gitlab_section(text: &str) -> Option<regex::Captures<'_>> {
    pattern!(r"(?s)^section_(start|end):\d+:([\w.-]+)(?:\[[^\]]*\])?[ \r]?(.*)").captures(text)
}

/// Travis's `travis_fold:start:key`, a carriage return, and what the line shows, with `travis_time:...` before or in it.
fn travis(text: &str) -> Option<CiMarker> {
    let untimed = |line: &str| {
        pattern!(r"^(?:\x1b\[0K)*travis_time:[^\s\x1b]*[ \r]*(?:\x1b\[0K)*").replace(line, "").into_owned()
    };
    let shown = untimed(text);
    if let Some(found) = pattern!(r"(?s)^travis_fold:(start|end):([^\s\x1b]+)[ \r]*(?:\x1b\[0K)*(.*)").captures(&shown)
    {
        let title = untimed(&found[3]);
        let title = if title.is_empty() { found[2].to_owned() } else { title };
        return Some(if &found[1] == "start" { CiMarker::Heading(title) } else { CiMarker::Hidden });
    }
    if !text.starts_with("travis_time:") {
        return None;
    }
    Some(if shown.is_empty() { CiMarker::Hidden } else { plain(shown) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a line, without its colours.
    fn shown(markers: &mut CiMarkers, line: &str) -> Option<String> {
        let text = match markers.read(line) {
            None => line.to_owned(),
            Some(CiMarker::Hidden) => return None,
            Some(CiMarker::Heading(title)) => title,
            Some(CiMarker::Message { severity, about, text }) => {
                let tag = severity.tag().map(str::to_owned);
                let parts = tag.into_iter().chain(about).chain([text]).filter(|part| !part.is_empty());
                parts.collect::<Vec<_>>().join(": ")
            }
        };
        Some(pattern!(r"\x1b\[[0-9;]*[mK]|\x1b_bk[^\x07]*\x07").replace_all(&text, "").into_owned())
    }

    #[test]
    fn a_line_of_many_headers_is_read_once() {
        let ends = "section_end:1:a ".repeat(20_000);
        for (line, expected) in [
            (ends.clone(), None),
            (format!("section_end:1:a section_start:2:b {ends}"), Some(ends.clone())),
            (format!("section_end:1:a {ends}section_start:2:b B"), None),
        ] {
            assert_eq!(shown(&mut CiMarkers::default(), &line), expected);
        }
    }

    #[test]
    fn a_terminal_shows_of_each_marker_what_the_page_shows() {
        let table: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/clients/page/markers.json")).unwrap();
        for row in table.as_array().unwrap() {
            let strings = |name: &str| -> Vec<&str> {
                row[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
            };
            let mut markers = CiMarkers::default();
            let found: Vec<_> = strings("lines").into_iter().filter_map(|line| shown(&mut markers, line)).collect();
            // The page reads again what came before the first sign of Buildkite; a terminal has printed that already.
            let expected = strings("shown");
            let differs =
                |(found, expected): (&String, &&str)| found != expected && !found.ends_with(&format!(" {expected}"));
            let wrong: Vec<_> = found.iter().zip(&expected).filter(|pair| differs(*pair)).collect();
            assert!(wrong.is_empty() && found.len() == expected.len(), "{}: {wrong:?} in {found:?}", row["about"]);
        }
    }

    #[test]
    fn attributes_and_values_that_are_not_closed_do_no_harm() {
        let table = [
            ("::error file=a.rs", None),
            ("::error::", Some("Error")),
            ("::group::", Some("group")),
            ("##teamcity[message text='open]", None),
            ("##teamcity[message text='a|", Some("##teamcity[message text='a|")),
            ("##teamcity[message text='|0xzz']", Some("0xzz")),
            ("section_start:x:y", Some("section_start:x:y")),
            ("##vso[task.complete result=Failed", Some("##vso[task.complete result=Failed")),
            ("## A heading of Markdown", Some("## A heading of Markdown")),
        ];
        for (line, expected) in table {
            let expected = expected.or_else(|| line.starts_with("::").then_some(line));
            assert_eq!(shown(&mut CiMarkers::default(), line).as_deref(), expected, "{line}");
        }
    }
}
