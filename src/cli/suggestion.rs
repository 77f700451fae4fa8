//! Suggestions for command lines that name no command: the first word may be a command of another tool, or an argument
//! of a command of rtlogd.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::doctor;
use crate::config::{self, ProcessSourceConfig};
use crate::event::shell_word;

/// Commands of other tools, and what to write instead. `...` stands for the words that were written after the command.
const FOREIGN_COMMANDS: [(&[&str], &str); 15] = [
    (&["ps", "status", "streams", "show", "info"], "`rtlogd ls` lists the streams and their states"),
    (&["logs", "log", "tail", "cat", "watch", "read"], "`rtlogd follow ...` prints a stream as it grows"),
    (&["up", "server", "daemon"], "`rtlogd serve` serves the streams of a configuration"),
    (&["exec", "wrap", "launch", "spawn"], "`rtlogd run -- ...` runs a command and serves its output"),
    (&["kill"], "`rtlogd stop ...` stops a process, and `rtlogd signal ... KILL` kills it"),
    (&["down", "quit"], "`rtlogd stop NAME` stops a process; `rtlogd shutdown` stops the daemon"),
    (&["validate", "verify", "test", "lint", "configtest"], "`rtlogd check ...` finds mistakes in a configuration"),
    (&["diagnose", "debug"], "`rtlogd doctor ...` finds out why a configuration does not work"),
    (&["reread", "apply"], "`rtlogd reload` applies a changed configuration"),
    (
        &["update"],
        "`rtlogd upgrade` switches to the installed program; `rtlogd reload` applies a changed configuration",
    ),
    (&["write", "input", "type", "attach"], "`rtlogd send ...` types a line into a process"),
    (&["append", "publish", "upload", "put"], "`rtlogd push ...` appends lines to a push stream"),
    (&["login", "auth", "key", "keys"], "`rtlogd token` makes tokens and their keys"),
    (&["version"], "`rtlogd --version` prints the version"),
    (&["man", "manual"], "`man rtlogd` is the manual, and `rtlogd help` a summary"),
];

/// Adds to an error of the command line what was probably meant. `arguments` are all words after the program.
pub(super) fn explain(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let (Some(first), rest) = (arguments.first(), arguments.get(1..).unwrap_or_default()) else { return error };
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let may_be_program = error.get(ContextKind::SuggestedSubcommand).is_none();
            foreign_command(first, rest).or_else(|| argument(first, arguments, may_be_program))
        }
        ErrorKind::MissingRequiredArgument => daemon_command(first).filter(|_| rest.is_empty()),
        _ => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The text to write instead of a command of another tool.
fn foreign_command(word: &OsStr, rest: &[OsString]) -> Option<String> {
    let (_, meant) = FOREIGN_COMMANDS.iter().find(|(words, _)| words.iter().any(|foreign| word == *foreign))?;
    // Options such as `-f` are those of the other tool, up to the words of a command.
    let words = rest.iter().skip_while(|word| word.as_encoded_bytes().starts_with(b"-")).cloned().collect::<Vec<_>>();
    let words = if words.is_empty() { "NAME".to_owned() } else { joined(&words) };
    let is_about_files = meant.contains("check") || meant.contains("doctor");
    Some(match meant.contains("run --") {
        true if words == "NAME" => meant.replace("...", "COMMAND"),
        false if is_about_files && words == "NAME" => meant.replace(" ...", ""),
        true | false => meant.replace("...", &words),
    })
}

/// The command for a first word that would be an argument of it.
fn argument(word: &OsStr, all: &[OsString], may_be_program: bool) -> Option<String> {
    let (path, text) = (Path::new(word), word.to_string_lossy());
    let words = joined(all);
    let process = ProcessSourceConfig::new(vec![word.to_owned()]);
    let is_program = || doctor::find_program(&process).is_some();
    let looks_like_file = text == config::STANDARD_INPUT || text.contains(['/', '.', '*']);
    Some(if text.contains("://") {
        format!("`rtlogd follow {words}` prints a stream as it grows")
    } else if config::is_configuration(path) {
        format!("`rtlogd serve --config {words}` serves the streams of this configuration")
    } else if path.is_dir() {
        let pattern = shell_word(&path.join("*.log").to_string_lossy());
        format!("`rtlogd serve {pattern}` follows the files of a directory whose names end in .log")
    } else if looks_like_file && is_program() {
        format!("`rtlogd run -- {words}` runs a command and serves its output")
    } else if looks_like_file || path.exists() {
        format!("`rtlogd serve {words}` follows files")
    } else if may_be_program && is_program() {
        format!("`rtlogd run -- {words}` runs a command and serves its output")
    } else {
        return None;
    })
}

