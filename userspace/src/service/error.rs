//! Why a daemon does not serve.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{
    engine::EngineError,
    http::{Address, TlsError},
    linux::LinuxError,
};

/// Why a daemon does not serve, in one sentence.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// Another one has the state.
    #[error("a portlane daemon serves {root} already: stop it first, or use another --root")]
    NotAlone {
        /// The state directory.
        root: PathBuf,
    },
    /// Another one has the socket.
    #[error("somebody serves {address} already: stop that daemon first, or use another --listen")]
    Served {
        /// The socket.
        address: Address,
    },
    /// Something else is where the socket is to be.
    #[error("{path} is there and is no socket: move it away, or use another --listen")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refuses.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The socket.
        address: Address,
        /// What the kernel said.
        source: io::Error,
    },
    /// Whoever reaches an open port would be root here.
    #[error(
        "{address} is refused without mutual TLS, since whoever reaches it is root here: set tlsverify, tlscacert, tlscert \
         and tlskey in daemon.json, or leave it out of `hosts`"
    )]
    OpenToAll {
        /// The socket.
        address: Address,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be received.
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
    /// The host refuses.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// portlane does not work here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A service cannot go on.
    #[error("{service}: {problem}")]
    Failed {
        /// Its name.
        service: &'static str,
        /// What it says.
        problem: String,
    },
    /// A fault of portlane's own.
    #[error("a service gave up: {0}")]
    Panicked(String),
}
