//! How much of host and maps is looked at.
//!
//! To read every interface, row and link of hundreds of containers takes longer than to serve one more. So a change from a state
//! that is in force looks at the containers that it is about, at uplinks, bridges and the host's own addresses; of the others it
//! sees that their interfaces, namespaces and pins are there by name, and believes the rest. Where there is reason not to, it
//! looks at everything.

use std::{borrow::Cow, collections::BTreeMap, sync::OnceLock};

use super::{Result, presence::Looking};
use crate::{
    bpf::{Datapath, Pinned},
    linux::{Host, Snapshot, netns},
    model::{
        Desired, HostFacts, Observed, ObservedLinks, Owned, Part, State, Step, desired, desired_links, desired_part,
        plan,
    },
};

/// How much of host and maps is looked at, for a change.
pub(super) struct Scope<'a> {
    /// The state that is led to.
    next: &'a State,
    /// The one that is in force.
    before: &'a State,
    /// What is portlane's on the host, once that is asked for.
    owned: OnceLock<Cow<'a, Owned>>,
    /// What the change is about; none if everything is looked at.
    part: Option<Part<'a>>,
    /// The others are being looked at.
    looking: Option<Looking>,
    /// What was pinned of the part when the change began: its first steps pin nothing.
    pinned: Option<Pinned>,
}

impl<'a> Scope<'a> {
    /// All of it.
    pub(super) fn everything(next: &'a State, owned: &'a Owned) -> Self {
        Self { next, before: next, owned: Cow::Borrowed(owned).into(), part: None, looking: None, pinned: None }
    }

    /// For a change from `before`, which a command that came to its end has put in force.
    pub(super) fn change(before: &'a State, next: &'a State, datapath: Option<&Datapath>) -> Self {
        let everything = Self { next, before, owned: OnceLock::new(), part: None, looking: None, pinned: None };
        // Maps that were filled by other programs, or not at all, are looked at.
        let Some(datapath) = datapath.filter(|datapath| !datapath.was_loaded_now()) else { return everything };
        let Some(part) = Part::between(before, next) else { return everything };
        Self { looking: Some(Looking::begin(datapath.bpffs(), &part)), part: Some(part), ..everything }
    }

    /// The interfaces and namespaces, and the first steps. More than the change explains shows that somebody has been at work:
    /// then everything is looked at.
    pub(super) async fn first_round(&mut self, host: &Host) -> Result<(Snapshot, Vec<Step>)> {
        if let Some(part) = &self.part {
            let links = desired_links(&part.next);
            let seen = host.look_at(&part.owned).await?;
            let (there, before) = (seen.links(), in_force(&part.before));
            let steps = plan::links(&links, &there, &part.owned);
            // What is to go and is gone already takes no step, but left rows behind that are filed under its index.
            let whole = before.veths.keys().all(|veth| there.veths.contains_key(veth))
                && part.shared.iter().all(|netns| netns::exists(netns));
            if whole && there.netns.is_superset(&before.netns) && steps == plan::links(&links, &before, &part.owned) {
                return Ok((seen, steps));
            }
            (self.part, self.looking) = (None, None);
        }
        let seen = host.look(self.owned()).await?;
        let (desired, mut links) = (desired_links(self.next), seen.links());
        for netns in desired.netns.difference(&links.netns) {
            if let Some(process) = netns::inhabitant(self.next.started_in(netns), &links.netns)? {
                links.nameless.insert(netns.clone(), process);
            }
        }
        Ok((seen, plan::links(&desired, &links, self.owned())))
    }

    /// Whether what is there of the others bears it out that the change is looked at in part, once its first steps are taken. If not,
    /// there is a first round of everything.
    pub(super) fn is_borne_out(&mut self) -> Result<bool> {
        let Some(looking) = self.looking.take() else { return Ok(true) };
        self.pinned = looking.end()?;
        if self.pinned.is_none() {
            self.part = None;
        }
        Ok(self.pinned.is_some())
    }

    /// Has the snapshot know what others may have made of host and bridges since.
    pub(super) async fn look(&self, host: &Host) -> Result<Snapshot> {
        Ok(match &self.part {
            Some(part) => host.look_at(&part.owned).await?,
            None => host.look(self.owned()).await?,
        })
    }

    /// What must be there, and what is, once the first steps are done.
    pub(super) fn second_round(&self, datapath: Option<&Datapath>, seen: &Snapshot) -> Result<(Desired, Observed)> {
        let (links, facts) = (seen.links(), self.facts(seen));
        let desired = self.desired(&facts);
        let Some(datapath) = datapath else { return Ok((desired, Observed { links, ..Observed::default() })) };
        let tables = match &self.part {
            None => datapath.tables()?,
            Some(part) => {
                let believed = desired_part(&part.before, self.before, &facts, part.classes);
                datapath.tables_but(believed.tables)?
            }
        };
        let attach = match &self.pinned {
            Some(pinned) => datapath.attachments(pinned, &facts.ifindex)?,
            None => datapath.attachments(&datapath.pinned()?, &facts.ifindex)?,
        };
        Ok((desired, Observed { links, tables, attach }))
    }

    fn facts(&self, seen: &Snapshot) -> HostFacts {
        let mut facts = seen.facts(self.owned());
        if let Some(part) = &self.part {
            // Even one that somebody took off its bridge is none.
            facts.uplinks.retain(|uplink| !part.is_others(&uplink.name));
        }
        facts
    }

    fn desired(&self, facts: &HostFacts) -> Desired {
        match &self.part {
            None => desired(self.next, facts),
            Some(part) => desired_part(&part.next, self.next, facts, part.classes),
        }
    }

    /// As much of the state that is led to as is looked at.
    pub(super) fn part(&self) -> &State {
        self.part.as_ref().map_or(self.next, |part| &part.next)
    }

    /// The state that is led to.
    pub(super) const fn next(&self) -> &'a State {
        self.next
    }

    /// What is portlane's of what is looked at.
    pub(super) fn owned(&self) -> &Owned {
        self.part.as_ref().map_or_else(|| self.whole(), |part| &part.owned)
    }

    fn whole(&self) -> &Owned {
        self.owned.get_or_init(|| Cow::Owned(Owned::by([self.before, self.next])))
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
        bridges: links.bridges.into_iter().map(|bridge| (bridge.name.clone(), bridge.into())).collect(),
        nameless: BTreeMap::new(),
    }
}
