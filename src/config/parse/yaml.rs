//! A YAML text as a tree, in which each value can be located by line and column. No other file uses `serde_yaml`.
//!
//! `serde_yaml` gives locations only in errors. Values are therefore numbered in the order in which they are read, and
//! a value is located by reading the text again and failing at its number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor};

/// The most values in one file. An alias counts as everything that it stands for, since a few lines of aliases could
/// stand for any number of values.
const MAX_YAML_NODES: usize = 100_000;

/// The deepest nesting that is scanned, far beyond the accepted depth: the time to find the end of nested values grows
/// with the square of the depth.
const MAX_YAML_SCAN_DEPTH: usize = 1000;

/// One value, and its number in the order of reading.
#[derive(Debug)]
pub(crate) struct YamlNode {
    pub(super) id: usize,
    pub(crate) value: YamlValue,
}

/// A value. Numbers and booleans keep their text, since an argument of a command may look like one.
#[derive(Debug)]
pub(crate) enum YamlValue {
    Null,
    Bool(String),
    Number(String),
    Text(String),
    List(Vec<YamlNode>),
    /// The entries in the order written; keys may be repeated.
    Map(Vec<(YamlNode, YamlNode)>),
    /// A value with its own `!tag`.
    Tagged(String),
}

/// A line and a column, both counted from 1; columns are characters.
pub(super) type LineColumn = (usize, usize);

/// The tree of a text.
///
/// # Errors
/// The line and column, and the reason, if the text is not YAML, has more than one document, or too many or too deeply
/// nested values.
pub(crate) fn parse(text: &str) -> Result<YamlNode, (LineColumn, String)> {
    if let Some(location) = find_excessive_depth(text) {
        return Err((location, format!("invalid YAML: more than {MAX_YAML_SCAN_DEPTH} nested values")));
    }
    let mut walk = TreeReader::default();
    let mut tree = walk.run(text).map_err(|error| explain(text, &error))?;
    if !walk.plain.borrow().is_empty() {
        // Numbers and booleans are returned without their text. A second pass requests the text at those values.
        walk.next.set(0);
        walk.words = true;
        tree = walk.run(text).map_err(|error| explain(text, &error))?;
    }
    Ok(tree)
}

/// The location at which values are nested too deeply, approximately: only brackets where a value may begin are
/// counted, so that a text of patterns with brackets is not refused.
fn find_excessive_depth(text: &str) -> Option<LineColumn> {
    let mut depth: usize = 0;
    for (line, written) in text.lines().enumerate() {
        let lists =
            written.split(' ').take_while(|word| matches!(*word, "" | "-" | "?")).filter(|word| !word.is_empty());
        if lists.count() > MAX_YAML_SCAN_DEPTH {
            return Some((line + 1, 1));
        }
        // True at the start of a line, and after anything that a value may follow.
        let mut begins = true;
        // True after an anchor or a tag, which may come before a value.
        let mut named = false;
        for (column, letter) in written.chars().enumerate() {
            match letter {
                '[' | '{' if begins => {
                    depth += 1;
                    if depth > MAX_YAML_SCAN_DEPTH {
                        return Some((line + 1, column + 1));
                    }
                }
                ']' | '}' => depth = depth.saturating_sub(1),
                '&' | '!' if begins => named = true,
                letter if named => named = !letter.is_whitespace(),
                letter => begins = letter.is_whitespace() && begins || matches!(letter, ',' | ':' | '-' | '?'),
            }
        }
    }
    None
}

/// The location of value number `id` of a text. Costs as much as reading the text up to there.
pub(crate) fn find(text: &str, id: usize) -> LineColumn {
    let walk = TreeReader { stop: Some(id), ..TreeReader::default() };
    walk.run(text).err().map_or((1, 1), |error| error_location(&error))
}

fn error_location(error: &serde_yaml::Error) -> LineColumn {
    error.location().map_or((1, 1), |location| (location.line(), location.column()))
}

/// The location of an error in `text`, and its message without that location.
fn explain(text: &str, error: &serde_yaml::Error) -> (LineColumn, String) {
    let (line, column) = error_location(error);
    if let Some(location) = find_tab(text, line) {
        return (location, "invalid YAML: a tab cannot indent a line (use spaces)".into());
    }
    let message = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
    ((line, column), format!("invalid YAML: {message}"))
}

