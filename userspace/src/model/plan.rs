//! The steps from what is there to what must be there.
//!
//! A plan is made in two rounds, because the tables hold indices of interfaces: [`links`] makes the interfaces; then,
//! with the host and [`super::desired`] looked at again, [`tables`] does the rest and takes away what is left over.
//! Steps are in an order in which traffic that passes before and after also passes in between.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use portlane_common::{config::Config, reason::Hook};

use super::{
    desired::{Attachment, Bridge, Desired, EndpointLink, bridge},
    lead::DefaultRoute,
    process::Process,
    state::State,
    tables::{Row, Tables},
    tuning::Tuned,
};

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Interfaces and namespaces.
    pub links: ObservedLinks,
    /// Content of the control maps. A generation of 0 is no row.
    pub tables: Tables,
    /// Our programs on interfaces.
    pub attach: BTreeSet<Attachment>,
}

/// Interfaces and namespaces that are there, whoever made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedLinks {
    /// Bridges, by name.
    pub bridges: BTreeMap<String, ObservedBridge>,
    /// Host ends of veth pairs, by name, and the bridge that they are on.
    pub veths: BTreeMap<String, Option<String>>,
    /// Those of the veths that are up.
    pub up: BTreeSet<String>,
    /// Names under `/run/netns`, and paths of namespaces that containers are attached to.
    pub netns: BTreeSet<String>,
    /// Namespaces that have lost their names while a container runs in them, and who is in each.
    pub nameless: BTreeMap<String, Process>,
}

/// A bridge that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedBridge {
    /// MAC.
    pub mac: [u8; 6],
    /// Bytes; 0 while it is down, because it carries nothing.
    pub mtu: u32,
    /// Addresses and their prefix lengths, whoever gave it them.
    pub addresses: BTreeSet<(IpAddr, u8)>,
    /// Whether it floods multicast to all its ports, or only to who has asked for it.
    pub floods: bool,
}

/// Names of what is portlane's: nothing else is ever taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Bridges.
    pub bridges: BTreeSet<String>,
    /// Their addresses, with prefix lengths: others on them are somebody else's.
    pub gateways: BTreeSet<(String, IpAddr, u8)>,
    /// Host ends of veth pairs.
    pub veths: BTreeMap<String, String>,
    /// Names under `/run/netns`.
    pub netns: BTreeSet<String>,
    /// Names or paths of the namespaces that containers are attached to: they are not portlane's, and are never deleted.
    pub foreign: BTreeSet<String>,
    /// Namespaces, of either kind, whose default route leads elsewhere in one state than in another: a change that was broken off may
    /// have moved it.
    pub moved: BTreeSet<String>,
}

/// One idempotent act of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a bridge, or set an existing one right.
    Bridge(Bridge),
    /// Take an address from a bridge that its network no longer has.
    DeleteAddress(String, IpAddr, u8),
    /// Make a named network namespace.
    Netns(String),
    /// Give the network namespace that a process is in its name back.
    Rename(String, Process),
    /// Make a veth pair, its addresses and routes.
    Endpoint(EndpointLink),
    /// Write `pl_config`.
    Config(Config),
    /// Write one entry of a map.
    Put(Row),
    /// Put a program on an interface.
    Attach(Attachment),
    /// Set the host's end of a veth pair up: its container is served from here on.
    Connect(EndpointLink),
    /// Delete one entry of a map (of `pl_generation`: write 0); the row is as it was found.
    Delete(Row),
    /// Take a program off an interface.
    Detach(Attachment),
    /// Have a container's default route lead elsewhere.
    Lead(DefaultRoute),
    /// Have a link carry what its network's settings ask for.
    Tune(Tuned),
    /// Delete a veth pair by its host end.
    DeleteVeth(String),
    /// Delete a named network namespace.
    DeleteNetns(String),
    /// Delete a bridge.
    DeleteBridge(String),
}

