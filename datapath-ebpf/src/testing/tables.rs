//! The tables in ordinary maps.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
};

use bytemuck::Pod;
use portlane_common::{
    cone::{Cone, ConeKey},
    counter::Traffic,
    endpoint::{Endpoint, Veth},
    family::{Addr4, Addr6, Family, V4, V6},
    flow::{Flow, FlowKey, Timeouts},
    fragment::{Datagram, DatagramKey, HELD_BYTES, HELD_PER_DATAGRAM, HeldKey},
    network::Uplink,
    policy::PolicyKey,
    publish::{Publish, PublishKey},
    source::SourceKey,
};

use super::{
    shelf::Shelf,
    world::{MTU, World},
};
use crate::{
    packet::{Added, Packet, Route, Shared, Tables, table},
    stage::{
        fragment::{Fragment, part},
        nat::Scratch,
    },
    verdict::Verdict,
};

/// Ticks a second of the clock in [`Memory`].
pub const SECOND: u32 = 250;

/// Places of the entries on a [`Shelf`], since the packet path borrows them as it does from a BPF map. An entry that
/// changes goes to another place.
type Flows<A> = RefCell<BTreeMap<FlowKey<A>, usize>>;

/// Frames that were kept, by datagram and slot.
type Kept<A> = RefCell<BTreeMap<HeldKey<A>, Vec<u8>>>;

/// All tables, over a [`World`] that does not change.
#[derive(Debug, Default)]
pub struct Memory {
    /// The control tables.
    pub world: World,
    /// Ticks of the clock that stands still while the host is suspended.
    pub ticks: Cell<u32>,
    /// Seconds of the clock that does not.
    pub clock: Cell<u32>,
    /// When conversations are over.
    pub timeouts: Timeouts,
    /// Conversations that an endpoint may hold, per family.
    pub share: Cell<u32>,
    /// What [`Shared::secret`] answers.
    pub secret: u32,
    /// Entries that fit into the main table, in each family.
    pub room: Cell<usize>,
    /// The host's connected sockets, by protocol and port alone.
    pub sockets: RefCell<Vec<(u8, u16)>>,
    /// Ports of the host's UDP sockets without a peer.
    pub waiting: RefCell<Vec<u16>>,
    /// Ports that the administrator keeps for himself.
    pub reserved: RefCell<Vec<u16>>,
    /// Bytes of the frame at hand, which a route is asked for.
    pub frame: Cell<u32>,
    /// After so many looks for a flow, another processor moves what is not confirmed to the main table.
    pub confirmed_after: Cell<Option<u32>>,
    /// Frames put back on an interface, oldest first.
    pub put_back: RefCell<VecDeque<(u32, Vec<u8>)>>,
    held: RefCell<BTreeMap<u32, u32>>,
    traffic: RefCell<BTreeMap<u32, Traffic>>,
    published: RefCell<BTreeMap<u32, Traffic>>,
    flows4: [Flows<Addr4>; 2],
    flows6: [Flows<Addr6>; 2],
    shelf4: Shelf<Flow<Addr4>>,
    shelf6: Shelf<Flow<Addr6>>,
    datagrams4: RefCell<BTreeMap<DatagramKey<Addr4>, usize>>,
    datagrams6: RefCell<BTreeMap<DatagramKey<Addr6>, usize>>,
    pieces4: Shelf<Datagram<Addr4>>,
    pieces6: Shelf<Datagram<Addr6>>,
    cones4: RefCell<BTreeMap<ConeKey<Addr4>, usize>>,
    cones6: RefCell<BTreeMap<ConeKey<Addr6>, usize>>,
    sockets4: Shelf<Cone<Addr4>>,
    sockets6: Shelf<Cone<Addr6>>,
    kept4: Kept<Addr4>,
    kept6: Kept<Addr6>,
    scratch4: RefCell<Scratch<Addr4>>,
    scratch6: RefCell<Scratch<Addr6>>,
}

impl Memory {
    /// Tables over a world, with an hour on the clock.
    pub fn new(world: World) -> Self {
        let memory = Self { world, ..Self::default() };
        memory.room.set(usize::MAX);
        memory.share.set(u32::MAX);
        memory.pass(3600);
        memory
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: u32) {
        self.ticks.set(self.ticks.get() + seconds * SECOND);
        self.suspend(seconds);
    }

    /// Lets time pass while the host is suspended.
    pub fn suspend(&self, seconds: u32) {
        self.clock.set(self.clock.get() + seconds);
    }

    /// What an endpoint's counters hold.
    pub fn traffic(&self, endpoint: u32) -> Traffic {
        self.traffic.borrow().get(&endpoint).copied().unwrap_or_default()
    }

