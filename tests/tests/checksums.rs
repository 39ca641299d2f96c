//! Checksums are changed with what they cover, and never made anew: a packet that was damaged before it came to the host
//! is still seen to be damaged by who gets it.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Dialog, Family, Way, both, test_with};

/// Each way of meeting packets that come from outside.
const CONFIGURATIONS: [&str; 2] = ["{}", r#"{"portlane": {"xdp": "native"}}"#];
const FROM: u16 = 40_000;

#[test]
fn a_datagram_with_a_wrong_checksum_arrives_with_a_wrong_one_and_is_dropped_there() -> Result<()> {
    either_way("9000/udp", |way, listener| {
        both(|family| {
            let counter = if family == Family::V4 { "UdpInCsumErrors" } else { "Udp6InCsumErrors" };
            let before = way.server.counter(counter)?;
            for (number, sum) in ["right", "wrong", "right"].into_iter().enumerate() {
                let size = 100 + number;
                send(way, family, "udp", sum, size)?;
                listener.expect("next", &format!("udp {sum} {size}"))?;
            }
            // Had the stack taken the wrong one, it would be between the two.
            let right = format!("right {} {FROM}", way.seen(family));
            listener.expect("heard", &right)?;
            listener.expect("heard", &right)?;
            let dropped = way.server.counter(counter)? - before;
            ensure!(dropped == 1, "{dropped} datagrams were dropped");
            Ok(())
        })
    })
}

#[test]
fn a_syn_with_a_wrong_checksum_arrives_with_a_wrong_one_and_is_dropped_there() -> Result<()> {
    either_way("9000/tcp", |way, listener| {
        // Sums of its stack's own packets are made before they leave.
        way.client.offload("eth0", "tx off")?;
        both(|family| {
            let before = way.server.counter("TcpInCsumErrors")?;
            for (sum, size) in [("wrong", 0), ("right", 0)] {
                send(way, family, "tcp", sum, size)?;
                listener.expect("next", &format!("tcp {sum} {size}"))?;
            }
            // The client's stack knows nothing of what it should have begun, and rejects the answer to the right one.
            listener.expect("next", "tcp right 0")?;
            let dropped = way.server.counter("TcpInCsumErrors")? - before;
            ensure!(dropped == 1, "{dropped} SYNs were dropped");
            Ok(())
        })
    })
}

#[test]
fn a_datagram_without_a_checksum_arrives_without_one() -> Result<()> {
    either_way("9000/udp", |way, listener| {
        both(|family| {
            send(way, family, "udp", "none", 100)?;
            listener.expect("next", "udp none 100")?;
            send(way, family, "udp", "right", 100)?;
            listener.expect("next", "udp right 100")?;
            // IPv6 has no such datagrams (RFC 8200 §8.1): the stack drops it.
            let taken: &[_] = if family == Family::V4 { &["none", "right"] } else { &["right"] };
            for sum in taken {
                listener.expect("heard", &format!("{sum} {} {FROM}", way.seen(family)))?;
            }
            Ok(())
        })
    })
}

/// Runs a check either way, in each configuration, beside a dialog with who listens at the server.
fn either_way(port: &str, check: impl Fn(&Way<'_>, &mut Dialog) -> Result<()>) -> Result<()> {
    for configuration in CONFIGURATIONS {
        test_with(configuration, |net| {
            net.either_way("", port, |way| check(way, &mut way.server.dialog("sums.py", &["listen", "9000"])?))
        })
        .context(configuration)?;
    }
    Ok(())
}

/// Sends a packet with so many bytes of payload from client to server.
fn send(way: &Way<'_>, family: Family, proto: &str, sum: &str, bytes: usize) -> Result<()> {
    let (source, target) = (way.client_address(family), way.at(family, 9000));
    let [source, address] = [source, target.ip()].map(|address| address.to_string());
    let [port, from, bytes] = [usize::from(target.port()), FROM.into(), bytes].map(|number| number.to_string());
    way.client.script("sums.py", &["send", proto, &source, &address, &port, &from, sum, &bytes]).map(drop)
}