impl Owned {
    /// What is named in any of these states: the ones before and after a change.
    pub fn by<'a>(states: impl IntoIterator<Item = &'a State>) -> Self {
        let (mut owned, mut leads) = (Self::default(), BTreeMap::new());
        for state in states {
            for bridge in state.networks.values().map(bridge) {
                let gateway = |(address, length)| (bridge.name.clone(), address, length);
                owned.gateways.extend(bridge.addresses().map(gateway));
                owned.bridges.insert(bridge.name);
            }
            for container in state.containers.values() {
                for endpoint in &container.endpoints {
                    // Most containers are in both states.
                    if owned.veths.get(&endpoint.veth) != Some(&container.netns) {
                        owned.veths.insert(endpoint.veth.clone(), container.netns.clone());
                    }
                }
                let lead = state.gateways(container);
                let lead = [lead.0, lead.1].map(|endpoint| endpoint.map(|endpoint| endpoint.number));
                if container.is_bridged()
                    && container.is_live()
                    && *leads.entry(container.netns.as_str()).or_insert(lead) != lead
                {
                    owned.moved.insert(container.netns.clone());
                }
                if container.owns_netns() && !owned.netns.contains(&container.netns) {
                    owned.netns.insert(container.netns.clone());
                }
                if container.foreign.is_some() {
                    owned.foreign.insert(container.netns.clone());
                }
            }
        }
        owned
    }

    /// Host ends of veth pairs whose other ends are in namespaces that are not portlane's.
    pub fn lent(&self) -> impl Iterator<Item = &String> {
        self.veths.iter().filter(|(_, netns)| self.foreign.contains(*netns)).map(|(veth, _)| veth)
    }

    /// Whether the veth is one that portlane may delete.
    fn veth(&self, name: &str) -> bool {
        self.veths.contains_key(name)
            && name
                .strip_prefix("veth")
                .is_some_and(|rest| rest.len() == 7 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// Whether the namespace is one that portlane may delete.
    fn netns(&self, name: &str) -> bool {
        self.netns.contains(name) && name.starts_with("pl-")
    }
}

impl ObservedBridge {
    /// Whether it is as it must be. What other addresses it has is somebody else's affair.
    fn is(&self, wanted: &Bridge) -> bool {
        let is_so = self.mac == wanted.mac && self.mtu == wanted.mtu && self.floods;
        is_so && wanted.addresses().all(|own| self.addresses.contains(&own))
    }

    /// Takes away the addresses that its network had before it was made anew, or was to have had.
    fn forget<'a>(&'a self, wanted: &'a Bridge, owned: &'a Owned) -> impl Iterator<Item = Step> + 'a {
        let ours = owned.gateways.iter().filter(|(name, ..)| *name == wanted.name);
        let former = ours.filter(|(_, address, length)| {
            let own = (*address, *length);
            self.addresses.contains(&own) && wanted.addresses().all(|kept| kept != own)
        });
        former.map(|(name, address, length)| Step::DeleteAddress(name.clone(), *address, *length))
    }
}

impl From<Bridge> for ObservedBridge {
    fn from(bridge: Bridge) -> Self {
        Self { mac: bridge.mac, mtu: bridge.mtu, addresses: bridge.addresses().collect(), floods: true }
    }
}

/// First round: makes the bridges, namespaces and veth pairs that are not there, or not as they must be.
pub fn links(desired: &Desired, observed: &ObservedLinks, owned: &Owned) -> Vec<Step> {
    let mut steps = Vec::new();
    for bridge in &desired.bridges {
        let found = observed.bridges.get(&bridge.name);
        // First what it has no longer: an address that is added to a subnet's former one would be its secondary one.
        steps.extend(found.into_iter().flat_map(|found| found.forget(bridge, owned)));
        steps.extend((!found.is_some_and(|found| found.is(bridge))).then(|| Step::Bridge(bridge.clone())));
    }
    // A new one under the name of a namespace in which somebody runs would cut them off.
    steps.extend(desired.netns.difference(&observed.netns).map(|name| match observed.nameless.get(name) {
        Some(process) => Step::Rename(name.clone(), *process),
        None => Step::Netns(name.clone()),
    }));
    let is_there = |netns: &String| observed.netns.contains(netns) || observed.nameless.contains_key(netns);
    for link in &desired.endpoints {
        match observed.veths.get(&link.veth) {
            Some(Some(bridge)) if *bridge == link.bridge && is_there(&link.netns) => continue,
            // Half made, on another bridge, or with its other end in a namespace that nobody can name: made anew.
            Some(_) => steps.push(Step::DeleteVeth(link.veth.clone())),
            None => {}
        }
        steps.push(Step::Endpoint(link.clone()));
    }
    steps
}

/// Second round: fills the tables, puts the programs on, and takes away what is left over.
pub fn tables(desired: &Desired, observed: &Observed, owned: &Owned) -> Vec<Step> {
    let left_over = LeftOver::of(desired, &observed.links, owned);
    let (puts, deletes) = left_over.without_addresses(desired).difference(&observed.tables);
    let (before, after) = (observed.tables.config, desired.tables.config);
    // While old and new ranges are both there, both must be found.
    let both = Config {
        publish_classes: before.publish_classes | after.publish_classes,
        policy_classes: before.policy_classes | after.policy_classes,
        ..after
    };
    let mut steps = Vec::new();
    steps.extend((both != before).then_some(Step::Config(both)));
    steps.extend(puts.into_iter().map(Step::Put));
    // What XDP translates, only the tc program behind it knows: XDP comes last, and goes first.
    let by_xdp = |attachment: &&Attachment| attachment.hook == Hook::FromUplinkXdp;
    let (xdp_on, on): (Vec<_>, Vec<_>) = desired.attach.difference(&observed.attach).partition(by_xdp);
    let (xdp_off, off): (Vec<_>, Vec<_>) = observed.attach.difference(&desired.attach).partition(by_xdp);
    steps.extend(xdp_off.into_iter().cloned().map(Step::Detach));
    steps.extend(on.into_iter().cloned().map(Step::Attach));
    let down = desired.endpoints.iter().filter(|link| !observed.links.up.contains(&link.veth));
    steps.extend(down.cloned().map(Step::Connect));
    // Before the interface goes that it led by.
    steps.extend(desired.routes.iter().filter(|route| owned.moved.contains(&route.netns)).cloned().map(Step::Lead));
    steps.extend(deletes.into_iter().map(Step::Delete));
    steps.extend(off.into_iter().cloned().map(Step::Detach));
    steps.extend(xdp_on.into_iter().cloned().map(Step::Attach));
    steps.extend(left_over.steps());
    steps.extend((after != both).then_some(Step::Config(after)));
    steps
}

