//! The files of each container: what it reads about names, and what a detached one writes.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{SocketAddr, SocketAddrV6},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::net::if_::if_nametoindex;

use super::{EngineError, Result};
use crate::model::{Container, State, hosts};

/// Name of the lock in the state directory.
pub(super) const LOCK: &str = "lock";
/// Name of the lock of a daemon, one in a state directory.
pub const DAEMON_LOCK: &str = "daemon";
/// Name of the record of grace periods that are expedited, in the state directory.
pub(super) const EXPEDITED: &str = "expedited";
/// Name of the directory of containers in the state directory.
pub(super) const CONTAINERS: &str = "containers";
/// Where name servers listen.
const DNS: u16 = 53;
/// Where the host's name servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The same behind systemd-resolved's stub, which answers on the host's loopback alone.
const RESOLV_CONF_BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The directory of a container.
pub(super) fn directory(root: &Path, id: &str) -> PathBuf {
    root.join(CONTAINERS).join(id)
}

/// Where a detached container's output goes.
pub fn log(root: &Path, id: &str) -> PathBuf {
    directory(root, id).join("log")
}

/// Writes what a container reads about names; returns where that is.
pub(super) fn write(root: &Path, state: &State, container: &Container) -> Result<PathBuf> {
    let directory = directory(root, &container.id);
    fs::create_dir_all(&directory).map_err(failed("created", &directory))?;
    if let Some(other) = container.network.strip_prefix("container:") {
        // One network, one set of names.
        return Ok(root.join(CONTAINERS).join(other));
    }
    let mut files = Vec::new();
    if !container.hostname.is_empty() {
        files.push(("hostname", hosts::hostname(container)));
    }
    // On the host's network, names are the host's, unless others were asked for.
    let own_names = container.network != "host";
    if own_names || !container.extra_hosts.is_empty() {
        files.push(("hosts", hosts::hosts(state, container)));
    }
    if own_names || !container.dns.is_empty() || !container.dns_search.is_empty() || !container.dns_options.is_empty() {
        files.push(("resolv.conf", hosts::resolv_conf(&host_resolv_conf(), state, container)));
    }
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).map_err(failed("written", &path))?;
        // For everybody inside, whatever the umask of whoever started the container.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(failed("made readable", &path))?;
    }
    Ok(directory)
}

/// Removes the directory of a container, if it is there.
pub(super) fn remove(root: &Path, id: &str) -> Result<()> {
    let path = directory(root, id);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removed", &path)(error)),
        _ => Ok(()),
    }
}

/// Removes the directories of containers that are not known: whoever was to remove them was killed before.
pub(super) fn sweep(root: &Path, containers: &BTreeMap<Arc<str>, Arc<Container>>) -> Result<()> {
    let path = root.join(CONTAINERS);
    let known = |id: &str| containers.contains_key(id);
    // Most file systems count a directory's directories, with two for itself.
    let with_directory = containers.values().filter(|container| !container.is_attachment()).count() as u64;
    if fs::metadata(&path).is_ok_and(|found| found.nlink() == with_directory + 2) {
        return Ok(());
    }
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("read", &path))?,
    };
    for entry in entries {
        let name = entry.map_err(failed("read", &path))?.file_name();
        if let Some(id) = name.to_str().filter(|id| !known(id)) {
            remove(root, id)?;
        }
    }
    Ok(())
}

/// For `map_err`: a failed operation on a file.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::File { path, action, source }
}

/// Name servers that the host's own processes ask; those on its loopback are among them.
pub fn host_name_servers() -> Vec<SocketAddr> {
    let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let servers = hosts::name_servers(&text).into_iter();
    servers
        .filter_map(|(address, zone)| match (SocketAddr::new(address, DNS), zone) {
            (SocketAddr::V6(six), Some(zone)) => {
                let interface = zone.parse().ok().or_else(|| if_nametoindex(zone).ok())?;
                Some(SocketAddrV6::new(*six.ip(), DNS, 0, interface).into())
            }
            (address, _) => Some(address),
        })
        .collect()
}

/// A host without the file has no name servers to hand on.
fn host_resolv_conf() -> String {
    let own = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let stub = own.lines().filter(|line| line.starts_with("nameserver")).all(|line| line.contains("127.0.0.53"));
    if stub && let Ok(behind) = fs::read_to_string(RESOLV_CONF_BEHIND_STUB) { behind } else { own }
}
