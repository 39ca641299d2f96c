//! Published ports: who reaches them, as whom, and until when.
#![cfg(feature = "root")]

use std::{net::IpAddr, thread};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, PROTOS, Topology, at, both, each, test};

#[test]
fn a_host_port_leads_to_a_container_port_and_the_server_sees_the_clients_own_address() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            let answer = net.outside().ask_from(at(family.outside(), 40_000), proto, at(family.host(), 8080))?;
            ensure!(answer.by == "web", "{answer:?}");
            ensure!(answer.seen == at(family.outside(), 40_000), "{answer:?}");
            ensure!(answer.peer == at(family.host(), 8080), "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn publishing_a_container_port_alone_chooses_a_free_port_of_the_host() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 80 -p 81 -p 80/udp", "tcp [::]:80 tcp [::]:81 udp [::]:80")?;
        let mut chosen = Vec::new();
        for (container_port, proto) in [("80/tcp", "tcp"), ("81/tcp", "tcp"), ("80/udp", "udp")] {
            let port = only_port(&net.portlane(&["port", "web", container_port])?)?;
            ensure!(!chosen.contains(&(port, proto)), "{port}/{proto} was given twice");
            chosen.push((port, proto));
            both(|family| net.outside().ask(proto, at(family.host(), port)).map(drop)).context(container_port)?;
        }
        Ok(())
    })
}

#[test]
fn an_address_of_the_host_without_a_port_gets_a_free_one_there_and_nowhere_else() -> Result<()> {
    test(|net| {
        second_host_addresses(net)?;
        let _web = net.container("web", "-p 192.0.2.1::80 -p [2001:db8:1::1]::80", "tcp [::]:80")?;
        both(|family| {
            let ports = net.portlane(&["port", "web", "80"])?;
            let mut lines = ports.lines().filter(|line| line.contains(&family.host().to_string()));
            let port = only_port(lines.next().with_context(|| format!("`port web 80` says: {ports}"))?)?;
            net.outside().ask("tcp", at(family.host(), port))?;
            net.outside().no_answer("tcp", at(second(family), port))
        })
    })
}

#[test]
fn a_published_port_is_open_on_every_uplink() -> Result<()> {
    test(|net| {
        net.second_uplink()?;
        let _web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            for host in [family.host(), family.second_host()] {
                let answer = net.outside().ask(proto, at(host, 8080)).with_context(|| host.to_string())?;
                ensure!(answer.by == "web", "{answer:?}");
            }
            Ok(())
        })
    })
}

#[test]
fn a_port_on_one_address_of_the_host_is_closed_on_the_others() -> Result<()> {
    test(|net| {
        second_host_addresses(net)?;
        let specs = "-p 192.0.2.1:80:80 -p [2001:db8:1::1]:80:80 -p 192.0.2.1:53:53/udp -p [2001:db8:1::1]:53:53/udp";
        let _web = net.container("web", specs, "tcp [::]:80 udp [::]:53")?;
        both(|family| {
            for (proto, port) in [("tcp", 80), ("udp", 53)] {
                net.outside().ask(proto, at(family.host(), port))?;
                net.outside().no_answer(proto, at(second(family), port))?;
            }
            Ok(())
        })
    })
}

#[test]
fn a_port_on_one_address_comes_before_the_same_port_on_every_address() -> Result<()> {
    test(|net| {
        second_host_addresses(net)?;
        let _every = net.container("every", "-p 80:80", "tcp [::]:80")?;
        let _one = net.container("one", "-p 192.0.2.3:80:80 -p [2001:db8:1::3]:80:80", "tcp [::]:80")?;
        both(|family| {
            let one = net.outside().ask("tcp", at(second(family), 80))?;
            let every = net.outside().ask("tcp", at(family.host(), 80))?;
            ensure!((&*one.by, &*every.by) == ("one", "every"), "{one:?} {every:?}");
            Ok(())
        })
    })
}

