//! The list of revoked tokens: the file `revoked` in the directory of rtlogd's own keys, with one id per line; `#`
//! begins a comment.
//!
//! The list is loaded separately from the keys, since a revocation must apply even if other files are broken. Ids that
//! were on the list stay revoked while the list cannot be read. Until it has been read for the first time, no token is
//! valid, since any token may be on it.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::access::directory::Directory;

use super::keys::KeyError;
use super::token::BadToken;

/// The file name of the list.
const REVOCATION_LIST_NAME: &str = "revoked";

/// Maximum size of the list, in bytes: several hundred thousand ids.
const MAX_REVOCATION_LIST_SIZE: u64 = 4 << 20;

/// The revoked tokens, as far as they are known.
#[derive(Debug, Clone)]
pub(super) enum Revoked {
    /// The ids on the list.
    Listed(Arc<HashSet<Box<[u8]>>>),
    /// The list has never been read.
    Unknown,
}

impl Default for Revoked {
    fn default() -> Self {
        Self::Listed(Arc::default())
    }
}

impl Revoked {
    /// Reads the list of a directory. If it cannot be read completely, the error says why, and the entries of `before`
    /// stay revoked.
    pub(super) fn load(directory: &Path, before: &Self) -> (Self, Option<KeyError>) {
        match Self::read(directory) {
            Ok((list, fits)) => {
                let too_long = || {
                    let why = format!("it is longer than {MAX_REVOCATION_LIST_SIZE} bytes, and the rest is ignored");
                    KeyError::Read(
                        directory.join(REVOCATION_LIST_NAME),
                        io::Error::new(io::ErrorKind::FileTooLarge, why),
                    )
                };
                (list, (!fits).then(too_long))
            }
            // The directory is gone, so this does not mean that entries were removed from the list.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match before {
                Self::Listed(_) => (before.clone(), None),
                Self::Unknown => (Self::default(), None),
            },
            Err(error) => (before.clone(), Some(KeyError::Read(directory.join(REVOCATION_LIST_NAME), error))),
        }
    }

    /// Reads the list, and returns whether it is complete. The error `NotFound` refers to the directory.
    fn read(directory: &Path) -> io::Result<(Self, bool)> {
        let directory = Directory::open(directory)?;
        let file = match directory.read(REVOCATION_LIST_NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Self::default(), true)),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(MAX_REVOCATION_LIST_SIZE + 1).read_to_end(&mut text)?;
        let fits = text.len() as u64 <= MAX_REVOCATION_LIST_SIZE;
        Ok((Self::parse(&text), fits))
    }

    /// Parses the list. A line that is not UTF-8 is an id that no token has; it does not affect other lines.
    fn parse(text: &[u8]) -> Self {
        let ids = text.split(|byte| *byte == b'\n' || *byte == b'\r');
        let ids = ids.map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii());
        Self::Listed(Arc::new(ids.filter(|id| !id.is_empty()).map(Into::into).collect()))
    }

    /// Checks that the token with this id is not revoked.
    pub(super) fn check(&self, id: &str) -> Result<(), BadToken> {
        match self {
            Self::Listed(ids) if ids.contains(id.as_bytes()) => Err(BadToken::Revoked),
            Self::Listed(_) => Ok(()),
            Self::Unknown => Err(BadToken::RevocationListUnreadable),
        }
    }

    /// The number of revoked ids; `None` if the list has never been read.
    pub(crate) fn count(&self) -> Option<usize> {
        match self {
            Self::Listed(ids) => Some(ids.len()),
            Self::Unknown => None,
        }
    }
}

