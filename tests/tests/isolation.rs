//! Who may not reach whom.
#![cfg(feature = "root")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Container, Family, PROTOS, Place, Topology, at, both, each, test, test_with, until};

/// What containers serve here.
const SERVER: &str = "tcp [::]:80 udp [::]:80 tcp [::]:81";
/// Without containers' isolation from each other.
const NO_ICC: &str = r#"{"icc": false}"#;

#[test]
fn ports_that_are_not_published_are_closed_to_the_outside() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", SERVER)?;
        both(|family| {
            net.outside().ask("tcp", at(family.host(), 8080))?;
            net.outside().no_answer("udp", at(family.host(), 8080))?;
            net.outside().no_answer("tcp", at(family.host(), 80))?;
            net.outside().no_answer("udp", at(family.host(), 80))?;
            net.outside().no_answer("tcp", at(family.host(), 81))
        })
    })
}

#[test]
fn a_containers_own_address_is_closed_to_the_outside_even_to_who_has_a_route() -> Result<()> {
    test(|net| {
        let web = net.container("web", "-p 8080:80", SERVER)?;
        both(|family| route_to(net, &web, family))?;
        let before = net.counted("direct-access")?;
        each(|family, proto| net.outside().no_answer(proto, at(web.address(family), 80)))?;
        both(|family| net.outside().no_echo(web.address(family)))?;
        ensure!(net.counted("direct-access")? >= before + 6, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn containers_of_a_network_reach_each_other_with_their_own_addresses() -> Result<()> {
    test(|net| {
        let (web, client) = (net.container("web", "", SERVER)?, net.container("client", "", "")?);
        each(|family, proto| {
            let answer = client.inside().ask(proto, at(web.address(family), 80))?;
            ensure!(answer.seen.ip() == client.address(family), "{answer:?}");
            Ok(())
        })?;
        both(|family| client.inside().ping(web.address(family)))
    })
}

#[test]
fn without_icc_containers_do_not_reach_each_other_but_reach_out_and_are_reached() -> Result<()> {
    test_with(NO_ICC, |net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let options = "--expose 80 --expose 80/udp -p 8080:80 -p 8080:80/udp";
        let (web, client) = (net.container("web", options, SERVER)?, net.container("client", "", "")?);
        let before = net.counted("icc-off")?;
        each(|family, proto| {
            client.inside().no_answer(proto, at(web.address(family), 80))?;
            client.inside().ask(proto, at(family.outside(), 9000))?;
            net.outside().ask(proto, at(family.host(), 8080)).map(drop)
        })?;
        both(|family| client.inside().no_echo(web.address(family)))?;
        ensure!(net.counted("icc-off")? >= before + 6, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn a_network_can_be_made_without_icc() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "-o", "icc=false", "quiet"])?;
        let web = net.container("web", "--network quiet", SERVER)?;
        let client = net.container("client", "--network quiet", "")?;
        each(|family, proto| client.inside().no_answer(proto, at(web.address(family), 80)))
    })
}

#[test]
fn a_link_opens_the_exposed_and_the_published_ports_one_way_and_nothing_else() -> Result<()> {
    test_with(NO_ICC, |net| {
        let options = "--expose 80 --expose 90-95/udp -p 8082:82";
        let serves = "tcp [::]:80 tcp [::]:81 tcp [::]:82 udp [::]:80 udp [::]:93";
        let db = net.container("db", options, serves)?;
        let app = net.container("app", "--link db:store", SERVER)?;
        let stranger = net.container("stranger", "", "")?;
        both(|family| {
            let open = [("tcp", 80), ("udp", 93), ("tcp", 82)];
            for (proto, port) in open {
                let answer = app.inside().ask(proto, at(db.address(family), port))?;
                ensure!(answer.seen.ip() == app.address(family), "{answer:?}");
                stranger.inside().no_answer(proto, at(db.address(family), port))?;
            }
            for (proto, port) in [("tcp", 81), ("udp", 80)] {
                app.inside().no_answer(proto, at(db.address(family), port))?;
            }
            db.inside().no_answer("tcp", at(app.address(family), 80))
        })?;
        for name in ["store", "db"] {
            let found = app.inside().run(&["getent", "ahosts", name])?;
            both(|family| {
                let address = db.address(family).to_string();
                ensure!(found.contains(&address), "{name} is not {address}: {found}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_container_that_starts_wakes_no_other_one_and_the_host_hears_which_groups_it_listens_to() -> Result<()> {
    test(|net| {
        let multicast = |place: Place<'_>, interface: &str, counter: &str| -> Result<u64> {
            let counters = place.run(&["cat", &format!("/proc/net/dev_snmp6/{interface}")])?;
            let mut words = counters.split_whitespace().skip_while(|word| *word != counter);
            words.nth(1).context("no such counter")?.parse().context("no number")
        };
        let bystander = net.container("bystander", "", "")?;
        let heard = || multicast(bystander.inside(), "eth0", "Ip6InMcastPkts");
        // What it says of itself comes at least twice (RFC 3810 §9.1).
        until(|| Ok(multicast(net.host(), "portlane0", "Ip6InMcastPkts")? >= 2))?;
        // The bridge's own address is the host's, which speaks to all.
        let spoken = || multicast(net.host(), "portlane0", "Ip6OutMcastPkts");
        let at_first = spoken()?;
        let (before, told) = (heard()?, multicast(net.host(), "portlane0", "Ip6InMcastPkts")?);
        let newcomer = net.container("newcomer", "", "")?;
        let said = || multicast(newcomer.inside(), "eth0", "Icmp6OutMLDv2Reports");
        until(|| Ok(said()? >= 2 && multicast(net.host(), "portlane0", "Ip6InMcastPkts")? - told >= said()?))?;
        let came = heard()? - before;
        let by_host = spoken()? - at_first;
        ensure!(
            came <= by_host,
            "{came} packets came to a container that nobody had to do with, {by_host} of the host's"
        );
        // Though who has something to say to all of them is heard, a host that asks for listeners or not.
        net.host().run(&["ip", "link", "set", "portlane0", "type", "bridge", "mcast_querier", "1"])?;
        newcomer.inside().run(&["ping", "-6", "-c1", "-W5", "-I", "eth0", "ff02::1"])?;
        ensure!(heard()? > before + came, "a packet to all nodes did not come to all");
        newcomer.inside().ping(bystander.address(Family::V6))
    })
}

#[test]
fn two_networks_do_not_reach_each_other() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "other"])?;
        let here = net.container("here", "-p 8080:80 -p 8080:80/udp", SERVER)?;
        let there = net.container("there", "--network other", SERVER)?;
        let before = net.counted("other-network")?;
        each(|family, proto| {
            there.inside().no_answer(proto, at(here.address(family), 80))?;
            here.inside().no_answer(proto, at(there.address(family), 80))
        })?;
        both(|family| there.inside().no_echo(here.address(family)))?;
        ensure!(net.counted("other-network")? >= before + 10, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn a_published_port_is_the_way_from_one_network_to_another() -> Result<()> {
    test(|net| {
        // Its own containers may not reach each other: what is published is open all the same.
        net.portlane(&["network", "create", "--ipv6", "-o", "icc=false", "other"])?;
        let here = net.container("here", "-p 8080:80 -p 8080:80/udp", SERVER)?;
        let there = net.container("there", "--network other -p 8081:80 -p 8081:80/udp", SERVER)?;
        for (from, to, port) in [(&here, &there, 8081), (&there, &here, 8080)] {
            each(|family, proto| {
                for called in [family.host(), gateway(net, to, family)?] {
                    let answer = from.inside().ask(proto, at(called, port))?;
                    ensure!(answer.by == to.name() && answer.peer == at(called, port), "{answer:?}");
                    // The server sees an address that it can answer, and call.
                    ensure!(answer.seen.ip() == called, "{answer:?}");
                }
                Ok(())
            })?;
        }
        both(|family| {
            let mut conversation = there.inside().converse("tcp", at(family.host(), 8080), &[])?;
            conversation.goes_on()?;
            net.portlane(&["unpublish", "here", "8080:80"])?;
            conversation.is_over()?;
            there.inside().no_answer("tcp", at(family.host(), 8080))?;
            net.portlane(&["publish", "here", "8080:80"]).map(drop)
        })
    })
}

#[test]
fn a_port_on_loopback_alone_is_closed_to_other_networks() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "other"])?;
        let options = "-p 127.0.0.1:8080:80 -p 127.0.0.1:8080:80/udp -p [::1]:8080:80 -p [::1]:8080:80/udp";
        let here = net.container("here", options, SERVER)?;
        let there = net.container("there", "--network other", "")?;
        each(|family, proto| {
            net.host().ask(proto, at(family.loopback(), 8080))?;
            for called in [family.host(), gateway(net, &here, family)?, gateway(net, &there, family)?] {
                there.inside().no_answer(proto, at(called, 8080))?;
            }
            there.inside().no_answer(proto, at(family.loopback(), 8080))
        })
    })
}

#[test]
fn an_internal_network_reaches_no_port_that_another_one_publishes() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "--internal", "inner"])?;
        let here = net.container("here", "-p 8080:80 -p 8080:80/udp", SERVER)?;
        let client = net.container("client", "--network inner", "")?;
        let before = net.counted("internal-network")?;
        each(|family, proto| {
            // It has no route there, so its owner makes one.
            let (own, called) = (gateway(net, &client, family)?.to_string(), gateway(net, &here, family)?);
            client.inside().run(&["ip", "route", "replace", &called.to_string(), "via", &own])?;
            client.inside().no_answer(proto, at(called, 8080))?;
            client.inside().no_answer(proto, at(own.parse::<IpAddr>()?, 8080))
        })?;
        ensure!(net.counted("internal-network")? >= before + 8, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn an_internal_network_reaches_its_own_containers_and_nothing_outside() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        net.portlane(&["network", "create", "--ipv6", "--internal", "inner"])?;
        let web = net.container("web", "--network inner", SERVER)?;
        let client = net.container("client", "--network inner", "")?;
        each(|family, proto| {
            client.inside().no_answer(proto, at(family.outside(), 9000))?;
            client.inside().ask(proto, at(web.address(family), 80)).map(drop)
        })?;
        both(|family| client.inside().no_echo(family.outside()))
    })
}

