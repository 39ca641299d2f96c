//! The table of cases, through the programs in the kernel: tc and XDP, IPv4 and IPv6, whole packets compared.
//!
//! `BPF_PROG_TEST_RUN` makes packets that the NIC says nothing of (CHECKSUM_NONE), and on request such that it has summed
//! whole (CHECKSUM_COMPLETE), whose sum the kernel checks afterwards. It cannot make those whose checksum a sender left
//! to the hardware (CHECKSUM_PARTIAL): they are met by the stream tests, which run with offloads on.
#![cfg(feature = "root")]

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result, ensure};
use portlane::{
    bpf::LoadSettings,
    linux::bpf_run::{Run, Sum},
};
use portlane_common::reason::{Hook, Reason};
use portlane_datapath::{
    stage::parse::SYN,
    testing::{
        cases::{At, Case, Step, cases},
        frame::Body,
        sequence::SECRET,
        talk::sent,
        world::{Version, WEB},
    },
    verdict,
};
use portlane_tests::program::{Programs, tc, test_with, xdp};

/// What XDP leaves before a packet for tc: a mark, and the veth's number.
const HANDOVER: usize = 8;

/// How what arrives at an uplink is met; everything else meets tc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tc(Sum),
    Xdp,
}

fn run_tc(programs: &Programs, step: &Step, sum: Sum) -> Result<(Hook, Run)> {
    let (hook, origin, ifindex) = match step.at {
        At::FromContainer(ifindex) => (Hook::FromContainer, ifindex, ifindex),
        At::ToContainer(ifindex, origin) => (Hook::ToContainer, origin, ifindex),
        At::FromUplink(ifindex) => (Hook::FromUplink, ifindex, ifindex),
        At::ToUplink(ifindex) => (Hook::ToUplink, 0, ifindex),
    };
    Ok((hook, programs.tc(hook, &step.input, origin, ifindex, sum)?))
}

/// The step, and what it counts.
fn check(programs: &Programs, step: &Step, by: By) -> Result<()> {
    let before = programs.counted()?;
    let hook = match (step.at, by) {
        (At::FromUplink(ifindex), By::Xdp) if through_xdp(programs, step, ifindex)? => Hook::FromUplinkXdp,
        (_, By::Tc(sum)) => through_tc(programs, step, sum)?,
        (_, By::Xdp) => through_tc(programs, step, Sum::None)?,
    };
    let mut wanted = before;
    if let Some(reason) = step.reason {
        *wanted.entry((hook.name(), reason.name())).or_default() += 1;
    }
    let after: BTreeMap<_, _> = programs.counted()?;
    ensure!(after == wanted, "counted is {after:?} and not {wanted:?}");
    Ok(())
}

fn through_tc(programs: &Programs, step: &Step, sum: Sum) -> Result<Hook> {
    let (hook, run) = run_tc(programs, step, sum)?;
    let returned = match step.action {
        verdict::PASS | verdict::HOST => tc::UNSPEC,
        verdict::DROP => tc::SHOT,
        _ => tc::REDIRECT,
    };
    ensure!(run.returned == returned, "it returned {} and not {returned}", run.returned);
    ensure!(run.bytes == step.output, "bytes:\n{:02x?}\nand not\n{:02x?}", run.bytes, step.output);
    Ok(hook)
}

/// False if XDP leaves the packet to tc, as it was.
fn through_xdp(programs: &Programs, step: &Step, ifindex: u32) -> Result<bool> {
    let run = programs.xdp(&step.input, ifindex)?;
    if run.returned == xdp::PASS && run.bytes == step.input {
        return Ok(false);
    }
    let returned = if step.action == verdict::DROP { xdp::DROP } else { xdp::PASS };
    ensure!(run.returned == returned, "it returned {} and not {returned}", run.returned);
    let handed = if matches!(step.action, verdict::ENDPOINT | verdict::HOST) { HANDOVER } else { 0 };
    ensure!(run.bytes.len() == handed + step.output.len(), "{} bytes", run.bytes.len());
    let (handover, bytes) = run.bytes.split_at(handed);
    ensure!(bytes == step.output, "bytes:\n{bytes:02x?}\nand not\n{:02x?}", step.output);
    ensure!(handed == 0 || handover[4..] == step.ifindex.to_ne_bytes(), "it hands over {handover:02x?}");
    Ok(true)
}

