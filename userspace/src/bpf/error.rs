//! What can go wrong between portlane and the kernel, each in one sentence that says what to do.

use std::{io, path::PathBuf};

use aya::{EbpfError, programs::ProgramError};
use thiserror::Error;

/// Lines of the verifier's log that are worth showing: its end says what it disliked.
const VERIFIER_LINES: usize = 12;

/// A driver's result.
pub type Result<T, E = BpfError> = std::result::Result<T, E>;

/// Why the programs, links or maps are not as they should be.
#[derive(Debug, Error)]
pub enum BpfError {
    /// No bpffs where the pins belong.
    #[error("{path} is not on a BPF file system: run `mount -t bpf bpf /sys/fs/bpf`, or say where one is with --bpffs")]
    NotBpffs {
        /// The folder asked for.
        path: PathBuf,
    },
    /// No cgroup2 hierarchy.
    #[error(
        "no cgroup2 file system is mounted, so host processes cannot be served: \
         run `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NoCgroup,
    /// Not privileged.
    #[error("the kernel does not permit {action}: run portlane as root (CAP_BPF and CAP_NET_ADMIN)")]
    Denied {
        /// What was tried.
        action: String,
    },
    /// The kernel is too old.
    #[error("the kernel, Linux {kernel}, lacks {features}: portlane needs Linux 5.18 or later")]
    TooOld {
        /// As `uname -r` prints it.
        kernel: String,
        /// What portlane cannot do without, and since when kernels have it.
        features: String,
    },
    /// The kernel is built without something.
    #[error("the kernel lacks {feature}: portlane needs Linux 5.18 or later with {config}")]
    Unsupported {
        /// In words.
        feature: &'static str,
        /// The kernel option.
        config: &'static str,
    },
    /// The verifier refused a program.
    #[error("the kernel's verifier refused program {program} ({source}):\n{log}")]
    Verifier {
        /// Name of the program.
        program: String,
        /// What BPF_PROG_LOAD returned.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// The object in this binary is not what this binary expects: a fault of the build.
    #[error("the eBPF object in this binary is unusable ({0}): build portlane anew")]
    Object(String),
    /// Nothing is loaded.
    #[error("portlane's programs are not loaded at {path}: run `portlane repair`")]
    NotLoaded {
        /// The folder asked for.
        path: PathBuf,
    },
    /// No such interface.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The driver has no XDP of its own.
    #[error("the driver of {0} has no native XDP: set \"xdp\" to \"off\" under \"portlane\" in daemon.json")]
    NoNativeXdp(String),
    /// Attaching failed.
    #[error("{program} could not be attached to {target}: {source}")]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// Interface or cgroup.
        target: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map is full.
    #[error("{map} is full: it holds {entries} entries")]
    Full {
        /// Name of the map.
        map: &'static str,
        /// Its limit.
        entries: u32,
    },
    /// Reading or changing a map failed.
    #[error("{map} could not be {action}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// "read", "changed".
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A pin, or its folder.
    #[error("{path} could not be {action}: {source}")]
    Pin {
        /// Path in the bpffs.
        path: PathBuf,
        /// "opened", "created", "removed".
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BpfError {
    /// For `map_err`: a failed operation on a file of the bpffs.
    pub(super) fn pin(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { action: format!("{} to be {action}", path.display()) },
            io::ErrorKind::Unsupported => Self::Unsupported { feature: "eBPF", config: "CONFIG_BPF_SYSCALL=y" },
            _ => Self::Pin { path, action, source },
        }
    }

    /// A failure of [`aya::EbpfLoader::load`]: parsing, BTF, creating maps.
    pub(super) fn loading(error: EbpfError) -> Self {
        match os_error(&error).map(io::Error::from_raw_os_error) {
            Some(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::Denied { action: "eBPF maps to be created".to_owned() }
            }
            Some(source) if source.kind() == io::ErrorKind::Unsupported => {
                Self::Unsupported { feature: "eBPF", config: "CONFIG_BPF_SYSCALL=y" }
            }
            _ => Self::Object(chain(&error)),
        }
    }

    /// A failure to load one program.
    pub(super) fn program(name: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = tail(&verifier_log.to_string());
                // The verifier's own refusals are EACCES or EINVAL, and leave a log.
                if log.is_empty() && io_error.raw_os_error() == Some(libc::EPERM) {
                    return Self::Denied { action: format!("program {name} to be loaded") };
                }
                Self::Verifier { program: name.to_owned(), source: io_error, log }
            }
            error => Self::Object(format!("{name}: {}", chain(&error))),
        }
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(VERIFIER_LINES)..].join("\n")
}

/// An error and its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The error number at the root of an error, if there is one.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_lines_are_shown() {
        let log: String = (0..100).map(|line| format!("{line}: r0 = 0\n\n")).collect();
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), VERIFIER_LINES);
        assert!(tail.ends_with("99: r0 = 0"), "{tail}");
    }

    #[test]
    fn a_missing_privilege_is_named() {
        let error = BpfError::pin("created", "/sys/fs/bpf/portlane")(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(
            error.to_string(),
            "the kernel does not permit /sys/fs/bpf/portlane to be created: \
             run portlane as root (CAP_BPF and CAP_NET_ADMIN)"
        );
    }
}