/// How to start and stop the daemon itself, whose commands are those for processes in other tools.
fn daemon_command(word: &OsStr) -> Option<String> {
    let command = ["start", "stop", "restart"].into_iter().find(|command| word == *command)?;
    let by_hand = match command {
        "start" => ", or `rtlogd serve`,",
        "stop" => ", or `rtlogd shutdown`,",
        _ => "",
    };
    Some(format!("`systemctl {command} rtlogd`{by_hand} {command}s the daemon, and `rtlogd {command} NAME` a process"))
}

fn joined(words: &[OsString]) -> String {
    words.iter().map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::Arguments;
    use clap::Parser;

    /// The message of a command line that clap refuses.
    fn message(words: &[&str]) -> String {
        let arguments: Vec<OsString> = words.iter().map(Into::into).collect();
        let all = std::iter::once(OsString::from("rtlogd")).chain(arguments.iter().cloned());
        explain(Arguments::try_parse_from(all).unwrap_err(), &arguments).to_string()
    }

    #[test]
    fn a_word_that_is_no_command_leads_to_one() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let (config, log, plain) = (path("demo.yaml"), path("new.log"), path("plain"));
        std::fs::write(&config, "streams: {}\n").unwrap();
        std::fs::write(&plain, "").unwrap();
        let (serves, follows) = (format!("`rtlogd serve --config {config}`"), format!("`rtlogd serve {log} '*.log'`"));
        let (follows_plain, follows_all) =
            (format!("`rtlogd serve {plain}`"), format!("`rtlogd serve '{}`", path("*.log'")));
        let directory = path("");
        let table: [(&[&str], &str); 23] = [
            (&["status"], "`rtlogd ls`"),
            (&["ps", "-a"], "`rtlogd ls`"),
            (&["logs", "web"], "`rtlogd follow web`"),
            (&["logs", "-f", "web", "app"], "`rtlogd follow web app`"),
            (&["tail"], "`rtlogd follow NAME`"),
            (&["kill", "web"], "`rtlogd stop web` stops a process, and `rtlogd signal web KILL`"),
            (&["exec", "--", "make", "-j8"], "`rtlogd run -- make -j8`"),
            (&["exec"], "`rtlogd run -- COMMAND`"),
            (&["validate"], "`rtlogd check` finds"),
            (&["validate", "my file.yaml"], "`rtlogd check 'my file.yaml'` finds"),
            (
                &["start"],
                "`systemctl start rtlogd`, or `rtlogd serve`, starts the daemon, and `rtlogd start NAME` a process",
            ),
            (
                &["stop"],
                "`systemctl stop rtlogd`, or `rtlogd shutdown`, stops the daemon, and `rtlogd stop NAME` a process",
            ),
            (&["update"], "`rtlogd upgrade` switches to the installed program; `rtlogd reload` applies"),
            (&[&log, "*.log"], &follows),
            (&["*.log"], "`rtlogd serve '*.log'`"),
            (&["-"], "`rtlogd serve -`"),
            (&[&plain], &follows_plain),
            (&[&config], &serves),
            (&[&directory], &follows_all),
            (&["http://ci/streams/a"], "`rtlogd follow http://ci/streams/a`"),
            (&["/bin/sh", "-c", "make && ls"], "`rtlogd run -- /bin/sh -c 'make && ls'`"),
            (&["mkdir", "x"], "`rtlogd run -- mkdir x`"),
            (&["sreve"], "a similar subcommand exists: 'serve'"),
        ];
        for (words, tip) in table {
            let message = message(words);
            assert!(message.contains(&format!("tip: {tip}")), "{words:?}: {message}");
            assert_eq!(message.matches("tip: ").count(), 1, "{words:?}: {message}");
        }
        for words in [&["frobnicate"][..], &["send", "web"], &["stop", "--url", "7070"]] {
            assert!(!message(words).contains("tip: "), "{words:?}");
        }
    }

    #[test]
    fn no_command_of_rtlogd_is_taken_for_one_of_another_tool() {
        let commands = crate::cli::command();
        let own = commands.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases);
        let foreign: Vec<&str> = FOREIGN_COMMANDS.iter().flat_map(|(words, _)| words.iter().copied()).collect();
        for name in own {
            assert!(!foreign.contains(&name), "{name}");
        }
    }
}
