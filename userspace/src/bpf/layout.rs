//! The shape of every map as this program knows it. A pinned map of another shape is left over from another version.

use std::marker::PhantomData;

use portlane_common::{
    cone::{Cone, ConeKey, MAX_CONES},
    config::{
        Config, MAX_ENDPOINTS, MAX_FLOWS, MAX_HOST_ADDRESSES, MAX_NEW_FLOWS, MAX_POLICIES, MAX_PUBLISHES, MAX_SOCKETS,
        MAX_SOURCES, MAX_UPLINKS, PUBLISH_ROWS, RESERVED_BLOCKS, ReservedBlock, map, program,
    },
    counter::{Counter, Traffic},
    endpoint::{Endpoint, Share, Veth},
    family::{Addr4, Addr6},
    flow::{Flow, FlowKey, Sweep},
    fragment::{Datagram, DatagramKey, Held, HeldKey, MAX_DATAGRAMS, MAX_HELD},
    network::{HostAddr, Uplink},
    policy::{Policy, PolicyKey},
    publish::{Publish, PublishKey},
    reason::{Hook, REASONS},
    socket::{SocketKey, SocketOrigin},
    source::{Source, SourceKey},
};

use crate::linux::bpf_syscall::MapInfo;

/// A map's name, shape and types.
#[derive(Debug)]
pub struct Layout<K, V> {
    /// Its shape.
    pub shape: Shape,
    types: PhantomData<fn() -> (K, V)>,
}

/// What the kernel can tell about a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Name, and name of the pin.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries that fit.
    pub entries: u32,
}

/// `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_PROG_ARRAY`.
    ProgramArray = 3,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    LpmTrie = 11,
}

impl Shape {
    /// Whether a map in the kernel has this shape.
    pub const fn fits(&self, info: MapInfo) -> bool {
        self.holds_the_same(info) && info.max_entries == self.entries
    }

    /// Whether a map in the kernel has this shape but for its size.
    pub const fn holds_the_same(&self, info: MapInfo) -> bool {
        info.kind == self.kind as u32 && info.key_size == self.key && info.value_size == self.value
    }

    /// The shape with as many flow entries as asked for: half as many of those that are not confirmed yet, or over.
    #[must_use]
    pub fn sized(self, flows: u32) -> Self {
        let entries = match self.name {
            map::FLOW4 | map::FLOW6 => flows,
            map::NEW4 | map::NEW6 => flows / 2,
            _ => self.entries,
        };
        Self { entries, ..self }
    }
}

impl<K, V> Layout<K, V> {
    const fn new(name: &'static str, kind: Kind, entries: u32) -> Self {
        let shape = Shape { name, kind, key: size_of::<K>() as u32, value: size_of::<V>() as u32, entries };
        Self { shape, types: PhantomData }
    }
}

macro_rules! layouts {
    ($($layout:ident: $kind:ident<$key:ty, $value:ty>[$entries:expr];)+) => {
        $(
            #[doc = concat!("`pl_", stringify!($layout), "`, in small letters.")]
            pub const $layout: Layout<$key, $value> = Layout::new(map::$layout, Kind::$kind, $entries);
        )+
        /// Every map's shape.
        pub const SHAPES: [Shape; map::ALL.len()] = [$($layout.shape),+];
    };
}

layouts! {
    FLOW4: Hash<FlowKey<Addr4>, Flow<Addr4>>[MAX_FLOWS];
    FLOW6: Hash<FlowKey<Addr6>, Flow<Addr6>>[MAX_FLOWS];
    NEW4: LruHash<FlowKey<Addr4>, Flow<Addr4>>[MAX_NEW_FLOWS];
    NEW6: LruHash<FlowKey<Addr6>, Flow<Addr6>>[MAX_NEW_FLOWS];
    SWEEP: Array<u32, Sweep>[2];
    SHARE: Array<u32, Share>[MAX_ENDPOINTS];
    RESERVED: Array<u32, ReservedBlock>[RESERVED_BLOCKS];
    CONE4: LruHash<ConeKey<Addr4>, Cone<Addr4>>[MAX_CONES];
    CONE6: LruHash<ConeKey<Addr6>, Cone<Addr6>>[MAX_CONES];
    DATAGRAM4: LruHash<DatagramKey<Addr4>, Datagram<Addr4>>[MAX_DATAGRAMS];
    DATAGRAM6: LruHash<DatagramKey<Addr6>, Datagram<Addr6>>[MAX_DATAGRAMS];
    HELD4: LruHash<HeldKey<Addr4>, Held>[MAX_HELD];
    HELD6: LruHash<HeldKey<Addr6>, Held>[MAX_HELD];
    NEXT: ProgramArray<u32, u32>[program::NEXT.len() as u32];
    NEXT_XDP: ProgramArray<u32, u32>[program::NEXT_XDP.len() as u32];
    PUBLISH4: Hash<PublishKey<Addr4>, Publish<Addr4>>[PUBLISH_ROWS];
    PUBLISH6: Hash<PublishKey<Addr6>, Publish<Addr6>>[PUBLISH_ROWS];
    SOURCE4: LpmTrie<SourceKey<Addr4>, Source>[MAX_SOURCES];
    SOURCE6: LpmTrie<SourceKey<Addr6>, Source>[MAX_SOURCES];
    ENDPOINT4: Hash<Addr4, Endpoint>[MAX_ENDPOINTS];
    ENDPOINT6: Hash<Addr6, Endpoint>[MAX_ENDPOINTS];
    HOST4: Hash<Addr4, HostAddr>[MAX_HOST_ADDRESSES];
    HOST6: Hash<Addr6, HostAddr>[MAX_HOST_ADDRESSES];
    VETH: Hash<u32, Veth>[MAX_ENDPOINTS];
    EPOCH: Array<u32, u32>[1];
    UPLINK: Hash<u32, Uplink>[MAX_UPLINKS];
    POLICY: Hash<PolicyKey, Policy>[MAX_POLICIES];
    CONFIG: Array<u32, Config>[1];
    GENERATION: Array<u32, u32>[MAX_PUBLISHES];
    REASON: PerCpuArray<u32, Counter>[Hook::ALL.len() as u32 * REASONS];
    TRAFFIC: PerCpuArray<u32, Traffic>[MAX_ENDPOINTS];
    PUB_TRAFFIC: PerCpuArray<u32, Traffic>[MAX_PUBLISHES];
    SOCKET4: LruHash<SocketKey<Addr4>, SocketOrigin<Addr4>>[MAX_SOCKETS];
    SOCKET6: LruHash<SocketKey<Addr6>, SocketOrigin<Addr6>>[MAX_SOCKETS];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_map_has_a_shape_and_a_name_that_the_kernel_keeps_whole() {
        let names: BTreeSet<_> = SHAPES.iter().map(|shape| shape.name).collect();
        assert_eq!(names, BTreeSet::from(map::ALL));
        assert!(names.iter().all(|name| name.len() <= 15), "{names:?}");
    }
}
