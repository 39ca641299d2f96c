//! The flows that the programs remember.

use std::collections::BTreeMap;

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
type Flows<A> = BTreeMap<FlowKey<A>, Flow<A>>;

impl Datapath {
    /// The IPv4 flows, those that have timed out included.
    pub fn flows4(&self) -> Result<Flows<Addr4>> {
        self.flows(&layout::FLOW4, &layout::NEW4)
    }

    /// The IPv6 flows, those that have timed out included.
    pub fn flows6(&self) -> Result<Flows<Addr6>> {
        self.flows(&layout::FLOW6, &layout::NEW6)
    }

    fn flows<A: Address>(
        &self,
        main: &Layout<FlowKey<A>, Flow<A>>,
        new: &Layout<FlowKey<A>, Flow<A>>,
    ) -> Result<Flows<A>>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let mut flows = self.table(new)?.read_all()?;
        flows.extend(self.table(main)?.read_all()?);
        Ok(flows)
    }

    /// Ends every conversation that one of these endpoints has a part in: what still comes for it is the host's, whose
    /// stack says that nobody is there. The entries' timers take them away.
    pub fn end_flows(&self, endpoints: &[u32]) -> Result<()> {
        if endpoints.is_empty() {
            return Ok(());
        }
        for layout in [&layout::FLOW4, &layout::NEW4] {
            self.end_flows_of(layout, endpoints)?;
        }
        for layout in [&layout::FLOW6, &layout::NEW6] {
            self.end_flows_of(layout, endpoints)?;
        }
        Ok(())
    }

    fn end_flows_of<A: Address>(&self, layout: &Layout<FlowKey<A>, Flow<A>>, endpoints: &[u32]) -> Result<()>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let table = self.table(layout)?;
        let (clock, jiffies) = (clock()?, jiffies()? as u32);
        let flows = table.read_all()?;
        let ended =
            flows.iter().filter(|(_, flow)| endpoints.contains(&flow.owner) || endpoints.contains(&flow.endpoint));
        for (key, flow) in ended {
            let mirror = FlowKey {
                src: flow.dst,
                dst: flow.src,
                sport: flow.dport,
                dport: flow.sport,
                zone: flow.pair_zone,
                ..*key
            };
            for (key, flow) in [Some((key, flow)), flows.get_key_value(&mirror)].into_iter().flatten() {
                let mut over = *flow;
                over.end(clock, jiffies);
                table.change(key, &over)?;
            }
        }
        Ok(())
    }
}
