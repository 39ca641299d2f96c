//! All that the packet path keeps and counts, read from the maps or from the host build's memory, to be compared.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Result;
use bytemuck::Pod;
use portlane::bpf::{Datapath, Table, layout};
use portlane_common::{
    counter::{Counter, Traffic},
    endpoint::Share,
    family::{Addr4, Addr6},
    flow::{Flow, FlowKey},
    fragment::{Datagram, DatagramKey, Held, HeldKey},
    reason::{Hook, Reason},
};
use portlane_datapath::{
    packet::table,
    testing::{tables::Memory, world::MEMBERS},
};

/// Numbers of publish entries that are looked at.
const PUBLISHES: u32 = 14;

/// Flow entries of a family: confirmed ones, new ones. Clocks are left out.
type Flows<A> = [BTreeMap<FlowKey<A>, Flow<A>>; 2];

/// What is kept and counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    flows4: Flows<Addr4>,
    flows6: Flows<Addr6>,
    /// Packets, by hook and reason; nothing for none.
    reasons: BTreeMap<(Hook, Reason), u64>,
    /// Conversations that endpoints hold.
    shares: BTreeMap<u32, u32>,
    /// What endpoints and publish entries passed.
    traffic: BTreeMap<(&'static str, u32), [u64; 4]>,
}

/// The maps, opened once.
#[derive(Debug)]
pub struct Maps {
    flow4: Table<FlowKey<Addr4>, Flow<Addr4>>,
    flow6: Table<FlowKey<Addr6>, Flow<Addr6>>,
    new4: Table<FlowKey<Addr4>, Flow<Addr4>>,
    new6: Table<FlowKey<Addr6>, Flow<Addr6>>,
    datagram4: Table<DatagramKey<Addr4>, Datagram<Addr4>>,
    datagram6: Table<DatagramKey<Addr6>, Datagram<Addr6>>,
    held4: Table<HeldKey<Addr4>, Held>,
    held6: Table<HeldKey<Addr6>, Held>,
    share: Table<u32, Share>,
    reason: Table<u32, Counter>,
    traffic: Table<u32, Traffic>,
    published: Table<u32, Traffic>,
}

fn timeless<A>(flow: Flow<A>) -> Flow<A> {
    Flow { seen: 0, touched: 0, ..flow }
}

fn numbers(traffic: Traffic) -> [u64; 4] {
    [traffic.rx_packets, traffic.rx_bytes, traffic.tx_packets, traffic.tx_bytes]
}

fn read<A: Pod + Ord>(table: &Table<FlowKey<A>, Flow<A>>) -> Result<BTreeMap<FlowKey<A>, Flow<A>>>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let mut flows = BTreeMap::new();
    table.for_each(|key, flow| {
        flows.insert(key, timeless(flow));
    })?;
    Ok(flows)
}

fn clear<K: Pod + Ord, V: Pod>(table: &Table<K, V>) -> Result<()> {
    for key in table.read_all()?.keys() {
        table.delete(key)?;
    }
    Ok(())
}

