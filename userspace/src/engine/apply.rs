//! The only place that touches host and maps: observe, plan, perform.

use std::net::IpAddr;

use log::info;
use portlane_common::reason::Hook;

use super::{Engine, Result, files, gone::Gone, scope::Scope};
use crate::{
    bpf::{BpfError, Datapath},
    linux::{Expedited, Snapshot, netns},
    model::{Attachment, Container, HostFacts, Owned, State, Step, UplinkFact, plan, state::Xdp},
    progress,
};

/// What is done about programs that are not there.
pub(super) const LOAD: &str = "load the programs and fill their tables";

/// What [`Engine::follow`] did.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// What is portlane's own on the host.
    pub owned: Owned,
    /// The host, before the first step; none if nothing could be done about it.
    pub seen: Option<HostAddresses>,
    /// The steps that were taken.
    pub steps: Vec<String>,
}

/// What of the host portlane's tables depend on; of portlane's own interfaces, those that go with somebody else's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    uplinks: Vec<UplinkFact>,
    addresses: Vec<(IpAddr, u32)>,
    lent: Vec<String>,
}

/// The host, once the interfaces and namespaces of a state are there.
pub(super) struct Linked {
    seen: Snapshot,
    /// The steps that led there.
    taken: Vec<String>,
}

impl HostAddresses {
    /// Of the host that these are the facts of.
    pub fn of(facts: HostFacts, owned: &Owned) -> Self {
        let lent = owned.lent().filter(|veth| facts.ifindex.contains_key(*veth)).cloned().collect();
        let faces = |ifindex: &u32| facts.uplinks.iter().any(|uplink| uplink.ifindex == *ifindex);
        let addresses = facts.addresses.iter().filter(|(_, ifindex)| faces(ifindex)).copied().collect();
        Self { addresses, lent, uplinks: facts.uplinks }
    }
}

impl Engine {
    /// Brings host and maps to the scope's state; returns the steps that were taken. `datapath` is [`Self::datapath_for`] it.
    pub(super) async fn apply(&self, datapath: Option<&Datapath>, mut scope: Scope<'_>) -> Result<Vec<String>> {
        let linked = self.apply_links(&mut scope).await?;
        self.apply_tables(datapath, &scope, linked).await
    }

    /// The first half of [`Self::apply`]: interfaces and namespaces.
    pub(super) async fn apply_links(&self, scope: &mut Scope<'_>) -> Result<Linked> {
        let mut taken = Vec::new();
        let progress = progress::step("looking at the host");
        loop {
            let (mut seen, first) = scope.first_round(&self.host).await?;
            for step in &first {
                progress.goes_on(step.to_string());
                self.perform(step, None, scope.next().xdp).await?;
                taken.push(step.to_string());
            }
            if scope.is_borne_out()? {
                self.look_again(&mut seen, &first, scope).await?;
                return Ok(Linked { seen, taken });
            }
        }
    }

    /// The second half: maps and programs, and what may speak only then.
    pub(super) async fn apply_tables(
        &self,
        datapath: Option<&Datapath>,
        scope: &Scope<'_>,
        Linked { seen, mut taken }: Linked,
    ) -> Result<Vec<String>> {
        let state = scope.next();
        let before = taken.len();
        let progress = progress::step("looking at the tables");
        if let Some(datapath) = datapath {
            self.reset_counters(datapath, state)?;
        }
        let mut second = self.tuning(scope, &seen).await?;
        second.extend(plan::without_waiting(second_round(datapath, &seen, scope)?, scope.owned()));
        let expedited = self.expedited(&second);
        for (done, step) in second.iter().enumerate() {
            progress.goes_on(format!("step {} of {}: {step}", before + done + 1, before + second.len()));
            self.perform(step, datapath, state.xdp).await?;
            taken.push(step.to_string());
        }
        drop(expedited);
        if let Some(datapath) = datapath {
            // After the rest: nothing leads to it any more that could open another conversation.
            let gone = Gone::between(&self.state, state).with_host_addresses(&second);
            gone.end_flows(datapath)?;
            gone.end_sockets(datapath)?;
        }
        Ok(taken)
    }

    /// Brings host and maps to where the state in force wants them if the host is not what was `seen`.
    ///
    /// # Errors
    /// A step fails.
    pub async fn follow(&mut self, seen: Option<&HostAddresses>) -> Result<Followed> {
        let owned = Owned::by([&self.state]);
        // Looked at first: what changes from here on is told by another event.
        let found = HostAddresses::of(self.host.facts(&owned).await?, &owned);
        let same = seen == Some(&found) || self.outlook().await?.is_empty();
        let steps = if same { Vec::new() } else { self.repair().await? };
        Ok(Followed { owned, seen: Some(found), steps })
    }

    /// What [`Self::apply`] would do, as far as it can be told before the first step.
    pub(super) async fn survey(&self, state: &State, owned: &Owned) -> Result<Vec<String>> {
        let mut scope = Scope::everything(state, owned);
        let (seen, first) = scope.first_round(&self.host).await?;
        let mut steps: Vec<String> = first.iter().map(Step::to_string).collect();
        let datapath = self.datapath()?;
        let loads = datapath.is_none() && needs_programs(state);
        if loads {
            steps.push(LOAD.to_owned());
        }
        steps.extend(self.tuning(&scope, &seen).await?.iter().map(Step::to_string));
        if loads {
            return Ok(steps);
        }
        steps.extend(missing_sockets(datapath.as_ref(), state)?);
        if first.iter().all(|step| matches!(step, Step::Rename(..))) {
            let second = second_round(datapath.as_ref(), &seen, &scope)?;
            steps.extend(second.iter().map(Step::to_string));
        } else {
            // Against what is there now, the tables would have to do without what is yet to be made.
            steps.push("bring tables and programs in line with that".to_owned());
        }
        Ok(steps)
    }

