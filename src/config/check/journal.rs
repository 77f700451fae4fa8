//! Checks a stream that follows the journal.

use crate::config::JournalSourceConfig;
use crate::config::parse::located::{Located, OneOrMany, Setting};
use crate::config::raw;
use crate::config::report::NodeLocation;

use super::context::{CheckContext, value, with_location};

/// The longest name of a field in the journal, in bytes (systemd.journal-fields(7)).
const MAX_JOURNAL_FIELD_LENGTH: usize = 64;

/// Checks a stream that follows the journal.
pub(super) fn check_journal(
    context: &mut CheckContext<'_>,
    journal: Located<raw::JournalFilter>,
    raw: &mut raw::Stream,
) -> Option<JournalSourceConfig> {
    let from = value(raw.from.take()).unwrap_or_default();
    let journal = journal.value?;
    let kernel = with_location(journal.kernel);
    let units = check_words(context, "unit", journal.unit, |_| true);
    let identifiers = check_words(context, "program", journal.identifier, |_| true);
    let matches = check_words(context, "field with its value, such as _UID=1000", journal.r#match, is_match);
    if let Some((location, true)) = kernel
        && !units.is_empty()
    {
        context.wrong(
            location,
            "`kernel` cannot be combined with `unit`, since the kernel belongs to no unit (make two streams)",
        );
    }
    let kernel = kernel.is_some_and(|(_, kernel)| kernel);
    let priority = value(journal.priority).map(|priority| priority.0);
    let directory = with_location(journal.directory).and_then(|(location, path)| context.resolve_path(location, &path));
    let namespace = with_location(journal.namespace);
    if let (Some((location, _)), Some(_)) = (&namespace, &directory) {
        context.wrong(*location, "`namespace` cannot be combined with `directory` (remove one of them)");
    }
    let namespace =
        namespace.and_then(|(location, name)| check_word(context, "namespace", location, name, is_namespace));
    Some(JournalSourceConfig { units, identifiers, priority, kernel, matches, directory, namespace, from })
}

/// Checks one text or several, none of which may be empty.
fn check_words(
    context: &mut CheckContext<'_>,
    what: &str,
    field: Setting<OneOrMany<String>>,
    fits: fn(&str) -> bool,
) -> Vec<String> {
    let Some((location, OneOrMany(list))) = with_location(field) else { return Vec::new() };
    if list.is_empty() {
        context.wrong(location, format!("the list is empty (write at least one {what})"));
    }
    let word = |Located { location, value }: Located<String>| check_word(context, what, location, value?, fits);
    list.into_iter().filter_map(word).collect()
}

fn check_word(
    context: &mut CheckContext<'_>,
    what: &str,
    location: NodeLocation,
    word: String,
    fits: fn(&str) -> bool,
) -> Option<String> {
    if word.is_empty() || word.contains('\0') || !fits(&word) {
        context.wrong(location, format!("not a {what}: {word:?}"));
        return None;
    }
    Some(word)
}

/// Returns whether the word selects a namespace: a name, `*`, or `+` and a name.
fn is_namespace(word: &str) -> bool {
    let name = word.strip_prefix('+').unwrap_or(word);
    word == "*"
        || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-@:".contains(&byte)))
}

/// Returns whether the word has the form `FIELD=VALUE`.
fn is_match(word: &str) -> bool {
    let letter = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    let name = |name: &str| {
        (1..=MAX_JOURNAL_FIELD_LENGTH).contains(&name.len())
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(letter)
    };
    word.split_once('=').is_some_and(|(field, _)| name(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_name_a_star_or_a_plus_and_a_name() {
        for (word, fits) in
            [("web", true), ("*", true), ("+web", true), ("+", false), ("a/b", false), ("-x", true), ("a b", false)]
        {
            assert_eq!(is_namespace(word), fits, "{word}");
        }
    }

    #[test]
    fn a_match_has_a_field_and_a_value() {
        for (word, fits) in [
            ("_UID=1000", true),
            ("MESSAGE_ID=", true),
            ("A1=b=c", true),
            ("uid=1", false),
            ("=x", false),
            ("1A=x", false),
            ("+", false),
            ("--file=/etc/x", false),
        ] {
            assert_eq!(is_match(word), fits, "{word}");
        }
    }
}