#[test]
fn a_range_of_16000_ports_is_one_entry_and_leads_port_by_port() -> Result<()> {
    test(|net| {
        let serves = "udp [::]:40000 udp [::]:47321 udp [::]:55999 tcp [::]:9001 tcp [::]:9003";
        let _game = net.container("game", "-p 40000-55999:40000-55999/udp -p 7001-7003:9001-9003", serves)?;
        both(|family| {
            for port in [40_000, 47_321, 55_999] {
                let answer = net.outside().ask("udp", at(family.host(), port))?;
                ensure!(answer.peer.port() == port, "{answer:?}");
            }
            net.outside().ask("tcp", at(family.host(), 7001))?;
            net.outside().ask("tcp", at(family.host(), 7003))?;
            for port in [39_999, 56_000] {
                net.outside().no_answer("udp", at(family.host(), port)).with_context(|| format!("port {port}"))?;
            }
            net.outside().no_answer("tcp", at(family.host(), 7004))
        })?;
        for map in ["pl_publish4", "pl_publish6"] {
            let entries = net.dump(map)?;
            // One of each protocol, and over UDP the way back.
            ensure!(entries.len() == 3, "{map}: {entries:?}");
            let udp = entries.iter().find(|entry| entry["key"]["proto"] == 17).context("no UDP entry")?;
            ensure!(udp["value"]["first"] == 40_000 && udp["value"]["last"] == 55_999, "{map}: {udp}");
        }
        Ok(())
    })
}

#[test]
fn a_container_that_publishes_a_port_reaches_out_from_that_very_port() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            let answer = web.inside().ask(proto, at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == family.host(), "{answer:?}");
            let answer = web.inside().ask_from(at(family.any(), 8080), proto, at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == family.host(), "{answer:?}");
            net.outside().ask(proto, at(family.host(), 8080)).map(drop)
        })
    })
}

#[test]
fn unpublishing_closes_the_port_at_once_and_ends_its_connections() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80 -p 8080:80/udp -p 81", "tcp [::]:80 udp [::]:80 tcp [::]:81")?;
        let mut talks = Vec::new();
        each(|family, proto| {
            let mut talk = net.outside().converse(proto, at(family.host(), 8080), &[])?;
            talk.again()?;
            talks.push(talk);
            Ok(())
        })?;
        net.portlane(&["unpublish", "web", "8080:80", "8080:80/udp"])?;
        talks.iter_mut().try_for_each(|talk| talk.is_over())?;
        each(|family, proto| net.outside().no_answer(proto, at(family.host(), 8080)))?;
        // What stays published stays open.
        let port = only_port(&net.portlane(&["port", "web", "81"])?)?;
        both(|family| net.outside().ask("tcp", at(family.host(), port)).map(drop))
    })
}