impl Maps {
    /// Opens them.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn open(datapath: &Datapath) -> Result<Self> {
        Ok(Self {
            flow4: datapath.table(&layout::FLOW4)?,
            flow6: datapath.table(&layout::FLOW6)?,
            new4: datapath.table(&layout::NEW4)?,
            new6: datapath.table(&layout::NEW6)?,
            datagram4: datapath.table(&layout::DATAGRAM4)?,
            datagram6: datapath.table(&layout::DATAGRAM6)?,
            held4: datapath.table(&layout::HELD4)?,
            held6: datapath.table(&layout::HELD6)?,
            share: datapath.table(&layout::SHARE)?,
            reason: datapath.table(&layout::REASON)?,
            traffic: datapath.table(&layout::TRAFFIC)?,
            published: datapath.table(&layout::PUB_TRAFFIC)?,
        })
    }

    /// Reads them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read(&self) -> Result<Ledger> {
        let mut ledger = Ledger {
            flows4: [read(&self.flow4)?, read(&self.new4)?],
            flows6: [read(&self.flow6)?, read(&self.new6)?],
            ..Ledger::default()
        };
        for (hook, reason, counter) in Datapath::counted(&self.reason)? {
            ledger.reasons.insert((hook, reason), counter.packets);
        }
        for endpoint in MEMBERS.map(|member| member.endpoint) {
            ledger.shares.insert(endpoint, self.share.get(&endpoint)?.map_or(0, |share| share.held));
            ledger.traffic.insert(("endpoint", endpoint), summed(self.traffic.per_cpu(endpoint)?));
        }
        for publish in 1..PUBLISHES {
            ledger.traffic.insert(("publish", publish), summed(self.published.per_cpu(publish)?));
        }
        Ok(ledger)
    }

    /// Forgets the flows that were read, the shares that they took, and datagrams in pieces if there were any.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget(&self, read: &Ledger, fragments: bool) -> Result<()> {
        let [flow4, new4] = &read.flows4;
        let [flow6, new6] = &read.flows6;
        for key in flow4.keys() {
            self.flow4.delete(key)?;
        }
        for key in new4.keys() {
            self.new4.delete(key)?;
        }
        for key in flow6.keys() {
            self.flow6.delete(key)?;
        }
        for key in new6.keys() {
            self.new6.delete(key)?;
        }
        for (endpoint, _) in read.shares.iter().filter(|(_, held)| **held != 0) {
            self.share.put(endpoint, &Share::default())?;
        }
        if fragments {
            clear(&self.datagram4)?;
            clear(&self.datagram6)?;
            clear(&self.held4)?;
            clear(&self.held6)?;
        }
        Ok(())
    }
}

fn summed(cpus: Vec<Traffic>) -> [u64; 4] {
    let add = |sum: [u64; 4], cpu| std::array::from_fn(|at| sum[at] + numbers(cpu)[at]);
    cpus.into_iter().fold([0; 4], add)
}

impl Ledger {
    /// What the host build's memory holds, and the reasons that it gave.
    pub fn of(memory: &Memory, reasons: BTreeMap<(Hook, Reason), u64>) -> Self {
        let flows4 = [table::MAIN, table::NEW].map(|table| memory.flows4(table));
        let flows6 = [table::MAIN, table::NEW].map(|table| memory.flows6(table));
        let endpoints = MEMBERS.map(|member| member.endpoint);
        let published = (1..PUBLISHES).map(|publish| (("publish", publish), numbers(memory.published(publish))));
        Self {
            flows4: flows4.map(|flows| flows.into_iter().map(|(key, flow)| (key, timeless(flow))).collect()),
            flows6: flows6.map(|flows| flows.into_iter().map(|(key, flow)| (key, timeless(flow))).collect()),
            reasons,
            shares: endpoints.map(|endpoint| (endpoint, memory.holds(endpoint))).into(),
            traffic: endpoints
                .map(|endpoint| (("endpoint", endpoint), numbers(memory.traffic(endpoint))))
                .into_iter()
                .chain(published)
                .collect(),
        }
    }

    /// With what was counted before taken out.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (place, packets) in &mut since.reasons {
            *packets -= before.reasons.get(place).copied().unwrap_or_default();
        }
        since.reasons.retain(|_, packets| *packets != 0);
        for (place, traffic) in &mut since.traffic {
            let before = before.traffic.get(place).copied().unwrap_or_default();
            *traffic = std::array::from_fn(|at| traffic[at] - before[at]);
        }
        since
    }

    /// What differs from what was wanted, in words.
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        if self == wanted {
            return None;
        }
        let mut told = String::new();
        for (name, at) in [("main", 0), ("new", 1)] {
            differ(&mut told, name, &self.flows4[at], &wanted.flows4[at]);
            differ(&mut told, name, &self.flows6[at], &wanted.flows6[at]);
        }
        differ(&mut told, "reason", &self.reasons, &wanted.reasons);
        differ(&mut told, "share", &self.shares, &wanted.shares);
        differ(&mut told, "traffic", &self.traffic, &wanted.traffic);
        Some(told)
    }
}

fn differ<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    told: &mut String,
    name: &str,
    have: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) {
    let keys = have.keys().chain(wanted.keys().filter(|key| !have.contains_key(key)));
    for key in keys.filter(|key| have.get(key) != wanted.get(key)) {
        // Writing to a string does not fail.
        let _ = writeln!(
            told,
            "{name} {key:?}: the programs have\n  {:?}\nand not\n  {:?}",
            have.get(key),
            wanted.get(key)
        );
    }
}
