//! The shape of every map as this program knows it. A pinned map of another shape is left over from another version.

use std::marker::PhantomData;

use portlane_common::{
    config::{
        Config, MAX_ENDPOINTS, MAX_FLOWS, MAX_HOST_ADDRESSES, MAX_POLICIES, MAX_PUBLISHES, MAX_SOCKETS, MAX_UPLINKS,
        map,
    },
    counter::{Counter, Traffic},
    endpoint::{Endpoint, Veth},
    family::{Addr4, Addr6},
    flow::{Flow, FlowKey},
    network::{HostAddr, Uplink},
    policy::{Policy, PolicyKey},
    publish::{Publish, PublishKey},
    reason::{Hook, REASONS},
    socket::{SocketKey, SocketOrigin},
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
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
}

impl Shape {
    /// Whether a map in the kernel has this shape.
    pub const fn fits(&self, info: MapInfo) -> bool {
        info.kind == self.kind as u32
            && info.key_size == self.key
            && info.value_size == self.value
            && info.max_entries == self.entries
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
    FLOW4: LruHash<FlowKey<Addr4>, Flow<Addr4>>[MAX_FLOWS];
    FLOW6: LruHash<FlowKey<Addr6>, Flow<Addr6>>[MAX_FLOWS];
    PUBLISH4: Hash<PublishKey<Addr4>, Publish<Addr4>>[MAX_PUBLISHES];
    PUBLISH6: Hash<PublishKey<Addr6>, Publish<Addr6>>[MAX_PUBLISHES];
    ENDPOINT4: Hash<Addr4, Endpoint>[MAX_ENDPOINTS];
    ENDPOINT6: Hash<Addr6, Endpoint>[MAX_ENDPOINTS];
    HOST4: Hash<Addr4, HostAddr>[MAX_HOST_ADDRESSES];
    HOST6: Hash<Addr6, HostAddr>[MAX_HOST_ADDRESSES];
    VETH: Hash<u32, Veth>[MAX_ENDPOINTS];
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
