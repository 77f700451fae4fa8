//! The problems that the checks find, and the fixes that they name.

use super::unit::parse_settings;
use super::*;
use crate::config::{AccessConfig, Stream, TlsConfig};

#[test]
fn certificates_and_keys_that_are_missing_are_found() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let problems = |config: Config| {
        let mut doctor = Doctor::new(BTreeMap::new(), &Config::default());
        doctor.check_tls(&config);
        doctor.check_keys(&config);
        doctor.findings
    };
    assert_eq!(problems(Config::default()), []);
    let tls = TlsConfig { certificate: path("cert.pem"), key: path("key.pem"), client_ca: None };
    let found = problems(Config { tls: Some(tls.clone()), ..Config::default() });
    assert!(found.len() == 1 && found[0].problem.contains("No such file"), "{found:?}");
    std::fs::write(path("key.pem"), "x").unwrap();
    std::fs::set_permissions(path("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let found = problems(Config { tls: Some(tls), ..Config::default() });
    assert_eq!(found[0].fix, format!("chmod o-rwx {}", path("key.pem").display()));
    std::fs::create_dir(path("keys")).unwrap();
    std::fs::set_permissions(path("keys"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let [missing, empty] = ["nowhere", "keys"].map(|name| path(name).display().to_string());
    for (name, proxies, expected) in [
        ("nowhere", &[][..], format!("the directory of keys {missing} does not exist")),
        ("keys", &[], String::new()),
        (
            "keys",
            &["10.0.0.5"],
            format!("other machines need a token, but the directory {empty} has no key to sign one"),
        ),
    ] {
        let access = AccessConfig { keys: Some(path(name)), ..AccessConfig::default() };
        let trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let found = problems(Config { trusted_proxies, access, ..Config::default() });
        let found = found.into_iter().map(|finding| finding.problem).collect::<String>();
        assert_eq!(found, expected, "{name}");
    }
}

fn problems_of(config: &Config, unit: &str) -> Vec<String> {
    let mut doctor = Doctor::new(parse_settings(unit), config);
    for stream in &config.streams {
        match &stream.source {
            SourceKind::File(file) => doctor.check_files(&stream.name, file, config),
            SourceKind::Process(process) => doctor.check_command(stream.name.as_str(), process),
            SourceKind::Journal(journal) => doctor.check_journal(stream.name.as_str(), journal),
            SourceKind::Push => {}
        }
    }
    let problems = doctor.findings.into_iter().filter(|finding| finding.severity == Severity::Problem);
    problems.map(|finding| finding.problem).collect()
}

fn config_of(source: SourceKind) -> Config {
    Config { streams: vec![Stream::new("s".parse().unwrap(), source)], ..Config::default() }
}

#[test]
fn a_file_that_the_unit_hides_is_found() {
    let config = config_of(SourceKind::File(FileSourceConfig::new("/home/me/a.log".into())));
    let found = problems_of(&config, "LoadState=loaded\nProtectHome=yes\nPrivateTmp=yes");
    assert_eq!(found, ["stream s: ProtectHome= of the service hides /home/me/a.log"]);
    assert!(problems_of(&config, "LoadState=loaded\nProtectHome=read-only").is_empty());
    assert!(problems_of(&config, "LoadState=not-found\nProtectHome=yes").is_empty());
    let files = vec![FileSelector::Path("/var/log/a".into()), FileSelector::Pattern("/home/*/a.log".into())];
    let config = config_of(SourceKind::File(FileSourceConfig { files, ..FileSourceConfig::new(PathBuf::new()) }));
    let found = problems_of(&config, "LoadState=loaded\nProtectHome=yes");
    assert_eq!(found, ["stream s: ProtectHome= of the service hides /home"]);
}

#[test]
fn a_user_without_the_right_to_become_it_is_found() {
    let as_user = |user: &str| {
        let command = ProcessSourceConfig::new(vec!["/bin/sh".into()]);
        config_of(SourceKind::Process(ProcessSourceConfig { user: Some(user.into()), ..command }))
    };
    assert_eq!(problems_of(&as_user("no-such-user"), ""), ["stream s: there is no user no-such-user"]);
    let found = ["stream s: the service may not run a command as the user nobody"];
    let unit = |settings: &str| format!("LoadState=loaded\n{settings}");
    assert_eq!(problems_of(&as_user("nobody"), &unit("User=rtlogd\nCapabilityBoundingSet=")), found);
    assert_eq!(problems_of(&as_user("nobody"), &unit("User=root\nCapabilityBoundingSet=cap_kill")), found);
    for allowed in [
        "User=nobody",
        "User=root\nCapabilityBoundingSet=cap_setgid cap_setuid",
        "User=rtlogd\nAmbientCapabilities=cap_setgid cap_setuid",
    ] {
        assert!(problems_of(&as_user("nobody"), &unit(allowed)).is_empty(), "{allowed}");
    }
}

#[test]
fn a_program_that_is_not_there_is_found() {
    let command = |program: &str| config_of(SourceKind::Process(ProcessSourceConfig::new(vec![program.into()])));
    assert!(problems_of(&command("sh"), "").is_empty());
    assert!(problems_of(&command("/bin/sh"), "").is_empty());
    assert!(
        problems_of(&command("no-such-program"), "")[0].starts_with("stream s: there is no program no-such-program")
    );
    assert_eq!(problems_of(&command("/no/such"), "").len(), 1);
}

#[test]
fn what_is_there_and_cannot_be_used_is_told_from_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    std::fs::write(path("plain"), "A=b\nnonsense").unwrap();
    let me = effective_user_name();
    let process = |program: &str| ProcessSourceConfig::new(vec![program.into()]);
    let with_file = |name: &str| ProcessSourceConfig { environment_files: vec![path(name)], ..process("/bin/sh") };
    let named = ProcessSourceConfig {
        environment: [("PATH".to_owned(), home.path().display().to_string())].into(),
        ..process("plain")
    };
    let journal = JournalSourceConfig { directory: Some(path("journal")), ..JournalSourceConfig::default() };
    for (source, expected) in [
        (SourceKind::Process(process(&text("plain"))), format!("{} is not executable", text("plain"))),
        (SourceKind::Process(named), format!("{} is not executable", text("plain"))),
        (SourceKind::Process(process(&text("."))), format!("{} is not a program", text("."))),
        (SourceKind::Process(process(&text("none"))), format!("there is no program {}", text("none"))),
        (
            SourceKind::Process(with_file("none")),
            format!("{me} cannot use the environment file {}: No such file or directory (os error 2)", text("none")),
        ),
        (
            SourceKind::Process(with_file("plain")),
            format!("{me} cannot use the environment file {}: line 2 is not NAME=value", text("plain")),
        ),
        (SourceKind::Journal(journal), format!("there is no directory {} with a journal", text("journal"))),
    ] {
        let found = problems_of(&config_of(source.clone()), "");
        assert_eq!(found.first(), Some(&format!("stream s: {expected}")), "{source:?}");
    }
    // Nobody writes into this FIFO, and nobody waits for that.
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let fifo = config_of(SourceKind::File(FileSourceConfig::new(path("fifo"))));
    assert_eq!(problems_of(&fifo, ""), [""; 0]);
}

#[test]
fn a_missing_program_is_searched_by_its_file_name() {
    for (program, expected) in [
        ("no-such", "apt-file search bin/no-such finds its package; or write the full path of the program"),
        ("/opt/no/such", "apt-file search bin/such finds its package; or correct the path"),
    ] {
        let mut doctor = Doctor::new(BTreeMap::new(), &Config::default());
        doctor.check_command("s", &ProcessSourceConfig::new(vec![program.into()]));
        assert_eq!(doctor.findings[0].fix, expected);
    }
}

#[test]
fn a_proxy_that_is_not_known_is_found() {
    let found = |config: &Config| {
        let mut doctor = Doctor::new(BTreeMap::new(), &Config::default());
        doctor.check_proxies(config);
        doctor.findings.into_iter().map(|finding| finding.problem).collect::<Vec<_>>()
    };
    let trusting = |proxy: &str| Config {
        trusted_proxies: vec![proxy.parse().unwrap()],
        base_path: "/logs".into(),
        ..Config::default()
    };
    for known in ["127.0.0.1", "unix:nobody", "unix:4711"] {
        assert!(found(&trusting(known)).is_empty(), "{known}");
    }
    let unknown = found(&trusting("unix:no-such-user"));
    assert_eq!(unknown, ["`trusted_proxies` names the user no-such-user, who does not exist on this system"]);
    let hidden = Config { base_path: "/logs".into(), ..Config::default() };
    assert_eq!(found(&hidden), ["`base_path` suggests a proxy in front of rtlogd, but `trusted_proxies` names none"]);
    assert!(found(&Config::default()).is_empty());
}

#[test]
fn a_port_of_another_program_is_found() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let accepted = std::thread::spawn(move || drop(other.accept()));
    let mut doctor = Doctor::new(BTreeMap::new(), &Config::default());
    doctor.check_port(address, &Config::default());
    accepted.join().unwrap();
    assert_eq!(doctor.findings[0].problem, format!("another program listens on {address}"));
    assert!(doctor.findings[0].fix.starts_with(&format!("ss -ltnp 'sport = :{}'", address.port())));
}

#[test]
fn a_directory_of_files_that_is_not_there_is_named_with_its_fix() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    std::fs::write(path("plain"), "").unwrap();
    for (selector, rotated, missing) in [
        (FileSelector::Path(path("new.log")), None, None),
        (FileSelector::Path(path("no/new.log")), None, Some("no")),
        (FileSelector::Path(path("plain/new.log")), None, Some("plain")),
        (FileSelector::Pattern(path("*.log")), None, None),
        (FileSelector::Pattern(path("*/no/a.log")), None, None),
        (FileSelector::Pattern(path("my logs/*.log")), None, Some("my logs")),
        (FileSelector::Path(path("a.log")), Some("old"), Some("old")),
        (FileSelector::Path(path("no/a.log")), Some("no"), Some("no")),
    ] {
        let rotated = rotated.into_iter().map(path).collect();
        let source = SourceKind::File(FileSourceConfig { rotated, ..FileSourceConfig::of(selector.clone()) });
        let config = Config { files: vec!["/srv/my.yaml".into()], ..config_of(source.clone()) };
        let mut doctor = Doctor::new(BTreeMap::new(), &config);
        let SourceKind::File(files) = &source else { panic!() };
        doctor.check_files(&"s".parse().unwrap(), files, &config);
        let expected = missing.map(|name| {
            let path = path(name);
            let problem =
                format!("stream s: there is no directory {}; its files are read once it appears", path.display());
            let fix = format!("correct the path, or mkdir -p {}", quoted(&path));
            Finding { severity: Severity::Note, problem, fix }
        });
        assert_eq!(doctor.findings, Vec::from_iter(expected), "{selector:?}");
        let expected = missing.map(|name| {
            let path = path(name);
            format!(
                "stream s: this machine has no directory {} (`rtlogd doctor --config /srv/my.yaml` checks this in detail)",
                path.display()
            )
        });
        assert_eq!(super::missing(&config), Vec::from_iter(expected), "{selector:?}");
    }
}

