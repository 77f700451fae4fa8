//! Checks a stream that runs a command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::parse::located::{Entries, Located, OneOrMany, Setting, WordOrMap};
use crate::config::raw::{self, ScalarText};
use crate::config::report::NodeLocation;
use crate::config::units::DurationText;
use crate::config::{ProcessSourceConfig, Restart, Stop};

use super::context::{CheckContext, value, with_location};
use super::words;

/// The shortest wait before a command is started again, so that a command that fails at once does not use up the CPU.
const MIN_RESTART_BACKOFF: Duration = Duration::from_millis(100);

/// The default umask of commands. The umask of the daemon is stricter, for its own files.
const DEFAULT_UMASK: u32 = 0o022;

pub(super) fn check_process(
    context: &mut CheckContext<'_>,
    command: Located<raw::CommandLine>,
    raw: &mut raw::Stream,
    orphan_timeout: Duration,
) -> Option<ProcessSourceConfig> {
    let directory =
        with_location(raw.directory.take()).and_then(|(location, path)| context.resolve_path(location, &path));
    let environment = raw.environment.take();
    check_variables(context, environment.as_ref());
    let environment_files = check_environment_files(context, raw.environment_file.take());
    let restart = match value(raw.restart.take()) {
        None => Restart::default(),
        Some(WordOrMap::Word(when)) => Restart { when, ..Restart::default() },
        Some(WordOrMap::Map(restart)) => check_restart(context, restart),
    };
    let defaults = Stop::default();
    let stop = value(raw.stop.take()).map_or(defaults.clone(), |stop| Stop {
        signal: value(stop.signal).unwrap_or(defaults.signal),
        grace: context.duration_at_least(stop.grace, defaults.grace, Duration::ZERO),
        only: value(stop.only).unwrap_or_default(),
    });
    let orphan_timeout = context.duration_at_least(raw.orphan_timeout.take(), orphan_timeout, Duration::ZERO);
    let user =
        with_location(raw.user.take()).and_then(|(location, name)| check_account(context, location, name, "user"));
    let group =
        with_location(raw.group.take()).and_then(|(location, name)| check_account(context, location, name, "group"));
    let umask = Some(value(raw.umask.take()).map_or(DEFAULT_UMASK, |umask| umask.0));
    let pty = value(raw.pty.take()).and_then(|pty| pty.0);
    let input = value(raw.input.take()).unwrap_or_default();
    let start = value(raw.start.take()).unwrap_or_default();
    let shell = value(raw.shell.take()).unwrap_or_default();
    let argv = check_argv(context, command.location, command.value?, shell)?;
    let environment = words(environment);
    Some(ProcessSourceConfig {
        argv,
        directory,
        environment,
        environment_files,
        user,
        group,
        umask,
        pty,
        input,
        start,
        restart,
        stop,
        orphan_timeout,
    })
}

/// Checks the name or the number of a user or a group.
fn check_account(context: &mut CheckContext<'_>, location: NodeLocation, name: String, what: &str) -> Option<String> {
    if let Some((user, group)) = name.split_once(':').filter(|_| what == "user") {
        context.wrong(location, format!("not the name of a user (write `user: {user}` and `group: {group}`)"));
        return None;
    }
    // The largest number means "no user" to the system, and programs take a sign for the beginning of a number or an option.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_too_large = is_number && name.parse::<u32>().map_or(true, |id| id == u32::MAX);
    let has_sign = name.starts_with(['-', '+']);
    if name.is_empty() || name.contains(['\0', ':', '/']) || name.contains(char::is_control) || is_too_large || has_sign
    {
        context.wrong(location, format!("not the name or number of a {what} (such as www-data or 33)"));
        return None;
    }
    Some(name)
}

fn check_argv(
    context: &mut CheckContext<'_>,
    location: NodeLocation,
    argv: raw::CommandLine,
    shell: bool,
) -> Option<Vec<OsString>> {
    let words = match argv {
        raw::CommandLine::Line(line) if shell => return check_script(context, location, &line),
        raw::CommandLine::Line(line) => {
            context.wrong(location, raw::list_advice(&line));
            return None;
        }
        raw::CommandLine::Words(_) if shell => {
            context.wrong(location, "with `shell: true` a command is one text (such as \"make && echo done\")");
            return None;
        }
        raw::CommandLine::Words(words) => words,
    };
    match words.first() {
        None => context.wrong(location, "empty command (name the program, such as [make, -j8])"),
        Some(Located { location, value: Some(ScalarText(program)) }) if program.is_empty() => {
            context.wrong(*location, "the name of the program is empty (write one, such as make or /usr/bin/make)");
        }
        Some(Located { location, value: Some(ScalarText(program)) }) if program.contains('/') => {
            context.is_written_out(*location, program);
        }
        Some(_) => {}
    }
    for Located { location, value } in &words {
        if value.as_ref().is_some_and(|word| word.0.contains('\0')) {
            context.wrong(*location, "a NUL cannot be passed to a program");
        }
    }
    words.into_iter().map(|word| Some(word.value?.0.into())).collect()
}

/// The command that makes a shell run the script.
fn check_script(context: &mut CheckContext<'_>, location: NodeLocation, line: &str) -> Option<Vec<OsString>> {
    if line.trim().is_empty() {
        context.wrong(location, "empty command (write what the shell is to run)");
        return None;
    }
    if line.contains('\0') {
        context.wrong(location, "a NUL cannot be passed to a program");
        return None;
    }
    Some(vec!["/bin/sh".into(), "-c".into(), line.into()])
}

/// The paths of the files; whether they can be read is known when the command starts.
fn check_environment_files(context: &mut CheckContext<'_>, field: Setting<OneOrMany<String>>) -> Vec<PathBuf> {
    let Some((location, OneOrMany(list))) = with_location(field) else { return Vec::new() };
    if list.is_empty() {
        context.wrong(location, "the list is empty (write at least one path)");
    }
    let paths = list.into_iter().filter_map(|Located { location, value }| context.resolve_path(location, &value?));
    paths.collect()
}

fn check_variables(context: &mut CheckContext<'_>, variables: Option<&Located<Entries<ScalarText>>>) {
    let Some(Entries(variables)) = variables.and_then(|at| at.value.as_ref()) else { return };
    for (name, value) in variables {
        if name.value.as_ref().is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
            context.wrong(name.location, "not the name of a variable (it must not be empty or contain = or NUL)");
        }
        if value.value.as_ref().is_some_and(|value| value.0.contains('\0')) {
            context.wrong(value.location, "a NUL cannot be passed to a program");
        }
    }
}

fn check_restart(context: &mut CheckContext<'_>, raw: raw::Restart) -> Restart {
    let defaults = Restart::default();
    let backoff = with_location(raw.backoff).map(|(location, range)| {
        if *range.0.start() < MIN_RESTART_BACKOFF {
            context.wrong(location, format!("{range} begins too low (at least {})", DurationText(MIN_RESTART_BACKOFF)));
        }
        range.0
    });
    Restart {
        when: value(raw.when).unwrap_or(defaults.when),
        backoff: backoff.unwrap_or(defaults.backoff),
        limit: value(raw.limit).map(|rate| (rate.times, rate.per)),
    }
}
