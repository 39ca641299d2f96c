//! Random sequences of packets, through the host build of the packet path and through the loaded programs: both make the
//! same of every packet, count the same, and know the same flows afterwards; and none of them breaks a promise of the NAT.
//!
//! What arrives at the uplink goes by tc, and in a second run by XDP, which leaves to tc what it passes on. A mismatch is
//! shrunk, and printed with the seed that brings it back: `PORTLANE_SEED=… PORTLANE_SEQUENCES=1`. The long mode is the same
//! variable with a larger number, as in `PORTLANE_SEQUENCES=5000000 cargo xtask test differential`.
#![cfg(feature = "root")]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    io::Write as _,
    panic::catch_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use portlane::{bpf::LoadSettings, linux::bpf_run::Sum};
use portlane_common::reason::{Hook, Reason};
use portlane_datapath::{
    testing::{
        cases::At,
        choices::Seeded,
        judge,
        plausible::sequence,
        sequence::{Event, Outcome, Play, SECRET},
        wire::Head,
        world::{Interfaces, World},
    },
    verdict,
};
use portlane_tests::{
    ledger::{Ledger, Maps},
    program::{Programs, tc, test_with, xdp},
};

/// Sequences, unless `PORTLANE_SEQUENCES` says otherwise.
const SEQUENCES: u64 = 200_000;
/// Entries of the main flow table, which is read after every sequence.
const FLOWS: u32 = 256;
/// What XDP leaves before a packet for tc: a mark, and the veth's number.
const HANDOVER: usize = 8;
/// A sequence that takes longer is played again: in the kernel time passes, and after a second entries are stamped anew.
const SHORT: Duration = Duration::from_millis(900);
/// A sequence that agrees so often in a row, of so many times that it is played again, differed in passing: the kernel has
/// other things to do meanwhile, an alarm among them. That is told, and may happen to each thread so often.
const AGREES: u32 = 100;
const PLAYED: u32 = 1000;
const PASSING: u32 = 2;

/// How what arrives at an uplink is met; everything else meets tc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tc(Sum),
    Xdp,
}

impl By {
    /// Puts a packet's own bytes back after it was a clone of others, the kernel looks at no sum any more, and the check
    /// of `BPF_PROG_TEST_RUN` does all the same.
    fn over(self, wanted: &Outcome) -> Self {
        if wanted.put_back && self == Self::Tc(Sum::Complete) { Self::Tc(Sum::None) } else { self }
    }
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
struct Met {
    /// The hook whose program had the last word.
    hook: Hook,
    action: Action,
    bytes: Vec<u8>,
}

/// What can be told apart from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    On,
    Refused,
    Sent,
    /// By XDP, to a veth; to the host's own stack if that is 0.
    Handed(u32),
}

impl Action {
    fn is(self, wanted: &Outcome) -> bool {
        let (action, ifindex) = (wanted.verdict.action(), wanted.verdict.ifindex());
        match self {
            Self::On => matches!(action, verdict::PASS | verdict::HOST),
            Self::Refused => action == verdict::DROP,
            Self::Sent => {
                matches!(action, verdict::ENDPOINT | verdict::UPLINK | verdict::NEIGHBOUR | verdict::BRIDGE)
            }
            Self::Handed(to) => matches!(action, verdict::ENDPOINT | verdict::HOST) && to == ifindex,
        }
    }
}

fn meet(programs: &Programs, at: At, bytes: &[u8], by: By) -> Result<Met> {
    let (hook, origin, ifindex) = match at {
        At::FromContainer(ifindex) => (Hook::FromContainer, ifindex, ifindex),
        At::ToContainer(ifindex, origin) => (Hook::ToContainer, origin, ifindex),
        At::FromUplink(ifindex) => (Hook::FromUplink, ifindex, ifindex),
        At::ToUplink(ifindex) => (Hook::ToUplink, 0, ifindex),
    };
    let (sum, mut passed) = match by {
        By::Tc(sum) => (sum, None),
        By::Xdp => (Sum::None, None),
    };
    if by == By::Xdp && hook == Hook::FromUplink {
        let run = programs.xdp(bytes, ifindex)?;
        let hook = Hook::FromUplinkXdp;
        match (run.returned, run.bytes.len().checked_sub(bytes.len())) {
            (xdp::DROP, Some(0)) => return Ok(Met { hook, action: Action::Refused, bytes: run.bytes }),
            (xdp::PASS, Some(0)) => passed = Some(run.bytes),
            (xdp::PASS, Some(HANDOVER)) => {
                let (handover, bytes) = run.bytes.split_at(HANDOVER);
                let to = u32::from_ne_bytes(handover[4..].try_into()?);
                return Ok(Met { hook, action: Action::Handed(to), bytes: bytes.to_vec() });
            }
            (returned, _) => bail!("XDP returned {returned} and {} bytes", run.bytes.len()),
        }
    }
    let run = programs.tc(hook, passed.as_deref().unwrap_or(bytes), origin, ifindex, sum)?;
    let action = match run.returned {
        tc::UNSPEC => Action::On,
        tc::SHOT => Action::Refused,
        tc::REDIRECT => Action::Sent,
        other => bail!("tc returned {other}"),
    };
    Ok(Met { hook, action, bytes: run.bytes })
}