#[test]
fn fixes_name_the_user_who_serves_and_the_configuration() {
    let me = effective_user_name();
    let loaded = |settings: &str| format!("LoadState=loaded\n{settings}");
    for (unit, user, owner) in [
        (String::new(), me.as_str(), me.as_str()),
        (loaded("User=rtlogd"), "rtlogd", "rtlogd:adm"),
        (loaded("User=logs"), "logs", "logs:adm"),
        (loaded("User="), "root", "root:adm"),
        (loaded("Group=adm"), "root", "root:adm"),
    ] {
        let doctor = Doctor::new(parse_settings(&unit), &Config::default());
        assert_eq!((doctor.user.as_str(), doctor.owner().as_str()), (user, owner), "{unit}");
        let mut doctor = Doctor::new(parse_settings(&unit), &Config::default());
        doctor.check_listen(&ListenAddress::Unix("/no/such/r.sock".into()), &Config::default());
        let fix = format!("mkdir -p /no/such && chown {owner} /no/such, or correct `listen`");
        assert_eq!(doctor.findings[0].fix, fix);
        let mut doctor = Doctor::new(parse_settings(&unit), &Config::default());
        let process = ProcessSourceConfig::new(vec!["sh".into()]);
        doctor.check_command("s", &ProcessSourceConfig { directory: Some("/no/such".into()), ..process });
        assert_eq!(doctor.findings[0].problem, "stream s: there is no directory /no/such");
        assert_eq!(doctor.findings[0].fix, "mkdir -p /no/such, or correct `directory`");
    }
    for (file, command) in [
        (None, "rtlogd token --init"),
        (Some(DEFAULT_CONFIG_PATH), "rtlogd token --init"),
        (Some("/srv/my config.yaml"), "rtlogd token --config '/srv/my config.yaml' --init"),
    ] {
        let config = Config { files: file.map(PathBuf::from).into_iter().collect(), ..Config::default() };
        assert_eq!(Doctor::new(BTreeMap::new(), &config).first_key, command);
    }
}