    /// What a publish entry's counters hold.
    pub fn published(&self, publish: u32) -> Traffic {
        self.published.borrow().get(&publish).copied().unwrap_or_default()
    }

    /// Conversations that an endpoint holds.
    pub fn holds(&self, endpoint: u32) -> u32 {
        self.held.borrow().get(&endpoint).copied().unwrap_or_default()
    }

    /// Flow entries, of both families and in both tables.
    pub fn flows(&self) -> usize {
        let four: usize = self.flows4.iter().map(|flows| flows.borrow().len()).sum();
        four + self.flows6.iter().map(|flows| flows.borrow().len()).sum::<usize>()
    }

    /// The IPv4 entries of a table.
    pub fn flows4(&self, table: u32) -> BTreeMap<FlowKey<Addr4>, Flow<Addr4>> {
        self.flows4[table as usize].borrow().iter().map(|(key, place)| (*key, *self.shelf4.at(*place))).collect()
    }

    /// The IPv6 entries of a table.
    pub fn flows6(&self, table: u32) -> BTreeMap<FlowKey<Addr6>, Flow<Addr6>> {
        self.flows6[table as usize].borrow().iter().map(|(key, place)| (*key, *self.shelf6.at(*place))).collect()
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
    fn now(&self) -> u32 {
        self.ticks.get()
    }

    fn second(&self) -> u32 {
        SECOND
    }

    fn clock(&self) -> u32 {
        self.clock.get()
    }

    fn timeout(&self, proto: u8, state: u8) -> u32 {
        self.timeouts.of(proto, state)
    }

    fn secret(&self) -> u32 {
        self.secret
    }

    fn is_reserved(&self, port: u16) -> bool {
        self.reserved.borrow().contains(&port)
    }

    fn hold(&self, endpoint: u32) -> bool {
        if endpoint == 0 {
            return true;
        }
        let mut held = self.held.borrow_mut();
        let count = held.entry(endpoint).or_default();
        let fits = *count < self.share.get();
        *count += u32::from(fits);
        fits
    }

    fn release(&self, endpoint: u32) {
        if let Some(count) = self.held.borrow_mut().get_mut(&endpoint) {
            *count = count.checked_sub(1).expect("nobody gives back what was not taken");
        }
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

    fn mtu(&self, ifindex: u32) -> u32 {
        self.world.uplink.get(&ifindex).map_or(0, |uplink| uplink.mtu)
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

fn first_bits<K: Pod>(key: &K, count: usize) -> impl Iterator<Item = u8> {
    let bits = bytemuck::bytes_of(key).iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    bits.take(count)
}

macro_rules! family {
    ($family:ty, $addr:ty, $flows:ident, $shelf:ident, $cones:ident, $sockets:ident, $datagrams:ident, $pieces:ident, $kept:ident, $endpoint:ident, $host:ident, $publish:ident, $source:ident, $scratch:ident) => {
        impl Tables<$family> for Memory {
            fn with_scratch<R>(&self, _none: R, run: impl FnOnce(&mut Scratch<$addr>) -> R) -> R {
                run(&mut self.$scratch.borrow_mut())
            }

            fn flow(&self, table: u32, key: &FlowKey<$addr>) -> Option<&Flow<$addr>> {
                let looks = self.confirmed_after.get();
                self.confirmed_after.set(looks.and_then(|looks| looks.checked_sub(1)));
                if looks == Some(0) {
                    let moved = std::mem::take(&mut *self.$flows[table::NEW as usize].borrow_mut());
                    self.$flows[table::MAIN as usize].borrow_mut().extend(moved);
                }
                self.$flows.get(table as usize)?.borrow().get(key).map(|place| self.$shelf.at(*place))
            }

            fn add_flow(&self, table: u32, key: &FlowKey<$addr>, flow: &Flow<$addr>) -> Added {
                let mut flows = self.$flows[table as usize].borrow_mut();
                if flows.contains_key(key) {
                    return Added::Taken;
                }
                if table == table::MAIN && flows.len() >= self.room.get() {
                    return Added::Full;
                }
                flows.insert(*key, self.$shelf.put(*flow));
                Added::Entered
            }

            fn remove_flow(&self, table: u32, key: &FlowKey<$addr>) -> bool {
                self.$flows[table as usize].borrow_mut().remove(key).is_some()
            }

            // What is over stays, and stops to count all the same.
            fn watch(&self) {}

            fn stamp_flow(
                &self,
                table: u32,
                key: &FlowKey<$addr>,
                state: u8,
                seen: Option<u32>,
                touched: Option<u32>,
            ) -> Option<&Flow<$addr>> {
                let mut flows = self.$flows[table as usize].borrow_mut();
                let place = flows.get_mut(key)?;
                let flow = *self.$shelf.at(*place);
                let (seen, touched) = (seen.unwrap_or(flow.seen), touched.unwrap_or(flow.touched));
                *place = self.$shelf.put(Flow { seen, touched, state, ..flow });
                Some(self.$shelf.at(*place))
            }

            fn expect_of_flow(&self, key: &FlowKey<$addr>, expected: u32) {
                if let Some(place) = self.$flows[table::NEW as usize].borrow_mut().get_mut(key) {
                    *place = self.$shelf.put(Flow { expected, ..*self.$shelf.at(*place) });
                }
            }

            fn cache_next_hop(&self, table: u32, key: &FlowKey<$addr>, mtu: u16, dst_mac: [u8; 6], src_mac: [u8; 6]) {
                if let Some(place) = self.$flows[table as usize].borrow_mut().get_mut(key) {
                    *place = self.$shelf.put(Flow { mtu, dst_mac, src_mac, ..*self.$shelf.at(*place) });
                }
            }

            fn cone(&self, key: &ConeKey<$addr>) -> Option<&Cone<$addr>> {
                self.$cones.borrow().get(key).map(|place| self.$sockets.at(*place))
            }

            fn put_cone(&self, key: &ConeKey<$addr>, cone: &Cone<$addr>) -> bool {
                self.$cones.borrow_mut().insert(*key, self.$sockets.put(*cone));
                true
            }

            fn begin_datagram(&self, key: &DatagramKey<$addr>) {
                self.$datagrams.borrow_mut().entry(*key).or_insert_with(|| self.$pieces.put(Datagram::default()));
            }

            fn datagram(&self, key: &DatagramKey<$addr>, run: impl FnOnce(&mut Datagram<$addr>) -> u32) -> u32 {
                let mut datagrams = self.$datagrams.borrow_mut();
                let Some(place) = datagrams.get_mut(key) else { return part::NO_ROOM };
                let mut changed = *self.$pieces.at(*place);
                let answer = run(&mut changed);
                *place = self.$pieces.put(changed);
                answer
            }

            fn datagram_tuple(&self, key: &DatagramKey<$addr>) -> Option<&FlowKey<$addr>> {
                self.$datagrams.borrow().get(key).map(|place| &self.$pieces.at(*place).tuple)
            }

            fn remove_datagram(&self, key: &DatagramKey<$addr>) {
                self.$datagrams.borrow_mut().remove(key);
            }

            fn keep<P: Packet>(&self, packet: &P, key: &HeldKey<$addr>) -> bool {
                let length = packet.length() as usize;
                if length > HELD_BYTES {
                    return false;
                }
                let bytes = (0..length).filter_map(|at| packet.read::<u8>(at)).collect();
                self.$kept.borrow_mut().insert(*key, bytes);
                true
            }

            fn put_back<P: Packet>(&self, packet: &mut P, key: &mut HeldKey<$addr>, held: u32) -> bool {
                for slot in (0..HELD_PER_DATAGRAM).filter(|slot| held >> slot & 1 != 0) {
                    if let Some(bytes) = self.$kept.borrow_mut().remove(&HeldKey { slot, ..*key }) {
                        self.put_back.borrow_mut().push_back((packet.ifindex(), bytes));
                    }
                }
                packet.length() as usize <= HELD_BYTES
            }

            fn with_fragment(&self, run: impl FnOnce(&mut Fragment<$addr>) -> Verdict) -> Verdict {
                run(&mut Fragment::default())
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

            fn admits(&self, publish: u32, addr: &$addr) -> bool {
                let whole = SourceKey::whole(publish, *addr);
                self.world.$source.keys().any(|source| {
                    let bits = source.bits as usize;
                    first_bits(&source.sender, bits).eq(first_bits(&whole.sender, bits))
                })
            }

            fn route(&self, _from: u32, _src: &$addr, dst: &$addr, _proto: u8) -> Route {
                let route = self.world.route(<$family as Family>::AF == V4::AF, (*dst).into());
                // The kernel's FIB names no neighbour for a frame that is too large for the interface, a VLAN tag included.
                if self.frame.get() <= MTU + 18 { route } else { Route { dst_mac: [0; 6], src_mac: [0; 6], ..route } }
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

family!(
    V4, Addr4, flows4, shelf4, cones4, sockets4, datagrams4, pieces4, kept4, endpoint4, host4, publish4, source4,
    scratch4
);
family!(
    V6, Addr6, flows6, shelf6, cones6, sockets6, datagrams6, pieces6, kept6, endpoint6, host6, publish6, source6,
    scratch6
);
