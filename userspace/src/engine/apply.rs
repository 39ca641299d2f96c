//! The only place that touches host and maps: observe, plan, perform.

use log::info;
use portlane_common::reason::Hook;

use super::{Engine, Result};
use crate::{
    bpf::{BpfError, Datapath},
    linux::netns,
    model::{Attachment, HostFacts, Observed, ObservedLinks, Owned, State, Step, desired, plan, state::Xdp},
};

/// What would be done, as far as it can be told before the first step.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Steps, each in words.
    pub steps: Vec<String>,
}

impl Engine {
    /// Brings host and maps to `state`; returns the steps that were taken.
    pub(super) async fn apply(&self, state: &State, owned: &Owned) -> Result<Vec<String>> {
        let mut taken = Vec::new();
        let (mut links, mut facts) = self.host.look(owned).await?;
        let first = plan::links(&desired(state, &facts), &links);
        for step in &first {
            self.perform_link(step).await?;
            taken.push(step.to_string());
        }
        if !first.is_empty() {
            (links, facts) = self.host.look(owned).await?;
        }
        let Some(datapath) = self.datapath_for(state)? else {
            // Without programs there are no tables: only what is left over of links remains.
            for step in plan::tables(&desired(state, &facts), &Observed { links, ..Observed::default() }, owned) {
                if matches!(step, Step::DeleteVeth(_) | Step::DeleteNetns(_) | Step::DeleteBridge(_)) {
                    self.perform_link(&step).await?;
                    taken.push(step.to_string());
                }
            }
            return Ok(taken);
        };
        self.reset_counters(&datapath, state)?;
        for step in plan::without_waiting(second_round(&datapath, state, owned, links, &facts)?, owned) {
            match &step {
                Step::Attach(attachment) => attach(&datapath, attachment, state.xdp)?,
                Step::Config(config) => datapath.put_config(config)?,
                Step::Put(row) => datapath.put(row)?,
                Step::Delete(row) => datapath.delete(row)?,
                Step::Detach(attachment) => datapath.detach(attachment)?,
                link => self.perform_link(link).await?,
            }
            taken.push(step.to_string());
        }
        Ok(taken)
    }

    /// What [`Self::apply`] would do.
    pub(super) async fn survey(&self, state: &State, owned: &Owned) -> Result<Outlook> {
        let (links, facts) = self.host.look(owned).await?;
        let mut steps: Vec<String> = plan::links(&desired(state, &facts), &links).iter().map(Step::to_string).collect();
        match Datapath::existing(&self.settings.bpffs)? {
            Some(datapath) => {
                let second = second_round(&datapath, state, owned, links, &facts)?;
                steps.extend(second.iter().map(Step::to_string));
            }
            None if needs_programs(state) => steps.push("load the programs and fill their tables".to_owned()),
            None => {}
        }
        Ok(Outlook { steps })
    }

    async fn perform_link(&self, step: &Step) -> Result<()> {
        match step {
            Step::Bridge(bridge) => self.host.create_bridge(bridge).await?,
            Step::Netns(name) => {
                netns::create(name)?;
                self.host.loopback_up(name).await?;
            }
            Step::Endpoint(link) => self.host.create_endpoint(link).await?,
            Step::Connect(veth) => self.host.connect(veth).await?,
            Step::DeleteVeth(name) | Step::DeleteBridge(name) => self.host.delete_link(name).await?,
            Step::DeleteNetns(name) => {
                crate::linux::process::kill_netns(name)?;
                netns::delete(name)?;
            }
            Step::Config(_) | Step::Put(_) | Step::Attach(_) | Step::Delete(_) | Step::Detach(_) => {}
        }
        Ok(())
    }

    /// Loads the programs, unless there is nothing that needs them and they are not there.
    pub(super) fn datapath_for(&self, state: &State) -> Result<Option<Datapath>> {
        if !needs_programs(state) {
            return self.datapath();
        }
        let datapath = self.load()?;
        if !datapath.sockets_attached()? {
            datapath.attach_sockets()?;
        }
        Ok(Some(datapath))
    }

    /// The numbers of new endpoints and publish entries may have been others'.
    fn reset_counters(&self, datapath: &Datapath, next: &State) -> Result<()> {
        let before = |id: &String| self.state.containers.get(id);
        for container in next.live().filter(|container| container.is_bridged()) {
            let old = before(&container.id);
            if old.is_none() {
                datapath.reset_endpoint_traffic(container.endpoint)?;
            }
            for publish in &container.publishes {
                if !old.is_some_and(|old| old.publishes.contains(publish)) {
                    datapath.reset_publish_traffic(publish.id)?;
                }
            }
        }
        Ok(())
    }
}

fn needs_programs(state: &State) -> bool {
    !state.networks.is_empty() || state.live().next().is_some()
}

fn second_round(
    datapath: &Datapath,
    state: &State,
    owned: &Owned,
    links: ObservedLinks,
    facts: &HostFacts,
) -> Result<Vec<Step>> {
    let observed = Observed { links, tables: datapath.tables()?, attach: datapath.attachments()? };
    let mut steps = plan::tables(&desired(state, facts), &observed, owned);
    if !needs_programs(state) {
        // Loaded for what is gone, or never came about: nothing need be served, but what is left over still goes.
        steps.retain(|step| !matches!(step, Step::Config(_) | Step::Put(_) | Step::Attach(_) | Step::Connect(_)));
    }
    Ok(steps)
}

/// Where XDP was not asked for by name, an uplink that cannot have it does without: tc does the same work.
fn attach(datapath: &Datapath, attachment: &Attachment, xdp: Xdp) -> Result<(), BpfError> {
    match datapath.attach(attachment) {
        Err(error) if attachment.hook == Hook::FromUplinkXdp && xdp == Xdp::Auto => {
            info!("{attachment}: {error}; tc serves it alone");
            Ok(())
        }
        result => result,
    }
}