    /// What the steps of the first round changed: with many containers, all of it is much to look at.
    async fn look_again(&self, seen: &mut Snapshot, first: &[Step], scope: &Scope<'_>) -> Result<()> {
        let (mut veths, mut netns) = (Vec::new(), Vec::new());
        for step in first {
            match step {
                Step::Netns(name) | Step::Rename(name, _) => netns.push(name.as_str()),
                Step::Endpoint(link) => {
                    veths.push(link.veth.as_str());
                    netns.push(link.netns.as_str());
                }
                Step::DeleteVeth(name) => veths.push(name),
                // Addresses come with a bridge.
                _ => {
                    *seen = scope.look(&self.host).await?;
                    return Ok(());
                }
            }
        }
        Ok(self.host.look_again(seen, &veths, &netns).await?)
    }

    async fn perform(&self, step: &Step, datapath: Option<&Datapath>, xdp: Xdp) -> Result<()> {
        match step {
            Step::Bridge(bridge) => self.host.create_bridge(bridge).await?,
            Step::DeleteAddress(bridge, address, length) => {
                self.host.delete_address(bridge, *address, *length).await?;
            }
            Step::Netns(name) => self.host.create_netns(name).await?,
            Step::Rename(name, process) => netns::rename(name, process)?,
            Step::Endpoint(link) => self.host.create_endpoint(link).await?,
            Step::Connect(link) => {
                self.host.connect(&link.veth).await?;
                self.host.correct_neighbours(link).await?;
                self.host.wait_for_endpoint(link).await?;
            }
            Step::Lead(route) => self.host.lead(route).await?,
            Step::Tune(tuned) => self.host.tune(tuned).await?,
            Step::DeleteVeth(name) | Step::DeleteBridge(name) => self.host.delete_link(name).await?,
            Step::DeleteNetns(name) => {
                crate::linux::process::kill_netns(name)?;
                netns::delete(name)?;
            }
            Step::Config(_) | Step::Put(_) | Step::Attach(_) | Step::Delete(_) | Step::Detach(_) => {
                if let Some(datapath) = datapath {
                    perform_in_kernel(step, datapath, xdp)?;
                }
            }
        }
        Ok(())
    }

    /// Steps that put programs on interfaces, or take them off, wait for the kernel.
    fn expedited(&self, steps: &[Step]) -> Option<Expedited> {
        let waits = steps.iter().any(|step| matches!(step, Step::Attach(_) | Step::Detach(_)));
        let expedited = || Expedited::begin(&self.settings.root.join(files::EXPEDITED));
        (waits && self.settings.daemon.expedited_rcu).then(expedited).flatten()
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
        let traffic = datapath.traffic()?;
        let bridged = |container: &Container| container.is_live() && container.is_bridged();
        for (container, old) in next.unlike(&self.state).filter(|(container, _)| bridged(container)) {
            for endpoint in &container.endpoints {
                if old.is_none_or(|old| old.on(&endpoint.network).is_none()) {
                    traffic.reset_endpoint(endpoint.number)?;
                }
            }
            for publish in &container.publishes {
                if !old.is_some_and(|old| old.publishes.contains(publish)) {
                    traffic.reset_publish(publish.id)?;
                }
            }
        }
        Ok(())
    }
}

fn needs_programs(state: &State) -> bool {
    !state.networks.is_empty() || state.live().next().is_some()
}

/// What [`Engine::datapath_for`] a state is going to do about the socket programs of what is loaded, if that is anything.
pub(super) fn missing_sockets(datapath: Option<&Datapath>, state: &State) -> Result<Option<String>> {
    let missing = match datapath.filter(|_| needs_programs(state)) {
        Some(datapath) => !datapath.sockets_attached()?,
        None => false,
    };
    Ok(missing.then(|| "attach the socket programs to the cgroup".to_owned()))
}

fn perform_in_kernel(step: &Step, datapath: &Datapath, xdp: Xdp) -> Result<(), BpfError> {
    match step {
        Step::Attach(attachment) => attach(datapath, attachment, xdp),
        Step::Config(config) => datapath.put_config(config),
        Step::Put(row) => datapath.put(row),
        Step::Delete(row) => datapath.delete(row),
        Step::Detach(attachment) => datapath.detach(attachment),
        Step::Bridge(_)
        | Step::DeleteAddress(..)
        | Step::Netns(_)
        | Step::Rename(..)
        | Step::Endpoint(_)
        | Step::Connect(_)
        | Step::Lead(_)
        | Step::Tune(_)
        | Step::DeleteVeth(_)
        | Step::DeleteNetns(_)
        | Step::DeleteBridge(_) => Ok(()),
    }
}

/// Without a datapath there are no tables: only what is left over of interfaces remains.
fn second_round(datapath: Option<&Datapath>, seen: &Snapshot, scope: &Scope<'_>) -> Result<Vec<Step>> {
    let (desired, observed) = scope.second_round(datapath, seen)?;
    let mut steps = plan::tables(&desired, &observed, scope.owned());
    if !needs_programs(scope.next()) {
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
