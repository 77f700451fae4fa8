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
            "{} is not what the program says now: {differs:?}; write it again with RTLOGD_GENERATE=1 cargo it package::",
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

/// An image cannot be built here, so each of its parts is tried.
#[test]
fn the_image_has_what_the_program_needs() {
    let text = read(&sources("packaging/container/Containerfile"));
    let joined = text.replace("\\\n", " ");
    let mut bases = Vec::new();
    let mut built = String::new();
    let (mut stage, mut entry, mut arguments) = (0, Vec::new(), Vec::new());
    for line in joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap();
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word {
            "FROM" => {
                stage += 1;
                bases.push(words[0]);
            }
            "COPY" if words[0] == "--from=build" => {
                let is_there = words[1] == format!("/source/{built}") || words[1].starts_with("/etc/ssl/certs/");
                assert!(stage == 2 && is_there, "{line}");
            }
            "COPY" => {
                for source in &words[..words.len() - 1] {
                    assert!(sources(source).exists(), "{line}");
                }
            }
            "RUN" if stage == 1 => {
                assert_eq!(rest, "cargo build --release --locked --bin rtlogd");
                built = "target/release/rtlogd".to_owned();
            }
            "ENTRYPOINT" => entry = serde_json::from_str::<Vec<String>>(rest).unwrap(),
            "CMD" => arguments = serde_json::from_str::<Vec<String>>(rest).unwrap(),
            "RUN" | "USER" | "WORKDIR" | "VOLUME" | "EXPOSE" | "STOPSIGNAL" => {}
            _ => panic!("an instruction that this test does not know: {line}"),
        }
    }
    assert_eq!((stage, entry), (2, vec!["/usr/bin/rtlogd".to_owned()]));
    // Both stages are of one release of Debian, so that the C library of the second is the one the program was linked with.
    let release = |base: &str| ["bookworm", "trixie"].into_iter().find(|name| base.contains(name)).unwrap().to_owned();
    assert_eq!(release(bases[0]), release(bases[1]), "{bases:?}");
    // The smallest image of Debian has these libraries (libc6, libgcc-s1), and no others that a program could need.
    let linked = Command::new("ldd").arg(env!("CARGO_BIN_EXE_rtlogd")).output().unwrap();
    for line in String::from_utf8_lossy(&linked.stdout).lines() {
        let library = line.split_whitespace().next().unwrap();
        let name = library.rsplit('/').next().unwrap();
        let known = ["linux-vdso", "libc.", "libm.", "libgcc_s.", "ld-linux", "libpthread.", "libdl.", "librt."];
        assert!(known.iter().any(|known| name.starts_with(known)), "the image has no {library}");
    }
    // The command line and the configuration are accepted.
    let parsed = rtlogd::cli::command().try_get_matches_from([vec!["rtlogd".to_owned()], arguments.clone()].concat());
    parsed.unwrap();
    assert_eq!(arguments[2], "/etc/rtlogd/rtlogd.yaml");
    let config = sources("packaging/container/rtlogd.yaml");
    let checked = Command::new(env!("CARGO_BIN_EXE_rtlogd")).arg("check").arg(&config).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
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
