//! What portlane does to the host: interfaces, namespaces, processes, sockets. Each driver observes, or performs one
//! idempotent act; none of them knows what the act is for.
//!
//! Invariant: no state of portlane's is read or written here, and nothing here decides anything.

mod addresses;
pub mod bpf_query;
pub mod bpf_run;
pub mod bpf_syscall;
mod bridge;
mod child;
mod diag;
mod endpoint;
mod ethtool;
mod forward;
mod grace;
mod inside;
mod launch;
pub mod limits;
pub mod lock;
pub mod netlink;
pub mod netns;
mod observe;
pub mod pids;
pub mod process;
pub mod sockets;
mod syscall;
pub mod sysctl;
mod tuning;
pub mod watch;
mod which;
mod without;

pub use diag::can_end as can_end_sockets;
pub use grace::Expedited;
pub use lock::Lock;
pub use netlink::Host;
pub use observe::{Named, Snapshot};
pub use process::{Begun, ContainerSpec, Place, Running, Starting, exec_in};
pub use sockets::{Listener, Listeners};
pub use without::{Fallback, Without};

use std::{
    fs::File,
    io::{self, Read as _},
};

use nix::errno::Errno;

/// Why something could not be done to the host.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// The kernel refused.
    #[error("cannot {attempt}: {source}")]
    System {
        /// What was attempted, as it follows "cannot".
        attempt: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A name or a file that means something else than it must.
    #[error("cannot {attempt}: {problem}")]
    Unusable {
        /// What was attempted, as it follows "cannot".
        attempt: String,
        /// What is in the way, and what to do.
        problem: String,
    },
    /// A command that is nowhere in `$PATH`.
    #[error("cannot run `{command}`: no such command in $PATH")]
    CommandNotFound {
        /// As it was given.
        command: String,
    },
    /// A command that cannot be executed.
    #[error("cannot run `{command}`: {source}")]
    Exec {
        /// As it was given.
        command: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LinuxError {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } | Self::Exec { source, .. } => source.raw_os_error(),
            Self::Unusable { .. } | Self::CommandNotFound { .. } => None,
        }
    }

    /// The exit status that Docker and shells give: 127 for a command that is not there, 126 for one that cannot be
    /// executed, 1 for everything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::CommandNotFound { .. } => 127,
            Self::Exec { source, .. } if source.raw_os_error() == Some(Errno::ENOENT as i32) => 127,
            Self::Exec { .. } => 126,
            Self::System { .. } | Self::Unusable { .. } => 1,
        }
    }
}

/// Says of an error what was attempted.
pub(crate) trait Attempt<T> {
    /// `attempt` follows "cannot".
    fn attempt(self, attempt: impl FnOnce() -> String) -> Result<T, LinuxError>;
}

impl<T, E: IntoIo> Attempt<T> for Result<T, E> {
    fn attempt(self, attempt: impl FnOnce() -> String) -> Result<T, LinuxError> {
        self.map_err(|error| LinuxError::System { attempt: attempt(), source: error.into_io() })
    }
}

/// Bytes that nobody can foretell.
///
/// # Errors
/// The kernel's source of them cannot be read.
pub fn random<const N: usize>() -> Result<[u8; N], LinuxError> {
    let mut bytes = [0; N];
    let path = "/dev/urandom";
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).attempt(|| format!("read {path}"))?;
    Ok(bytes)
}

/// Errors of the libraries, as what the kernel said.
pub(crate) trait IntoIo {
    fn into_io(self) -> io::Error;
}

impl IntoIo for io::Error {
    fn into_io(self) -> io::Error {
        self
    }
}

impl IntoIo for Errno {
    fn into_io(self) -> io::Error {
        self.into()
    }
}

impl IntoIo for std::ffi::NulError {
    fn into_io(self) -> io::Error {
        self.into()
    }
}

impl IntoIo for rtnetlink::Error {
    fn into_io(self) -> io::Error {
        match self {
            Self::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        }
    }
}