/// The tab that probably caused an error in this line: the parser notices it in its line, or in one of the neighbours.
fn find_tab(text: &str, line: usize) -> Option<LineColumn> {
    let near = line.saturating_sub(1).max(1)..=line + 1;
    text.lines().zip(1..).filter(|(_, number)| near.contains(number)).find_map(|(written, number)| {
        let mut indent = written.chars().take_while(|c| c.is_whitespace());
        Some((number, indent.position(|c| c == '\t')? + 1))
    })
}

/// The type of a plain scalar that is not text.
#[derive(Debug, Clone, Copy)]
enum PlainScalar {
    Bool,
    Number,
    /// Nothing, `null`, or `~`, which is the home directory to everybody who writes it here.
    Null,
}

/// One pass over a text.
#[derive(Debug, Default)]
struct TreeReader {
    /// The number of the next value.
    next: Cell<usize>,
    /// The number of the value at which to fail.
    stop: Option<usize>,
    /// The values that were found to be numbers, booleans and nulls.
    plain: RefCell<BTreeMap<usize, PlainScalar>>,
    /// `true` if those values are read as text.
    words: bool,
}

impl TreeReader {
    fn run(&self, text: &str) -> Result<YamlNode, serde_yaml::Error> {
        self.deserialize(serde_yaml::Deserializer::from_str(text))
    }
}

impl<'de> DeserializeSeed<'de> for &TreeReader {
    type Value = YamlNode;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<YamlNode, D::Error> {
        let id = self.next.get();
        self.next.set(id + 1);
        if id >= MAX_YAML_NODES {
            return Err(D::Error::custom(format!("more than {MAX_YAML_NODES} values")));
        }
        if self.stop == Some(id) {
            return from.deserialize_any(RefusingVisitor);
        }
        let plain = self.plain.borrow().get(&id).copied().filter(|_| self.words);
        let value = match plain {
            Some(PlainScalar::Bool) => YamlValue::Bool(serde::Deserialize::deserialize(from)?),
            Some(PlainScalar::Number) => YamlValue::Number(serde::Deserialize::deserialize(from)?),
            Some(PlainScalar::Null) => match <String as serde::Deserialize>::deserialize(from)? {
                home if home == "~" => YamlValue::Text(home),
                _ => YamlValue::Null,
            },
            None => from.deserialize_any(NodeVisitor { reader: self, id })?,
        };
        Ok(YamlNode { id, value })
    }
}

/// Rejects every value, since the error contains the location.
struct RefusingVisitor;

impl Visitor<'_> for RefusingVisitor {
    type Value = YamlNode;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

/// Accepts every value.
struct NodeVisitor<'w> {
    reader: &'w TreeReader,
    id: usize,
}

impl NodeVisitor<'_> {
    /// Records the type of this value, whose text is read in the second pass.
    fn plain(&self, plain: PlainScalar) -> YamlValue {
        self.reader.plain.borrow_mut().insert(self.id, plain);
        YamlValue::Null
    }
}

