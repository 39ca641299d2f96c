//! Processes of the host and containers, and how they reach each other.
#![cfg(feature = "root")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, PROTOS, Topology, at, both, each, test};

#[test]
fn a_process_of_the_host_reaches_published_ports_on_loopback_and_on_every_host_address() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            for address in [family.loopback(), family.host(), gateway(net, family)?] {
                let target = at(address, 8080);
                // A TCP socket's getpeername, a UDP socket's recvmsg, and a connected one's getpeername.
                let options: &[&[&str]] = if proto == "udp" { &[&[], &["--connect"]] } else { &[&[]] };
                for options in options {
                    let answer = net.host().ask_with(proto, target, options).with_context(|| target.to_string())?;
                    ensure!(answer.by == "web", "{answer:?}");
                    ensure!(answer.peer == target, "{target} looks like {}", answer.peer);
                }
            }
            Ok(())
        })
    })
}

#[test]
fn an_ipv6_socket_of_the_host_reaches_and_is_refused_published_ports_by_ipv4_addresses_too() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 0.0.0.0:8080:80 -p 0.0.0.0:8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        for proto in PROTOS {
            for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)] {
                let mapped = at(address.to_ipv6_mapped(), 8080);
                let answer = net.host().ask(proto, mapped).with_context(|| format!("{proto} {mapped}"))?;
                ensure!(answer.by == "web" && answer.peer == mapped, "{answer:?}");
                in_use(net, proto, mapped.ip(), 8080)?;
            }
            // Without IPV6_V6ONLY this is all IPv4 addresses, too.
            in_use(net, proto, Ipv6Addr::UNSPECIFIED.into(), 8080)?;
        }
        Ok(())
    })
}

#[test]
fn a_port_published_on_loopback_is_for_the_host_alone() -> Result<()> {
    test(|net| {
        let specs = "-p 127.0.0.1:8080:80 -p [::1]:8080:80 -p 127.0.0.1:8080:80/udp -p [::1]:8080:80/udp";
        let _web = net.container("web", specs, "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            net.host().ask(proto, at(family.loopback(), 8080))?;
            net.host().no_answer(proto, at(family.host(), 8080))?;
            net.outside().no_answer(proto, at(family.host(), 8080))
        })
    })
}

#[test]
fn a_process_of_the_host_reaches_a_containers_own_address() -> Result<()> {
    test(|net| {
        let web = net.container("web", "", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| net.host().ask(proto, at(web.address(family), 80)).map(drop))?;
        both(|family| net.host().ping(web.address(family)))
    })
}

#[test]
fn a_talk_of_a_host_process_goes_on_and_ends_with_the_publication() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80/udp", "udp [::]:80")?;
        let mut talks = Vec::new();
        both(|family| {
            let mut talk = net.host().converse("udp", at(family.loopback(), 8080), &[])?;
            talk.goes_on()?;
            talks.push(talk);
            Ok(())
        })?;
        net.portlane(&["unpublish", "web", "8080:80/udp"])?;
        talks.iter_mut().try_for_each(|talk| talk.is_over())?;
        both(|family| net.host().no_answer("udp", at(family.loopback(), 8080)))
    })
}

#[test]
fn a_container_reaches_its_gateway_and_the_hosts_services() -> Result<()> {
    test(|net| {
        let client = net.container("client", "", "")?;
        both(|family| {
            let addresses = [gateway(net, family)?, family.host()];
            for proto in PROTOS {
                let serves = addresses.map(|address| format!("{proto} {}", at(address, 7000))).join(" ");
                let _services = net.host().serve(&serves)?;
                for address in addresses {
                    let answer = client.inside().ask(proto, at(address, 7000)).context(proto)?;
                    ensure!(answer.seen.ip() == client.address(family), "the host sees {}", answer.seen);
                }
            }
            addresses.into_iter().try_for_each(|address| client.inside().ping(address))
        })
    })
}

