//! What there is, by name, of the containers that a change is not about.
//!
//! Of hundreds of containers these are long lists. So they are made on a thread of their own, while the kernel is at work on what the
//! change is about.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use super::{EngineError, Result};
use crate::{
    bpf::Pinned,
    linux::{Named, netns},
    model::{Container, Part},
    parallel,
};

/// The containers that a change is not about.
#[derive(Debug)]
struct Others {
    bpffs: PathBuf,
    /// Names of all networks' bridges.
    bridges: Vec<String>,
    /// Those that hold an address.
    containers: Vec<Arc<Container>>,
}

/// They are being looked at, or will be.
#[derive(Debug)]
pub(super) struct Looking {
    others: Arc<Others>,
    ahead: Option<JoinHandle<Result<Option<Pinned>>>>,
}

impl Looking {
    /// At what the containers have that a change is not about: at once if they are many, else when it is asked for.
    pub(super) fn begin(bpffs: &Path, part: &Part<'_>) -> Self {
        let bridges = part.before.networks.values().map(|network| network.bridge.clone()).collect();
        let others = Others { bpffs: bpffs.to_owned(), bridges, containers: part.others().cloned().collect() };
        let others = Arc::new(others);
        let there = Arc::clone(&others);
        Self { ahead: parallel::ahead(others.containers.len(), move || there.pinned_beside()), others }
    }

    /// What is pinned beside what they have; none if something of theirs is missing.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub(super) fn end(self) -> Result<Option<Pinned>> {
        match self.ahead {
            Some(thread) => {
                thread.join().unwrap_or_else(|_| Err(EngineError::Panicked("who looked at the others".to_owned())))
            }
            None => self.others.pinned_beside(),
        }
    }
}

impl Others {
    fn pinned_beside(&self) -> Result<Option<Pinned>> {
        let mut pinned = Pinned::list(&self.bpffs)?;
        let named = Named::list(&self.bridges)?;
        let netns: HashSet<String> = netns::names()?.collect();
        let veths = self.containers.iter().flat_map(|container| &container.endpoints);
        let veths: HashSet<&str> = veths.map(|endpoint| endpoint.veth.as_str()).collect();
        let whole = veths.iter().all(|veth| named.has(veth))
            && self.containers.iter().all(|container| !container.owns_netns() || netns.contains(&container.netns));
        Ok((pinned.believe(&veths) && whole).then_some(pinned))
    }
}
