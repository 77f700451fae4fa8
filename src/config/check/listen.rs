//! Checks the addresses that rtlogd listens on, and the host names and paths that clients use.

use std::net::IpAddr;

use crate::config::parse::located::Located;
use crate::config::report::NodeLocation;
use crate::config::{ListenAddress, MAX_SOCKET_PATH};

use super::context::CheckContext;

pub(super) fn check_listen(
    context: &mut CheckContext<'_>,
    location: NodeLocation,
    written: Vec<Located<ListenAddress>>,
    open: bool,
) -> Vec<ListenAddress> {
    if written.is_empty() {
        context.wrong(location, "the list is empty (name an address, such as the default 127.0.0.1:7070)");
    }
    let mut all: Vec<(ListenAddress, NodeLocation)> = Vec::new();
    for Located { location, value } in written {
        let listen = match value {
            Some(ListenAddress::Unix(path)) => {
                context.resolve_path(location, &path.to_string_lossy()).map(ListenAddress::Unix)
            }
            other => other,
        };
        let Some(listen) = listen else { continue };
        if !listen.is_local() && !open {
            context.wrong(
                location,
                format!(
                    "{listen} can be reached from other machines, and needs `tls` and tokens (set `tls` and \
                    `access: {{ keys: ... }}`, or listen on 127.0.0.1 behind a proxy; `access: {{ insecure: true }}` lets \
                    everybody read)"
                ),
            );
        }
        if matches!(&listen, ListenAddress::Unix(path) if path.as_os_str().len() > MAX_SOCKET_PATH) {
            context.wrong(
                location,
                format!("{listen} is longer than the {MAX_SOCKET_PATH} bytes that the path of a Unix socket may have"),
            );
        }
        match all.iter().find(|(other, _)| *other == listen) {
            Some((_, first)) => context.duplicate(&listen.to_string(), location, *first),
            None => all.push((listen, location)),
        }
    }
    all.into_iter().map(|(listen, _)| listen).collect()
}

/// A host name as a client sends it in `Host`, without the port.
pub(super) fn check_host(context: &mut CheckContext<'_>, host: Located<String>) -> Option<String> {
    let name = host.value?.to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => return Some(format!("[{address}]")),
        Ok(IpAddr::V4(_)) if bare == name => return Some(name),
        _ => {}
    }
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    if name.len() <= 253 && name.split('.').all(label) {
        return Some(name);
    }
    context.wrong(
        host.location,
        format!("not a host name: {name:?} (no scheme, port, path or pattern; such as ci.example.com)"),
    );
    None
}

/// The path with a slash at its start and none at its end, except for `/` itself.
pub(super) fn check_base_path(context: &mut CheckContext<'_>, location: NodeLocation, path: &str) -> Option<String> {
    let plain = |segment: &str| {
        let letter = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(letter)
    };
    match path.strip_prefix('/') {
        Some("") => return Some("/".into()),
        Some(rest) if rest.strip_suffix('/').unwrap_or(rest).split('/').all(plain) => {
            return Some(path.strip_suffix('/').unwrap_or(path).to_owned());
        }
        _ => {}
    }
    context.wrong(
        location,
        format!("not a base path: {path:?} (a slash, then names of A-Z, a-z, 0-9, - . _ ~, such as /logs)"),
    );
    None
}
