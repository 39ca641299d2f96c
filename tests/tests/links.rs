//! What a network's links carry beyond ordinary packets when they are asked to: large packets between its containers, TCP
//! trains of more than 64 KiB, segments that the host puts together. What leaves is as large as the uplink can carry.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Container, Dialog, Family, Place, Topology, at, both, test};
use serde_json::Value;

/// Bytes of the longest ordinary train, and of those of BIG TCP.
const ORDINARY: u64 = 65_536;
const BIG: u64 = 196_608;
/// 20 MB.
const LONG: u64 = 20_000_000;
/// Bytes of the largest packet on an ordinary cable, and with its Ethernet header.
const PACKET: u64 = 1500;
const FRAME: u64 = 1514;

#[test]
fn repair_gives_a_link_back_what_goes_with_an_mtu_too_small_for_ipv6() -> Result<()> {
    with_network("link-mtu=9000", |net| {
        let web = net.container("web", "--network wide", "tcp [::]:80")?;
        for (place, interface) in [(net.host(), web.field("veth")), (web.inside(), "eth0".to_owned())] {
            place.set_mtu(&interface, 1200)?;
            net.portlane(&["repair"]).with_context(|| interface.clone())?;
            ensure!(steps(net)?.is_empty(), "{interface}: {:?}", steps(net)?);
            both(|family| net.host().ask("tcp", at(web.address(family), 80)).map(drop)).context(interface)?;
        }
        Ok(())
    })
}

#[test]
fn long_trains_pass_whole_masqueraded_and_published() -> Result<()> {
    with_network("big-tcp=true", |net| {
        let big = both_ends_carry(net, BIG)?;
        net.portlane(&["repair"])?;
        net.either_way("--network wide", "9000/tcp", |way| {
            let _server = way.server.serve("stream [::]:9000")?;
            let mut watchers = [watch(&way.container.inside())?, watch(&net.outside())?];
            both(|family| {
                way.client.streams(way.at(family, 9000), LONG)?;
                for watcher in &mut watchers {
                    let longest = longest(watcher, family)?;
                    ensure!((longest > ORDINARY) == big.contains(&family), "the longest had {longest} bytes");
                }
                Ok(())
            })
        })
    })
}

#[test]
fn long_trains_pass_whole_between_containers() -> Result<()> {
    with_network("big-tcp=true", |net| {
        let big = both_ends_carry(net, BIG)?;
        let server = net.container("server", "--network wide", "stream [::]:9000")?;
        let client = net.container("client", "--network wide", "")?;
        let mut watcher = watch(&server.inside())?;
        both(|family| {
            client.inside().streams(at(server.address(family), 9000), LONG)?;
            let longest = longest(&mut watcher, family)?;
            ensure!((longest > ORDINARY) == big.contains(&family), "the longest had {longest} bytes");
            Ok(())
        })
    })
}

#[test]
fn trains_are_as_long_as_the_uplink_carries_and_status_says_what_to_do() -> Result<()> {
    with_network("big-tcp=true", |net| {
        let _server = net.outside().serve("stream [::]:9000")?;
        let client = net.container("client", "--network wide", "")?;
        let mut watcher = watch(&net.outside())?;
        let mut stream = |big: &[Family]| {
            both(|family| {
                client.inside().streams(at(family.outside(), 9000), LONG)?;
                let longest = longest(&mut watcher, family)?;
                ensure!((longest > ORDINARY) == big.contains(&family), "{longest} bytes, not {big:?}");
                let held = net.json(&["status"])?["held"].to_string();
                ensure!(held.contains(words(family)[1]) != big.contains(&family), "{held}");
                Ok(())
            })
        };
        stream(&[])?;
        let big = both_ends_carry(net, BIG)?;
        ensure!(!big.is_empty(), "a veth pair carries none");
        net.portlane(&["repair"])?;
        stream(&big)?;
        both_ends_carry(net, ORDINARY)?;
        net.portlane(&["repair"])?;
        stream(&[])
    })
}

#[test]
fn packets_of_sixty_thousand_bytes_pass_between_containers_and_none_larger_than_the_uplinks_leaves() -> Result<()> {
    with_network("link-mtu=65535", |net| {
        let server = net.container("server", "--network wide", "")?;
        let client = net.container("client", "--network wide", "")?;
        let _near = server.inside().start_script("pieces.py", &["serve", "9000"])?;
        let _far = net.outside().start_script("pieces.py", &["serve", "9000"])?;
        let _streams = net.outside().serve("stream [::]:9001")?;
        client.inside().offload("eth0", "tso off gso off")?;
        let mut leaving = watch(&net.outside())?;
        let mut arriving = watch(&server.inside())?;
        both(|family| {
            pass(&client, server.address(family).to_string(), 60_000)?;
            let longest_near = longest(&mut arriving, family)?;
            ensure!(longest_near > 60_000, "the longest packet between them had {longest_near} bytes");
            let said = datagram(&client, family, 8192)?;
            ensure!(said == format!("too large: {PACKET}"), "{said}");
            pass(&client, family.outside().to_string(), 8192)?;
            client.inside().streams(at(family.outside(), 9001), LONG)?;
            let longest_far = longest(&mut leaving, family)?;
            ensure!(longest_far <= PACKET, "{longest_far} bytes left");
            Ok(())
        })
    })
}

