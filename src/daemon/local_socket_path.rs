//! The places where the socket for local requests may be.
//!
//! The name of the socket is made from the path of the configuration. The daemon chooses the first directory that it can use,
//! which a client with another environment does not know: it then looks where sockets of this name are listened on.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// The runtime directory of a daemon that root or systemd started.
const SYSTEM_RUNTIME_DIRECTORY: &str = "/run/rtlogd";

/// The sockets on which processes listen, as the kernel lists them.
const LISTED_SOCKETS: &str = "/proc/net/unix";

/// The beginning of the names of sockets.
const NAME_PREFIX: &str = "control-";

/// The bits of a mode by which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The names of the socket of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SocketNames {
    /// The name for the path as it was given.
    pub(super) given: String,
    /// The name for the file to which that path leads; `None` if it is the same.
    pub(super) resolved: Option<String>,
}

impl SocketNames {
    /// The names for the configuration at `config`.
    pub(super) fn of(config: &Path) -> Self {
        let name =
            |path: &Path| format!("{NAME_PREFIX}{:08x}.sock", crc32fast::hash(path.as_os_str().as_encoded_bytes()));
        let given = name(&std::path::absolute(config).unwrap_or_else(|_| config.to_owned()));
        let resolved = fs::canonicalize(config).ok().map(|file| name(&file)).filter(|name| *name != given);
        Self { given, resolved }
    }

    /// The path of the socket in each of these directories, first by the name that the daemon with the same arguments gives it.
    fn within(self, directories: impl Iterator<Item = PathBuf>) -> impl Iterator<Item = PathBuf> {
        directories.flat_map(move |directory| {
            let names = [Some(&self.given), self.resolved.as_ref()].into_iter().flatten();
            names.map(|name| directory.join(name)).collect::<Vec<_>>()
        })
    }
}

/// The paths at which a daemon can open its socket, in order of preference.
pub(super) fn paths_to_open(config: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let name = SocketNames::of(config).given;
    socket_directories().into_iter().map(move |directory| directory.join(&name))
}

/// The paths at which a daemon may have opened it, in order of preference.
pub(super) fn paths_to_try(config: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let known = socket_directories();
    let names = SocketNames::of(config);
    let owner = fs::metadata(config).ok().map(|file| file.uid());
    // The list is read only if nobody listens at the paths that are known.
    let others = std::iter::once_with(move || {
        let listed = fs::read(LISTED_SOCKETS).unwrap_or_default();
        listed_directories(&listed).into_iter().filter(move |directory| is_trusted(directory, owner))
    });
    let directories = known.clone().into_iter().chain(others.flatten().filter(move |found| !known.contains(found)));
    names.within(directories)
}

/// The directories where a daemon opens its socket: the runtime directory that systemd made for the service; otherwise the
/// user's own and [`SYSTEM_RUNTIME_DIRECTORY`].
fn socket_directories() -> Vec<PathBuf> {
    if let Some(given) = env::var_os("RUNTIME_DIRECTORY") {
        return env::split_paths(&given).take(1).collect();
    }
    let user_directory = env::var_os("XDG_RUNTIME_DIR").map(|user_directory| Path::new(&user_directory).join("rtlogd"));
    // A relative path would mean another directory for each program (XDG Base Directory Specification).
    let user_directory = user_directory.filter(|directory| directory.is_absolute());
    user_directory.into_iter().chain([PathBuf::from(SYSTEM_RUNTIME_DIRECTORY)]).collect()
}

/// The directories of the sockets in a list of the kernel that have such a name.
fn listed_directories(list: &[u8]) -> Vec<PathBuf> {
    let path = |line: &[u8]| {
        let start = line.windows(2).position(|pair| pair == b" /")? + 1;
        Some(PathBuf::from(OsStr::from_bytes(line.get(start..)?)))
    };
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| {
            name.as_bytes().starts_with(NAME_PREFIX.as_bytes()) && name.as_bytes().ends_with(b".sock")
        })
    };
    let paths = list.split(|byte| *byte == b'\n').filter_map(path).filter(is_ours);
    let mut directories: Vec<_> = paths.filter_map(|path| path.parent().map(Path::to_owned)).collect();
    directories.sort();
    directories.dedup();
    directories
}

/// Returns whether only root, this user, or the `owner` of the configuration can have put a socket into this directory.
fn is_trusted(directory: &Path, owner: Option<u32>) -> bool {
    fs::metadata(directory).is_ok_and(|found| {
        let uid = found.uid();
        (uid == 0 || uid == geteuid().as_raw() || Some(uid) == owner) && found.mode() & WRITABLE_BY_OTHERS == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn each_configuration_has_a_socket_of_its_own() {
        let name = |path: &str| SocketNames::of(Path::new(path)).given;
        assert_eq!(name("/etc/rtlogd/rtlogd.yaml"), name("/etc/rtlogd/rtlogd.yaml"));
        assert_ne!(name("/etc/rtlogd/rtlogd.yaml"), name("/etc/rtlogd/a/rtlogd.yaml"));
    }

    #[test]
    fn all_paths_of_a_configuration_lead_to_its_socket() {
        let place = tempfile::tempdir().unwrap();
        let place = fs::canonicalize(place.path()).unwrap();
        let (file, link, directory) = (place.join("a.yaml"), place.join("link.yaml"), place.join("link"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        symlink(&place, &directory).unwrap();
        let of_file = SocketNames::of(&file);
        assert_eq!(of_file.resolved, None);
        for path in [link, directory.join("a.yaml")] {
            let names = SocketNames::of(&path);
            assert_ne!(names.given, of_file.given, "{}", path.display());
            assert_eq!(names.resolved.as_ref(), Some(&of_file.given), "{}", path.display());
        }
    }

    #[test]
    fn directories_of_sockets_are_found_in_the_list_of_the_kernel() {
        let list = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01  1234 /run/user/7/rtlogd/control-12345678.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 12345 /run/user/7/rtlogd/control-12345678.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 123456 /a b/control-0.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 123456 @/x/control-0.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 123456 control-0.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 123456 /run/other.sock\n\
            0000000000000000: 00000002 00000000 00000000 0001 01 123456\n";
        assert_eq!(listed_directories(list), [Path::new("/a b"), Path::new("/run/user/7/rtlogd")]);
        assert_eq!(listed_directories(b""), Vec::<PathBuf>::new());
    }

    #[test]
    fn directories_in_which_anybody_can_put_a_socket_are_not_trusted() {
        let place = tempfile::tempdir().unwrap();
        let own = geteuid().as_raw();
        for (mode, is_expected) in [(0o700, true), (0o755, true), (0o775, false), (0o1777, false)] {
            fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_trusted(place.path(), Some(own)), is_expected, "{mode:o}");
        }
        assert!(!is_trusted(&place.path().join("missing"), None));
    }
}
