//! Advice on a valid configuration: consequences that its author may not expect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Config, ProcessSourceConfig, SourceKind, TrustedProxy};

/// One sentence for each such consequence; `rtlogd check` prints them.
pub fn advice(config: &Config) -> Vec<String> {
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let note = |proxy: &TrustedProxy| match proxy {
        TrustedProxy::Network(network) if loopback.into_iter().any(|address| network.contains(address)) => {
            Some(format!(
                "{proxy} is in `trusted_proxies`, so requests from this machine over TCP need a token; programs on this \
                machine can use the Unix socket instead"
            ))
        }
        TrustedProxy::SocketUser(user) if user == "root" || user == "0" => Some(format!(
            "{proxy} is in `trusted_proxies`, so commands of root on the Unix socket need a token; let the proxy run as a \
            user of its own"
        )),
        TrustedProxy::Network(_) | TrustedProxy::SocketUser(_) => None,
    };
    let mut notes: Vec<String> = config.trusted_proxies.iter().filter_map(note).collect();
    if *config == (Config { files: config.files.clone(), ..Config::default() }) {
        notes.push("the configuration is empty, so nothing is served (add `streams: { NAME: { file: PATH } }`)".into());
    }
    for stream in &config.streams {
        if stream.public && stream.private.is_none() && matches!(stream.source, SourceKind::Journal(_)) {
            notes.push(format!(
                "stream {}: the journal is private, so `public` has no effect (write `private: false`, too, to let everybody \
                read it)",
                stream.name.as_str()
            ));
        }
        if let SourceKind::Process(process) = &stream.source {
            notes.extend(shell_syntax(process).map(|note| format!("stream {}: {note}", stream.name.as_str())));
        }
    }
    notes
}

/// A note on a command that is written as if a shell would run it.
fn shell_syntax(process: &ProcessSourceConfig) -> Option<String> {
    let words: Vec<&str> = process.argv.iter().filter_map(|word| word.to_str()).collect();
    let (program, arguments) = words.split_first()?;
    if arguments.is_empty() && program.contains(char::is_whitespace) {
        return Some(format!("{program:?} is taken as the name of a program, spaces included (write each word apart)"));
    }
    let is_special =
        |word: &&&str| SHELL_OPERATORS.contains(*word) || is_variable(word) || **word == "~" || word.starts_with("~/");
    let word = arguments.iter().find(is_special)?;
    Some(format!(
        "`{word}` is passed to {program} as an argument, since there is no shell (to use one, write the command as \
        one text and set `shell: true`)"
    ))
}

/// Words that have a meaning only in a shell. `;` is missing, since it ends an argument of find(1).
const SHELL_OPERATORS: &[&str] = &["&&", "||", "|", "&", ">", ">>", "<", "2>", "2>&1", "&>", ">&2"];

/// Returns whether a word is the name of a variable, as a shell would replace it: `$HOME` or `${HOME}`.
fn is_variable(word: &str) -> bool {
    let name = word.strip_prefix('$').unwrap_or_default();
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The key that suggests a proxy in front of rtlogd, although no proxy is trusted. Without trust, all clients behind
/// the proxy have its address, and a proxy on this machine that writes no header makes all of them local users.
pub fn hints_at_proxy(config: &Config) -> Option<&'static str> {
    if !config.trusted_proxies.is_empty() {
        None
    } else if config.base_path != "/" {
        Some("base_path")
    } else if !config.hosts.is_empty() && config.tls.is_none() {
        Some("hosts")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Stream;

    #[test]
    fn commands_for_a_shell_and_empty_configurations_are_mentioned() {
        assert!(advice(&Config::default())[0].contains("the configuration is empty"));
        let table: [(&[&str], &str); 12] = [
            (&["make", "&&", "ls"], "`&&` is passed to make"),
            (&["make", "2>&1"], "`2>&1` is passed to make"),
            (&["echo", "$HOME"], "`$HOME` is passed to echo"),
            (&["ls", "~/x"], "`~/x` is passed to ls"),
            (&["ls", "~"], "`~` is passed to ls"),
            (&["ls", "x~", "~x"], ""),
            (&["echo", "${HOME}"], "`${HOME}` is passed to echo"),
            (&["make -j8"], "spaces included"),
            (&["make", "-j8"], ""),
            (&["find", ".", "-exec", "ls", "{}", ";"], ""),
            (&["awk", "{ print $1 | \"sort\" }"], ""),
            (&["/bin/sh", "-c", "make && ls > $HOME/x"], ""),
        ];
        for (argv, expected) in table {
            let argv = argv.iter().map(Into::into).collect();
            let source = SourceKind::Process(ProcessSourceConfig::new(argv));
            let streams = vec![Stream::new("build".parse().unwrap(), source)];
            let notes = advice(&Config { streams, ..Config::default() });
            assert_eq!(notes.len(), usize::from(!expected.is_empty()), "{notes:?}");
            assert!(notes.iter().all(|note| note.contains(expected)), "{notes:?}");
        }
    }

    #[test]
    fn proxies_on_this_machine_are_mentioned() {
        let table = [
            ("127.0.0.1", "requests from this machine"),
            ("127.0.0.0/8", "requests from this machine"),
            ("::1", "requests from this machine"),
            ("unix:root", "commands of root"),
            ("unix:0", "commands of root"),
            ("10.0.0.5", ""),
            ("unix:www-data", ""),
        ];
        for (proxy, expected) in table {
            let streams = vec![Stream::new("deploy".parse().unwrap(), SourceKind::Push)];
            let config = Config { trusted_proxies: vec![proxy.parse().unwrap()], streams, ..Config::default() };
            let notes = advice(&config);
            assert_eq!(notes.is_empty(), expected.is_empty(), "{proxy}: {notes:?}");
            assert!(notes.iter().all(|note| note.contains(expected)), "{proxy}: {notes:?}");
        }
    }

    #[test]
    fn a_proxy_that_is_not_named_is_suspected() {
        let hosts = || vec!["ci.example.com".to_owned()];
        let none = Config::default();
        assert_eq!(hints_at_proxy(&none), None);
        assert_eq!(hints_at_proxy(&Config { base_path: "/logs".into(), ..none.clone() }), Some("base_path"));
        let named = Config { hosts: hosts(), ..none };
        assert_eq!(hints_at_proxy(&named), Some("hosts"));
        let trusted_proxies = vec!["10.0.0.5".parse().unwrap()];
        assert_eq!(hints_at_proxy(&Config { trusted_proxies, ..named }), None);
    }
}
