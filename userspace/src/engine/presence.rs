//! What there is, by name, of the containers that a change is not about.
//!
//! Of hundreds of containers these are long lists. So they are made on a thread of their own as soon as it is known whose bridges to
//! look at, beside what comes before a change.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use super::{EngineError, Result};
use crate::{
    bpf::Pinned,
    linux::{BridgePorts, netns},
    model::{Others, State},
    parallel,
};

/// What there was at one moment.
#[derive(Debug)]
pub(super) struct Presence {
    pinned: Pinned,
    ports: BridgePorts,
    netns: HashSet<String>,
}

/// One that is being looked at.
#[derive(Debug)]
pub(super) struct Looking(JoinHandle<Result<Presence>>);

impl Looking {
    /// At what there is of many containers; none where there are few, which takes no time.
    pub(super) fn begin(bpffs: &Path, state: &State) -> Option<Self> {
        let look = Presence::looker(bpffs, state);
        parallel::ahead(state.containers.len(), look).map(Self)
    }

    /// What was seen.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub(super) fn end(self) -> Result<Presence> {
        self.0.join().unwrap_or_else(|_| Err(EngineError::Panicked("who looked at the others".to_owned())))
    }
}

impl Presence {
    /// Of what is pinned in this folder, and on the bridges of this state's networks.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub(super) fn look(bpffs: &Path, state: &State) -> Result<Self> {
        Self::looker(bpffs, state)()
    }

    fn looker(bpffs: &Path, state: &State) -> impl FnOnce() -> Result<Self> + Send + 'static {
        let bpffs: PathBuf = bpffs.to_owned();
        let bridges: Vec<String> = state.networks.values().map(|network| network.bridge.clone()).collect();
        move || {
            Ok(Self {
                pinned: Pinned::list(&bpffs)?,
                ports: BridgePorts::list(&bridges),
                netns: netns::names()?.collect(),
            })
        }
    }

    /// Whether nothing of what these have is missing, wherever it leads; then, what else is pinned.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub(super) fn apart_from(mut self, others: &Others<'_>) -> Result<Option<Pinned>> {
        let named = others.netns.iter().all(|name| self.netns.contains(*name));
        let whole = named && self.ports.are_interfaces(&others.veths)?;
        Ok((self.pinned.believe(&others.veths) && whole).then_some(self.pinned))
    }
}