impl<'de> Visitor<'de> for NodeVisitor<'_> {
    type Value = YamlValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<YamlValue, E> {
        // A document may be empty, and then has no text.
        Ok(if self.id == 0 { YamlValue::Null } else { self.plain(PlainScalar::Null) })
    }

    fn visit_none<E>(self) -> Result<YamlValue, E> {
        Ok(YamlValue::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<YamlValue, E> {
        Ok(self.plain(PlainScalar::Bool))
    }

    fn visit_i64<E>(self, _: i64) -> Result<YamlValue, E> {
        Ok(self.plain(PlainScalar::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<YamlValue, E> {
        Ok(self.plain(PlainScalar::Number))
    }

    fn visit_i128<E>(self, _: i128) -> Result<YamlValue, E> {
        Ok(self.plain(PlainScalar::Number))
    }

    fn visit_u128<E>(self, _: u128) -> Result<YamlValue, E> {
        Ok(self.plain(PlainScalar::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<YamlValue, E> {
        Ok(self.plain(PlainScalar::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<YamlValue, E> {
        Ok(YamlValue::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<YamlValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.reader)? {
            list.push(item);
        }
        Ok(YamlValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<YamlValue, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry_seed(self.reader, self.reader)? {
            map.push(entry);
        }
        Ok(YamlValue::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<YamlValue, A::Error> {
        let (tag, value) = tagged.variant::<String>()?;
        value.newtype_variant_seed(self.reader)?;
        Ok(YamlValue::Tagged(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in short form, each value with its location.
    fn show(text: &str, node: &YamlNode) -> String {
        let all = |nodes: Vec<&YamlNode>| nodes.into_iter().map(|node| show(text, node)).collect::<Vec<_>>().join(" ");
        let (line, column) = find(text, node.id);
        let value = match &node.value {
            YamlValue::Null => "null".into(),
            YamlValue::Bool(word) => format!("bool:{word}"),
            YamlValue::Number(word) => format!("number:{word}"),
            YamlValue::Text(word) => format!("{word:?}"),
            YamlValue::List(items) => format!("[{}]", all(items.iter().collect())),
            YamlValue::Map(entries) => {
                format!("{{{}}}", all(entries.iter().flat_map(|(key, value)| [key, value]).collect()))
            }
            YamlValue::Tagged(tag) => format!("!{tag}"),
        };
        format!("{line}:{column}={value}")
    }

    #[test]
    fn every_value_is_found_again() {
        let table = [
            ("", "1:1=null"),
            ("# nothing\n", "2:1=null"),
            ("a: 1\na: 0x1F\n", r#"1:1={1:1="a" 1:4=number:1 2:1="a" 2:4=number:0x1F}"#),
            (
                "- true\n- yes\n- ~\n- 1.50\n- '1'\n- null\n-\n",
                r#"1:1=[1:3=bool:true 2:3="yes" 3:3="~" 4:3=number:1.50 5:3="1" 6:3=null 7:2=null]"#,
            ),
            ("é: {b: [x, {}]}\n", r#"1:1={1:1="é" 1:4={1:5="b" 1:8=[1:9="x" 1:12={}]}}"#),
            ("a: !x {b: 1}\nc: d\n", r#"1:1={1:1="a" 1:4=!x 2:1="c" 2:4="d"}"#),
            ("a: &x [7]\nb: *x\n", r#"1:1={1:1="a" 1:4=[1:8=number:7] 2:1="b" 1:4=[1:8=number:7]}"#),
            ("<<: {a: 1}\n", r#"1:1={1:1="<<" 1:5={1:6="a" 1:9=number:1}}"#),
        ];
        for (text, shown) in table {
            assert_eq!(show(text, &parse(text).unwrap()), shown, "{text}");
        }
    }

    #[test]
    fn what_would_take_hours_to_read_is_refused_at_once() {
        let most = 1 << 20;
        for (piece, column) in [
            ("[", 1001),
            ("{", 1001),
            ("[{a: ", 2501),
            ("[ !x &y ", 8001),
            ("{\"a\":", 5001),
            ("- [", 3003),
            ("? {", 3003),
        ] {
            let (location, error) = parse(&piece.repeat(most / piece.len())).unwrap_err();
            assert_eq!((location, error.contains("1000 nested values")), ((1, column), true), "{piece}: {error}");
            let lines = format!("{piece}\n").repeat(most / (piece.len() + 1));
            assert!(parse(&lines).unwrap_err().1.contains("1000 nested values"), "{piece}");
        }
        for piece in ["- ", "? ", "? - "] {
            let (location, error) = parse(&format!("a: 1\n{}", piece.repeat(most / piece.len()))).unwrap_err();
            assert_eq!((location, error.contains("1000 nested values")), ((2, 1), true), "{piece}: {error}");
        }
        // Many brackets that are never closed, but only as the text of patterns.
        let patterns = "- ^\\[ [0-9\n- 'it [\"'\n- x[\n".repeat(2000);
        assert!(matches!(parse(&patterns).unwrap().value, YamlValue::List(items) if items.len() == 6000));
        let flat = "- [{a: [1]}]\n".repeat(2000);
        assert!(matches!(parse(&flat).unwrap().value, YamlValue::List(items) if items.len() == 2000));
    }

    #[test]
    fn what_is_not_yaml_has_a_place() {
        let deep = "[".repeat(200);
        let bomb = format!("a: &a [{}]\nb: &b [{}]\nc: [{}]\n", "0,".repeat(99), "*a,".repeat(99), "*b,".repeat(99));
        let circle = "a: &a [*a]\n";
        let table = [
            ("a: [\n", (2, 1), "did not find expected node content, while parsing a flow node"),
            ("a: b: c\n", (1, 5), "mapping values are not allowed in this context"),
            ("a: *b\n", (1, 4), "unknown anchor"),
            ("a: 1\n---\nb: 1\n", (1, 1), "deserializing from YAML containing more than one document is not supported"),
            (circle, (1, 4), "recursion limit exceeded"),
            (&deep, (1, 129), "recursion limit exceeded"),
            (&bomb, (1, 4), "c[9][8]: more than 100000 values"),
        ];
        for (text, location, message) in table {
            let (found, error) = parse(text).unwrap_err();
            assert_eq!((found, error), (location, format!("invalid YAML: {message}")), "{text:.100}");
        }
    }
}
