//! Kernel settings under `/proc/sys`: those of `net/` belong to the calling thread's network namespace.

use std::{fs, io, path::PathBuf};

use super::{Attempt, LinuxError};

/// Reads a setting, without the newline.
///
/// # Errors
/// There is no such setting, or it cannot be read.
pub fn get(name: &str) -> Result<String, LinuxError> {
    let path = path(name);
    let value = fs::read_to_string(&path).attempt(|| format!("read {}", path.display()))?;
    Ok(value.trim_end().to_owned())
}

/// Writes a setting, unless it has that value already: where `/proc/sys` is read-only, that is all that can be hoped for.
///
/// # Errors
/// There is no such setting, or it cannot be written.
pub fn set(name: &str, value: &str) -> Result<(), LinuxError> {
    let path = path(name);
    if fs::read_to_string(&path).is_ok_and(|found| found.split_whitespace().eq(value.split_whitespace())) {
        return Ok(());
    }
    fs::write(&path, value).attempt(|| format!("set {} to {value}", path.display()))
}

/// Like [`set`], for what a kernel may lack (IPv6 can be off): what is not there needs no setting.
///
/// # Errors
/// The setting is there and cannot be written.
pub fn set_if_present(name: &str, value: &str) -> Result<(), LinuxError> {
    match set(name, value) {
        Err(LinuxError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}
