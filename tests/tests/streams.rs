//! Long streams, with the offloads that interfaces have by themselves: each must arrive whole and in order.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Topology, at, both, either_way, test};

/// 100 MB.
const LONG: u64 = 100_000_000;
/// 10 MB.
const SHORT: u64 = 10_000_000;
/// Bytes of the largest packet on a wire without offloads.
const FRAME: u64 = 1514;

#[test]
fn a_hundred_megabytes_pass_a_published_port_each_way() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "stream [::]:80")?;
        both(|family| net.outside().streams(at(family.host(), 8080), LONG))?;
        ensure_offloads(net)
    })
}

#[test]
fn a_hundred_megabytes_pass_the_masquerade_each_way() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("stream [::]:9000")?;
        let client = net.container("client", "", "")?;
        both(|family| client.inside().streams(at(family.outside(), 9000), LONG))?;
        ensure_offloads(net)
    })
}

#[test]
fn a_hundred_megabytes_pass_from_container_to_container_each_way() -> Result<()> {
    test(|net| {
        let (web, client) = (net.container("web", "", "stream [::]:80")?, net.container("client", "", "")?);
        both(|family| client.inside().streams(at(web.address(family), 80), LONG))
    })
}

#[test]
fn a_hundred_megabytes_pass_from_a_host_process_to_a_published_port_each_way() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "stream [::]:80")?;
        both(|family| net.host().streams(at(family.loopback(), 8080), LONG))
    })
}

#[test]
fn ten_megabytes_that_interfaces_of_the_host_put_together_pass_each_way() -> Result<()> {
    either_way("9000/tcp", |net, way| {
        let _server = way.server.serve("stream [::]:9000")?;
        let ends = [net.outside(), way.container.inside()];
        // With checksums left to the next one, and made; as one packet, and as a list of them.
        for (senders, host) in [("tx on tso off", "gro on"), ("tx off", "gro on"), ("tx off", "gro on rx-gro-list on")]
        {
            for end in &ends {
                end.offload("eth0", senders)?;
            }
            for interface in ["up0", &way.container.field("veth")] {
                net.host().offload(interface, host)?;
            }
            both(|family| way.streams_in_packets_above(FRAME, net, family, 9000, SHORT))
                .with_context(|| format!("senders {senders}, host {host}"))?;
        }
        Ok(())
    })
}

/// What passed the uplink was larger than a frame, on average and each way: no one has cut it up before its time.
fn ensure_offloads(net: &Topology) -> Result<()> {
    let text = net.host().run(&["ip", "-j", "-s", "link", "show", "dev", "up0"])?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    for way in ["rx", "tx"] {
        let count = |what: &str| links[0]["stats64"][way][what].as_u64().with_context(|| format!("no {what}: {text}"));
        let (bytes, packets) = (count("bytes")?, count("packets")?);
        ensure!(bytes > 2 * LONG, "only {bytes} bytes {way}: the stream went elsewhere");
        // Acknowledgements go the same way, and are small.
        ensure!(bytes / packets > FRAME, "{bytes} bytes in {packets} packets {way}: segmented too early");
    }
    Ok(())
}