/// Adds an id to the list, and creates the list if it does not exist. Returns its path, and whether the id was on it
/// already.
pub(crate) fn revoke(directory: &Path, id: &str) -> Result<(PathBuf, bool), KeyError> {
    let path = directory.join(REVOCATION_LIST_NAME);
    let failed = |error| KeyError::Write(path.clone(), error);
    let opened = Directory::open_for_writing(directory).map_err(failed)?;
    let mut file = opened.append(REVOCATION_LIST_NAME).map_err(failed)?;
    let mut text = Vec::new();
    (&file).take(MAX_REVOCATION_LIST_SIZE + 1).read_to_end(&mut text).map_err(failed)?;
    if Revoked::parse(&text).check(id).is_err() {
        return Ok((path, true));
    }
    // The last line may have been written without a line end.
    let mut line = if text.last().is_some_and(|last| *last != b'\n') { "\n".to_owned() } else { String::new() };
    line.extend([id, "\n"]);
    if text.len() as u64 + line.len() as u64 > MAX_REVOCATION_LIST_SIZE {
        let why = format!(
            "it would be longer than {MAX_REVOCATION_LIST_SIZE} bytes; remove the lines of tokens that have expired"
        );
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok((path, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_id_is_a_word_and_a_line() {
        let table: [(&[u8], &[&str], &[&str]); 7] = [
            (b"", &[], &["one"]),
            (b"one\ntwo\n", &["one", "two"], &["onetwo", "on"]),
            (b"one\n two # a laptop that was stolen\n\n", &["one", "two"], &["a", "laptop"]),
            (b"one\r\ntwo\r\n", &["one", "two"], &[]),
            (b"one\n\xff\xfe\ntwo", &["one", "two"], &[]),
            (b"#one\n# two\n", &[], &["one", "two"]),
            (b"one\0\ntwo\n", &["two"], &["one"]),
        ];
        for (text, revoked, others) in table {
            let list = Revoked::parse(text);
            assert!(revoked.iter().all(|id| list.check(id) == Err(BadToken::Revoked)), "{text:?}");
            assert!(others.iter().all(|id| list.check(id) == Ok(())), "{text:?}");
        }
    }

    #[test]
    fn what_was_revoked_stays_so_while_the_list_cannot_be_read() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("keys");
        assert!(revoke(&directory, "one").is_err(), "where there is no directory nothing is revoked");
        fs::create_dir(&directory).unwrap();
        assert_eq!(revoke(&directory, "one").unwrap(), (directory.join(REVOCATION_LIST_NAME), false));
        let (known, fault) = Revoked::load(&directory, &Revoked::Unknown);
        assert!(fault.is_none());
        let list = directory.join(REVOCATION_LIST_NAME);
        let spoil: [(&str, &dyn Fn()); 4] = [
            ("a directory", &|| fs::create_dir(&list).unwrap()),
            ("a FIFO", &|| {
                rustix::fs::mknodat(rustix::fs::CWD, &list, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
                    .unwrap();
            }),
            ("a link to itself", &|| std::os::unix::fs::symlink(REVOCATION_LIST_NAME, &list).unwrap()),
            ("a link to a directory", &|| std::os::unix::fs::symlink(".", &list).unwrap()),
        ];
        for (what, spoil) in spoil {
            fs::remove_file(&list).or_else(|_| fs::remove_dir(&list)).unwrap();
            spoil();
            let (after, fault) = Revoked::load(&directory, &known);
            assert!(fault.is_some() && after.check("one") == Err(BadToken::Revoked), "{what}");
            let (first, fault) = Revoked::load(&directory, &Revoked::Unknown);
            assert!(fault.is_some() && first.check("two") == Err(BadToken::RevocationListUnreadable), "{what}");
            assert!(revoke(&directory, "two").is_err(), "{what}");
        }
        fs::remove_file(&list).unwrap();
        assert_eq!(Revoked::load(&directory, &known).0.check("one"), Ok(()), "a list that was removed revokes nothing");
        fs::remove_dir(&directory).unwrap();
        assert_eq!(
            Revoked::load(&directory, &known).0.check("one"),
            Err(BadToken::Revoked),
            "its directory is another matter"
        );
        assert_eq!(Revoked::load(&directory, &Revoked::Unknown).0.check("one"), Ok(()));
    }

    #[test]
    fn the_list_grows_by_whole_lines_up_to_its_bound() {
        let place = tempfile::tempdir().unwrap();
        let list = place.path().join(REVOCATION_LIST_NAME);
        fs::write(&list, "by hand").unwrap();
        fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!revoke(place.path(), "one").unwrap().1);
        assert!(revoke(place.path(), "one").unwrap().1, "it is revoked already");
        assert_eq!(fs::read_to_string(&list).unwrap(), "by hand\none\n");
        let long = "x".repeat(usize::try_from(MAX_REVOCATION_LIST_SIZE).unwrap());
        fs::write(&list, format!("first\n{long}")).unwrap();
        let (known, fault) = Revoked::load(place.path(), &Revoked::Unknown);
        assert!(fault.unwrap().to_string().contains("revoked"));
        assert_eq!(known.check("first"), Err(BadToken::Revoked), "what fits applies");
        assert!(revoke(place.path(), "two").is_err());
    }
}
