//! Conversations in a ring: as a packet of one leaves, it is the next one's as it arrives.
//!
//! `BPF_PROG_TEST_RUN` hands each run what the one before it has made of the packet, and a translated packet belongs to no
//! flow. In a ring it does: one packet is carried on by one entry of the flow table after the other, as different packets
//! would be, and all work on it is done each time. Only the time to live limits how often.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use portlane::bpf::{
    Datapath,
    layout::{self, Layout},
};
use portlane_common::{
    family::{Addr4, Addr6, Address, Family, V4, V6},
    flow::{Flow, FlowKey, ZONE_OUTSIDE, state},
};
use portlane_datapath::{
    stage::{
        nat::settle,
        parse::{ACK, SYN},
    },
    testing::{
        wire::TCP,
        world::{Version, WEB, four, six},
    },
};
use portlane_tests::program::{Programs, tc};

use crate::{
    published::{CLIENT_PORTS, Published},
    way::{Tuple, Way},
};

/// Runs of one packet, and what is left of its time to live then.
pub const RUNS: u32 = 250;
const TTL: u8 = 255;
/// From an entry to the next, a prime: neighbours in the ring are no neighbours in memory.
const STRIDE: u64 = 611_953;
const _: () = assert!(RUNS < TTL as u32);

/// Confirmed conversations by their tuples.
type Flows<A> = BTreeMap<FlowKey<A>, Flow<A>>;

/// An IP version with its table of confirmed conversations.
pub trait Kept: Family {
    /// As the world names it.
    const VERSION: Version;
    /// An address as the tables hold it.
    fn addr(address: std::net::IpAddr) -> Self::Addr;
    /// What the table holds.
    fn flows(datapath: &Datapath) -> Result<Flows<Self::Addr>>;
    /// Adds entries.
    fn put(datapath: &Datapath, rows: impl Iterator<Item = (FlowKey<Self::Addr>, Flow<Self::Addr>)>) -> Result<()>;
}

macro_rules! kept {
    ($($family:ty: $version:ident, $addr:ident, $convert:ident, $flows:ident, $layout:ident;)+) => {$(
        impl Kept for $family {
            const VERSION: Version = Version::$version;

            fn addr(address: std::net::IpAddr) -> $addr {
                $convert(address)
            }

            fn flows(datapath: &Datapath) -> Result<Flows<$addr>> {
                let [confirmed, _] = datapath.$flows()?;
                Ok(confirmed)
            }

            fn put(datapath: &Datapath, rows: impl Iterator<Item = (FlowKey<$addr>, Flow<$addr>)>) -> Result<()> {
                const LAYOUT: Layout<FlowKey<$addr>, Flow<$addr>> = layout::$layout;
                let table = datapath.table(&LAYOUT)?;
                for (key, flow) in rows {
                    table.put(&key, &flow)?;
                }
                Ok(())
            }
        }
    )+};
}

kept! {
    V4: Four, Addr4, four, flows4, FLOW4;
    V6: Six, Addr6, six, flows6, FLOW6;
}

/// Conversations of one way.
pub struct Ring<'a> {
    programs: &'a Programs,
    version: Version,
    way: Way,
    /// Entries: two for each conversation.
    entries: u32,
}

impl<'a> Ring<'a> {
    /// Fills the table with as many conversations, each like one that the programs have opened themselves.
    ///
    /// # Errors
    /// The programs do not open one, or the table is too small.
    pub fn new<F: Kept>(programs: &'a Programs, way: Way, published: Published, flows: u32) -> Result<Self> {
        let model = open::<F>(programs, way, published).context("no conversation to begin with")?;
        let ring = Self { programs, version: F::VERSION, way, entries: 2 * flows };
        F::put(programs.datapath(), (0..ring.entries).map(|number| ring.entry::<F>(number, model)))?;
        Ok(ring)
    }

    fn entry<F: Kept>(&self, number: u32, model: Flow<F::Addr>) -> (FlowKey<F::Addr>, Flow<F::Addr>) {
        let arrives = self.way.tuple(self.version, number);
        let leaves = self.way.tuple(self.version, self.after(number, 1));
        let zone = match self.way {
            Way::Published => ZONE_OUTSIDE,
            Way::Masquerade => self.way.interface(&self.programs.interfaces),
        };
        let key = key::<F::Addr>([F::addr(arrives.src), F::addr(arrives.dst)], arrives, zone);
        let mut flow = Flow {
            src: F::addr(leaves.src),
            dst: F::addr(leaves.dst),
            sport: leaves.sport,
            dport: leaves.dport,
            ..model
        };
        settle(&key, &mut flow);
        (key, flow)
    }

