//! Lines of the syslog protocol: RFC 5424 and RFC 3164, with and without the priority, which files lack.

use crate::event::{Level, Time};

use super::field::{Declaration, Fields};
use super::{level_word, timestamp};

/// The names of the facilities, by number (RFC 5424, section 6.2.1); numbers without a usual name have none.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// The longest tag of a program before its colon, in bytes. RFC 3164 allows 32; programs exceed that.
const MAX_TAG_LENGTH: usize = 128;

/// The time and the fields of the line, which was read at `read`; `None` if it is no line of syslog.
///
/// The fields are `facility` and `severity` (by their names), `host`, `app`, `pid`, `msgid`, `message`, and the
/// parameters of the structured data as `ID.NAME`. Values that are `-` are left out.
pub(super) fn declaration(line: &str, read: Time) -> Option<Declaration> {
    let mut fields = Fields::default();
    let (priority, rest) = priority(line);
    if let Some(priority) = priority {
        fields.push_text("facility", FACILITIES.get(usize::from(priority / 8)).copied().unwrap_or_default());
        fields.push_text("severity", level_word::from_priority(priority).map(Level::name).unwrap_or_default());
    }
    if let Some(rest) = rest.strip_prefix("1 ")
        && let Some(logged) = rfc5424(rest, read, &mut fields)
    {
        return Some(Declaration { logged, fields });
    }
    let Some((logged, rest)) = timestamp::parse_prefix(rest, read) else {
        // The kernel and services of systemd write a priority and a text.
        let is_prefix = priority.is_some();
        fields.push_text("message", rest.trim_start());
        return is_prefix.then_some(Declaration { logged: None, fields });
    };
    let rest = rest.strip_prefix(' ')?;
    let (host, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    // A relay that adds no host writes the tag in its place.
    let rest = if host.ends_with(':') {
        rest_with_tag(host, rest, &mut fields)
    } else {
        host_and_tag(host, rest, &mut fields)
    };
    fields.push_text("message", rest);
    Some(Declaration { logged: Some(logged), fields })
}

fn host_and_tag<'a>(host: &str, rest: &'a str, fields: &mut Fields) -> &'a str {
    fields.push_text("host", nil(host));
    let (tag, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if tag.ends_with(':') && tag.len() <= MAX_TAG_LENGTH { rest_with_tag(tag, after, fields) } else { rest }
}

/// Adds the program and the process id of a tag such as `sshd[123]:`, and returns the message after it.
fn rest_with_tag<'a>(tag: &str, message: &'a str, fields: &mut Fields) -> &'a str {
    let tag = tag.trim_end_matches(':');
    match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
        Some((app, pid)) => {
            fields.push_text("app", app);
            fields.push_text("pid", pid);
        }
        None => fields.push_text("app", tag),
    }
    message
}

/// The priority at the start of the line, and the text after it.
fn priority(line: &str) -> (Option<u8>, &str) {
    let found = line.strip_prefix('<').and_then(|rest| rest.split_once('>')).and_then(|(digits, rest)| {
        let is_number = matches!(digits.len(), 1..=3) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<u8>().ok().filter(|number| is_number && *number <= 191)?;
        Some((number, rest))
    });
    found.map_or((None, line), |(priority, rest)| (Some(priority), rest))
}

/// The text, or nothing for the `-` that stands for a missing value.
fn nil(text: &str) -> &str {
    if text == "-" { "" } else { text }
}

