//! The table of cases, through the programs in the kernel: tc and XDP, IPv4 and IPv6, whole packets compared.
//!
//! `BPF_PROG_TEST_RUN` gives packets a complete checksum (CHECKSUM_NONE); the checksums that a sender leaves to the
//! hardware (CHECKSUM_PARTIAL) are met by the stream tests, which run with offloads on.
#![cfg(feature = "root")]

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result, ensure};
use portlane_common::reason::Hook;
use portlane_datapath::{
    testing::{
        cases::{At, Step, cases},
        world::Version,
    },
    verdict,
};
use portlane_tests::program::{Programs, Run, tc, test, xdp};

/// What XDP leaves before a packet for tc: a mark, and the veth's number.
const HANDOVER: usize = 8;

fn run_tc(programs: &Programs, step: &Step) -> Result<(Hook, Run)> {
    let (hook, origin, ifindex) = match step.at {
        At::FromContainer(ifindex) => (Hook::FromContainer, ifindex, ifindex),
        At::ToContainer(ifindex, origin) => (Hook::ToContainer, origin, ifindex),
        At::FromUplink(ifindex) => (Hook::FromUplink, ifindex, ifindex),
        At::ToUplink(ifindex) => (Hook::ToUplink, 0, ifindex),
    };
    Ok((hook, programs.tc(hook, &step.input, origin, ifindex)?))
}

/// The step through tc; what arrives at an uplink through XDP if `by_xdp`.
fn check(programs: &Programs, step: &Step, by_xdp: bool) -> Result<()> {
    let before = programs.counted()?;
    let hook = match step.at {
        At::FromUplink(ifindex) if by_xdp => {
            let run = programs.xdp(&step.input, ifindex)?;
            check_xdp(step, &run)?;
            Hook::FromUplinkXdp
        }
        _ => {
            let (hook, run) = run_tc(programs, step)?;
            let returned = match step.action {
                verdict::PASS => tc::UNSPEC,
                verdict::DROP => tc::SHOT,
                _ => tc::REDIRECT,
            };
            ensure!(run.returned == returned, "it returned {} and not {returned}", run.returned);
            ensure!(run.bytes == step.output, "bytes:\n{:02x?}\nand not\n{:02x?}", run.bytes, step.output);
            hook
        }
    };
    let mut wanted = before;
    if let Some(reason) = step.reason {
        *wanted.entry((hook.name(), reason.name())).or_default() += 1;
    }
    let after: BTreeMap<_, _> = programs.counted()?;
    ensure!(after == wanted, "counted is {after:?} and not {wanted:?}");
    Ok(())
}

fn check_xdp(step: &Step, run: &Run) -> Result<()> {
    let returned = if step.action == verdict::DROP { xdp::DROP } else { xdp::PASS };
    ensure!(run.returned == returned, "it returned {} and not {returned}", run.returned);
    let handed = if step.action == verdict::ENDPOINT { HANDOVER } else { 0 };
    ensure!(run.bytes.len() == handed + step.output.len(), "{} bytes", run.bytes.len());
    let (handover, bytes) = run.bytes.split_at(handed);
    ensure!(bytes == step.output, "bytes:\n{bytes:02x?}\nand not\n{:02x?}", step.output);
    ensure!(handed == 0 || handover[4..] == step.ifindex.to_ne_bytes(), "it hands over {handover:02x?}");
    Ok(())
}

fn table(name: &str, version: Version, by_xdp: bool) -> Result<()> {
    test(name, |programs| {
        let mut packets = 0;
        for case in cases(version, programs.interfaces) {
            programs.forget_flows()?;
            for (number, step) in case.steps.iter().enumerate() {
                let explain = || format!("{version:?}: {}, packet {number} {:?}", case.name, step.at);
                check(programs, step, by_xdp).with_context(explain)?;
                packets += 1;
            }
        }
        // Not through `println!`, which libtest keeps to itself.
        Ok(writeln!(std::io::stdout(), "    {packets} packets came out as the table says")?)
    })
}

#[test]
fn the_table_over_ipv4_through_tc() -> Result<()> {
    table("tc4", Version::Four, false)
}

#[test]
fn the_table_over_ipv6_through_tc() -> Result<()> {
    table("tc6", Version::Six, false)
}

#[test]
fn the_table_over_ipv4_through_xdp() -> Result<()> {
    table("xdp4", Version::Four, true)
}

#[test]
fn the_table_over_ipv6_through_xdp() -> Result<()> {
    table("xdp6", Version::Six, true)
}
