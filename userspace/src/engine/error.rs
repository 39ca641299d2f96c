//! Why a request came to nothing.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{bpf::BpfError, daemon_json::DaemonJsonError, linux::LinuxError, model::ModelError, store::StoreError};

/// Why a request came to nothing: one sentence; unless it says otherwise, everything is as it was.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Not privileged.
    #[error("portlane needs root: type `sudo` before it")]
    NotRoot,
    /// The request makes no sense, or clashes with what is there.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The host refuses.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// The programs or maps refuse.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration cannot be used.
    #[error(transparent)]
    DaemonJson(#[from] DaemonJsonError),
    /// Nothing to run.
    #[error("name a command to run after `--`")]
    NoCommand,
    /// A fault of portlane's own.
    #[error("portlane gave up: {0}")]
    Panicked(String),
    /// A file of portlane's own.
    #[error("{path} could not be {action}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// "created", "read", "written", "removed".
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A container that is to be removed.
    #[error("container `{name}` runs: stop it first, or use `portlane rm -f {name}`")]
    StillRuns {
        /// The container.
        name: String,
    },
    /// A container that a command is to be run in.
    #[error("container `{name}` does not run: `portlane ps` lists those that do")]
    NotRunning {
        /// The container.
        name: String,
    },
    /// Something that takes a process of portlane's own.
    #[error(
        "container `{name}` is attached, and what runs in it is not portlane's: `portlane detach {name}` lets go of it"
    )]
    Attached {
        /// The container.
        name: String,
    },
    /// `detach` of something else.
    #[error("container `{name}` is not attached: `portlane stop` and `portlane rm` are for those that portlane runs")]
    NotAttached {
        /// The container.
        name: String,
    },
    /// A namespace that is not for attaching.
    #[error("network namespace {netns} cannot be attached: {problem}")]
    NotAttachable {
        /// As it was given.
        netns: String,
        /// What is in the way.
        problem: String,
    },
    /// `uninstall` while containers run or are attached.
    #[error("containers are there: {}; stop or detach them first, or use `portlane uninstall --force`", names.join(", "))]
    InUse {
        /// Names of the containers.
        names: Vec<String>,
    },
    /// Half done, and neither to be completed nor undone now.
    #[error("{error}; that could not be undone either ({undo}): the next command tries again")]
    NotUndone {
        /// What went wrong first.
        error: Box<Self>,
        /// What went wrong then.
        undo: Box<Self>,
    },
}

impl EngineError {
    /// Whether what was named is not there.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Model(ModelError::NoSuchContainer { .. } | ModelError::NoSuchNetwork { .. }))
    }

    /// Whether the request itself makes no sense, or clashes with what is there.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Model(_)
            | Self::NoCommand
            | Self::StillRuns { .. }
            | Self::NotRunning { .. }
            | Self::Attached { .. }
            | Self::NotAttached { .. }
            | Self::NotAttachable { .. }
            | Self::InUse { .. } => true,
            Self::Linux(error) => matches!(error, LinuxError::CommandNotFound { .. } | LinuxError::Exec { .. }),
            _ => false,
        }
    }

    /// The exit status that stands for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Linux(error) => error.exit_code(),
            _ => 1,
        }
    }
}
