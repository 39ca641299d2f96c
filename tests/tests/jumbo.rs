//! Jumbo frames: packets of up to 9000 bytes, which a container's network and the uplink both carry, or only one of them.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Topology, Way, at, both, test};

const JUMBO: u16 = 9000;
/// What other cables carry.
const ORDINARY: u16 = 1500;
/// Bytes of the largest packet on those.
const FRAME: u64 = 1514;
/// 10 MB.
const LONG: u64 = 10_000_000;
const FROM: u16 = 40_000;

#[test]
fn datagrams_of_eight_kilobytes_pass_in_one_piece() -> Result<()> {
    jumbo("9000/udp", |net, way| {
        let _server = way.server.start_script("pieces.py", &["serve", "9000"])?;
        both(|family| {
            let before = reassembled(net, way, family)?;
            let largest = usize::from(JUMBO) - family.headers();
            for size in [8192, largest] {
                pass(way, family, size)?;
            }
            let pieces = reassembled(net, way, family)? - before;
            ensure!(pieces == 0, "they came in {pieces} pieces");
            for (size, fate) in [(largest, "answered"), (largest + 1, "too large: 9000")] {
                let said = datagram(way, family, size)?;
                ensure!(said == fate, "{size} bytes: {said}");
            }
            Ok(())
        })
    })
}

#[test]
fn datagrams_that_are_too_large_even_for_jumbo_frames_pass_in_pieces() -> Result<()> {
    jumbo("9000/udp", |_, way| {
        let _server = way.server.start_script("pieces.py", &["serve", "9000"])?;
        both(|family| {
            let largest = usize::from(JUMBO) - family.headers();
            [largest + 1, 20_000, 65_000].into_iter().try_for_each(|size| pass(way, family, size))
        })
    })
}

#[test]
fn trains_of_datagrams_of_eight_kilobytes_pass() -> Result<()> {
    jumbo("9000/udp", |net, way| {
        let _server = way.server.start_script("trains.py", &["whole", "serve", "9000"])?;
        both(|family| {
            let target = way.at(family, 9000);
            let (address, port, from) = (target.ip().to_string(), target.port().to_string(), FROM.to_string());
            for (words, pieces) in [("tx on", "1 1"), ("tx off", "8 8")] {
                for place in [net.outside(), way.container.inside()] {
                    place.offload("eth0", words)?;
                }
                let said = way.client.script("trains.py", &["whole", "send", &address, &port, &from, "7x8192"])?;
                let wanted = format!("{} {pieces}", at(way.seen(family), FROM));
                ensure!(said == wanted, "{words}: {said} instead of {wanted}");
            }
            Ok(())
        })
    })
}

#[test]
fn streams_pass_in_jumbo_frames() -> Result<()> {
    jumbo("9000/tcp", |net, way| {
        let _server = way.server.serve("stream [::]:9000")?;
        for end in [net.outside(), way.container.inside()] {
            end.offload("eth0", "tso off gso off")?;
        }
        both(|family| way.streams_in_packets_above(FRAME, net, family, 9000, LONG))
    })
}

#[test]
fn a_packet_whose_ip_header_lies_apart_passes() -> Result<()> {
    jumbo("9000/udp", |net, way| {
        let mut listener = way.server.dialog("sums.py", &["listen", "9000"])?;
        let mac = next_hop(net, way)?;
        both(|family| {
            let target = way.at(family, 9000);
            let [source, address] = [way.client_address(family), target.ip()].map(|address| address.to_string());
            let (port, from) = (target.port().to_string(), FROM.to_string());
            for sum in ["right", "wrong"] {
                let options = ["send", "udp", &source, &address, &port, &from, sum, "8192", &mac];
                way.client.script("sums.py", &options)?;
                listener.expect("next", &format!("udp {sum} 8192"))?;
            }
            listener.expect("heard", &format!("right {} {FROM}", way.seen(family)))
        })
    })
}

#[test]
fn a_container_with_jumbo_frames_behind_an_ordinary_uplink_is_told_how_large_packets_may_be() -> Result<()> {
    test(|net| {
        jumbo_network(net)?;
        net.either_way("--network jumbo", "9000/udp 9001/tcp 9002/udp", |way| {
            let _server = way.server.start_script("pieces.py", &["serve", "9000"])?;
            let _streams = way.server.serve("stream [::]:9001")?;
            both(|family| {
                if way.published {
                    answer_too_large(way, family)?;
                } else {
                    let said = datagram(way, family, 8192)?;
                    ensure!(said == format!("too large: {ORDINARY}"), "{said}");
                }
                // It cuts up its datagrams itself from now on.
                pass(way, family, 8192)?;
                way.client.streams(way.at(family, 9001), LONG)
            })
        })
    })
}

