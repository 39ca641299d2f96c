//! Ports that the host's own clients use, or that its administrator keeps: neither a published port nor a masqueraded
//! conversation takes them away.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Conversation, PROTOS, Topology, at, each, test};

/// What the machine outside serves.
const SERVER: &str = "tcp [::]:9000 udp [::]:9000";

#[test]
fn a_host_client_whose_port_is_published_later_keeps_its_conversation() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let web = net.container("web", "", "tcp [::]:80 udp [::]:80")?;
        let mut talks = Vec::new();
        each(|family, proto| {
            let from = at(family.host(), 45_007).to_string();
            // A UDP socket without a peer would be a server's, which nothing is published over.
            let options = if proto == "udp" { &["--from", &from, "--connect"][..] } else { &["--from", &from] };
            talks.push(net.host().converse(proto, at(family.outside(), 9000), options)?);
            Ok(())
        })?;
        for proto in PROTOS {
            net.portlane(&["publish", web.name(), &format!("45007:80/{proto}")])?;
        }
        for _ in 0..2 {
            each(|family, proto| {
                let answer = net.outside().ask(proto, at(family.host(), 45_007))?;
                ensure!(answer.by == "web", "{answer:?}");
                Ok(())
            })?;
            talks.iter_mut().try_for_each(Conversation::goes_on)?;
        }
        Ok(())
    })
}

#[test]
fn a_host_client_begins_from_a_port_that_containers_masquerade_with() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let client = net.container("client", "", "")?;
        each(|family, proto| {
            let server = at(family.outside(), 9000);
            let from = at(family.any(), 46_000).to_string();
            let mut inner = client.inside().converse(proto, server, &["--from", &from])?;
            // The port of the container's conversation is the container's as long as it lasts; others are free.
            for port in [46_001, 46_002] {
                let from = at(family.host(), port).to_string();
                let mut own = net.host().converse(proto, server, &["--from", &from])?;
                [&mut own, &mut inner].into_iter().try_for_each(Conversation::goes_on)?;
                ensure!(own.first()?.seen == at(family.host(), port), "{:?}", own.first()?);
            }
            Ok(())
        })
    })
}

#[test]
fn a_port_that_the_administrator_set_aside_is_not_masqueraded_with() -> Result<()> {
    test(|net| {
        set_aside(net, "40000-40999,41001")?;
        let _server = net.outside().serve(SERVER)?;
        let client = net.container("client", "", "")?;
        each(|family, proto| {
            for (own, kept) in [(40_000, true), (40_999, true), (41_000, false), (41_001, true), (41_002, false)] {
                let answer = client.inside().ask_from(at(family.any(), own), proto, at(family.outside(), 9000))?;
                let port = answer.seen.port();
                ensure!(answer.seen.ip() == family.host(), "{answer:?}");
                if kept {
                    ensure!(!(40_000..41_000).contains(&port) && port != 41_001, "port {own} goes out as {port}");
                    ensure!(port % 2 == own % 2, "port {own} goes out as {port}, of another parity");
                } else {
                    ensure!(port == own, "port {own} goes out as {port}");
                }
            }
            Ok(())
        })
    })
}

#[test]
fn many_conversations_from_one_port_find_others_outside_of_what_is_set_aside_and_published() -> Result<()> {
    test(|net| {
        // Most ports above 1024 are not to be had.
        set_aside(net, "1024-19999")?;
        let _server = net.outside().serve(SERVER)?;
        let _web = net.container("web", "-p 20000-39999:20000-39999/tcp -p 20000-39999:20000-39999/udp", "")?;
        let containers = ["one", "two", "three", "four"].map(|name| net.container(name, "", ""));
        let containers = containers.into_iter().collect::<Result<Vec<_>>>()?;
        each(|family, proto| {
            let from = at(family.any(), 49_500).to_string();
            let mut talks = Vec::new();
            for container in &containers {
                let talk = container.inside().converse(proto, at(family.outside(), 9000), &["--from", &from]);
                talks.push(talk.with_context(|| container.name().to_owned())?);
            }
            let mut ports = Vec::new();
            for talk in &mut talks {
                let seen = talk.again()?.seen;
                ensure!(seen.port() >= 40_000, "{seen} is set aside or published");
                ensure!(!ports.contains(&seen), "two containers are {seen}");
                ports.push(seen);
            }
            Ok(())
        })
    })
}

/// Sets ports aside, as administrators do; portlane is to know by the time it starts a container.
fn set_aside(net: &Topology, ports: &str) -> Result<()> {
    let file = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    net.host().run(&["sh", "-c", &format!("echo {ports} > {file}")]).map(drop)
}
