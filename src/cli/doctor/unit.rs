//! The systemd service of rtlogd, as `systemctl show` describes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::config::Config;

/// The properties of the service that the checks need.
const UNIT_PROPERTIES: &str = "--property=Id,LoadState,ExecStart,ProtectHome,PrivateTmp,RemoveIPC,KillMode,LimitNOFILE,User,Group,\
                               SupplementaryGroups,CapabilityBoundingSet,AmbientCapabilities";

/// The settings of the systemd service that serves this configuration, by name; empty without one.
pub(super) fn unit_settings(config: &Config) -> BTreeMap<String, String> {
    let settings = |unit: String| {
        let output = Command::new("systemctl").args(["show", UNIT_PROPERTIES, &unit]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        Some(parse_settings(&text)).filter(|unit| serves(unit, config))
    };
    unit_names(config).find_map(settings).unwrap_or_default()
}

/// The names of the services that may serve a configuration: the service itself, and for `/etc/rtlogd/NAME/rtlogd.yaml` the
/// instance of that name.
fn unit_names(config: &Config) -> impl Iterator<Item = String> {
    let instance = config.files.first().and_then(|file| {
        let rest = file.strip_prefix("/etc/rtlogd").ok()?;
        let name = rest.parent()?.to_str().filter(|name| !name.is_empty() && !name.contains('/'))?;
        rest.ends_with("rtlogd.yaml").then(|| format!("rtlogd@{name}.service"))
    });
    ["rtlogd.service".to_owned()].into_iter().chain(instance)
}

pub(super) fn parse_settings(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let unit: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if unit.get("LoadState").is_some_and(|state| state == "loaded") { unit } else { BTreeMap::new() }
}

/// Returns whether the service serves this configuration.
pub(super) fn serves(unit: &BTreeMap<String, String>, config: &Config) -> bool {
    let command = unit.get("ExecStart").map_or("", String::as_str);
    let mut words = command.split([' ', ';']).skip_while(|word| *word != "--config").skip(1);
    words.next().is_some_and(|path| config.files.first().is_some_and(|file| file == Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_asked_for_its_configuration() {
        let names = |file: &str| unit_names(&Config { files: vec![file.into()], ..Config::default() }).nth(1);
        assert_eq!(names("/etc/rtlogd/two/rtlogd.yaml").as_deref(), Some("rtlogd@two.service"));
        for file in
            ["/etc/rtlogd/rtlogd.yaml", "/etc/rtlogd/a/b/rtlogd.yaml", "/etc/rtlogd/two/other.yaml", "/x/rtlogd.yaml"]
        {
            assert_eq!(names(file), None, "{file}");
        }
    }

    #[test]
    fn only_the_configuration_of_the_service_is_judged_as_the_service() {
        let unit = |command: &str| parse_settings(&format!("LoadState=loaded\nExecStart={command}"));
        let config = Config { files: vec!["/etc/rtlogd/rtlogd.yaml".into()], ..Config::default() };
        let shipped =
            "{ path=/usr/bin/rtlogd ; argv[]=/usr/bin/rtlogd serve --config /etc/rtlogd/rtlogd.yaml ; pid=0 }";
        assert!(serves(&unit(shipped), &config));
        assert!(!serves(&unit(shipped), &Config::default()));
        assert!(!serves(&unit(&shipped.replace("rtlogd.yaml", "other.yaml")), &config));
        assert!(!serves(&BTreeMap::new(), &config));
    }
}