/// The steps without those that the deletion of a namespace makes needless: with the namespace goes its `eth0`, and with
/// that the host's end. The kernel does that in the background; a step would wait for it.
///
/// What is on a bridge that goes too is deleted by steps: nothing of a network outlives it.
pub fn without_waiting(steps: Vec<Step>, owned: &Owned) -> Vec<Step> {
    if steps.iter().any(|step| matches!(step, Step::DeleteBridge(_))) {
        return steps;
    }
    let netns = |step: &Step| match step {
        Step::DeleteNetns(name) => Some(name.clone()),
        _ => None,
    };
    let netns: BTreeSet<String> = steps.iter().filter_map(netns).collect();
    let goes = |veth: &String| owned.veths.get(veth).is_some_and(|name| netns.contains(name));
    let needed = |step: &Step| match step {
        Step::DeleteVeth(name) => !goes(name),
        _ => true,
    };
    steps.into_iter().filter(needed).collect()
}

/// Interfaces and namespaces that are portlane's and that nothing needs.
struct LeftOver<'a> {
    veths: Vec<&'a String>,
    netns: Vec<&'a String>,
    bridges: Vec<(&'a String, &'a ObservedBridge)>,
}

impl<'a> LeftOver<'a> {
    fn of(desired: &Desired, observed: &'a ObservedLinks, owned: &Owned) -> Self {
        let veths: BTreeSet<&String> = desired.endpoints.iter().map(|link| &link.veth).collect();
        let bridges: BTreeSet<&String> = desired.bridges.iter().map(|bridge| &bridge.name).collect();
        let bridge = |name: &String| !bridges.contains(name) && owned.bridges.contains(name);
        Self {
            veths: observed.veths.keys().filter(|name| !veths.contains(name) && owned.veth(name)).collect(),
            netns: observed.netns.iter().filter(|name| !desired.netns.contains(*name) && owned.netns(name)).collect(),
            bridges: observed.bridges.iter().filter(|(name, _)| bridge(name)).collect(),
        }
    }

    /// The host was looked at while it had these bridges: their addresses are about to be its no more.
    fn without_addresses<'b>(&self, desired: &'b Desired) -> Cow<'b, Tables> {
        if self.bridges.is_empty() {
            return Cow::Borrowed(&desired.tables);
        }
        let mut tables = desired.tables.clone();
        let kept: BTreeSet<IpAddr> = desired.bridges.iter().flat_map(Bridge::addresses).map(|(kept, _)| kept).collect();
        let gone = self.bridges.iter().flat_map(|(_, bridge)| &bridge.addresses).map(|(gone, _)| *gone);
        for address in gone.filter(|gone| !kept.contains(gone)) {
            match address {
                IpAddr::V4(address) => drop(tables.host4.remove(&address.into())),
                IpAddr::V6(address) => drop(tables.host6.remove(&address.into())),
            }
        }
        Cow::Owned(tables)
    }

    fn steps(&self) -> Vec<Step> {
        let veths = self.veths.iter().map(|name| Step::DeleteVeth((*name).clone()));
        let netns = self.netns.iter().map(|name| Step::DeleteNetns((*name).clone()));
        let bridges = self.bridges.iter().map(|(name, _)| Step::DeleteBridge((*name).clone()));
        veths.chain(netns).chain(bridges).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(bridge) => write!(f, "set up {bridge}"),
            Self::DeleteAddress(bridge, address, length) => write!(f, "delete {address}/{length} from bridge {bridge}"),
            Self::Netns(name) => write!(f, "make network namespace {name}"),
            Self::Rename(name, Process { pid, .. }) => {
                write!(f, "name network namespace {name} again, which process {pid} is in")
            }
            Self::Endpoint(link) => write!(f, "make {link}"),
            Self::Config(config) => write!(
                f,
                "set the range classes to {:#x} for published ports, {:#x} for links",
                config.publish_classes, config.policy_classes
            ),
            Self::Put(row) => write!(f, "write to {}: {row}", row.map()),
            Self::Attach(attachment) => write!(f, "attach {attachment}"),
            Self::Connect(link) => write!(f, "set {} up", link.veth),
            Self::Tune(tuned) => write!(f, "tune {tuned}"),
            Self::Lead(route) => write!(f, "have {route}"),
            Self::Delete(row) => write!(f, "delete from {}: {row}", row.map()),
            Self::Detach(attachment) => write!(f, "detach {attachment}"),
            Self::DeleteVeth(name) => write!(f, "delete interface {name}"),
            Self::DeleteNetns(name) => write!(f, "delete network namespace {name}"),
            Self::DeleteBridge(name) => write!(f, "delete bridge {name}"),
        }
    }
}