/// Every case three times, by programs that are loaded once: in a machine, that takes longer than all packets.
fn table(name: &str, version: Version) -> Result<()> {
    test_with(name, LoadSettings { port_secret: Some(SECRET), ..LoadSettings::default() }, |programs| {
        let mut packets = 0;
        for by in [By::Tc(Sum::None), By::Tc(Sum::Complete), By::Xdp] {
            for case in cases(version, programs.interfaces) {
                programs.forget_flows()?;
                packets += play(programs, &case, by).with_context(|| format!("{version:?}, {by:?}"))?;
            }
            programs.forget_datagrams()?;
        }
        // Not through `println!`, which libtest keeps to itself.
        Ok(writeln!(std::io::stdout(), "    {packets} packets came out as the table says")?)
    })
}

/// How many packets the case has.
fn play(programs: &Programs, case: &Case, by: By) -> Result<usize> {
    // A packet that was made longer has no such sum any more (`__skb_grow_rcsum`), which the test run does not see.
    let held = case.steps.iter().any(|step| step.reason == Some(Reason::FragmentHeld));
    let by = if held && by == By::Tc(Sum::Complete) { By::Tc(Sum::None) } else { by };
    for (number, step) in case.steps.iter().enumerate() {
        check(programs, step, by).with_context(|| format!("{}, packet {number} {:?}", case.name, step.at))?;
    }
    Ok(case.steps.len())
}

#[test]
fn the_table_over_ipv4_through_tc_and_xdp_and_with_packets_that_the_nic_has_summed() -> Result<()> {
    table("table4", Version::Four)
}

#[test]
fn the_table_over_ipv6_through_tc_and_xdp_and_with_packets_that_the_nic_has_summed() -> Result<()> {
    table("table6", Version::Six)
}

/// A world with almost no room: for so many conversations, of which a container may have so many.
const FLOWS: u32 = 8;
const SHARE: u32 = 2;

/// What the first packet of so many conversations counts, whose last is refused.
fn last_is_refused(programs: &Programs, version: Version, conversations: u16, reason: Reason) -> Result<()> {
    let out = programs.interfaces.veth(WEB);
    for server in 1..=conversations {
        let ask = sent(version, WEB, version.outside(), Body::Tcp(30_001, server, SYN)).bytes();
        let before = programs.counted()?;
        let run = programs.tc(Hook::FromContainer, &ask, out, out, Sum::None)?;
        let mut wanted = before;
        let last = server == conversations;
        if last {
            *wanted.entry((Hook::FromContainer.name(), reason.name())).or_default() += 1;
        }
        let explain = || format!("{version:?}, conversation {server} of {conversations}");
        ensure!(run.returned == if last { tc::SHOT } else { tc::REDIRECT }, "{}: {}", explain(), run.returned);
        ensure!(programs.counted()? == wanted, "{}: counted is not {wanted:?}", explain());
        ensure!(!last || run.bytes == ask, "{}: it is refused, and changed", explain());
    }
    programs.forget_flows()?;
    programs.forget_shares()
}

#[test]
fn what_there_is_no_room_no_port_and_no_way_for_is_refused_under_its_own_reason() -> Result<()> {
    test_with("noroom", LoadSettings { flows: FLOWS, ..LoadSettings::default() }, |programs| {
        for version in Version::BOTH {
            // Two entries each.
            last_is_refused(programs, version, FLOWS as u16 / 2 + 1, Reason::FlowsExhausted)?;
        }
        programs.set_share(SHARE)?;
        for version in Version::BOTH {
            last_is_refused(programs, version, SHARE as u16 + 1, Reason::FlowShare)?;
        }
        programs.reserve_every_port()?;
        for version in Version::BOTH {
            last_is_refused(programs, version, 1, Reason::PortsExhausted)?;
        }
        programs.stop_forwarding(WEB)?;
        for version in Version::BOTH {
            last_is_refused(programs, version, 1, Reason::NoRoute)?;
        }
        programs.unload_the_rest()?;
        for version in Version::BOTH {
            last_is_refused(programs, version, 1, Reason::NotLoaded)?;
        }
        Ok(())
    })
}
