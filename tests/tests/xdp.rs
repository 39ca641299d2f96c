//! Native XDP on the uplink, where the user asks for it on an interface that portlane would not choose.
#![cfg(feature = "root")]

use anyhow::{Result, ensure};
use portlane_tests::topology::{Topology, at, both, each, test_with};

const NATIVE: &str = r#"{"portlane": {"xdp": "native"}}"#;
/// 100 MB.
const LONG: u64 = 100_000_000;

#[test]
fn published_ports_and_masquerade_work_behind_native_xdp() -> Result<()> {
    test_with(NATIVE, |net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        ensure_native(net)?;
        each(|family, proto| {
            let answer = net.outside().ask(proto, at(family.host(), 8080))?;
            ensure!(answer.seen.ip() == family.outside(), "{answer:?}");
            let answer = web.inside().ask(proto, at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == family.host(), "{answer:?}");
            Ok(())
        })?;
        both(|family| {
            web.inside().ping(family.outside())?;
            net.outside().ping(family.host())
        })?;
        // What looks at the uplink's packets before tc sees them with the container's port: XDP has translated them.
        let mut tap = net.host().dialog("sums.py", &["listen", "80"])?;
        each(|family, proto| {
            net.outside().ask(proto, at(family.host(), 8080))?;
            // Those of the protocol before are still in the queue.
            while !tap.say("next").and_then(said)?.starts_with(proto) {}
            Ok(())
        })
    })
}

#[test]
fn a_containers_address_is_closed_to_the_outside_behind_native_xdp() -> Result<()> {
    test_with(NATIVE, |net| {
        let web = net.container("web", "-p 8080:80", "tcp [::]:80 udp [::]:80")?;
        both(|family| {
            let (address, host) = (web.address(family).to_string(), family.host().to_string());
            net.outside().run(&["ip", "route", "add", &address, "via", &host]).map(drop)
        })?;
        each(|family, proto| net.outside().no_answer(proto, at(web.address(family), 80)))?;
        let stats = net.json(&["stats"])?;
        let refused = stats["reasons"].as_array().into_iter().flatten();
        let by_xdp = refused.filter(|row| row["reason"] == "direct-access" && row["hook"] == "from_uplink_xdp");
        let packets: u64 = by_xdp.filter_map(|row| row["packets"].as_u64()).sum();
        ensure!(packets >= 4, "not refused by XDP: {stats}");
        Ok(())
    })
}

#[test]
fn a_hundred_megabytes_pass_native_xdp_each_way() -> Result<()> {
    test_with(NATIVE, |net| {
        let _server = net.outside().serve("stream [::]:9000")?;
        let web = net.container("web", "-p 8080:80", "stream [::]:80")?;
        ensure_native(net)?;
        both(|family| {
            net.outside().streams(at(family.host(), 8080), LONG)?;
            web.inside().streams(at(family.outside(), 9000), LONG)
        })
    })
}

fn said(answer: String) -> Result<String> {
    ensure!(answer != "silence", "no packet comes");
    Ok(answer)
}

/// The kernel's word for a driver's own XDP is 1, for the generic one 2.
fn ensure_native(net: &Topology) -> Result<()> {
    let text = net.host().run(&["ip", "-j", "link", "show", "dev", "up0"])?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(links[0]["xdp"]["mode"] == 1, "no native XDP on up0: {text}");
    Ok(())
}
