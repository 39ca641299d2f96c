//! Where the file of a command is.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};

use super::LinuxError;

/// Where commands are looked for without `$PATH`: Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file that a command names: by `$PATH`, unless there is a `/` in it.
pub(super) fn find(command: &str) -> Result<PathBuf, LinuxError> {
    if command.contains('/') {
        let path = PathBuf::from(command);
        let runs = match fs::metadata(&path) {
            Ok(found) if !found.is_file() => Err(Errno::EACCES),
            _ => access(&path, AccessFlags::X_OK),
        };
        let command = command.to_owned();
        return match runs {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(LinuxError::CommandNotFound { command }),
            Err(errno) => Err(LinuxError::Exec { command, source: errno.into() }),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let is_file = |candidate: &PathBuf| fs::metadata(candidate).is_ok_and(|found| found.is_file());
    let mut refused = None;
    for candidate in path.as_bytes().split(|byte| *byte == b':').filter(|_| !command.is_empty()) {
        let directory = if candidate.is_empty() { b".".as_slice() } else { candidate };
        let candidate = Path::new(OsStr::from_bytes(directory)).join(command);
        if !is_file(&candidate) {
            continue;
        }
        match access(&candidate, AccessFlags::X_OK) {
            Ok(()) => return Ok(candidate),
            Err(errno) => refused = Some(errno),
        }
    }
    let command = command.to_owned();
    Err(match refused {
        Some(errno) => LinuxError::Exec { command, source: errno.into() },
        None => LinuxError::CommandNotFound { command },
    })
}