/// Adds the fields of a message of RFC 5424 after its version; `None` if it is none. The time may be missing.
#[expect(clippy::option_option, reason = "a message may have no time")]
fn rfc5424(rest: &str, read: Time, fields: &mut Fields) -> Option<Option<Time>> {
    let mut parts = rest.splitn(6, ' ');
    let [time, host, app, pid, msgid] = [(); 5].map(|()| parts.next());
    let (time, host, app, pid, msgid) = (time?, host?, app?, pid?, msgid?);
    let data = parts.next()?;
    let logged = if time == "-" { None } else { Some(timestamp::parse(time, read).filter(|_| time.contains('T'))?) };
    let mut found = Fields::default();
    let message = structured_data(data, &mut found)?;
    for (name, value) in [("host", host), ("app", app), ("pid", pid), ("msgid", msgid)] {
        fields.push_text(name, nil(value));
    }
    // The message comes before the structured data, so that many parameters do not displace it.
    fields.push_text("message", message.trim_start_matches('\u{feff}'));
    for (name, value) in found.iter() {
        fields.push(name.to_owned(), value.clone());
    }
    Some(logged)
}

/// Adds the parameters of the structured data at the start of the text, and returns the message after it; `None` if
/// there is none.
fn structured_data<'a>(text: &'a str, fields: &mut Fields) -> Option<&'a str> {
    // The sign for no data is followed by the message, and not by data.
    if let Some(rest) = text.strip_prefix('-') {
        return if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') };
    }
    let mut rest = text.strip_prefix('[').map(|_| text)?;
    let mut ids = Vec::new();
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        let (id, mut parameters) = element.split_at(end);
        if !is_data_name(id) || ids.contains(&id) {
            return None;
        }
        ids.push(id);
        loop {
            if let Some(after) = parameters.strip_prefix(']') {
                rest = after;
                break;
            }
            let (name, value) = parameters.strip_prefix(' ')?.split_once("=\"")?;
            if !is_data_name(name) {
                return None;
            }
            let (value, after) = quoted(value)?;
            fields.push_text(&format!("{id}.{name}"), value);
            parameters = after;
        }
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

/// Returns whether a text is the name of an element or of a parameter (SD-NAME of RFC 5424, section 6).
fn is_data_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=]\"".contains(&byte))
}

/// The value before a quote, without its escapes (RFC 5424, section 6.3.3), and the text after the quote. A `]` should be
/// escaped, too, but many programs do not do so, and nothing else can be meant.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return Some((value, rest.as_str())),
            '\\' => match rest.next()? {
                c @ ('"' | '\\' | ']') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_data_has_the_form_of_the_rfc() {
        type MessageAndParameters<'a> = (&'a str, &'a [&'a str]);
        let long = format!("[{} x=\"1\"]", "a".repeat(33));
        // The text, the message after it, and the parameters.
        let table: [(&str, Option<MessageAndParameters<'_>>); 22] = [
            ("-", Some(("", &[]))),
            ("- text", Some(("text", &[]))),
            ("[a@1 x=\"1\" y=\"\"]", Some(("", &["a@1.x=1"]))),
            ("[a@1 x=\"1\"][b y=\"2\"] text", Some(("text", &["a@1.x=1", "b.y=2"]))),
            ("[a@1] [b] text", Some(("[b] text", &[]))),
            (r#"[a x="\"\\\]\n"] text"#, Some(("text", &[r#"a.x="\]\n"#]))),
            ("[a x=\"b[1]\"]", Some(("", &["a.x=b[1]"]))),
            ("", None),
            ("text", None),
            ("-text", None),
            ("-[a x=\"1\"]", None),
            ("[]", None),
            ("[ x=\"1\"]", None),
            ("[a", None),
            ("[a x=\"1\"", None),
            ("[a x=1]", None),
            ("[a =\"1\"]", None),
            ("[a  x=\"1\"]", None),
            ("[a x y=\"1\"]", None),
            ("[\u{e4} x=\"1\"]", None),
            ("[a x=\"1\"][a y=\"2\"]", None),
            (&long, None),
        ];
        for (text, expected) in table {
            let mut fields = Fields::default();
            let message = structured_data(text, &mut fields);
            assert_eq!(message, expected.map(|(message, _)| message), "{text}");
            if let Some((_, parameters)) = expected {
                let found: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect();
                assert_eq!(found, parameters, "{text}");
            }
        }
    }
}
