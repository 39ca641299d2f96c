//! One map with the types of its keys and values.

use std::{collections::BTreeMap, io, marker::PhantomData};

use bytemuck::Pod;

use super::{
    error::{BpfError, Result},
    layout::Shape,
};
use crate::linux::bpf_syscall::Map;

/// An open map.
#[derive(Debug)]
pub struct Table<K, V> {
    map: Map,
    shape: Shape,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    pub(super) const fn new(map: Map, shape: Shape) -> Self {
        Self { map, shape, types: PhantomData }
    }

    /// Entries that fit.
    pub const fn capacity(&self) -> u32 {
        self.shape.entries
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> BpfError + use<K, V> {
        let Shape { name: map, entries, .. } = self.shape;
        move |source| match source.raw_os_error() {
            // A trie says the latter.
            Some(libc::E2BIG | libc::ENOSPC) => BpfError::Full { map, entries },
            Some(libc::EPERM) => BpfError::Denied { action: format!("{map} to be {action}") },
            _ => BpfError::Map { map, action, source },
        }
    }
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// An entry's value. In an array, every index has one.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let mut value = V::zeroed();
        let found = self.map.lookup(bytemuck::bytes_of(key), bytemuck::bytes_of_mut(&mut value));
        Ok(found.map_err(self.failed("read"))?.then_some(value))
    }

    /// Adds an entry, or changes it; the programs see the old value or the new one, nothing between.
    pub fn put(&self, key: &K, value: &V) -> Result<()> {
        self.map.update(bytemuck::bytes_of(key), bytemuck::bytes_of(value)).map_err(self.failed("changed"))
    }

    /// Changes an entry, if it is there.
    pub fn change(&self, key: &K, value: &V) -> Result<()> {
        self.map.change(bytemuck::bytes_of(key), bytemuck::bytes_of(value)).map(drop).map_err(self.failed("changed"))
    }

    /// Removes an entry; false if there was none. Arrays refuse it.
    pub fn delete(&self, key: &K) -> Result<bool> {
        self.map.delete(bytemuck::bytes_of(key)).map_err(self.failed("changed"))
    }

    /// Calls `visit` with each entry.
    pub fn for_each(&self, mut visit: impl FnMut(K, V)) -> Result<()> {
        self.map
            .for_each(|key, value| visit(bytemuck::pod_read_unaligned(key), bytemuck::pod_read_unaligned(value)))
            .map_err(self.failed("read"))
    }

    /// Every entry.
    pub fn read_all(&self) -> Result<BTreeMap<K, V>>
    where
        K: Ord,
    {
        // Sorted as a whole: hash tables hand them out in no order, in which a tree is slow to grow.
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key, value)))?;
        Ok(entries.into_iter().collect())
    }
}

impl<V: Pod> Table<u32, V> {
    /// The values that the CPUs keep at an index of a per-CPU array.
    pub fn per_cpu(&self, index: u32) -> Result<Vec<V>> {
        let mut bytes = vec![0; self.map.value_len()];
        self.map.lookup(bytemuck::bytes_of(&index), &mut bytes).map_err(self.failed("read"))?;
        Ok(cpus(&bytes).collect())
    }

    /// Calls `visit` with each index of a per-CPU array at which there is more than zeros, and with the values that the
    /// CPUs keep there (Linux 5.13).
    pub fn for_each_cpu(&self, mut visit: impl FnMut(u32, &mut dyn Iterator<Item = V>)) -> Result<()> {
        let zeros = vec![0; self.map.value_len()];
        self.map
            .for_each(|key, values| {
                if *values != *zeros {
                    visit(bytemuck::pod_read_unaligned(key), &mut cpus(values));
                }
            })
            .map_err(self.failed("read"))
    }

    /// Sets an index of a per-CPU array to zero on every CPU.
    pub fn clear(&self, index: u32) -> Result<()> {
        let zeros = vec![0; self.map.value_len()];
        self.map.update(bytemuck::bytes_of(&index), &zeros).map_err(self.failed("changed"))
    }
}

/// What the CPUs keep in one entry.
fn cpus<V: Pod>(bytes: &[u8]) -> impl Iterator<Item = V> {
    let stride = size_of::<V>().next_multiple_of(8);
    bytes.chunks_exact(stride).map(|value| bytemuck::pod_read_unaligned(&value[..size_of::<V>()]))
}