/// The programs, and all that is compared.
struct Rig<'a> {
    programs: &'a Programs,
    maps: Maps,
    /// What was counted before the sequence at hand.
    counted: Ledger,
}

impl Rig<'_> {
    /// In what the programs differ from the host build, if they do.
    fn disagreement(&mut self, play: &Play, by: By) -> Result<Option<String>> {
        loop {
            let begun = Instant::now();
            let found = self.differ(play, by)?;
            if begun.elapsed() < SHORT {
                return Ok(found);
            }
        }
    }

    fn differ(&mut self, play: &Play, by: By) -> Result<Option<String>> {
        let mut world = None;
        let mut reasons = BTreeMap::new();
        let mut found = None;
        for (number, (event, wanted)) in play.steps.iter().enumerate() {
            match (event, wanted) {
                (Event::Packet { at, bytes }, Some(wanted)) => match meet(self.programs, *at, bytes, by.over(wanted)) {
                    Ok(met) if met.action.is(wanted) && met.bytes == wanted.bytes => {
                        if let Some(reason) = Reason::from_number(wanted.verdict.reason() as u8) {
                            *reasons.entry((met.hook, reason)).or_default() += 1;
                        }
                    }
                    Ok(met) => {
                        let came = format!("{:?} {:?}\n   {}", met.hook, met.action, hex(&met.bytes));
                        found = Some(format!("packet {number}: {came}"));
                    }
                    Err(error) => found = Some(format!("packet {number}: {error:#}")),
                },
                (Event::Change(change), _) => {
                    let world = world.get_or_insert_with(|| World::new(&play.interfaces));
                    change.apply(world);
                    self.programs.set_world(world.clone())?;
                }
                _ => {}
            }
            if found.is_some() {
                break;
            }
        }
        if world.is_some() {
            self.programs.set_world(World::new(&play.interfaces))?;
        }
        let after = self.maps.read()?;
        self.maps.forget(&after, play.steps.iter().any(|(event, _)| is_fragment(event)))?;
        let changed = after.since(&self.counted);
        self.counted = after;
        Ok(found.or_else(|| changed.difference(&Ledger::of(&play.memory, reasons))))
    }

    /// Whether the programs go on differing from the host build.
    fn lasts(&mut self, play: &Play, by: By) -> Result<bool> {
        let mut agreed = 0;
        for _ in 0..PLAYED {
            agreed = if self.disagreement(play, by)?.is_none() { agreed + 1 } else { 0 };
            if agreed == AGREES {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A part of the sequence that is still made something else of, without any packet that is not needed for that.
    fn shrink(&mut self, play: Play, by: By) -> Result<Play> {
        let mut shrunk = play;
        let mut place = 0;
        while place < shrunk.steps.len() {
            let mut events = shrunk.events();
            events.remove(place);
            let fewer = Play::of(shrunk.interfaces, events);
            if self.disagreement(&fewer, by)?.is_some() {
                shrunk = fewer;
                place = 0;
            } else {
                place += 1;
            }
        }
        Ok(shrunk)
    }
}

fn is_fragment(event: &Event) -> bool {
    matches!(event, Event::Packet { bytes, .. } if Head::read(bytes).is_some_and(|head| head.piece.is_some()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A sequence in words.
fn tell(play: &Play) -> Result<String> {
    let mut told = format!("{:?}\n", play.interfaces);
    for (number, (event, outcome)) in play.steps.iter().enumerate() {
        match (event, outcome) {
            (Event::Packet { at, bytes }, Some(Outcome { verdict, bytes: after, .. })) => {
                writeln!(told, "{number}: {at:?}: {:?}\n   {}", Head::read(bytes), hex(bytes))?;
                writeln!(told, "   the host build: {verdict:?}\n   {}", hex(after))?;
            }
            (event, _) => writeln!(told, "{number}: {event:?}")?,
        }
    }
    Ok(told)
}

/// Plays every `step`-th sequence, from `first` on; how many packets they had.
fn work(programs: &Programs, seeds: impl Iterator<Item = u64>, stop: &AtomicBool) -> Result<u64> {
    let maps = Maps::open(programs.datapath())?;
    let counted = maps.read()?;
    let mut rig = Rig { programs, maps, counted };
    let (mut packets, mut passing, interfaces) = (0, 0, programs.interfaces);
    for seed in seeds {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let play = catch_unwind(|| sequence(&mut Seeded(seed), interfaces))
            .map_err(|_| anyhow!("PORTLANE_SEED={seed} PORTLANE_SEQUENCES=1: the host build panicked"))?;
        packets += play.steps.len() as u64;
        // The promises know interfaces by numbers of their own, which change nothing of what is made up.
        if let Some(broken) = judge::broken(sequence(&mut Seeded(seed), Interfaces::ANY)) {
            stop.store(true, Ordering::Relaxed);
            bail!("PORTLANE_SEED={seed} PORTLANE_SEQUENCES=1:\n{broken}");
        }
        // What a NIC says of checksums changes nothing but the sum that the kernel keeps beside the packet.
        let sum = if seed & 1 == 0 { Sum::Complete } else { Sum::None };
        for by in [By::Tc(sum), By::Xdp] {
            let Some(found) = rig.disagreement(&play, by)? else { continue };
            if !rig.lasts(&play, by)? {
                passing += 1;
                writeln!(
                    std::io::stdout(),
                    "    PORTLANE_SEED={seed} PORTLANE_SEQUENCES=1, by {by:?}, in passing: {found}"
                )?;
                ensure!(passing <= PASSING, "that is too often");
                continue;
            }
            stop.store(true, Ordering::Relaxed);
            let shrunk = rig.shrink(play, by)?;
            let found =
                rig.disagreement(&shrunk, by)?.unwrap_or_else(|| "nothing, when it was played again".to_owned());
            bail!("PORTLANE_SEED={seed} PORTLANE_SEQUENCES=1, by {by:?}:\n{}{found}", tell(&shrunk)?);
        }
    }
    Ok(packets)
}

fn number(variable: &str) -> Result<Option<u64>> {
    match env::var(variable) {
        Ok(value) => Ok(Some(value.parse().with_context(|| format!("{variable}={value}"))?)),
        Err(_) => Ok(None),
    }
}

#[test]
fn the_loaded_programs_make_the_same_of_any_sequence_of_packets_as_the_host_build() -> Result<()> {
    let by_clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let seed = number("PORTLANE_SEED")?.unwrap_or(by_clock >> 8);
    let sequences = number("PORTLANE_SEQUENCES")?.unwrap_or(SEQUENCES);
    // Not through `println!`, which libtest keeps to itself.
    writeln!(std::io::stdout(), "    PORTLANE_SEED={seed} PORTLANE_SEQUENCES={sequences}")?;
    let (begun, stop) = (Instant::now(), AtomicBool::new(false));
    let threads = thread::available_parallelism()?.get().min(usize::try_from(sequences)?).max(1);
    let worker = |first: usize| {
        let settings = LoadSettings { flows: FLOWS, port_secret: Some(SECRET), ..LoadSettings::default() };
        let mut packets = 0;
        test_with(&format!("differential{first}"), settings, |programs| {
            let seeds = (first as u64..sequences).step_by(threads).map(|number| seed.wrapping_add(number));
            packets = work(programs, seeds, &stop)?;
            Ok(())
        })?;
        Ok(packets)
    };
    let worker = &worker;
    let packets = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || worker(first))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Result<u64>>| {
            worker.join().unwrap_or_else(|_| Err(anyhow!("the test panicked")))
        };
        workers.into_iter().map(join).sum::<Result<u64>>()
    })?;
    let seconds = begun.elapsed().as_secs();
    writeln!(std::io::stdout(), "    {sequences} sequences of {packets} packets, by tc and by XDP, in {seconds} s")?;
    Ok(())
}
