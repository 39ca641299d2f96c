//! The flows that the programs remember.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bytemuck::Pod;
use portlane_common::{
    family::{Addr4, Addr6, Address},
    flow::{Flow, FlowKey},
};

use super::{
    error::Result,
    layout::{self, Layout},
    load::{Datapath, clock, jiffies},
};

/// Flow entries by their tuples.
pub type Flows<A> = BTreeMap<FlowKey<A>, Flow<A>>;

impl Datapath {
    /// The IPv4 flows, those that have timed out included: of confirmed conversations, and of others.
    pub fn flows4(&self) -> Result<[Flows<Addr4>; 2]> {
        Ok([self.table(&layout::FLOW4)?.read_all()?, self.table(&layout::NEW4)?.read_all()?])
    }

    /// The IPv6 flows, those that have timed out included: of confirmed conversations, and of others.
    pub fn flows6(&self) -> Result<[Flows<Addr6>; 2]> {
        Ok([self.table(&layout::FLOW6)?.read_all()?, self.table(&layout::NEW6)?.read_all()?])
    }

    /// Cookies of the host's sockets that were sent straight to a container.
    pub fn led_sockets(&self) -> Result<BTreeSet<u64>> {
        let cookie = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let four = self.table(&layout::SOCKET4)?.read_all()?.into_keys();
        let six = self.table(&layout::SOCKET6)?.read_all()?.into_keys();
        Ok(four
            .map(|key| cookie(key.cookie_low, key.cookie_high))
            .chain(six.map(|key| cookie(key.cookie_low, key.cookie_high)))
            .collect())
    }

    /// Ends every conversation that one of these endpoints has a part in, or one of these addresses: what still comes for
    /// it is the host's, whose stack says that nobody is there. They are swept away soon.
    pub fn end_flows(&self, endpoints: &[u32], addresses: &BTreeSet<IpAddr>) -> Result<()> {
        if endpoints.is_empty() && addresses.is_empty() {
            return Ok(());
        }
        self.end_flows_in(&layout::FLOW4, endpoints, addresses)?;
        self.end_flows_in(&layout::FLOW6, endpoints, addresses)?;
        self.end_flows_in(&layout::NEW4, endpoints, addresses)?;
        self.end_flows_in(&layout::NEW6, endpoints, addresses)
    }

    fn end_flows_in<A: Address + Into<IpAddr>>(
        &self,
        layout: &Layout<FlowKey<A>, Flow<A>>,
        endpoints: &[u32],
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<()>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let table = self.table(layout)?;
        let (clock, jiffies) = (clock()?, jiffies()? as u32);
        let entries = table.read_all()?;
        for (key, flow) in &entries {
            let at = [key.src, key.dst, flow.src, flow.dst];
            let goes = endpoints.contains(&flow.owner)
                || endpoints.contains(&flow.endpoint)
                || at.iter().any(|address| addresses.contains(&(*address).into()));
            if !goes {
                continue;
            }
            for key in [*key, key.mirror(flow)] {
                if let Some(mut over) = entries.get(&key).copied() {
                    over.end(clock, jiffies);
                    table.change(&key, &over)?;
                }
            }
        }
        Ok(())
    }
}
