//! Which files a stream may read, where others than the daemon's user write to the directories it follows.
//!
//! The daemon runs as the user `daemon`; whoever wants more than is his is `nobody`. Both need root, without which these tests
//! have nothing to show.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::harness::{Daemon, Deadline, Place};

const DAEMON: u32 = 1;
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory that the daemon may use, and in it `logs` of nobody.
fn place() -> Place {
    let place = Place::new();
    directory(&place, "", DAEMON, 0o755);
    directory(&place, "logs", NOBODY, 0o755);
    place
}

fn directory(place: &Place, path: &str, owner: u32, mode: u32) {
    let path = place.path(path);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

fn file(place: &Place, path: &str, owner: u32, mode: u32, text: &str) {
    place.write(path, text);
    fs::set_permissions(place.path(path), Permissions::from_mode(mode)).unwrap();
    chown(place.path(path), Some(owner), Some(owner)).unwrap();
}

/// Starts the daemon as its user.
fn start(place: Place, yaml: &str) -> Daemon {
    place.configure(yaml);
    let user = format!("--reuid={DAEMON}");
    place.launch_by(&["setpriv", &user, "--regid=1", "--clear-groups"], &["serve", "--config", "rtlogd.yaml"])
}

/// All lines of a stream, for whoever asks without a token; the status if there are none for them.
fn shown(daemon: &Daemon, name: &str) -> Result<String, u16> {
    let (status, _, body) = daemon.get(&format!("/streams/{name}?tail=all&follow=false&format=text"), &[]);
    if status == 200 { Ok(String::from_utf8(body).unwrap()) } else { Err(status) }
}

fn wait_for(daemon: &Daemon, name: &str, line: &str) -> String {
    Deadline::new().until(line, || shown(daemon, name).ok().filter(|text| text.contains(line)))
}

#[test]
fn a_file_that_is_closed_to_others_makes_its_stream_private_before_its_next_line() {
    if !is_root() {
        return;
    }
    let place = place();
    for path in ["logs/a.log", "logs/b.log", "logs/c.log"] {
        file(&place, path, NOBODY, 0o644, "open\n");
        chown(place.path(path), None, Some(DAEMON)).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, place.path("logs/pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    chown(place.path("logs/pipe"), Some(DAEMON), None).unwrap();
    fs::set_permissions(place.path("logs/pipe"), Permissions::from_mode(0o644)).unwrap();
    let daemon = start(
        place,
        "streams:\n  named: { file: logs/a.log, from: start }\n  all: { file: 'logs/[b].log', from: start }\n  \
        rotated: { file: logs/c.log, from: start }\n  pipe: { file: logs/pipe }\n  \
        still: { file: logs/a.log, from: start, private: false }",
    );
    let mut pipe = OpenOptions::new().read(true).write(true).open(daemon.path("logs/pipe")).unwrap();
    pipe.write_all(b"open\n").unwrap();
    for name in ["named", "all", "rotated", "pipe", "still"] {
        wait_for(&daemon, name, "open");
    }
    for path in ["logs/a.log", "logs/b.log", "logs/pipe"] {
        fs::set_permissions(daemon.path(path), Permissions::from_mode(0o640)).unwrap();
    }
    // It is rotated and made anew for fewer.
    daemon.rename("logs/c.log", "logs/c.log.1");
    file(&daemon, "logs/new", NOBODY, 0o640, "SECRET\n");
    chown(daemon.path("logs/new"), None, Some(DAEMON)).unwrap();
    daemon.rename("logs/new", "logs/c.log");
    daemon.write("logs/a.log", "SECRET\n");
    daemon.write("logs/b.log", "SECRET\n");
    pipe.write_all(b"SECRET\n").unwrap();
    for name in ["named", "all", "rotated", "pipe"] {
        Deadline::new().until(name, || {
            let text = shown(&daemon, name);
            assert!(!text.as_ref().is_ok_and(|text| text.contains("SECRET")), "{name}: {text:?}");
            (text == Err(404)).then_some(())
        });
    }
    wait_for(&daemon, "still", "SECRET");
}
