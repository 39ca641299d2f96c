//! Packets whose bytes lie in pages of files and programs, and not behind their headers, with checksums left to the
//! hardware and with checksums made by the stack.
#![cfg(feature = "root")]

use std::{fs, path::Path};

use anyhow::{Context, Result};
use portlane_tests::topology::{Topology, Way, both, either_way};

/// Whose checksums are left to the hardware: the sender's, and those that the host sends on.
const CHECKSUMS: [[&str; 2]; 4] = [["tx on", "tx on"], ["tx off", "tx on"], ["tx on", "tx off"], ["tx off", "tx off"]];

#[test]
fn files_pass_whole_by_tcp_in_every_way_that_programs_send_them() -> Result<()> {
    either_way("9000/tcp", |net, way| {
        let file = file(net)?;
        let _server = way.server.start_script("files.py", &["serve", "9000", &file])?;
        with_checksums(net, way, || {
            both(|family| {
                let target = way.at(family, 9000);
                let (address, port) = (target.ip().to_string(), target.port().to_string());
                for how in ["sendfile", "splice", "zerocopy"] {
                    way.client.script("files.py", &["exchange", &address, &port, &file, how]).context(how)?;
                }
                Ok(())
            })
        })
    })
}

#[test]
fn pages_of_a_file_pass_as_datagrams() -> Result<()> {
    either_way("9000/udp", |net, way| {
        let file = file(net)?;
        let _server = way.server.start_script("pieces.py", &["serve", "9000"])?;
        with_checksums(net, way, || {
            both(|family| {
                let target = way.at(family, 9000);
                let (address, port) = (target.ip().to_string(), target.port().to_string());
                let options = ["datagrams", &address, &port, &file, "100", "1400", "4000", "50000"];
                way.client.script("files.py", &options).map(drop)
            })
        })
    })
}

/// Runs a check with each setting of the interfaces on the way.
fn with_checksums(net: &Topology, way: &Way<'_>, check: impl Fn() -> Result<()>) -> Result<()> {
    for [senders, host] in CHECKSUMS {
        net.outside().offload("eth0", senders)?;
        way.container.inside().offload("eth0", senders)?;
        net.host().offload("up0", host)?;
        check().with_context(|| format!("senders {senders}, host {host}"))?;
    }
    Ok(())
}

/// 3 MB in which no word comes twice.
fn file(net: &Topology) -> Result<String> {
    let path = net.file("file");
    if !Path::exists(&path) {
        let bytes: Vec<u8> =
            (0..750_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
        fs::write(&path, bytes)?;
    }
    Ok(path.to_string_lossy().into_owned())
}