#[test]
fn the_hosts_own_services_stay_open_to_the_outside() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        each(|family, proto| {
            let own = at(family.host(), 7000);
            let _service = net.host().serve(&format!("{proto} {own}"))?;
            let answer = net.outside().ask(proto, own)?;
            ensure!(answer.by == "host" && answer.seen.ip() == family.outside(), "{answer:?}");
            Ok(())
        })?;
        both(|family| net.outside().ping(family.host()))
    })
}

#[test]
fn a_published_port_cannot_be_bound_on_the_host_until_it_is_unpublished() -> Result<()> {
    test(|net| {
        let specs = "-p 8080:80 -p 40000-55999:40000-55999/udp -p 192.0.2.1:9090:90 -p [2001:db8:1::1]:9090:90";
        let web = net.container("web", specs, "tcp [::]:80")?;
        both(|family| {
            for address in [family.any(), family.loopback(), family.host()] {
                in_use(net, "tcp", address, 8080)?;
                in_use(net, "udp", address, 40_000)?;
                in_use(net, "udp", address, 55_999)?;
                net.host().bind("udp", at(address, 8080))?;
                net.host().bind("tcp", at(address, 40_000))?;
                net.host().bind("udp", at(address, 56_000))?;
            }
            in_use(net, "tcp", family.host(), 9090)?;
            net.host().bind("tcp", at(family.loopback(), 9090))?;
            // The container's ports, and other machines', are their own.
            web.inside().bind("tcp", at(family.any(), 8080))?;
            net.outside().bind("tcp", at(family.any(), 8080))
        })?;
        net.portlane(&["unpublish", "web", "8080:80"])?;
        both(|family| net.host().bind("tcp", at(family.any(), 8080)))
    })
}

#[test]
fn ports_of_the_host_are_not_reserved_beyond_the_containers_life() -> Result<()> {
    test(|net| {
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        both(|family| in_use(net, "tcp", family.any(), 8080))?;
        net.portlane(&["rm", "-f", web.name()])?;
        both(|family| {
            net.host().bind("tcp", at(family.any(), 8080))?;
            net.outside().no_answer("tcp", at(family.host(), 8080))
        })
    })
}

#[test]
fn a_host_client_whose_port_was_drawn_from_a_published_range_gets_its_answers() -> Result<()> {
    test(|net| {
        let _game =
            net.container("game", "-p 45000-45999:45000-45999 -p 45000-45999:45000-45999/udp", "udp [::]:45007")?;
        let _server = net.outside().serve("outside tcp [::]:9000 udp [::]:9000")?;
        // Ports that nobody chose come from within the range.
        net.host().run(&["sh", "-c", "echo 45000 45099 > /proc/sys/net/ipv4/ip_local_port_range"])?;
        each(|family, proto| {
            let answer = net.host().ask(proto, at(family.outside(), 9000))?;
            ensure!(
                (45_000..46_000).contains(&answer.seen.port()),
                "the port was not drawn from the range: {answer:?}"
            );
            ensure!(answer.by == "outside", "{answer:?}");
            Ok(())
        })?;
        both(|family| net.outside().ask("udp", at(family.host(), 45_007)).map(drop))
    })
}

fn in_use(net: &Topology, proto: &str, address: IpAddr, port: u16) -> Result<()> {
    let target = at(address, port);
    match net.host().bind(proto, target) {
        Ok(()) => anyhow::bail!("{proto} {target} can be bound although it is published"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("Address already in use"), "{proto} {target}: {said}");
            Ok(())
        }
    }
}

/// The default network's address of the host.
fn gateway(net: &Topology, family: Family) -> Result<IpAddr> {
    let network = net.json(&["network", "inspect", "portlane0"])?;
    let field = if family == Family::V4 { "gateway4" } else { "gateway6" };
    Ok(network[field].as_str().with_context(|| format!("no {field} in {network}"))?.parse()?)
}
