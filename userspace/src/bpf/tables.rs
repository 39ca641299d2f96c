//! The control maps: what they hold, and changing one row.

use std::{
    collections::BTreeMap,
    sync::atomic::{self, Ordering},
};

use bytemuck::Pod;
use portlane_common::{
    config::{Config, ReservedBlock},
    endpoint::EPOCH_SETTLED,
};

use super::{
    error::Result,
    layout::{self, Layout},
    load::Datapath,
};
use crate::model::{Row, Tables};

impl Datapath {
    /// What the control maps hold.
    pub fn tables(&self) -> Result<Tables> {
        let mut generation = BTreeMap::new();
        self.table(&layout::GENERATION)?.for_each(|publish, value| {
            if value != 0 {
                generation.insert(publish, value);
            }
        })?;
        let of_containers = Tables {
            endpoint4: self.table(&layout::ENDPOINT4)?.read_all()?,
            endpoint6: self.table(&layout::ENDPOINT6)?.read_all()?,
            veth: self.table(&layout::VETH)?.read_all()?,
            policy: self.table(&layout::POLICY)?.read_all()?,
            generation,
            source4: self.table(&layout::SOURCE4)?.read_all()?,
            source6: self.table(&layout::SOURCE6)?.read_all()?,
            publish4: self.table(&layout::PUBLISH4)?.read_all()?,
            publish6: self.table(&layout::PUBLISH6)?.read_all()?,
            ..Tables::default()
        };
        self.tables_but(of_containers)
    }

    /// What the control maps hold of what follows from the host's own addresses and settings, and these rows of containers.
    pub fn tables_but(&self, of_containers: Tables) -> Result<Tables> {
        let mut reserved = BTreeMap::new();
        self.table(&layout::RESERVED)?.for_each(|block, bits| {
            if bits != ReservedBlock::default() {
                reserved.insert(block, bits);
            }
        })?;
        Ok(Tables {
            reserved,
            uplink: self.table(&layout::UPLINK)?.read_all()?,
            host4: self.table(&layout::HOST4)?.read_all()?,
            host6: self.table(&layout::HOST6)?.read_all()?,
            config: self.table(&layout::CONFIG)?.get(&0)?.unwrap_or_default(),
            ..of_containers
        })
    }

    /// Writes a row.
    pub fn put(&self, row: &Row) -> Result<()> {
        match row {
            Row::Reserved(key, value) => self.put_in(&layout::RESERVED, key, value),
            Row::Uplink(key, value) => self.put_in(&layout::UPLINK, key, value),
            Row::Host4(key, value) => self.put_in(&layout::HOST4, key, value),
            Row::Host6(key, value) => self.put_in(&layout::HOST6, key, value),
            Row::Endpoint4(key, value) => self.of_endpoints(|| self.put_in(&layout::ENDPOINT4, key, value)),
            Row::Endpoint6(key, value) => self.of_endpoints(|| self.put_in(&layout::ENDPOINT6, key, value)),
            Row::Veth(key, value) => self.of_endpoints(|| self.put_in(&layout::VETH, key, value)),
            Row::Policy(key, value) => self.put_in(&layout::POLICY, key, value),
            Row::Generation(key, value) => self.put_in(&layout::GENERATION, key, value),
            Row::Source4(key, value) => self.put_in(&layout::SOURCE4, key, value),
            Row::Source6(key, value) => self.put_in(&layout::SOURCE6, key, value),
            Row::Publish4(key, value) => self.put_in(&layout::PUBLISH4, key, value),
            Row::Publish6(key, value) => self.put_in(&layout::PUBLISH6, key, value),
        }
    }

    /// Deletes a row by its key; does nothing if there is none. An array's entry becomes zero.
    pub fn delete(&self, row: &Row) -> Result<()> {
        match row {
            Row::Reserved(key, _) => self.put_in(&layout::RESERVED, key, &ReservedBlock::default()),
            Row::Uplink(key, _) => self.delete_from(&layout::UPLINK, key),
            Row::Host4(key, _) => self.delete_from(&layout::HOST4, key),
            Row::Host6(key, _) => self.delete_from(&layout::HOST6, key),
            Row::Endpoint4(key, _) => self.of_endpoints(|| self.delete_from(&layout::ENDPOINT4, key)),
            Row::Endpoint6(key, _) => self.of_endpoints(|| self.delete_from(&layout::ENDPOINT6, key)),
            Row::Veth(key, _) => self.of_endpoints(|| self.delete_from(&layout::VETH, key)),
            Row::Policy(key, _) => self.delete_from(&layout::POLICY, key),
            Row::Generation(key, _) => self.put_in(&layout::GENERATION, key, &0),
            Row::Source4(key, _) => self.delete_from(&layout::SOURCE4, key),
            Row::Source6(key, _) => self.delete_from(&layout::SOURCE6, key),
            Row::Publish4(key, _) => self.delete_from(&layout::PUBLISH4, key),
            Row::Publish6(key, _) => self.delete_from(&layout::PUBLISH6, key),
        }
    }

    /// Writes `pl_config`.
    pub fn put_config(&self, config: &Config) -> Result<()> {
        self.put_in(&layout::CONFIG, &0, config)
    }

    /// Changes a row that CPUs may keep (`datapath-ebpf/src/kernel/near.rs`): they keep none meanwhile, and what they had counts
    /// no more. Killed in between, they keep none until the next change.
    fn of_endpoints(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let table = self.table(&layout::EPOCH)?;
        let unsettled = table.get(&0)?.unwrap_or_default() & !EPOCH_SETTLED;
        let next = unsettled.wrapping_add(EPOCH_SETTLED << 1);
        // The kernel may copy a number byte by byte: half of the first or the last of these is all of it, and half of the
        // second is not settled either.
        table.put(&0, &unsettled)?;
        table.put(&0, &next)?;
        atomic::fence(Ordering::SeqCst);
        let changed = change();
        atomic::fence(Ordering::SeqCst);
        table.put(&0, &(next | EPOCH_SETTLED)).and(changed)
    }

    fn put_in<K: Pod, V: Pod>(&self, layout: &Layout<K, V>, key: &K, value: &V) -> Result<()> {
        self.table(layout)?.put(key, value)
    }

    fn delete_from<K: Pod, V: Pod>(&self, layout: &Layout<K, V>, key: &K) -> Result<()> {
        self.table(layout)?.delete(key).map(drop)
    }
}