#[test]
fn a_running_container_can_publish_one_more_port() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| net.outside().no_answer(proto, at(family.host(), 8080)))?;
        net.portlane(&["publish", "web", "8080:80", "8080:80/udp"])?;
        each(|family, proto| {
            let answer = net.outside().ask(proto, at(family.host(), 8080))?;
            ensure!(answer.seen.ip() == family.outside(), "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn a_port_republished_for_another_container_leads_there() -> Result<()> {
    test(|net| {
        let _one = net.container("one", "-p 8080:80/udp", "udp [::]:80")?;
        let _two = net.container("two", "", "udp [::]:80")?;
        both(|family| {
            let from = at(family.outside(), 41_000);
            ensure!(net.outside().ask_from(from, "udp", at(family.host(), 8080))?.by == "one");
            Ok(())
        })?;
        net.portlane(&["unpublish", "one", "8080:80/udp"])?;
        net.portlane(&["publish", "two", "8080:80/udp"])?;
        both(|family| {
            // The very same addresses and ports as before: the earlier flow is over.
            let from = at(family.outside(), 41_000);
            let answer = net.outside().ask_from(from, "udp", at(family.host(), 8080))?;
            ensure!(answer.by == "two", "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn a_container_that_inherits_an_address_inherits_no_flow() -> Result<()> {
    test(|net| {
        let network = "--network own --ip 10.9.8.50 --ip6 fd00:9:8::50";
        let subnets = ["--subnet", "10.9.8.0/24", "--subnet", "fd00:9:8::/64"];
        net.portlane(&[&["network", "create"], &subnets[..], &["own"]].concat())?;
        net.container("old", &format!("{network} -p 8080:80/udp"), "udp [::]:80")?;
        let mut talks = Vec::new();
        both(|family| {
            talks.push(net.outside().converse("udp", at(family.host(), 8080), &[])?);
            Ok(())
        })?;
        net.portlane(&["rm", "-f", "old"])?;
        let _new = net.container("new", network, "udp [::]:80")?;
        talks.iter_mut().try_for_each(|talk| talk.is_over())
    })
}

#[test]
fn containers_started_at_the_same_time_do_not_disturb_each_other() -> Result<()> {
    test(|net| {
        let ports = 8000..8006;
        thread::scope(|scope| {
            let start = |port| {
                scope.spawn(move || {
                    net.container(&format!("c{port}"), &format!("-p {port}:80"), "tcp [::]:80").map(drop)
                })
            };
            let started: Vec<_> = ports.clone().map(start).collect();
            started.into_iter().try_for_each(|started| started.join().expect("no thread panics"))
        })?;
        for port in ports {
            both(|family| {
                let answer = net.outside().ask("tcp", at(family.host(), port))?;
                ensure!(answer.by == format!("c{port}"), "port {port}: {answer:?}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn no_rule_of_netfilter_is_made() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000")?;
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        both(|family| {
            net.outside().ask("tcp", at(family.host(), 8080))?;
            web.inside().ask("tcp", at(family.outside(), 9000)).map(drop)
        })?;
        for command in ["nft list ruleset", "iptables-save", "ip6tables-save"] {
            let rules = net.host().run(&command.split(' ').collect::<Vec<_>>())?;
            ensure!(rules.lines().all(|line| line.starts_with('#')), "{command}: {rules}");
        }
        Ok(())
    })
}

#[test]
fn a_port_that_another_container_holds_is_refused_by_name_and_nothing_changes() -> Result<()> {
    test(|net| {
        let _b1 = net.container("b1", "-p 10080:80 -p 7000-7010:7000-7010/udp", "tcp [::]:80")?;
        let _b2 = net.container("b2", "", "tcp [::]:80")?;
        for spec in ["10080:80", "0.0.0.0:10080:80", "[::]:10080:80", "7010:7010/udp", "6000-7005:6000-7005/udp"] {
            let said = net.refused(&["publish", "b2", spec])?;
            ensure!(said.contains("b1"), "{spec}: {said}");
            let said = net.refused(&["run", "--name", "third", "-p", spec, "--", "true"])?;
            ensure!(said.contains("b1"), "{spec}: {said}");
        }
        ensure!(net.portlane(&["port", "b2"])?.is_empty());
        net.refused(&["inspect", "third"])?;
        both(|family| {
            let answer = net.outside().ask("tcp", at(family.host(), 10_080))?;
            ensure!(answer.by == "b1", "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn a_port_that_a_process_of_the_host_listens_on_is_refused() -> Result<()> {
    test(|net| {
        let _server = net.host().serve("tcp 0.0.0.0:8080 udp [::1]:5353")?;
        for spec in ["8080:80", "192.0.2.1:8080:80", "8079-8081:79-81", "5353:53/udp"] {
            net.refused(&["run", "--name", "web", "-p", spec, "--", "true"]).context(spec)?;
        }
        net.refused(&["inspect", "web"])?;
        for proto in PROTOS {
            // Another protocol, or another port, is another matter.
            let spec = if proto == "tcp" { "5353:53/tcp" } else { "8080:80/udp" };
            net.portlane(&["run", "--rm", "-p", spec, "--", "true"])?;
        }
        Ok(())
    })
}

#[test]
fn a_container_reaches_published_ports_by_the_hosts_address_its_own_included() -> Result<()> {
    test(|net| {
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        let other = net.container("other", "", "")?;
        each(|family, proto| {
            for from in [&web, &other] {
                let answer = from.inside().ask(proto, at(family.host(), 8080)).context(from.name().to_owned())?;
                ensure!(answer.by == "web" && answer.peer == at(family.host(), 8080), "{answer:?}");
            }
            Ok(())
        })
    })
}

#[test]
fn port_lists_what_docker_port_would() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "four"])?;
        let _web = net.container("web", "-p 10080:80 -p 127.0.0.1:10443:443 -p 7000-7001:9-10/udp", "")?;
        let _four = net.container("four", "--network four -p 10081:80", "")?;
        let all = "9/udp -> 0.0.0.0:7000\n9/udp -> [::]:7000\n10/udp -> 0.0.0.0:7001\n10/udp -> [::]:7001\n\
                   80/tcp -> 0.0.0.0:10080\n80/tcp -> [::]:10080\n443/tcp -> 127.0.0.1:10443";
        for (arguments, expected) in [
            (&["web"][..], all),
            (&["web", "80"], "0.0.0.0:10080\n[::]:10080"),
            (&["web", "443/tcp"], "127.0.0.1:10443"),
            (&["web", "10/udp"], "0.0.0.0:7001\n[::]:7001"),
            (&["four"], "80/tcp -> 0.0.0.0:10081"),
        ] {
            let listed = net.portlane(&[&["port"], arguments].concat())?;
            ensure!(listed == expected, "`port {}` lists:\n{listed}", arguments.join(" "));
        }
        let said = net.refused(&["port", "web", "80/udp"])?;
        ensure!(said.contains("does not publish 80/udp"), "{said}");
        Ok(())
    })
}

#[test]
fn publish_all_gives_each_exposed_port_one_of_the_host_unless_it_has_one() -> Result<()> {
    test(|net| {
        let options = "-P --expose 80 --expose 81 --expose 53/udp -p 8081:81";
        let _web = net.container("web", options, "tcp [::]:80 tcp [::]:81 udp [::]:53")?;
        let port = |inside: &str| only_port(&net.portlane(&["port", "web", inside])?);
        ensure!(port("81")? == 8081, "81 is published anew");
        for (inside, proto) in [("80", "tcp"), ("53/udp", "udp")] {
            let chosen = port(inside)?;
            both(|family| net.outside().ask(proto, at(family.host(), chosen)).map(drop)).context(inside)?;
        }
        Ok(())
    })
}

#[test]
fn of_a_host_range_for_one_container_port_the_first_free_one_is_taken() -> Result<()> {
    test(|net| {
        let _server = net.host().serve("tcp 0.0.0.0:8000")?;
        let _holder = net.container("holder", "-p 8001:80", "")?;
        for (name, expected) in [("a", 8002), ("b", 8003)] {
            let _web = net.container(name, "-p 8000-8003:80", "tcp [::]:80")?;
            let port = only_port(&net.portlane(&["port", name, "80"])?)?;
            ensure!(port == expected, "{name} has {port}");
            both(|family| {
                let answer = net.outside().ask("tcp", at(family.host(), port))?;
                ensure!(answer.by == name, "{answer:?}");
                Ok(())
            })?;
        }
        let said = net.refused(&["run", "-p", "8000-8003:80", "--", "true"])?;
        ensure!(said.contains("8000-8003"), "{said}");
        Ok(())
    })
}

/// The port of `portlane port`, whose lines end in it.
fn only_port(lines: &str) -> Result<u16> {
    let mut ports: Vec<u16> = Vec::new();
    for line in lines.lines() {
        let port = line.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok());
        ports.push(port.with_context(|| format!("no port in: {line}"))?);
    }
    ports.dedup();
    ensure!(ports.len() == 1, "not one port: {lines}");
    Ok(ports[0])
}

/// Another address of the host, once [`second_host_addresses`] has added it.
fn second(family: Family) -> IpAddr {
    family.pick([192, 0, 2, 3].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 3].into())
}

fn second_host_addresses(net: &Topology) -> Result<()> {
    net.host().run(&["ip", "addr", "add", "192.0.2.3/24", "dev", "up0"])?;
    net.host().run(&["ip", "addr", "add", "2001:db8:1::3/64", "dev", "up0", "nodad"]).map(drop)
}

#[test]
fn a_port_that_the_administrator_set_aside_is_not_drawn() -> Result<()> {
    test(|net| {
        let settings = "cd /proc/sys/net/ipv4; echo 50000 50003 > ip_local_port_range; echo 50000-50001,50003 > ip_local_reserved_ports";
        net.host().run(&["sh", "-c", settings])?;
        let _web = net.container("web", "-p 80", "tcp [::]:80")?;
        let port = only_port(&net.portlane(&["port", "web", "80"])?)?;
        ensure!(port == 50_002, "it is {port}");
        net.refused(&["publish", "web", "81"])?;
        net.portlane(&["publish", "web", "50001:81"]).map(drop)
    })
}