    /// The entry so many steps after another.
    fn after(&self, number: u32, steps: u32) -> u32 {
        ((u64::from(number) + STRIDE * u64::from(steps)) % u64::from(self.entries)) as u32
    }

    /// Runs a packet through [`RUNS`] entries from this one on, and so many times again from where it came to: for each
    /// time, what an entry took on average, in nanoseconds.
    ///
    /// # Errors
    /// A packet is not carried on by every entry.
    pub fn walk(&self, from: u32, times: u32) -> Result<Vec<u32>> {
        let ifindex = self.way.interface(&self.programs.interfaces);
        let mut at = from % self.entries;
        let mut taken = Vec::with_capacity(times as usize);
        for _ in 0..times {
            let first = self.way.frame(self.way.tuple(self.version, at), ACK, TTL);
            at = self.after(at, RUNS);
            let (dst, src) = self.way.leaves_with();
            let last = self.way.frame(self.way.tuple(self.version, at), ACK, TTL - RUNS as u8).with_macs(dst, src);
            let run = self.programs.tc_repeatedly(self.way.hook(), &first.bytes(), ifindex, RUNS)?;
            ensure!(run.returned == tc::REDIRECT, "a packet of a known conversation got {}", run.returned);
            ensure!(run.bytes == last.bytes(), "a packet left as\n{:02x?}\nand not\n{:02x?}", run.bytes, last.bytes());
            taken.push(run.nanoseconds);
        }
        Ok(taken)
    }

    /// Runs packets through the same [`RUNS`] entries again and again: those stay in the processor's caches, whatever else
    /// there is.
    ///
    /// # Errors
    /// A packet is not carried on by every entry.
    pub fn walk_again(&self, from: u32, times: u32) -> Result<Vec<u32>> {
        let once = |_| Ok(self.walk(from, 1)?[0]);
        (0..times).map(once).collect()
    }

    /// An entry to begin with, another one each round.
    pub fn begin(&self, round: usize) -> u32 {
        self.entries / 7 * (round as u32 % 7)
    }
}

fn key<A: Address>([src, dst]: [A; 2], tuple: Tuple, zone: u32) -> FlowKey<A> {
    FlowKey { src, dst, sport: tuple.sport, dport: tuple.dport, zone, proto: TCP, ..FlowKey::default() }
}

/// Has the programs open and confirm a conversation; the entry of its opener's packets.
fn open<F: Kept>(programs: &Programs, way: Way, published: Published) -> Result<Flow<F::Addr>> {
    let version = F::VERSION;
    let (asks, answers) = match way {
        Way::Published => (Way::Published, Way::Masquerade),
        Way::Masquerade => (Way::Masquerade, Way::Published),
    };
    let (sport, _) = CLIENT_PORTS;
    let (asked, answered) = match way {
        Way::Published => {
            let (dport, src) = (published.port(), version.outside());
            let asked = Tuple { src, dst: version.host(), sport, dport };
            (asked, Tuple { src: WEB.address(version), dst: src, sport: dport, dport: sport })
        }
        Way::Masquerade => {
            let dst = version.outside();
            let asked = Tuple { src: WEB.address(version), dst, sport, dport: 80 };
            (asked, Tuple { src: dst, dst: version.host(), sport: 80, dport: sport })
        }
    };
    for (way, tuple, flags) in [(asks, asked, SYN), (answers, answered, SYN | ACK), (asks, asked, ACK)] {
        let ifindex = way.interface(&programs.interfaces);
        let run = programs.tc_repeatedly(way.hook(), &way.frame(tuple, flags, 64).bytes(), ifindex, 1)?;
        ensure!(run.returned == tc::REDIRECT, "{tuple:?} got {}", run.returned);
    }
    let flows = F::flows(programs.datapath())?;
    let (src, dst) = (F::addr(asked.src), F::addr(asked.dst));
    let found = flows.into_iter().find(|(key, _)| (key.src, key.dst, key.sport) == (src, dst, sport));
    let (_, flow) = found.context("it is in no table")?;
    ensure!(flow.state & state::CONFIRMED != 0, "it is not confirmed");
    Ok(flow)
}
