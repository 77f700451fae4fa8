//! What the package ships: the completions are what the program says of itself, and the units have no mistakes.
//!
//! `RTLOGD_GENERATE=1 cargo it package::` writes the completions. `tests/package` tries the package itself, in a guest; the manual
//! is tested by `manual/`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap_complete::Shell;

use crate::harness::{skip, sources};

/// Compares what is made now with what is kept in `folder`; or writes it there, if that was asked for.
fn compare(folder: &str, made: &BTreeMap<String, String>) {
    let folder = sources(folder);
    if env::var_os("RTLOGD_GENERATE").is_some() {
        for (name, text) in made {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in made {
        let kept = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let differs = kept.lines().zip(text.lines()).find(|(kept, made)| kept != made);
        assert!(
            kept == *text,
            "{} is not what the program says now: {differs:?}; write it anew with RTLOGD_GENERATE=1 cargo it package::",
            folder.join(name).display()
        );
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_completions_match_the_command_line() {
    let mut made = BTreeMap::new();
    for (shell, name) in [(Shell::Bash, "rtlogd.bash"), (Shell::Zsh, "_rtlogd"), (Shell::Fish, "rtlogd.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut rtlogd::cli::command(), "rtlogd", &mut script);
        made.insert(name.to_owned(), String::from_utf8(script).unwrap());
    }
    compare("packaging/completions", &made);
}

#[test]
fn the_units_have_no_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let units: Vec<_> = fs::read_dir(sources("systemd")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(units.len(), 3);
    for unit in &units {
        // A machine without the package has the program at another path.
        let text = read(unit).replace("/usr/bin/rtlogd", env!("CARGO_BIN_EXE_rtlogd"));
        fs::write(directory.path().join(unit.file_name().unwrap()), text).unwrap();
    }
    for name in ["rtlogd.service", "rtlogd.socket", "rtlogd@one.service"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).arg(directory.path().join(name));
        match command.output() {
            Ok(said) => assert!(
                said.status.success() && said.stderr.is_empty(),
                "{name}: {}",
                String::from_utf8_lossy(&said.stderr)
            ),
            Err(error) => return skip(&format!("systemd-analyze, which tests/check installs, cannot be run: {error}")),
        }
    }
}
