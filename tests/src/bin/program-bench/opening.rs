//! Packets that belong to no known conversation.

use anyhow::{Result, ensure};
use portlane_common::config::{MAX_FLOWS, MAX_NEW_FLOWS};
use portlane_datapath::{
    stage::parse::SYN,
    testing::world::{PEER, Version, WEB},
};
use portlane_tests::program::{Programs, tc};

use crate::{
    figure::{Figure, family, mean},
    published::{CLIENT_PORTS, Published, UNPUBLISHED},
    ring::{Kept, RUNS},
    way::{Tuple, Way, outside},
};

/// Quarters of a table in which it is filled, and then as many beyond.
const QUARTERS: u32 = 4;
const BEYOND: u32 = 2;
/// Samples of each.
const SAMPLES: u32 = 8;

/// Opens conversations that nobody has opened before.
pub struct Opener<'a> {
    programs: &'a Programs,
    version: Version,
    way: Way,
    port: u16,
    opened: u32,
}

impl<'a> Opener<'a> {
    /// To this published port, if that is the way.
    pub const fn new(programs: &'a Programs, version: Version, way: Way, port: u16) -> Self {
        Self { programs, version, way, port, opened: 0 }
    }

    /// Nanoseconds that each of so many takes. Each is a run of its own: there is no second one to open.
    ///
    /// # Errors
    /// One is not opened.
    pub fn open(&mut self, count: u32) -> Result<Vec<u32>> {
        let runs = self.try_open(count)?;
        for (returned, _) in &runs {
            ensure!(*returned == tc::REDIRECT, "a first packet got {returned}");
        }
        Ok(runs.into_iter().map(|(_, nanoseconds)| nanoseconds).collect())
    }

    /// What the program returned, and nanoseconds that it took.
    fn try_open(&mut self, count: u32) -> Result<Vec<(u32, u32)>> {
        let ifindex = self.way.interface(&self.programs.interfaces);
        let mut runs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let packet = self.way.frame(self.next(), SYN, 64).bytes();
            let run = self.programs.tc_repeatedly(self.way.hook(), &packet, ifindex, 1)?;
            runs.push((run.returned, run.nanoseconds));
        }
        Ok(runs)
    }

    fn next(&mut self) -> Tuple {
        let (first, count) = CLIENT_PORTS;
        let number = self.opened;
        self.opened += 1;
        let sport = first + (number % count) as u16;
        match self.way {
            Way::Published => {
                Tuple { src: outside(self.version, number), dst: self.version.host(), sport, dport: self.port }
            }
            Way::Masquerade => {
                let (src, dst) = (WEB.address(self.version), self.version.outside());
                Tuple { src, dst, sport, dport: 1 + (number / count) as u16 }
            }
        }
    }
}

/// What a packet to a port of the host that is not published takes, so many times.
///
/// # Errors
/// It is not left to the host as it is.
pub fn miss(programs: &Programs, version: Version, times: u32) -> Result<Vec<u32>> {
    let (sport, _) = CLIENT_PORTS;
    let tuple = Tuple { src: version.outside(), dst: version.host(), sport, dport: UNPUBLISHED };
    unchanged(programs, Way::Published, tuple, tc::UNSPEC, times)
}

/// What a packet from one container to another of its network takes, so many times.
///
/// # Errors
/// It does not get there as it is.
pub fn beside(programs: &Programs, version: Version, times: u32) -> Result<Vec<u32>> {
    let (sport, _) = CLIENT_PORTS;
    let tuple = Tuple { src: WEB.address(version), dst: PEER.address(version), sport, dport: 80 };
    unchanged(programs, Way::Masquerade, tuple, tc::REDIRECT, times)
}

/// Runs a packet again and again that is always to come out as it came in.
fn unchanged(programs: &Programs, way: Way, tuple: Tuple, returned: u32, times: u32) -> Result<Vec<u32>> {
    let packet = way.frame(tuple, SYN, 64).bytes();
    let run = |_| {
        let run = programs.tc_repeatedly(way.hook(), &packet, way.interface(&programs.interfaces), RUNS)?;
        ensure!(run.returned == returned && run.bytes == packet, "{tuple:?} got {}", run.returned);
        Ok(run.nanoseconds)
    };
    (0..times).map(run).collect()
}

/// Opens conversations until their table is full, and more: a second, by the time the programs take.
///
/// # Errors
/// One is refused while there is room, or, from outside, at all.
pub fn fill<F: Kept>(programs: &Programs) -> Result<()> {
    for (way, entries) in [(Way::Published, MAX_NEW_FLOWS), (Way::Masquerade, MAX_FLOWS)] {
        programs.forget_flows()?;
        let mut opener = Opener::new(programs, F::VERSION, way, Published::ONE.port());
        // A conversation has two entries.
        let part = entries / 2 / QUARTERS / SAMPLES;
        for quarter in 0..QUARTERS + BEYOND {
            let mut samples = Vec::new();
            let mut refused = 0;
            for _ in 0..SAMPLES {
                let runs = opener.try_open(part)?;
                refused += runs.iter().filter(|(returned, _)| *returned == tc::SHOT).count() as u32;
                let taken: Vec<u32> = runs.into_iter().map(|(_, nanoseconds)| nanoseconds).collect();
                samples.push(1e9 / mean(&taken));
            }
            let full = quarter >= QUARTERS;
            let all = part * SAMPLES;
            // From outside the longest unused makes way; a container's are refused, but for those in whose place
            // another has come to its end.
            let right = if full && way == Way::Masquerade { refused > all / 2 } else { refused == 0 };
            ensure!(right, "{}: {refused} of {all} refused in quarter {quarter}", way.name());
            let metric = if refused == 0 { "new flows" } else { "refused" };
            let filled = format!("{} to {} %", quarter * 25, (quarter + 1) * 25);
            let (subject, case, unit) = ("portlane", format!("{}, filling the table", way.name()), "per-second");
            let at = vec![family(F::VERSION), ("filled", filled)];
            Figure { subject, case, metric, unit, at, samples }.print()?;
        }
    }
    programs.forget_flows()
}
