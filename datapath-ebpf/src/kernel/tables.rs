//! The tables of the packet path, as BPF maps.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::lpm_trie::Key,
    helpers::generated,
};
use portlane_common::{
    cone::{Cone, ConeKey},
    config::Config,
    counter::{Counter, Traffic},
    endpoint::{Endpoint, Veth},
    family::{Addr4, Addr6, Address, V4, V6},
    flow::{Flow, FlowKey},
    fragment::{Datagram, DatagramKey, HELD_PER_DATAGRAM, HeldKey},
    network::Uplink,
    policy::PolicyKey,
    publish::{Publish, PublishKey},
    reason::{Hook, REASONS, Reason},
    socket::{SocketKey, SocketOrigin},
    source::{Sender, SourceKey},
    span::Span,
};

use super::{
    held, helpers, maps, near,
    range::{self, Ranges},
    timer,
};
use crate::{
    header::UDP,
    hook::socket::Origins,
    packet::{Added, Packet, Route, Shared, Tables, table},
    stage::{
        fragment::{Fragment, part},
        nat::Scratch,
    },
    verdict::Verdict,
};

/// What the kernel answers to `BPF_NOEXIST` if the key is there.
const EEXIST: i32 = -17;

/// The maps, and the context that some helpers ask for.
pub struct Maps {
    /// The program's context.
    pub context: *mut c_void,
}

/// Counts a packet under its reason.
#[inline(always)]
pub fn count_reason(hook: Hook, reason: u32, bytes: u32) {
    let index = hook as u32 * REASONS + (reason & (REASONS - 1));
    if let Some(counter) = maps::REASON.get_ptr_mut(index) {
        // SAFETY: a per-CPU slot: nobody else writes it while the program runs.
        let counter: &mut Counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += u64::from(bytes);
    }
}

#[inline(always)]
fn add(traffic: Option<*mut Traffic>, inbound: bool, bytes: u32) {
    if let Some(traffic) = traffic {
        // SAFETY: a per-CPU slot: nobody else writes it while the program runs.
        let traffic = unsafe { &mut *traffic };
        if inbound {
            traffic.rx_packets += 1;
            traffic.rx_bytes += u64::from(bytes);
        } else {
            traffic.tx_packets += 1;
            traffic.tx_bytes += u64::from(bytes);
        }
    }
}

#[inline(always)]
fn config() -> Config {
    maps::CONFIG.get(0).copied().unwrap_or_default()
}

impl Shared for Maps {
    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: takes nothing, returns a number.
        (unsafe { generated::bpf_jiffies64() }) as u32
    }

    #[inline(always)]
    fn second(&self) -> u32 {
        maps::JIFFIES_PER_SECOND.load() as u32
    }

    #[inline(always)]
    fn clock(&self) -> u32 {
        timer::clock()
    }

    #[inline(always)]
    fn timeout(&self, proto: u8, state: u8) -> u32 {
        timer::timeout(proto, state)
    }

    #[inline(always)]
    fn secret(&self) -> u32 {
        maps::PORT_SECRET.load()
    }

    #[inline(always)]
    fn is_reserved(&self, port: u16) -> bool {
        let block = maps::RESERVED.get(u32::from(port >> 8));
        block.is_some_and(|words| words[usize::from(port >> 6 & 3)] >> (port & 63) & 1 != 0)
    }

    #[inline(always)]
    fn hold(&self, endpoint: u32) -> bool {
        timer::hold(endpoint)
    }

    #[inline(always)]
    fn release(&self, endpoint: u32) {
        timer::release(endpoint);
    }

    #[inline(always)]
    fn repeat<C: FnMut(u32) -> bool>(&self, times: u32, step: C) -> bool {
        range::repeat(times, step)
    }

    #[inline(always)]
    fn veth(&self, ifindex: u32) -> Option<&Veth> {
        // SAFETY: entries are replaced by user space as a whole; a reader sees plain data, old or new.
        unsafe { maps::VETH.get(ifindex) }
    }

    #[inline(always)]
    fn near_veth(&self, ifindex: u32) -> Option<&Veth> {
        near::find(&maps::NEAR_VETH, &maps::VETH, ifindex, &ifindex)
    }

    #[inline(always)]
    fn uplink(&self, ifindex: u32) -> Option<&Uplink> {
        // SAFETY: as in `veth`.
        unsafe { maps::UPLINK.get(ifindex) }
    }

    #[inline(always)]
    fn mtu(&self, ifindex: u32) -> u32 {
        helpers::mtu(self.context, ifindex)
    }

    #[inline(always)]
    fn opens(&self, key: &PolicyKey, port: u16) -> bool {
        range::find(*key, config().policy_classes, port).is_some()
    }

    #[inline(always)]
    fn generation(&self, publish: u32) -> u32 {
        maps::GENERATION.get(publish).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn count_endpoint(&self, endpoint: u32, inbound: bool, bytes: u32) {
        add(maps::TRAFFIC.get_ptr_mut(endpoint), inbound, bytes);
    }

    #[inline(always)]
    fn count_publish(&self, publish: u32, inbound: bool, bytes: u32) {
        add(maps::PUB_TRAFFIC.get_ptr_mut(publish), inbound, bytes);
    }
}

