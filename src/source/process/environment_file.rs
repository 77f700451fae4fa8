//! Files of environment variables, `NAME=value` on each line, as systemd and Docker read them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The longest file, in bytes: Linux passes no more than this to a program by default.
const MAX_ENVIRONMENT_FILE_SIZE: u64 = 2 << 20;

/// Reads the variables of a file. Blocks.
///
/// # Errors
/// If the file cannot be read, or has a line that is not a variable.
pub(crate) fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    // A FIFO or a terminal would be waited for.
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_ENVIRONMENT_FILE_SIZE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_ENVIRONMENT_FILE_SIZE {
        return Err(io::Error::other(format!("the file is longer than {MAX_ENVIRONMENT_FILE_SIZE} bytes")));
    }
    let text = std::str::from_utf8(&text).map_err(|error| {
        let line = 1 + memchr::memchr_iter(b'\n', &text[..error.valid_up_to()]).count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })?;
    parse(text).map_err(|line| io::Error::other(format!("line {line} is not NAME=value")))
}

/// The variables in a text, or the number of the first line that is none. Lines that begin with `#` or `;` are comments. A
/// value may be in single or double quotes, which are removed, and then have several lines; nothing in it is replaced. Of
/// two variables with the same name, the last one applies.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut variables = BTreeMap::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        // Files that are made for a shell have this word.
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(number)?;
        let (name, value) = (name.trim_end(), value.trim());
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let quoted = quote.and_then(|quote| value.strip_prefix(quote).map(|rest| (quote, rest)));
        let value = match quoted {
            None => value.to_owned(),
            Some((quote, rest)) => match rest.strip_suffix(quote) {
                Some(inside) => inside.to_owned(),
                None => continued(quote, rest, &mut lines).unwrap_or_else(|| value.to_owned()),
            },
        };
        if name.is_empty() || !is_name(name) || value.contains('\0') {
            return Err(number);
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// The value whose quotation mark is closed at the end of a later line. `None` if the next such mark is not at the end of
/// its line, so that the first one is probably a part of the value; then no line is taken.
fn continued<'t>(
    quote: char,
    first: &str,
    lines: &mut (impl Iterator<Item = (&'t str, usize)> + Clone),
) -> Option<String> {
    if first.contains(quote) {
        return None;
    }
    let mut ahead = lines.clone();
    let mut value = first.to_owned();
    loop {
        let (line, _) = ahead.next()?;
        value.push('\n');
        let Some((inside, after)) = line.split_once(quote) else {
            value += line;
            continue;
        };
        if !after.trim().is_empty() {
            return None;
        }
        *lines = ahead;
        return Some(value + inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables_comments_or_mistakes() {
        let one = |name: &str, value: &str| Ok(BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let table = [
            ("", Ok(BTreeMap::new())),
            ("# a comment\n; another\n\n   \n", Ok(BTreeMap::new())),
            ("A=1", one("A", "1")),
            ("A=1\r\n", one("A", "1")),
            ("  A = 1  ", one("A", "1")),
            ("export A=1\n", one("A", "1")),
            ("A=", one("A", "")),
            ("A=b=c", one("A", "b=c")),
            ("A='b c'", one("A", "b c")),
            ("A=\"it's\"", one("A", "it's")),
            ("A='b\"", one("A", "'b\"")),
            ("A='", one("A", "'")),
            ("A='b\n  c\n\nd' \n", one("A", "b\n  c\n\nd")),
            ("A=\"b\n# no comment\n\"", one("A", "b\n# no comment\n")),
            ("A='b\"\nc'", one("A", "b\"\nc")),
            ("A='b\nA='c'", one("A", "c")),
            ("A='b\nA=c\n", one("A", "c")),
            ("A='b'c\nA=d'\n", one("A", "d'")),
            ("A=$HOME # no comment", one("A", "$HOME # no comment")),
            ("A=1\nA=2\n", one("A", "2")),
            ("A=1\nB\n", Err(2)),
            ("=1", Err(1)),
            ("1A=1", Err(1)),
            ("a b=1", Err(1)),
            ("A=\0", Err(1)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_says_why() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("env");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let fifo = home.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read(&fifo).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(read(home.path()).unwrap_err().to_string(), "it is not a regular file");
        std::fs::write(&path, "A=1\nnonsense\n").unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "line 2 is not NAME=value");
        std::fs::write(&path, b"A=1\nB=\xff\n").unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "line 2 is not UTF-8");
        std::fs::write(&path, "A=1\n".repeat(1 << 20)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("longer than"));
    }
}
