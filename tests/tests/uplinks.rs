//! The host's uplinks come, change their addresses and go, and a daemon follows.
#![cfg(feature = "root")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Topology, at, both, test, until};
use serde_json::Value;

#[test]
fn masquerade_and_published_ports_follow_the_hosts_uplinks() -> Result<()> {
    test(|net| {
        let _daemon = net.daemon()?;
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        let host = |command: &str| {
            let words: Vec<&str> = command.split(' ').collect();
            net.host().run(&[&["ip"], &words[..]].concat())
        };
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let mut conversations = Vec::new();
        both(|family| {
            let conversation = web.inside().converse("udp", at(family.outside(), 9000), &[])?;
            ensure!(conversation.first()?.seen.ip() == family.host(), "{:?}", conversation.first()?);
            conversations.push(conversation);
            Ok(())
        })?;
        // As DHCP does it when a lease changes.
        let (four, six) = ("192.0.2.77", "2001:db8:1::77");
        host(&format!("addr add {four}/24 dev up0"))?;
        host("addr del 192.0.2.1/24 dev up0")?;
        host(&format!("addr replace {four}/24 dev up0"))?;
        host("addr del 2001:db8:1::1/64 dev up0")?;
        host(&format!("addr add {six}/64 dev up0 nodad"))?;
        let moved = |family: Family| if family == Family::V4 { four.parse::<IpAddr>() } else { six.parse() };
        until(|| Ok(uplinks(net)?.contains(four) && uplinks(net)?.contains(six)))?;
        both(|family| {
            let answer = web.inside().ask("tcp", at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == moved(family)?, "a new connection: {answer:?}");
            net.outside().ask("tcp", at(moved(family)?, 8080)).map(drop).context("the published port")
        })?;
        for (conversation, family) in conversations.iter_mut().zip(Family::BOTH) {
            let answer = conversation.again().context("a socket that is in use")?;
            ensure!(answer.seen.ip() == moved(family)?, "a socket that is in use: {answer:?}");
        }

        net.second_uplink()?;
        both(|family| until(|| Ok(net.outside().ask("tcp", at(family.second_host(), 8080)).is_ok())))?;
        ensure!(net.portlane(&["status"])?.contains("from_uplink on up1"), "up1 has no program");
        host("link del up1")?;
        until(|| Ok(!uplinks(net)?.contains("198.51.100.1")))?;
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "something is left");
        Ok(())
    })
}

/// The map that says what is masqueraded as what, in people's words.
fn uplinks(net: &Topology) -> Result<String> {
    let text = |octets: &Value| -> Result<String> {
        let octets = octets.as_array().context("no octets")?.iter();
        let octets: Vec<u8> = octets.filter_map(Value::as_u64).filter_map(|octet| octet.try_into().ok()).collect();
        Ok(match <[u8; 4]>::try_from(octets.as_slice()) {
            Ok(four) => Ipv4Addr::from(four).to_string(),
            Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(octets.as_slice())?).to_string(),
        })
    };
    let rows = net.dump("pl_uplink")?;
    let addresses = rows.iter().flat_map(|row| [&row["value"]["addr4"]["octets"], &row["value"]["addr6"]["octets"]]);
    Ok(addresses.map(text).collect::<Result<Vec<_>>>()?.join(" "))
}
