//! What the programs count, summed over the CPUs.

use portlane_common::{
    counter::{Counter, Traffic},
    reason::{Hook, REASONS, Reason},
};

use super::{error::Result, layout, load::Datapath, table::Table};

impl Datapath {
    /// What was refused or handed to the host's stack, and where; what never happened is left out.
    pub fn reasons(&self) -> Result<Vec<(Hook, Reason, Counter)>> {
        Self::counted(&self.table(&layout::REASON)?)
    }

    /// The same, from a table that is open.
    pub fn counted(table: &Table<u32, Counter>) -> Result<Vec<(Hook, Reason, Counter)>> {
        let mut counted = Vec::new();
        table.for_each_cpu(|index, cpus| {
            let hook = Hook::ALL.into_iter().find(|hook| *hook as u32 == index / REASONS);
            if let Some((hook, reason)) = hook.zip(Reason::from_number((index % REASONS) as u8)) {
                counted.push((hook, reason, sum(cpus)));
            }
        })?;
        Ok(counted)
    }

    /// The counters of endpoints and publish entries.
    pub fn traffic(&self) -> Result<TrafficTables> {
        Ok(TrafficTables { endpoints: self.table(&layout::TRAFFIC)?, publishes: self.table(&layout::PUB_TRAFFIC)? })
    }
}

/// What passed, by endpoint and by publish entry.
#[derive(Debug)]
pub struct TrafficTables {
    endpoints: Table<u32, Traffic>,
    publishes: Table<u32, Traffic>,
}

impl TrafficTables {
    /// What an endpoint received and sent.
    pub fn of_endpoint(&self, endpoint: u32) -> Result<Traffic> {
        Ok(sum_traffic(self.endpoints.per_cpu(endpoint)?))
    }

    /// What passed a publish entry.
    pub fn of_publish(&self, publish: u32) -> Result<Traffic> {
        Ok(sum_traffic(self.publishes.per_cpu(publish)?))
    }

    /// Begins an endpoint's counters at zero: its number may have been another's.
    pub fn reset_endpoint(&self, endpoint: u32) -> Result<()> {
        self.endpoints.clear(endpoint)
    }

    /// Begins a publish entry's counters at zero.
    pub fn reset_publish(&self, publish: u32) -> Result<()> {
        self.publishes.clear(publish)
    }
}

fn sum(cpus: &mut dyn Iterator<Item = Counter>) -> Counter {
    cpus.fold(Counter::default(), |sum, cpu| Counter {
        packets: sum.packets.wrapping_add(cpu.packets),
        bytes: sum.bytes.wrapping_add(cpu.bytes),
    })
}

fn sum_traffic(cpus: Vec<Traffic>) -> Traffic {
    cpus.into_iter().fold(Traffic::default(), |sum, cpu| Traffic {
        rx_packets: sum.rx_packets.wrapping_add(cpu.rx_packets),
        rx_bytes: sum.rx_bytes.wrapping_add(cpu.rx_bytes),
        tx_packets: sum.tx_packets.wrapping_add(cpu.tx_packets),
        tx_bytes: sum.tx_bytes.wrapping_add(cpu.tx_bytes),
    })
}
