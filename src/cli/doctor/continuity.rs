//! The settings of the service that keep commands from outliving rtlogd in a restart.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Finding, Severity};
use crate::config::{Config, ProcessesAtStop, SourceKind};

/// The socket of the bus on which systemd says whether it restarts the service.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// Returns whether rtlogd can ask systemd.
pub(super) fn has_bus() -> bool {
    Path::new(SYSTEM_BUS).exists()
}

/// The problems of a service with these settings, which are empty without one.
pub(super) fn problems(unit: &BTreeMap<String, String>, config: &Config, has_bus: bool) -> Vec<Finding> {
    let outlives =
        |source: &SourceKind| matches!(source, SourceKind::Process(process) if !process.orphan_timeout.is_zero());
    let is_meant = config.state_directory.is_some() && config.streams.iter().any(|stream| outlives(&stream.source));
    if unit.is_empty() || !is_meant {
        return Vec::new();
    }
    let name = unit.get("Id").map_or("rtlogd", String::as_str);
    let settings = [
        ("KillMode", "process", "systemd ends all commands when rtlogd ends, even for a restart"),
        ("PrivateTmp", "no", "systemd deletes the temporary files of commands that continue through a restart"),
        ("RemoveIPC", "no", "systemd deletes the shared memory of commands that continue through a restart"),
    ];
    let mut problems = Vec::new();
    for (setting, wanted, consequence) in settings {
        if let Some(value) = unit.get(setting).filter(|value| *value != wanted) {
            problems.push(Finding {
                severity: Severity::Problem,
                problem: format!("{setting}={value} of {name}: {consequence}"),
                fix: format!(
                    "systemctl edit {name}, add {setting}={wanted} below [Service], and restart it; or set `orphan_timeout: 0s`"
                ),
            });
        }
    }
    if !has_bus && config.processes_at_stop == ProcessesAtStop::End {
        problems.push(Finding {
            severity: Severity::Problem,
            problem: format!(
                "{SYSTEM_BUS} does not exist: rtlogd cannot ask systemd whether {name} is restarted or stopped, and ends all commands"
            ),
            fix: "apt install dbus; or set `processes_at_stop: keep` or `orphan_timeout: 0s`".to_owned(),
        });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::unit::parse_settings;
    use super::*;
    use crate::config::{ProcessSourceConfig, Stream};
    use std::time::Duration;

    const SHIPPED: &str = "KillMode=process\nPrivateTmp=no\nRemoveIPC=no";

    fn config(change: impl FnOnce(&mut Config, &mut ProcessSourceConfig)) -> Config {
        let mut config = Config { state_directory: Some("/var/lib/rtlogd".into()), ..Config::default() };
        let mut process = ProcessSourceConfig::new(vec!["make".into()]);
        change(&mut config, &mut process);
        config.streams.push(Stream::new("build".parse().unwrap(), SourceKind::Process(process)));
        config
    }

    #[test]
    fn settings_that_end_commands_are_found_with_the_name_of_the_unit() {
        let table = [
            (SHIPPED.to_owned(), None),
            (SHIPPED.replace("KillMode=process", "KillMode=mixed"), Some("KillMode=mixed of rtlogd@two.service")),
            (SHIPPED.replace("KillMode=process", "KillMode=control-group"), Some("KillMode=control-group")),
            (SHIPPED.replace("PrivateTmp=no", "PrivateTmp=yes"), Some("PrivateTmp=yes")),
            (SHIPPED.replace("RemoveIPC=no", "RemoveIPC=yes"), Some("RemoveIPC=yes")),
        ];
        for (settings, expected) in table {
            let unit = parse_settings(&format!("LoadState=loaded\nId=rtlogd@two.service\n{settings}"));
            let found = problems(&unit, &config(|_, _| ()), true);
            assert_eq!(found.len(), usize::from(expected.is_some()), "{settings}: {found:?}");
            for finding in found {
                assert!(finding.problem.starts_with(expected.unwrap()), "{finding:?}");
                assert!(finding.fix.starts_with("systemctl edit rtlogd@two.service, add "), "{finding:?}");
            }
        }
    }

    #[test]
    fn without_the_bus_a_restart_is_not_known() {
        let unit = parse_settings(&format!("LoadState=loaded\n{SHIPPED}"));
        assert_eq!(problems(&unit, &config(|_, _| ()), true), []);
        assert!(problems(&unit, &config(|_, _| ()), false)[0].problem.contains("system_bus_socket"));
        let keeps = config(|config, _| config.processes_at_stop = ProcessesAtStop::Keep);
        assert_eq!(problems(&unit, &keeps, false), []);
    }

    #[test]
    fn nothing_is_found_where_commands_are_to_end_with_rtlogd() {
        let unit = parse_settings("LoadState=loaded\nKillMode=mixed\nPrivateTmp=yes\nRemoveIPC=yes");
        for config in [
            config(|_, process| process.orphan_timeout = Duration::ZERO),
            config(|config, _| config.state_directory = None),
            Config { state_directory: Some("/var/lib/rtlogd".into()), ..Config::default() },
        ] {
            assert_eq!(problems(&unit, &config, false), []);
        }
        assert_eq!(problems(&BTreeMap::new(), &config(|_, _| ()), false), []);
    }
}
