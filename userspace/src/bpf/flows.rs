//! The flows that the programs remember.

use std::collections::BTreeMap;

use bytemuck::Pod;
use portlane_common::{
    family::{Addr4, Addr6, Address},
    flow::{Flow, FlowKey, NewFlow, TimedFlow},
};

use super::{
    error::Result,
    layout::{self, Layout},
    load::{Datapath, clock, jiffies},
};

/// Flow entries by their tuples.
pub type Flows<A> = BTreeMap<FlowKey<A>, Flow<A>>;

/// What a table keeps of a flow.
trait Holds<A: Copy>: Pod {
    fn flow(&mut self) -> &mut Flow<A>;
}

macro_rules! holds {
    ($($entry:ident<$addr:ty>)+) => {$(
        impl Holds<$addr> for $entry<$addr> {
            fn flow(&mut self) -> &mut Flow<$addr> {
                &mut self.flow
            }
        }
    )+};
}

holds! { NewFlow<Addr4> NewFlow<Addr6> TimedFlow<Addr4> TimedFlow<Addr6> }

impl Datapath {
    /// The IPv4 flows, those that have timed out included: of confirmed conversations, and of others.
    pub fn flows4(&self) -> Result<[Flows<Addr4>; 2]> {
        Ok([self.flows(&layout::FLOW4)?, self.flows(&layout::NEW4)?])
    }

    /// The IPv6 flows, those that have timed out included: of confirmed conversations, and of others.
    pub fn flows6(&self) -> Result<[Flows<Addr6>; 2]> {
        Ok([self.flows(&layout::FLOW6)?, self.flows(&layout::NEW6)?])
    }

    fn flows<A: Address, V: Holds<A>>(&self, layout: &Layout<FlowKey<A>, V>) -> Result<Flows<A>>
    where
        FlowKey<A>: Pod,
    {
        let entries = self.table(layout)?.read_all()?;
        Ok(entries.into_iter().map(|(key, mut entry)| (key, *entry.flow())).collect())
    }

    /// Ends every conversation that one of these endpoints has a part in: what still comes for it is the host's, whose
    /// stack says that nobody is there. The entries' timers take them away.
    pub fn end_flows(&self, endpoints: &[u32]) -> Result<()> {
        if endpoints.is_empty() {
            return Ok(());
        }
        self.end_flows_in(&layout::FLOW4, endpoints)?;
        self.end_flows_in(&layout::FLOW6, endpoints)?;
        self.end_flows_in(&layout::NEW4, endpoints)?;
        self.end_flows_in(&layout::NEW6, endpoints)
    }

    fn end_flows_in<A: Address, V: Holds<A>>(&self, layout: &Layout<FlowKey<A>, V>, endpoints: &[u32]) -> Result<()>
    where
        FlowKey<A>: Pod,
    {
        let table = self.table(layout)?;
        let (clock, jiffies) = (clock()?, jiffies()? as u32);
        let entries = table.read_all()?;
        for (key, mut entry) in entries.clone() {
            let flow = *entry.flow();
            if !endpoints.contains(&flow.owner) && !endpoints.contains(&flow.endpoint) {
                continue;
            }
            let (src, dst, sport, dport) = (flow.dst, flow.src, flow.dport, flow.sport);
            let mirror = FlowKey { src, dst, sport, dport, zone: flow.pair_zone, ..key };
            for key in [key, mirror] {
                if let Some(mut over) = entries.get(&key).copied() {
                    over.flow().end(clock, jiffies);
                    table.change(&key, &over)?;
                }
            }
        }
        Ok(())
    }
}