#[test]
fn an_uplink_that_gets_jumbo_frames_later_carries_no_packet_with_a_containers_own_address() -> Result<()> {
    test(|net| {
        jumbo_network(net)?;
        let client = net.container("client", "--network jumbo", "")?;
        let mut listener = net.outside().dialog("sums.py", &["listen", "9000"])?;
        both(|family| {
            let (source, target) = (client.address(family).to_string(), family.outside().to_string());
            // The conversation begins before, and goes on with larger packets.
            for (mtu, bytes) in [(ORDINARY, "100"), (JUMBO, "8192")] {
                net.host().set_mtu("up0", mtu)?;
                net.outside().set_mtu("eth0", mtu)?;
                let options = ["send", "udp", &source, &target, "9000", &FROM.to_string(), "right", bytes];
                client.inside().script("sums.py", &options)?;
                let wanted = format!("right {} {FROM}", family.host());
                listener.expect("heard", &wanted).with_context(|| format!("{bytes} bytes"))?;
            }
            Ok(())
        })
    })
}

/// The server's answer is lost when it is too large, and the next one is not.
fn answer_too_large(way: &Way<'_>, family: Family) -> Result<()> {
    let mut server = way.server.dialog("end.py", &["udp", "listen", "9002"])?;
    let mut client = way.client.calls("udp", way.at(family, 9002))?;
    client.expect("say word", "said")?;
    server.expect("hear", "word")?;
    let answer = "x".repeat(ORDINARY.into());
    let say = format!("say {answer}");
    server.expect(&say, "said")?;
    client.expect("quiet", "silence")?;
    // IPv4 tells connected sockets by an error, in place of sending the next one.
    if server.say(&say)? != "said" {
        server.expect(&say, "said")?;
    }
    client.expect("hear", &answer)
}

/// Runs a check either way, with jumbo frames on the uplink and on the container's network.
fn jumbo(ports: &str, mut check: impl FnMut(&Topology, &Way<'_>) -> Result<()>) -> Result<()> {
    test(|net| {
        net.host().set_mtu("up0", JUMBO)?;
        net.outside().set_mtu("eth0", JUMBO)?;
        jumbo_network(net)?;
        net.either_way("--network jumbo", ports, |way| check(net, way))
    })
}

fn jumbo_network(net: &Topology) -> Result<()> {
    net.portlane(&["network", "create", "--ipv6", "-o", &format!("mtu={JUMBO}"), "jumbo"]).map(drop)
}

/// A datagram goes to the server of `pieces.py`, and as many bytes come back.
fn pass(way: &Way<'_>, family: Family, bytes: usize) -> Result<()> {
    let target = way.at(family, 9000);
    let (address, port) = (target.ip().to_string(), target.port().to_string());
    let options = ["whole", &address, &port, &bytes.to_string(), &FROM.to_string()];
    way.client.script("pieces.py", &options).with_context(|| format!("{bytes} bytes")).map(drop)
}

/// What becomes of a datagram that may not be cut up.
fn datagram(way: &Way<'_>, family: Family, bytes: usize) -> Result<String> {
    let target = way.at(family, 9000);
    way.client.script("udp.py", &[&target.ip().to_string(), &target.port().to_string(), &bytes.to_string()])
}

/// Pieces of packets that came to either end.
fn reassembled(net: &Topology, way: &Way<'_>, family: Family) -> Result<u64> {
    let counter = if family == Family::V4 { "IpReasmReqds" } else { "Ip6ReasmReqds" };
    Ok(net.outside().counter(counter)? + way.container.inside().counter(counter)?)
}

/// The MAC address of whom the client sends its packets to.
fn next_hop(net: &Topology, way: &Way<'_>) -> Result<String> {
    let network = net.json(&["network", "inspect", "jumbo"])?;
    let bridge = network["bridge"].as_str().with_context(|| format!("no bridge in {network}"))?;
    let interface = if way.published { "up0" } else { bridge };
    net.host().mac(interface)
}
