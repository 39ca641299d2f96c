//! The tables in ordinary maps.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use portlane_common::{
    counter::Traffic,
    endpoint::{Endpoint, Veth},
    family::{Addr4, Addr6, Family, V4, V6},
    flow::{Flow, FlowKey},
    network::Uplink,
    policy::PolicyKey,
    publish::{Publish, PublishKey},
};

use super::world::World;
use crate::{
    packet::{Route, Shared, Tables},
    stage::nat::Scratch,
};

/// Ticks a second of the clock in [`Memory`].
pub const SECOND: u64 = 250;

/// Entries are leaked, since the packet path borrows them as it does from a BPF map: a test's worth of memory.
type Flows<A> = RefCell<BTreeMap<FlowKey<A>, &'static Flow<A>>>;

/// All tables, over a [`World`] that does not change.
#[derive(Debug, Default)]
pub struct Memory {
    /// The control tables.
    pub world: World,
    /// The clock, in ticks.
    pub now: Cell<u64>,
    /// What [`Shared::random`] counts up from.
    pub random: Cell<u32>,
    /// Flow entries that fit, in each family.
    pub room: Cell<usize>,
    /// The host's connected sockets, by protocol and port alone.
    pub sockets: RefCell<Vec<(u8, u16)>>,
    /// Ports of the host's UDP sockets without a peer.
    pub waiting: RefCell<Vec<u16>>,
    traffic: RefCell<BTreeMap<u32, Traffic>>,
    published: RefCell<BTreeMap<u32, Traffic>>,
    flows4: Flows<Addr4>,
    flows6: Flows<Addr6>,
}

impl Memory {
    /// Tables over a world, with an hour on the clock.
    pub fn new(world: World) -> Self {
        Self { world, now: Cell::new(3600 * SECOND), room: Cell::new(usize::MAX), ..Self::default() }
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: u64) {
        self.now.set(self.now.get() + seconds * SECOND);
    }

    /// What an endpoint's counters hold.
    pub fn traffic(&self, endpoint: u32) -> Traffic {
        self.traffic.borrow().get(&endpoint).copied().unwrap_or_default()
    }

    /// What a publish entry's counters hold.
    pub fn published(&self, publish: u32) -> Traffic {
        self.published.borrow().get(&publish).copied().unwrap_or_default()
    }

    /// Flow entries, of both families.
    pub fn flows(&self) -> usize {
        self.flows4.borrow().len() + self.flows6.borrow().len()
    }
}

fn count(traffic: &RefCell<BTreeMap<u32, Traffic>>, index: u32, inbound: bool, bytes: u32) {
    let mut traffic = traffic.borrow_mut();
    let counted = traffic.entry(index).or_default();
    let (packets, sum) = if inbound {
        (&mut counted.rx_packets, &mut counted.rx_bytes)
    } else {
        (&mut counted.tx_packets, &mut counted.tx_bytes)
    };
    *packets += 1;
    *sum += u64::from(bytes);
}

impl Shared for Memory {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn second(&self) -> u64 {
        SECOND
    }

    fn random(&self) -> u32 {
        self.random.set(self.random.get().wrapping_add(1));
        self.random.get()
    }

    fn repeat<C: FnMut(u32) -> bool>(&self, times: u32, step: C) -> bool {
        (0..times).any(step)
    }

    fn veth(&self, ifindex: u32) -> Option<&Veth> {
        self.world.veth.get(&ifindex)
    }

    fn uplink(&self, ifindex: u32) -> Option<&Uplink> {
        self.world.uplink.get(&ifindex)
    }

    fn opens(&self, key: &PolicyKey, port: u16) -> bool {
        let same = |other: &PolicyKey| (other.from, other.to, other.proto) == (key.from, key.to, key.proto);
        self.world.policy.iter().any(|(other, open)| same(other) && (open.first..=open.last).contains(&port))
    }

    fn generation(&self, publish: u32) -> u32 {
        self.world.generation.get(&publish).copied().unwrap_or_default()
    }

    fn count_endpoint(&self, endpoint: u32, inbound: bool, bytes: u32) {
        count(&self.traffic, endpoint, inbound, bytes);
    }

    fn count_publish(&self, publish: u32, inbound: bool, bytes: u32) {
        count(&self.published, publish, inbound, bytes);
    }
}

macro_rules! family {
    ($family:ty, $addr:ty, $flows:ident, $endpoint:ident, $host:ident, $publish:ident) => {
        impl Tables<$family> for Memory {
            fn with_scratch(&self, run: impl FnOnce(&mut Scratch<$addr>) -> u32) -> u32 {
                run(&mut Scratch::default())
            }

            fn flow(&self, key: &FlowKey<$addr>) -> Option<&Flow<$addr>> {
                self.$flows.borrow().get(key).copied()
            }

            fn add_flow(&self, key: &FlowKey<$addr>, flow: &Flow<$addr>) -> bool {
                !self.$flows.borrow().contains_key(key) && <Self as Tables<$family>>::put_flow(self, key, flow)
            }

            fn put_flow(&self, key: &FlowKey<$addr>, flow: &Flow<$addr>) -> bool {
                let mut flows = self.$flows.borrow_mut();
                let fits = flows.len() < self.room.get() || flows.contains_key(key);
                if fits {
                    flows.insert(*key, Box::leak(Box::new(*flow)));
                }
                fits
            }

            fn remove_flow(&self, key: &FlowKey<$addr>) {
                self.$flows.borrow_mut().remove(key);
            }

            fn stamp_flow(&self, key: &FlowKey<$addr>, seen: u64, state: u8) {
                if let Some(flow) = self.$flows.borrow_mut().get_mut(key) {
                    *flow = Box::leak(Box::new(Flow { seen, state, ..**flow }));
                }
            }

            fn cache_next_hop(&self, key: &FlowKey<$addr>, dst_mac: [u8; 6], src_mac: [u8; 6]) {
                if let Some(flow) = self.$flows.borrow_mut().get_mut(key) {
                    *flow = Box::leak(Box::new(Flow { dst_mac, src_mac, ..**flow }));
                }
            }

            fn endpoint(&self, addr: &$addr) -> Option<&Endpoint> {
                self.world.$endpoint.get(addr)
            }

            fn is_host(&self, addr: &$addr) -> bool {
                self.world.$host.contains_key(addr)
            }

            fn publish(&self, key: &PublishKey<$addr>, port: u16) -> Option<&Publish<$addr>> {
                let same = |other: &PublishKey<$addr>| (other.addr, other.proto) == (key.addr, key.proto);
                let mut rows = self.world.$publish.iter();
                rows.find(|(other, row)| same(other) && row.span().contains(port)).map(|(_, row)| row)
            }

            fn route(&self, _from: u32, _src: &$addr, dst: &$addr, _proto: u8) -> Route {
                self.world.route(<$family as Family>::AF == V4::AF, (*dst).into())
            }

            fn host_connected(&self, key: &FlowKey<$addr>) -> bool {
                self.sockets.borrow().contains(&(key.proto, key.dport))
            }

            fn host_receives(&self, key: &FlowKey<$addr>) -> bool {
                let waits = key.proto == 17 && self.waiting.borrow().contains(&key.dport);
                waits || <Self as Tables<$family>>::host_connected(self, key)
            }
        }
    };
}

family!(V4, Addr4, flows4, endpoint4, host4, publish4);
family!(V6, Addr6, flows6, endpoint6, host6, publish6);
