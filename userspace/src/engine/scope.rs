//! How much of maps and attachments is looked at.
//!
//! To read every row and every link of hundreds of containers takes longer than to serve one more. So a change from a state
//! that is in force looks at interfaces, namespaces, the names of pins and what follows from the host's own addresses; of the
//! rest it believes that it is as that state wants it. It looks at everything where there is reason not to.

use std::collections::BTreeSet;

use super::Result;
use crate::{
    bpf::Datapath,
    linux::Snapshot,
    model::{Attachment, Observed, ObservedLinks, Owned, State, Step, desired, desired_links, plan},
};

/// How much of maps and attachments is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// All of it.
    Everything,
    /// What this state, which is in force, does not answer for.
    Since(&'a State),
}

impl<'a> Scope<'a> {
    /// For a change from `before`, which a command that came to its end has put in force.
    pub(super) fn since(before: &'a State, datapath: Option<&Datapath>) -> Self {
        // Maps that were filled by other programs, or not at all, are looked at.
        if datapath.is_some_and(Datapath::was_loaded_now) { Self::Everything } else { Self::Since(before) }
    }

    /// With these first steps: if others are needed than the change itself explains, somebody has been at work.
    pub(super) fn with_steps(self, first: &[Step], next: &State) -> Self {
        match self {
            Self::Since(before) if plan::links(&desired_links(next), &in_force(before)) == first => self,
            _ => Self::Everything,
        }
    }

    /// What is there, of which `seen` are the interfaces and namespaces.
    pub(super) fn observe(self, datapath: Option<&Datapath>, owned: &Owned, seen: &Snapshot) -> Result<Observed> {
        let links = seen.links();
        let Some(datapath) = datapath else { return Ok(Observed { links, ..Observed::default() }) };
        let facts = seen.facts(owned);
        let (tables, believed) = match self {
            Self::Everything => (datapath.tables()?, BTreeSet::new()),
            Self::Since(before) => {
                let there = desired(before, &facts);
                // Uplinks are few, and others' programs come and go there.
                let of_veth = |attachment: &Attachment| owned.veths.contains_key(&attachment.interface);
                (datapath.tables_but(there.tables)?, there.attach.into_iter().filter(of_veth).collect())
            }
        };
        Ok(Observed { links, tables, attach: datapath.attachments(&facts.ifindex, &believed)? })
    }
}

/// The interfaces and namespaces of a state that is in force.
fn in_force(state: &State) -> ObservedLinks {
    let links = desired_links(state);
    let lent = links.endpoints.iter().map(|link| link.netns.clone());
    ObservedLinks {
        netns: lent.chain(links.netns).collect(),
        veths: links.endpoints.iter().map(|link| (link.veth.clone(), Some(link.bridge.clone()))).collect(),
        up: links.endpoints.iter().map(|link| link.veth.clone()).collect(),
        bridges: links.bridges.into_iter().map(|bridge| (bridge.name.clone(), bridge)).collect(),
    }
}