#[test]
fn segments_that_a_container_sends_one_by_one_are_put_together_by_the_host() -> Result<()> {
    with_network("gro=true", |net| {
        let server = net.container("server", "--network wide", "stream [::]:9000")?;
        let client = net.container("client", "--network wide", "")?;
        for end in [&server, &client] {
            end.inside().offload("eth0", "tso off gso off")?;
        }
        both(|family| {
            let before = server.inside().received("eth0")?;
            client.inside().streams(at(server.address(family), 9000), LONG)?;
            let after = server.inside().received("eth0")?;
            let (bytes, packets) = (after.0 - before.0, after.1 - before.1);
            ensure!(bytes / packets > 2 * FRAME, "{bytes} bytes came in {packets} packets");
            Ok(())
        })
    })
}

#[test]
fn repair_gives_links_back_what_their_network_asks_for() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "-o", "link-mtu=9000", "-o", "gro=true", "wide"])?;
        let client = net.container("client", "--network wide", "")?;
        let veth = client.field("veth");
        let (inside, gateway) = (client.inside(), gateway(net)?);
        let by_hand: [(Place<'_>, &[&str]); 4] = [
            (client.inside(), &["ip", "link", "set", "eth0", "mtu", "1400"]),
            (net.host(), &["ip", "link", "set", &veth, "mtu", "1500"]),
            (net.host(), &["ethtool", "-K", &veth, "gro", "off"]),
            (
                client.inside(),
                &["ip", "route", "replace", "default", "via", &gateway, "dev", "eth0", "proto", "static"],
            ),
        ];
        for (place, words) in by_hand {
            ensure!(steps(net)?.is_empty(), "before {words:?}: {:?}", steps(net)?);
            place.run(words)?;
            ensure!(!steps(net)?.is_empty(), "after {words:?}");
            net.portlane(&["repair"])?;
        }
        let route = inside.run(&["ip", "route", "show", "default"])?;
        ensure!(route.contains("mtu 1500"), "{route}");
        let features = net.host().run(&["ethtool", "-k", &veth])?;
        ensure!(features.contains("generic-receive-offload: on"), "{features}");
        Ok(())
    })
}

#[test]
fn a_bridge_has_its_networks_mtu_with_containers_on_it_and_after_the_last_one() -> Result<()> {
    test(|net| {
        for (network, option, mtu) in [("wide", "link-mtu=9000", "9000"), ("narrow", "mtu=1400", "1400")] {
            net.portlane(&["network", "create", "-o", option, network])?;
            let bridge = net.json(&["network", "inspect", network])?["bridge"].as_str().context("a bridge")?.to_owned();
            for _ in 0..2 {
                net.portlane(&["run", "--rm", "--network", network, "--", "true"])?;
                let shown = net.host().run(&["ip", "link", "show", "dev", &bridge])?;
                ensure!(shown.contains(&format!("mtu {mtu} ")) && steps(net)?.is_empty(), "{shown}{:?}", steps(net)?);
            }
        }
        Ok(())
    })
}

#[test]
fn a_network_says_what_its_links_carry() -> Result<()> {
    with_network("link-mtu=9000", |net| {
        let network = net.json(&["network", "inspect", "wide"])?;
        let shown = ["mtu", "link_mtu", "gro", "big_tcp"].map(|field| network[field].clone());
        ensure!(shown == [Value::from(1500), 9000.into(), false.into(), false.into()], "{shown:?}");
        let said = net.refused(&["network", "create", "-o", "link-mtu=1400", "other"])?;
        ensure!(said.contains("choose one from 1500 to 65535"), "{said}");
        Ok(())
    })
}

/// Runs a check with a network `wide` that has an option.
fn with_network(option: &str, check: impl FnOnce(&Topology) -> Result<()>) -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "-o", option, "wide"])?;
        check(net)
    })
}

/// Has both ends of the uplink carry trains of so many bytes; the families that this kernel has them for.
fn both_ends_carry(net: &Topology, bytes: u64) -> Result<Vec<Family>> {
    net.outside().script("carries.py", &["set", "eth0", &bytes.to_string()])?;
    let said = net.host().script("carries.py", &["set", "up0", &bytes.to_string()])?;
    let has = |family: &Family| said.split_whitespace().any(|word| word == words(*family)[0]);
    Ok([Family::V4, Family::V6].into_iter().filter(has).collect())
}

/// Sees what comes in by somebody's `eth0`.
fn watch(place: &Place<'_>) -> Result<Dialog> {
    place.dialog("carries.py", &["watch", "eth0"])
}

/// Bytes of the longest IP packet that came in since the last time.
fn longest(watcher: &mut Dialog, family: Family) -> Result<u64> {
    Ok(watcher.say(words(family)[0])?.parse()?)
}

/// A family as `carries.py` calls it, and as `status` does.
fn words(family: Family) -> [&'static str; 2] {
    if family == Family::V4 { ["v4", "over IPv4"] } else { ["v6", "over IPv6"] }
}

fn pass(client: &Container<'_>, address: String, bytes: usize) -> Result<()> {
    let options = ["whole", &address, "9000", &bytes.to_string(), "40000"];
    client.inside().script("pieces.py", &options).with_context(|| format!("{bytes} bytes to {address}")).map(drop)
}

/// What becomes of a datagram to outside that may not be cut up.
fn datagram(client: &Container<'_>, family: Family, bytes: usize) -> Result<String> {
    client.inside().script("udp.py", &[&family.outside().to_string(), "9000", &bytes.to_string()])
}

/// The IPv4 address of the network's bridge.
fn gateway(net: &Topology) -> Result<String> {
    let network = net.json(&["network", "inspect", "wide"])?;
    Ok(network["gateway4"].as_str().with_context(|| format!("no gateway in {network}"))?.to_owned())
}

/// What `repair` would do.
fn steps(net: &Topology) -> Result<Vec<Value>> {
    let steps = net.json(&["repair", "--dry-run"])?;
    Ok(steps.as_array().context("no list")?.clone())
}
