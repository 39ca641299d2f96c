//! How a server tells that it listens: a datagram on a socket that has a path, which reaches across namespaces.

use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use crate::patience;

/// How long a server may take to start, in seconds.
const PATIENCE: u64 = 10;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A socket that one server speaks to once.
#[derive(Debug)]
pub(super) struct Ready {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Ready {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("ready-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let socket = UnixDatagram::bind(&path).with_context(|| format!("cannot make {}", path.display()))?;
        socket.set_read_timeout(Some(patience::seconds(PATIENCE)))?;
        Ok(Self { path, socket })
    }

    pub(super) fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    pub(super) fn wait(self) -> Result<()> {
        self.hear("ready")
    }

    pub(super) fn hear(&self, expected: &str) -> Result<()> {
        let mut word = [0; 256];
        let length = self.socket.recv(&mut word).with_context(|| format!("nobody says `{expected}`"))?;
        let word = String::from_utf8_lossy(&word[..length]);
        ensure!(word == expected, "instead of `{expected}`, a server says: {word}");
        Ok(())
    }
}
