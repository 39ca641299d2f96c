//! One portlane at a time in a state directory.

use std::{fs, path::Path};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{Attempt, LinuxError};

/// An exclusive lock on a file, until dropped. The file stays: removing it would let two hold a lock each.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<fs::File>,
}

impl Lock {
    /// Makes the file if need be, and waits until nobody else has its lock.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn acquire(path: &Path) -> Result<Self, LinuxError> {
        let mut file = open(path)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(file) => return Ok(Self { _file: file }),
                // A signal whose handler returned: the wait goes on.
                Err((unlocked, Errno::EINTR)) => file = unlocked,
                Err((_, errno)) => return Err(errno).attempt(|| format!("lock {}", path.display())),
            }
        }
    }

    /// The same without waiting; none if somebody else has the lock.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, LinuxError> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).attempt(|| format!("lock {}", path.display())),
        }
    }
}

fn open(path: &Path) -> Result<fs::File, LinuxError> {
    let opened = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    opened.attempt(|| format!("open {}", path.display()))
}
