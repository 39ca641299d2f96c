//! The maps, under the names that `bpftool map` shows. Sizes: [`portlane_common::config`].

use aya_ebpf::{
    Global,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray},
    macros::btf_map,
};
use portlane_common::{
    cone::{Cone, ConeKey, MAX_CONES},
    config::{
        Config, MAX_ENDPOINTS, MAX_FLOWS, MAX_HOST_ADDRESSES, MAX_NEW_FLOWS, MAX_POLICIES, MAX_PUBLISHES, MAX_SOCKETS,
        MAX_SOURCES, MAX_UPLINKS, PUBLISH_ROWS, RESERVED_BLOCKS, ReservedBlock, program,
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
    source::{Sender, Source},
};

use super::near::{Near, PLACES};
use crate::stage::{fragment::Fragment, nat::Scratch};

const FLOWS: usize = MAX_FLOWS as usize;
const NEW_FLOWS: usize = MAX_NEW_FLOWS as usize;
const DATAGRAMS: usize = MAX_DATAGRAMS as usize;
const ENDPOINTS: usize = MAX_ENDPOINTS as usize;
const PUBLISHES: usize = MAX_PUBLISHES as usize;
const ROWS: usize = PUBLISH_ROWS as usize;
const SOURCES: usize = MAX_SOURCES as usize;
const HOST_ADDRESSES: usize = MAX_HOST_ADDRESSES as usize;
const UPLINKS: usize = MAX_UPLINKS as usize;
const POLICIES: usize = MAX_POLICIES as usize;
const SOCKETS: usize = MAX_SOCKETS as usize;
const REASON_ROWS: usize = Hook::ALL.len() * REASONS as usize;

#[btf_map(name = "pl_flow4")]
pub static FLOW4: HashMap<FlowKey<Addr4>, Flow<Addr4>, FLOWS> = HashMap::new();
#[btf_map(name = "pl_flow6")]
pub static FLOW6: HashMap<FlowKey<Addr6>, Flow<Addr6>, FLOWS> = HashMap::new();
#[btf_map(name = "pl_new4")]
pub static NEW4: LruHashMap<FlowKey<Addr4>, Flow<Addr4>, NEW_FLOWS> = LruHashMap::new();
#[btf_map(name = "pl_new6")]
pub static NEW6: LruHashMap<FlowKey<Addr6>, Flow<Addr6>, NEW_FLOWS> = LruHashMap::new();
#[btf_map(name = "pl_sweep")]
pub static SWEEP: Array<Sweep, 2> = Array::new();
#[btf_map(name = "pl_share")]
pub static SHARE: Array<Share, ENDPOINTS> = Array::new();
#[btf_map(name = "pl_reserved")]
pub static RESERVED: Array<ReservedBlock, { RESERVED_BLOCKS as usize }> = Array::new();
#[btf_map(name = "pl_cone4")]
pub static CONE4: LruHashMap<ConeKey<Addr4>, Cone<Addr4>, { MAX_CONES as usize }> = LruHashMap::new();
#[btf_map(name = "pl_cone6")]
pub static CONE6: LruHashMap<ConeKey<Addr6>, Cone<Addr6>, { MAX_CONES as usize }> = LruHashMap::new();
#[btf_map(name = "pl_datagram4")]
pub static DATAGRAM4: LruHashMap<DatagramKey<Addr4>, Datagram<Addr4>, DATAGRAMS> = LruHashMap::new();
#[btf_map(name = "pl_datagram6")]
pub static DATAGRAM6: LruHashMap<DatagramKey<Addr6>, Datagram<Addr6>, DATAGRAMS> = LruHashMap::new();
#[btf_map(name = "pl_held4")]
pub static HELD4: LruHashMap<HeldKey<Addr4>, Held, { MAX_HELD as usize }> = LruHashMap::new();
#[btf_map(name = "pl_held6")]
pub static HELD6: LruHashMap<HeldKey<Addr6>, Held, { MAX_HELD as usize }> = LruHashMap::new();
#[btf_map(name = "pl_next")]
pub static NEXT: ProgramArray<{ program::NEXT.len() }> = ProgramArray::new();
#[btf_map(name = "pl_next_xdp")]
pub static NEXT_XDP: ProgramArray<{ program::NEXT_XDP.len() }> = ProgramArray::new();
#[btf_map(name = "pl_publish4")]
pub static PUBLISH4: HashMap<PublishKey<Addr4>, Publish<Addr4>, ROWS> = HashMap::new();
#[btf_map(name = "pl_publish6")]
pub static PUBLISH6: HashMap<PublishKey<Addr6>, Publish<Addr6>, ROWS> = HashMap::new();
#[btf_map(name = "pl_source4")]
pub static SOURCE4: LpmTrie<Sender<Addr4>, Source, SOURCES> = LpmTrie::new();
#[btf_map(name = "pl_source6")]
pub static SOURCE6: LpmTrie<Sender<Addr6>, Source, SOURCES> = LpmTrie::new();
#[btf_map(name = "pl_endpoint4")]
pub static ENDPOINT4: HashMap<Addr4, Endpoint, ENDPOINTS> = HashMap::new();
#[btf_map(name = "pl_endpoint6")]
pub static ENDPOINT6: HashMap<Addr6, Endpoint, ENDPOINTS> = HashMap::new();
#[btf_map(name = "pl_host4")]
pub static HOST4: HashMap<Addr4, HostAddr, HOST_ADDRESSES> = HashMap::new();
#[btf_map(name = "pl_host6")]
pub static HOST6: HashMap<Addr6, HostAddr, HOST_ADDRESSES> = HashMap::new();
#[btf_map(name = "pl_veth")]
pub static VETH: HashMap<u32, Veth, ENDPOINTS> = HashMap::new();
#[btf_map(name = "pl_epoch")]
pub static EPOCH: Array<u32, 1> = Array::new();
#[btf_map(name = "pl_near_veth")]
pub static NEAR_VETH: PerCpuArray<Near<u32, Veth>, PLACES> = PerCpuArray::new();
#[btf_map(name = "pl_near4")]
pub static NEAR4: PerCpuArray<Near<Addr4, Endpoint>, PLACES> = PerCpuArray::new();
#[btf_map(name = "pl_near6")]
pub static NEAR6: PerCpuArray<Near<Addr6, Endpoint>, PLACES> = PerCpuArray::new();
#[btf_map(name = "pl_uplink")]
pub static UPLINK: HashMap<u32, Uplink, UPLINKS> = HashMap::new();
#[btf_map(name = "pl_policy")]
pub static POLICY: HashMap<PolicyKey, Policy, POLICIES> = HashMap::new();
#[btf_map(name = "pl_config")]
pub static CONFIG: Array<Config, 1> = Array::new();
#[btf_map(name = "pl_generation")]
pub static GENERATION: Array<u32, PUBLISHES> = Array::new();
#[btf_map(name = "pl_reason")]
pub static REASON: PerCpuArray<Counter, REASON_ROWS> = PerCpuArray::new();
#[btf_map(name = "pl_traffic")]
pub static TRAFFIC: PerCpuArray<Traffic, ENDPOINTS> = PerCpuArray::new();
#[btf_map(name = "pl_pub_traffic")]
pub static PUB_TRAFFIC: PerCpuArray<Traffic, PUBLISHES> = PerCpuArray::new();
#[btf_map(name = "pl_socket4")]
pub static SOCKET4: LruHashMap<SocketKey<Addr4>, SocketOrigin<Addr4>, SOCKETS> = LruHashMap::new();
#[btf_map(name = "pl_socket6")]
pub static SOCKET6: LruHashMap<SocketKey<Addr6>, SocketOrigin<Addr6>, SOCKETS> = LruHashMap::new();

#[btf_map(name = "pl_scratch4")]
pub static SCRATCH4: PerCpuArray<Scratch<Addr4>, 1> = PerCpuArray::new();
#[btf_map(name = "pl_scratch6")]
pub static SCRATCH6: PerCpuArray<Scratch<Addr6>, 1> = PerCpuArray::new();

#[btf_map(name = "pl_fragment4")]
pub static FRAGMENT4: PerCpuArray<Fragment<Addr4>, 1> = PerCpuArray::new();
#[btf_map(name = "pl_fragment6")]
pub static FRAGMENT6: PerCpuArray<Fragment<Addr6>, 1> = PerCpuArray::new();
#[btf_map(name = "pl_blank4")]
pub static BLANK4: PerCpuArray<Datagram<Addr4>, 1> = PerCpuArray::new();
#[btf_map(name = "pl_blank6")]
pub static BLANK6: PerCpuArray<Datagram<Addr6>, 1> = PerCpuArray::new();
#[btf_map(name = "pl_frame")]
pub static FRAME: PerCpuArray<Held, 1> = PerCpuArray::new();

/// Jiffies a second; set at load time.
#[unsafe(no_mangle)]
pub static JIFFIES_PER_SECOND: Global<u64> = Global::new(250);
/// The host's network namespace; set at load time.
#[unsafe(no_mangle)]
pub static NETNS_COOKIE: Global<u64> = Global::new(0);
/// What masquerade ports are drawn with; set at load time.
#[unsafe(no_mangle)]
pub static PORT_SECRET: Global<u32> = Global::new(0);