impl Ranges for PolicyKey {
    #[inline(always)]
    fn holds(&mut self, class: u8, block: u16, port: u16) -> bool {
        self.class = class;
        self.block = block;
        // SAFETY: as in `veth`.
        unsafe { maps::POLICY.get(&*self) }
            .is_some_and(|found| Span { first: found.first, last: found.last }.contains(port))
    }
}

/// The maps of one family.
macro_rules! tables {
    ($family:ty, $addr:ty, $flow:ident, $new:ident, $entry:ident, $watch:ident, $cone:ident, $datagram:ident, $blank:ident, $held:ident, $endpoint:ident, $near:ident, $host:ident, $publish:ident, $source:ident, $socket:ident, $scratch:ident, $fragment:ident) => {
        impl Maps {
            #[inline(always)]
            fn $entry(&self, table: u32, key: &FlowKey<$addr>) -> Option<*mut Flow<$addr>> {
                if table == table::NEW { maps::$new.get_ptr_mut(key) } else { maps::$flow.get_ptr_mut(key) }
            }
        }

        impl Tables<$family> for Maps {
            #[inline(always)]
            fn with_scratch<R>(&self, none: R, run: impl FnOnce(&mut Scratch<$addr>) -> R) -> R {
                match maps::$scratch.get_ptr_mut(0) {
                    // SAFETY: a per-CPU slot, and the hooks of one CPU do not interrupt each other.
                    Some(scratch) => run(unsafe { &mut *scratch }),
                    None => none,
                }
            }

            #[inline(always)]
            fn flow(&self, table: u32, key: &FlowKey<$addr>) -> Option<&Flow<$addr>> {
                // SAFETY: plain data; only time stamp, state and next hop change, each written at once.
                unsafe {
                    if table == table::MAIN {
                        maps::$flow.get(key)
                    } else if table == table::NEW {
                        maps::$new.get(key)
                    } else {
                        None
                    }
                }
            }

            #[inline(always)]
            fn add_flow(&self, table: u32, key: &FlowKey<$addr>, flow: &Flow<$addr>) -> Added {
                let flags = u64::from(BPF_NOEXIST);
                let added = if table == table::NEW {
                    maps::$new.insert(key, flow, flags)
                } else {
                    maps::$flow.insert(key, flow, flags)
                };
                match added {
                    Ok(()) => Added::Entered,
                    Err(EEXIST) => Added::Taken,
                    Err(_) => Added::Full,
                }
            }

            #[inline(always)]
            fn remove_flow(&self, table: u32, key: &FlowKey<$addr>) -> bool {
                let removed = if table == table::NEW { maps::$new.remove(key) } else { maps::$flow.remove(key) };
                removed.is_ok()
            }

            #[inline(always)]
            fn watch(&self) {
                timer::$watch();
            }

            #[inline(always)]
            fn stamp_flow(
                &self,
                table: u32,
                key: &FlowKey<$addr>,
                state: u8,
                seen: Option<u32>,
                touched: Option<u32>,
            ) -> Option<&Flow<$addr>> {
                let flow = self.$entry(table, key)?;
                if let Some(seen) = seen {
                    // SAFETY: the slot stays allocated while the program runs.
                    unsafe { (&raw mut (*flow).seen).write_volatile(seen) };
                }
                if let Some(touched) = touched {
                    // SAFETY: as above.
                    unsafe { (&raw mut (*flow).touched).write_volatile(touched) };
                }
                // SAFETY: as above.
                unsafe { (&raw mut (*flow).state).write_volatile(state) };
                // SAFETY: as in `flow`.
                Some(unsafe { &*flow })
            }

            #[inline(always)]
            fn expect_of_flow(&self, key: &FlowKey<$addr>, expected: u32) {
                if let Some(flow) = self.$entry(table::NEW, key) {
                    // SAFETY: the slot stays allocated while the program runs.
                    unsafe { (&raw mut (*flow).expected).write_volatile(expected) };
                }
            }

            #[inline(always)]
            fn cache_next_hop(&self, table: u32, key: &FlowKey<$addr>, mtu: u16, dst_mac: [u8; 6], src_mac: [u8; 6]) {
                if let Some(flow) = self.$entry(table, key) {
                    // SAFETY: the slot stays allocated while the program runs.
                    let flow = unsafe { &mut *flow };
                    flow.mtu = mtu;
                    flow.dst_mac = dst_mac;
                    flow.src_mac = src_mac;
                }
            }

            #[inline(always)]
            fn cone(&self, key: &ConeKey<$addr>) -> Option<&Cone<$addr>> {
                // SAFETY: plain data; only the time stamp changes, written at once.
                unsafe { maps::$cone.get(key) }
            }

            #[inline(always)]
            fn put_cone(&self, key: &ConeKey<$addr>, cone: &Cone<$addr>) -> bool {
                maps::$cone.insert(key, cone, u64::from(BPF_ANY)).is_ok()
            }

            #[inline(always)]
            fn begin_datagram(&self, key: &DatagramKey<$addr>) {
                if let Some(blank) = maps::$blank.get_ptr(0) {
                    // SAFETY: a per-CPU slot, which nobody ever writes.
                    let _ = maps::$datagram.insert(key, unsafe { &*blank }, u64::from(BPF_NOEXIST));
                }
            }

            #[inline(always)]
            fn datagram(&self, key: &DatagramKey<$addr>, run: impl FnOnce(&mut Datagram<$addr>) -> u32) -> u32 {
                match maps::$datagram.get_ptr_mut(key) {
                    // SAFETY: the slot stays allocated while the program runs; a NIC hands all fragments of a datagram
                    // to one CPU, and two at once could at worst miss a repeated one, which the receiver sees.
                    Some(datagram) => run(unsafe { &mut *datagram }),
                    None => part::NO_ROOM,
                }
            }

            #[inline(always)]
            fn datagram_tuple(&self, key: &DatagramKey<$addr>) -> Option<&FlowKey<$addr>> {
                // SAFETY: as in `datagram`.
                unsafe { maps::$datagram.get(key) }.map(|datagram| &datagram.tuple)
            }

            #[inline(always)]
            fn remove_datagram(&self, key: &DatagramKey<$addr>) {
                let _ = maps::$datagram.remove(key);
            }

            #[inline(always)]
            fn keep<P: Packet>(&self, packet: &P, key: &HeldKey<$addr>) -> bool {
                match held::copy(self.context, packet.length()) {
                    Some(frame) => maps::$held.insert(key, frame, u64::from(BPF_ANY)).is_ok(),
                    None => false,
                }
            }

            #[inline(always)]
            fn put_back<P: Packet>(&self, packet: &mut P, key: &mut HeldKey<$addr>, held: u32) -> bool {
                let (length, ifindex) = (packet.length(), packet.ifindex());
                let Some(own) = held::copy(self.context, length) else { return false };
                range::repeat(HELD_PER_DATAGRAM, |slot| {
                    key.slot = slot;
                    if held >> (slot & 15) & 1 != 0 {
                        // SAFETY: as in `veth`; the program itself is the only writer.
                        if let Some(frame) = unsafe { maps::$held.get(&*key) } {
                            held::send(self.context, frame, ifindex);
                            let _ = maps::$held.remove(&*key);
                        }
                    }
                    false
                });
                held::restore(self.context, own)
            }

            #[inline(always)]
            fn with_fragment(&self, run: impl FnOnce(&mut Fragment<$addr>) -> Verdict) -> Verdict {
                match maps::$fragment.get_ptr_mut(0) {
                    // SAFETY: as in `with_scratch`.
                    Some(fragment) => run(unsafe { &mut *fragment }),
                    None => Verdict::drop(Reason::NotLoaded),
                }
            }

            #[inline(always)]
            fn endpoint(&self, addr: &$addr) -> Option<&Endpoint> {
                // SAFETY: as in `veth`.
                unsafe { maps::$endpoint.get(addr) }
            }

            #[inline(always)]
            fn near_endpoint(&self, addr: &$addr) -> Option<&Endpoint> {
                near::find(&maps::$near, &maps::$endpoint, addr.sum(), addr)
            }

            #[inline(always)]
            fn is_host(&self, addr: &$addr) -> bool {
                maps::$host.get_ptr(addr).is_some()
            }

            #[inline(always)]
            fn publish(&self, key: &PublishKey<$addr>, port: u16) -> Option<&Publish<$addr>> {
                let found = range::find(*key, config().publish_classes, port)?;
                // SAFETY: as in `veth`.
                unsafe { maps::$publish.get(found) }
            }

            #[inline(always)]
            fn admits(&self, publish: u32, addr: &$addr) -> bool {
                let key = SourceKey::whole(publish, *addr);
                // SAFETY: both are a number and what follows it, without padding; aya's has no alignment.
                let key = unsafe { &*ptr::from_ref(&key).cast::<Key<Sender<$addr>>>() };
                maps::$source.get(key).is_some()
            }

            #[inline(always)]
            fn route(&self, from: u32, src: &$addr, dst: &$addr, proto: u8) -> Route {
                helpers::fib::<$family>(self.context, from, src, dst, proto)
            }

            #[inline(always)]
            fn host_connected(&self, key: &FlowKey<$addr>) -> bool {
                helpers::host_state::<$family>(self.context, key) == helpers::CONNECTED
            }

            #[inline(always)]
            fn host_receives(&self, key: &FlowKey<$addr>) -> bool {
                let state = helpers::host_state::<$family>(self.context, key);
                state == helpers::CONNECTED || (key.proto == UDP && state == helpers::WAITING)
            }
        }

        impl Ranges for PublishKey<$addr> {
            #[inline(always)]
            fn holds(&mut self, class: u8, block: u16, port: u16) -> bool {
                self.class = class;
                self.block = block;
                // SAFETY: as in `veth`.
                unsafe { maps::$publish.get(&*self) }.is_some_and(|found| found.span().contains(port))
            }
        }

        impl Origins<$family> for Maps {
            #[inline(always)]
            fn remember(&self, key: &SocketKey<$addr>, origin: &SocketOrigin<$addr>) -> bool {
                maps::$socket.insert(key, origin, u64::from(BPF_ANY)).is_ok()
            }

            #[inline(always)]
            fn origin(&self, key: &SocketKey<$addr>) -> Option<&SocketOrigin<$addr>> {
                // SAFETY: as in `veth`; the program itself is the only writer.
                unsafe { maps::$socket.get(key) }
            }
        }
    };
}

tables!(
    V4, Addr4, FLOW4, NEW4, entry4, watch4, CONE4, DATAGRAM4, BLANK4, HELD4, ENDPOINT4, NEAR4, HOST4, PUBLISH4,
    SOURCE4, SOCKET4, SCRATCH4, FRAGMENT4
);
tables!(
    V6, Addr6, FLOW6, NEW6, entry6, watch6, CONE6, DATAGRAM6, BLANK6, HELD6, ENDPOINT6, NEAR6, HOST6, PUBLISH6,
    SOURCE6, SOCKET6, SCRATCH6, FRAGMENT6
);