#[test]
fn a_container_cannot_send_from_an_address_that_is_not_its_own() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let (web, client) = (net.container("web", "", SERVER)?, net.container("client", "", "")?);
        // Neighbours are known from here on: a search begun with the other address would end for both together.
        each(|family, proto| {
            client.inside().ask(proto, at(web.address(family), 80))?;
            client.inside().ask(proto, at(family.outside(), 9000)).map(drop)
        })?;
        // The container would hear an answer, so silence is the guard's work.
        both(|family| {
            let (address, no_dad) = (spoofed(&client, family).to_string(), (family == Family::V6).then_some("nodad"));
            let add = ["ip", "addr", "add", &address, "dev", "eth0"];
            client.inside().run(&[&add, no_dad.as_slice()].concat()).map(drop)
        })?;
        let before = net.counted("spoofed-address")?;
        each(|family, proto| {
            let from = at(spoofed(&client, family), 0).to_string();
            let silent = |place: &Place<'_>, target| place.no_answer_with(proto, target, &["--from", &from]);
            silent(&client.inside(), at(web.address(family), 80)).context("to a container")?;
            silent(&client.inside(), at(family.outside(), 9000)).context("to the outside")?;
            // The address it was given is as good as ever.
            let own = at(client.address(family), 0);
            client.inside().ask_from(own, proto, at(web.address(family), 80))?;
            client.inside().ask_from(own, proto, at(family.outside(), 9000)).map(drop)
        })?;
        ensure!(net.counted("spoofed-address")? > before + 2 * PROTOS.len() as u64, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn a_container_cannot_send_from_a_mac_that_is_not_its_own() -> Result<()> {
    test(|net| {
        let (web, client) = (net.container("web", "", SERVER)?, net.container("client", "", "")?);
        each(|family, proto| client.inside().ask(proto, at(web.address(family), 80)).map(drop))?;
        let own = client.field("mac");
        client.inside().run(&["ip", "link", "set", "eth0", "address", "02:42:ac:11:77:77"])?;
        each(|family, proto| client.inside().no_answer(proto, at(web.address(family), 80)))?;
        ensure!(net.counted("spoofed-mac")? > 0, "the reason is not counted");
        client.inside().run(&["ip", "link", "set", "eth0", "address", &own])?;
        each(|family, proto| client.inside().ask(proto, at(web.address(family), 80)).map(drop))
    })
}

/// The address that the host has on a container's network.
fn gateway(net: &Topology, of: &Container<'_>, family: Family) -> Result<IpAddr> {
    let inspected = net.json(&["inspect", of.name()])?;
    let network = inspected["networks"][0]["network"].as_str().context("network")?;
    let field = if family == Family::V4 { "gateway4" } else { "gateway6" };
    let found = net.json(&["network", "inspect", network])?;
    Ok(found[field].as_str().with_context(|| format!("{found}"))?.parse()?)
}

/// Lets the machine outside send to the container's address by way of the host.
fn route_to(net: &Topology, container: &Container<'_>, family: Family) -> Result<()> {
    let (address, host) = (container.address(family).to_string(), family.host().to_string());
    net.outside().run(&["ip", "route", "add", &address, "via", &host]).map(drop)
}

/// An address in the container's subnets that nobody has: its neighbours would answer it directly.
fn spoofed(container: &Container<'_>, family: Family) -> IpAddr {
    match container.address(family) {
        IpAddr::V4(own) => Ipv4Addr::from_bits(own.to_bits() ^ 0x7700).into(),
        IpAddr::V6(own) => Ipv6Addr::from_bits(own.to_bits() ^ 0x7700).into(),
    }
}

#[test]
fn a_container_sends_nothing_into_a_vlan() -> Result<()> {
    test(|net| {
        let (one, other) = (net.container("one", "", "")?, net.container("other", "", "")?);
        let tags = ["8100", "88a8", "88a8.8100", "8100.8100"];
        let (before, heard) = (net.counted("tagged")?, other.inside().received("eth0")?.1);
        one.inside().script("tags.py", &[&["eth0"], &tags[..]].concat())?;
        // Of IPv4, IPv6 and ARP each.
        let sent = 3 * tags.len() as u64;
        until(|| Ok(net.counted("tagged")? - before == sent)).context("not all were refused")?;
        let heard = other.inside().received("eth0")?.1 - heard;
        ensure!(heard < sent, "the other container heard {heard} frames");
        Ok(())
    })
}
