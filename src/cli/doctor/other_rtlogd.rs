//! The rtlogd that listens on a port of the configuration: the one that serves this configuration, or another one.
//!
//! The command line of its process says which configuration it serves. The process of another user cannot be seen; then
//! the names of its streams decide, which every program of this machine may list.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli::DEFAULT_CONFIG_PATH;
use crate::cli::arguments::{Arguments, CliCommand};
use crate::config::Config;
use crate::event::shell_word;

use super::machine::{ask, listening_sockets};

/// The most names of streams that a description has.
const MAX_NAMES: usize = 5;

/// An rtlogd that does not serve the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherRtlogd {
    /// Its process or its streams, for people.
    pub(super) description: String,
    /// Its process, if this user may see it.
    pub(super) pid: Option<u32>,
}

impl OtherRtlogd {
    /// The rtlogd that listens on the address, unless it serves the configuration or nothing is known about it.
    pub(super) fn find(address: SocketAddr, config: &Config) -> Option<Self> {
        match listening_process(address).map(|process| (process.serves(config), process)) {
            Some((Some(true), _)) => None,
            Some((Some(false), Process { pid, command, .. })) => {
                let words: Vec<_> = command.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
                Some(Self { description: format!("pid {pid}, `{}`", words.join(" ")), pid: Some(pid) })
            }
            Some((None, Process { pid, .. })) => Self::by_streams(&stream_names(address)?, config, Some(pid)),
            None => Self::by_streams(&stream_names(address)?, config, None),
        }
    }

    /// The rtlogd that serves streams of these names, if the configuration lacks one of them.
    fn by_streams(served: &[String], config: &Config, pid: Option<u32>) -> Option<Self> {
        let is_ours = |name: &String| config.streams.iter().any(|stream| stream.name.as_str() == name);
        if served.iter().all(is_ours) {
            return None;
        }
        let rest = if served.len() > MAX_NAMES { ", ..." } else { "" };
        let names = served.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
        let pid_text = pid.map_or_else(String::new, |pid| format!("pid {pid}, "));
        Some(Self { description: format!("{pid_text}with the streams {names}{rest}"), pid })
    }
}

/// The process of an rtlogd.
#[derive(Debug)]
struct Process {
    pid: u32,
    command: Vec<OsString>,
    /// The working directory, to which a configuration on the command line is relative.
    directory: PathBuf,
}

impl Process {
    /// Returns whether the process serves the configuration; `None` if its command line does not say so.
    fn serves(&self, config: &Config) -> Option<bool> {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let Ok(arguments) = Arguments::try_parse_from(&self.command) else { return None };
        let file = match arguments.command {
            CliCommand::Serve { paths, .. } if !paths.is_empty() => return Some(false),
            CliCommand::Serve { config, detach, .. } => {
                let file = config.unwrap_or_else(|| DEFAULT_CONFIG_PATH.into());
                if detach.daemon && file.is_relative() {
                    return None;
                }
                self.directory.join(file)
            }
            _ => return Some(false),
        };
        Some(config.files.first().is_some_and(|ours| real(ours) == real(&file)))
    }
}

/// The rtlogd that listens on the address, if this user may see what it has open.
fn listening_process(address: SocketAddr) -> Option<Process> {
    let wanted: Vec<PathBuf> =
        listening_sockets(address).into_iter().map(|inode| format!("socket:[{inode}]").into()).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes.into_iter().find_map(|process| {
        let pid = process.file_name()?.to_str()?.parse().ok()?;
        let is_rtlogd = fs::read_to_string(process.join("comm")).ok()?.trim_end() == env!("CARGO_PKG_NAME");
        let mut files = is_rtlogd.then(|| fs::read_dir(process.join("fd")).ok())??.flatten();
        files.find(|file| fs::read_link(file.path()).is_ok_and(|target| wanted.contains(&target)))?;
        let line = fs::read(process.join("cmdline")).ok()?;
        let words = line.strip_suffix(&[0]).unwrap_or(&line).split(|byte| *byte == 0);
        let command = words.map(|word| OsString::from_vec(word.to_vec())).collect();
        Some(Process { pid, command, directory: fs::read_link(process.join("cwd")).ok()? })
    })
}

/// The streams that the rtlogd at the address shows to this machine; `None` if it shows none without a token.
fn stream_names(address: SocketAddr) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Listed {
        streams: Vec<Named>,
    }
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let answer = ask(address, "/streams").ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let listed: Listed = serde_json::from_str(body).ok()?;
    Some(listed.streams.into_iter().map(|stream| stream.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Stream;

    fn config() -> Config {
        let stream = |name: &str| Stream::for_command(name.parse().unwrap(), vec!["true".into()]);
        Config {
            files: vec!["/srv/a/rtlogd.yaml".into()],
            streams: vec![stream("web"), stream("app")],
            ..Config::default()
        }
    }

    #[test]
    fn the_command_line_says_which_configuration_is_served() {
        for (line, serves) in [
            ("rtlogd serve --config /srv/a/rtlogd.yaml", Some(true)),
            ("rtlogd serve --config=rtlogd.yaml --log-level debug", Some(true)),
            ("rtlogd serve --daemon --config /srv/a/rtlogd.yaml", Some(true)),
            ("rtlogd serve --daemon --config rtlogd.yaml", None),
            ("rtlogd serve --config other.yaml", Some(false)),
            ("rtlogd serve", Some(false)),
            ("rtlogd serve a.log", Some(false)),
            ("rtlogd run make", Some(false)),
            ("rtlogd serve --a-later-option", None),
        ] {
            let command = line.split(' ').map(OsString::from).collect();
            let process = Process { pid: 7, command, directory: "/srv/a".into() };
            assert_eq!(process.serves(&config()), serves, "{line}");
        }
        let default = Config { files: vec![DEFAULT_CONFIG_PATH.into()], ..config() };
        let command = vec!["rtlogd".into(), "serve".into()];
        assert_eq!(Process { pid: 7, command, directory: "/".into() }.serves(&default), Some(true));
    }

    #[test]
    fn streams_that_the_configuration_lacks_are_those_of_another_rtlogd() {
        for (served, description) in [
            (&["web", "app"][..], None),
            (&["web"], None),
            (&[], None),
            (&["web", "build"], Some("with the streams web, build")),
            (&["1", "2", "3", "4", "5", "6"], Some("with the streams 1, 2, 3, 4, 5, ...")),
        ] {
            let served: Vec<String> = served.iter().map(|name| (*name).to_owned()).collect();
            let found = OtherRtlogd::by_streams(&served, &config(), None).map(|other| other.description);
            assert_eq!(found.as_deref(), description, "{served:?}");
        }
    }
}
