//! How many files a process may have open, sockets included.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::{Attempt, LinuxError};

/// What this process was started with: soft and hard limit.
static STARTED_WITH: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Lets this process have as many files open as the hard limit allows. What it starts in containers gets the limits that it
/// was started with itself: some programs close, or wait for, every descriptor there could be.
///
/// # Errors
/// The kernel, or something that filters system calls, refuses.
pub fn open_as_many_files_as_possible() -> Result<(), LinuxError> {
    let attempt = || "have more files open".to_owned();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).attempt(attempt)?;
    STARTED_WITH.get_or_init(|| (soft, hard));
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).attempt(attempt)
}

/// The limits to go back to, if they were changed.
pub(super) fn started_with() -> Option<libc::rlimit> {
    STARTED_WITH.get().map(|&(rlim_cur, rlim_max)| libc::rlimit { rlim_cur, rlim_max })
}
