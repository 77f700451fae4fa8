//! The names that other tools have for keys of this configuration, so that an unknown key can be answered with the right
//! one.

/// The keys of this configuration, each with the names that people bring from other tools: Promtail, Fluent Bit,
/// Filebeat, Vector, supervisord, systemd, Docker Compose, pm2 and nginx. Lower case, with `_` between words. A name may
/// stand for several keys, of which a map has at most one.
const FOREIGN_KEYS: &[(&str, &[&str])] = &[
    // Of a stream.
    (
        "file",
        &[
            "path",
            "paths",
            "filename",
            "filenames",
            "tail",
            "log",
            "logs",
            "logfile",
            "log_file",
            "include",
            "__path__",
        ],
    ),
    ("command", &["cmd", "exec", "execstart", "exec_start", "program", "process", "run", "script", "entrypoint"]),
    ("journal", &["journald", "systemd", "systemd_journal", "syslog"]),
    ("push", &["receive", "http", "ingest"]),
    ("directory", &["cwd", "workdir", "work_dir", "working_dir", "working_directory", "workingdirectory", "chdir"]),
    ("environment", &["env", "environ", "envs", "vars", "variables"]),
    ("user", &["uid", "run_as", "runas"]),
    ("group", &["gid"]),
    ("pty", &["tty", "terminal"]),
    ("input", &["stdin", "stdin_open", "interactive"]),
    ("start", &["autostart", "auto_start"]),
    ("restart", &["autorestart", "auto_restart", "restart_policy", "respawn"]),
    ("stop", &["stopsignal", "stop_signal", "kill_signal", "killsignal", "stop_grace_period", "stopwaitsecs"]),
    ("from", &["read_from", "read_from_head", "start_position", "start_at", "position"]),
    ("exclude", &["ignore", "exclude_path", "exclude_paths", "exclude_files", "excludes"]),
    ("encoding", &["charset", "codec"]),
    ("max_line", &["max_line_size", "max_line_bytes", "max_bytes", "buffer_max_size"]),
    ("multiline", &["multi_line"]),
    ("redact", &["mask", "scrub", "sanitize", "secrets"]),
    ("labels", &["tags", "tag", "metadata"]),
    ("description", &["title", "comment", "about"]),
    ("rotate_wait", &["close_inactive", "rotate_delay"]),
    ("follow_symlinks", &["symlinks", "follow_links"]),
    // Of a journal, of lines that are joined, and of a command's restarts and end.
    ("unit", &["service"]),
    ("identifier", &["tag", "syslog_identifier"]),
    ("start", &["firstline", "first_line", "format_firstline", "begin"]),
    ("continue", &["pattern", "continuation"]),
    ("when", &["policy", "condition"]),
    ("limit", &["max_retries", "retries", "startretries", "max_attempts"]),
    ("backoff", &["delay", "restart_sec", "restartsec"]),
    ("grace", &["timeout", "stop_grace_period", "kill_timeout"]),
    // Of the whole configuration.
    ("listen", &["port", "bind", "address", "addr", "host", "http", "server"]),
    ("hosts", &["server_name", "hostname", "hostnames", "domains"]),
    ("streams", &["sources", "inputs", "services", "processes", "programs", "jobs", "scrape_configs", "logs", "apps"]),
    ("state_directory", &["data_dir", "data_directory", "state_dir", "state", "storage", "path.data"]),
    ("history", &["retention", "buffer"]),
    ("memory", &["mem", "max_memory"]),
    ("disk", &["max_size", "size", "max_disk"]),
    ("age", &["max_age", "ttl", "keep"]),
    ("tls", &["ssl", "https"]),
    ("certificate", &["cert", "crt", "cert_file", "ssl_certificate"]),
    ("key", &["key_file", "private_key", "ssl_certificate_key"]),
    ("client_ca", &["ca", "ca_file", "ssl_client_certificate"]),
    ("access", &["auth", "authentication", "security", "tokens"]),
    ("origins", &["cors", "allowed_origins", "allow_origins"]),
    ("trusted_proxies", &["proxies", "proxy", "trusted_proxy", "real_ip_from", "set_real_ip_from"]),
    ("base_path", &["root", "prefix", "path_prefix", "root_path", "base_url"]),
];

/// The key of `known` that another tool calls `word`.
pub(super) fn translate<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let ours = FOREIGN_KEYS.iter().filter(|(_, theirs)| theirs.contains(&word.as_str())).map(|(ours, _)| ours);
    ours.into_iter().find_map(|ours| known.iter().find(|known| *known == ours).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_tools_lead_to_the_key_that_the_map_has() {
        let stream = ["file", "command", "environment", "directory", "start", "labels"];
        let top = ["listen", "streams", "tls"];
        let table: [(&str, &[&str], Option<&str>); 9] = [
            ("path", &stream, Some("file")),
            ("PATH", &stream, Some("file")),
            ("working-dir", &stream, Some("directory")),
            ("env", &stream, Some("environment")),
            ("logs", &stream, Some("file")),
            ("logs", &top, Some("streams")),
            ("port", &top, Some("listen")),
            ("port", &stream, None),
            ("colour", &top, None),
        ];
        for (word, known, expected) in table {
            assert_eq!(translate(word, known), expected, "{word}");
        }
    }

    #[test]
    fn no_name_is_also_a_key_with_another_meaning_beside_it() {
        for (ours, theirs) in FOREIGN_KEYS {
            assert!(!theirs.contains(ours), "{ours}");
            assert!(theirs.iter().all(|word| *word == word.to_ascii_lowercase() && !word.contains('-')), "{ours}");
        }
    }
}
