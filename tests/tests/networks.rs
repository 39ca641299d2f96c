//! Networks that somebody made: what they can be told, and containers on several of them.
#![cfg(feature = "root")]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Container, Family, PROTOS, Topology, at, both, each, test, test_with};

/// Two networks with IPv6.
fn two(net: &Topology) -> Result<()> {
    for name in ["front", "back"] {
        net.portlane(&["network", "create", "--ipv6", name])?;
    }
    Ok(())
}

/// A container's address on a network.
fn on(net: &Topology, container: &str, network: &str, family: Family) -> Result<IpAddr> {
    let inspected = net.json(&["inspect", container])?;
    let places = inspected["networks"].as_array().context("networks")?;
    let place = places.iter().find(|place| place["network"] == network).with_context(|| format!("{inspected}"))?;
    let field = if family == Family::V4 { "addr4" } else { "addr6" };
    Ok(place[field].as_str().context("an address")?.parse()?)
}

/// One more address of the uplink.
fn further(family: Family) -> IpAddr {
    match family.host() {
        IpAddr::V4(address) => (address | Ipv4Addr::new(0, 0, 0, 0x70)).into(),
        IpAddr::V6(address) => (address | Ipv6Addr::from_bits(0x70)).into(),
    }
}

/// The interface that a container's default route leads by.
fn leads(container: &Container<'_>, family: Family) -> Result<String> {
    let version = if family == Family::V4 { "-4" } else { "-6" };
    let route = container.inside().run(&["ip", version, "route", "show", "default"])?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    Ok(words.nth(1).unwrap_or("none").to_owned())
}

#[test]
fn a_running_container_is_connected_to_a_further_network_and_disconnected() -> Result<()> {
    test(|net| {
        two(net)?;
        let both_sides = net.container("both", "--network front", "tcp [::]:80 udp [::]:80")?;
        let back = net.container("db", "--network back", "tcp [::]:80 udp [::]:80")?;
        let front = net.container("web", "--network front", "")?;
        let apart = |family| both_sides.inside().no_answer("tcp", at(back.address(family), 80));
        both(apart)?;
        net.portlane(&["network", "connect", "back", "both"])?;
        each(|family, proto| {
            let answer = both_sides.inside().ask(proto, at(back.address(family), 80))?;
            ensure!(answer.by == "db" && answer.seen.ip() == on(net, "both", "back", family)?, "{answer:?}");
            for (from, network) in [(&back, "back"), (&front, "front")] {
                let answer = from.inside().ask(proto, at(on(net, "both", network, family)?, 80))?;
                ensure!(answer.by == "both" && answer.seen.ip() == from.address(family), "{answer:?}");
            }
            // It joins no networks: what is on one reaches nothing of the other.
            front.inside().no_answer(proto, at(back.address(family), 80))
        })?;
        let hosts = both_sides.inside().run(&["cat", "/etc/hosts"])?;
        let own = on(net, "both", "back", Family::V4)?.to_string();
        ensure!(hosts.contains(&own), "{hosts}");
        ensure!(both_sides.inside().run(&["ip", "-br", "link", "show", "dev", "eth1"])?.contains("UP"), "eth1 is down");
        net.portlane(&["network", "disconnect", "back", "both"])?;
        let links = both_sides.inside().run(&["ip", "-br", "link"])?;
        ensure!(!links.contains("eth1"), "{links}");
        let hosts = both_sides.inside().run(&["cat", "/etc/hosts"])?;
        ensure!(!hosts.contains(&own), "{hosts}");
        both(apart)?;
        let plan = net.portlane(&["repair", "--dry-run"])?;
        ensure!(plan.trim() == "everything is as it must be", "{plan}");
        Ok(())
    })
}

#[test]
fn a_network_is_left_without_a_trace_whatever_somebody_took_away_before() -> Result<()> {
    test(|net| {
        two(net)?;
        let _web = net.container("web", "--network front", "")?;
        net.portlane(&["network", "connect", "back", "web"])?;
        let inspected = net.json(&["inspect", "web"])?;
        let veth = inspected["networks"][1]["veth"].as_str().context("veth")?;
        net.host().run(&["ip", "link", "del", veth])?;
        net.portlane(&["network", "disconnect", "back", "web"])?;
        let plan = net.portlane(&["repair", "--dry-run"])?;
        ensure!(plan.trim() == "everything is as it must be", "{plan}");
        Ok(())
    })
}

#[test]
fn the_default_route_and_published_ports_lead_to_the_first_network_until_that_goes() -> Result<()> {
    test(|net| {
        two(net)?;
        let web = net.container(
            "web",
            "--network front --network back -p 8080:80 -p 8080:80/udp",
            "tcp [::]:80 udp [::]:80",
        )?;
        let _outside = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        for interface in ["eth0", "eth1"] {
            each(|family, proto| {
                ensure!(leads(&web, family)? == interface, "{} and not {interface}", leads(&web, family)?);
                let answer = net.outside().ask(proto, at(family.host(), 8080))?;
                ensure!(answer.by == "web", "{answer:?}");
                let left = web.inside().ask(proto, at(family.outside(), 9000))?;
                ensure!(left.seen.ip() == family.host(), "{left:?}");
                Ok(())
            })
            .context(interface)?;
            if interface == "eth0" {
                net.portlane(&["network", "disconnect", "front", "web"])?;
            }
        }
        // On none, nothing leads to it, and its ports are still its own.
        net.portlane(&["network", "disconnect", "back", "web"])?;
        both(|family| net.outside().no_answer("tcp", at(family.host(), 8080)))?;
        net.refused(&["run", "-p", "8080:80", "--", "true"])?;
        net.portlane(&["network", "connect", "front", "web"])?;
        both(|family| net.outside().ask("tcp", at(family.host(), 8080)).map(drop))
    })
}

#[test]
fn a_higher_priority_draws_the_default_route_to_a_network() -> Result<()> {
    test(|net| {
        two(net)?;
        net.portlane(&["network", "create", "--internal", "--ipv6", "inner"])?;
        let web = net.container("web", "--network inner -p 8080:80", "tcp [::]:80")?;
        for (network, options, interface) in
            [("front", &[][..], "eth1"), ("back", &["--gw-priority", "1"], "eth2"), ("bridge", &[], "eth2")]
        {
            net.portlane(&[&["network", "connect"], options, &[network, "web"]].concat())?;
            both(|family| {
                ensure!(leads(&web, family)? == interface, "{network}: {}", leads(&web, family)?);
                ensure!(net.outside().ask("tcp", at(family.host(), 8080))?.by == "web", "{network}");
                Ok(())
            })?;
        }
        net.portlane(&["network", "disconnect", "back", "web"])?;
        both(|family| {
            ensure!(leads(&web, family)? == "eth1", "{}", leads(&web, family)?);
            net.outside().ask("tcp", at(family.host(), 8080)).map(drop)
        })
    })
}

#[test]
fn networks_that_nobody_uses_are_pruned_and_used_ones_are_not_removed() -> Result<()> {
    test(|net| {
        two(net)?;
        let _web = net.container("web", "--network front", "")?;
        let said = net.refused(&["network", "rm", "front"])?;
        ensure!(said.contains("in use by web"), "{said}");
        ensure!(net.portlane(&["network", "prune"])?.trim() == "back", "only what is unused");
        let left = net.json(&["network", "ls"])?;
        ensure!(left.as_array().is_some_and(|left| left.len() == 1 && left[0]["name"] == "front"), "{left}");
        Ok(())
    })
}

#[test]
fn a_networks_options_are_in_force() -> Result<()> {
    test(|net| {
        // Further addresses of the uplink.
        let second = [further(Family::V4), further(Family::V6)];
        for (address, length) in [(second[0], 24), (second[1], 64)] {
            let address = format!("{address}/{length}");
            let mut words = vec!["ip", "addr", "add", &address, "dev", "up0"];
            words.extend((length == 64).then_some("nodad"));
            net.host().run(&words)?;
        }
        let create = ["network", "create", "--ipv6", "--subnet", "10.77.0.0/16", "--ip-range", "10.77.5.0/24"];
        let options = [
            "-o".to_owned(),
            format!("host-binding={}", second[0]),
            "-o".to_owned(),
            format!("host-ipv4={}", second[0]),
            "-o".to_owned(),
            format!("host-ipv6={}", second[1]),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        net.portlane(&[&create[..], &["--label", "team=core", "--label", "plain"], &options, &["n"]].concat())?;
        let shown = net.json(&["network", "inspect", "n"])?;
        ensure!(shown["labels"]["team"] == "core" && shown["labels"]["plain"] == "", "{shown}");
        let web = net.container("web", "--network n -p 8080:80", "tcp [::]:80")?;
        ensure!(web.address(Family::V4).to_string().starts_with("10.77.5."), "{}", web.address(Family::V4));
        let port = net.portlane(&["port", "web"])?;
        ensure!(port.contains(&format!("{}:8080", second[0])) && !port.contains("0.0.0.0"), "{port}");
        net.outside().no_answer("tcp", at(Family::V4.host(), 8080))?;
        net.outside().ask("tcp", at(second[0], 8080))?;
        let _outside = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        each(|family, proto| {
            let answer = web.inside().ask(proto, at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == further(family), "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn what_a_network_does_with_an_address_that_the_host_lacks_is_refused_or_told() -> Result<()> {
    test_with(r#"{"ip": "192.0.2.78"}"#, |net| {
        let address = ["192.0.2.77/24", "dev", "up0"];
        let is_refused = |request: &str, address: &str| {
            let said = net.refused(&request.split(' ').collect::<Vec<_>>())?;
            ensure!(said.contains(&format!("{address} is not an address of this host")), "{said}");
            Ok(())
        };
        let options = ["-o", "host-binding=192.0.2.77", "-o", "host-ipv4=192.0.2.79"];
        net.portlane(&[&["network", "create"], &options[..], &["hb"]].concat())?;
        is_refused("run -d --network hb -p 90:80 -- sleep 100", "192.0.2.77")?;
        is_refused("run -d -p 90:80 -- sleep 100", "192.0.2.78")?;
        net.host().run(&[&["ip", "addr", "add"], &address[..]].concat())?;
        net.portlane(&["run", "-d", "--name", "web", "--network", "hb", "-p", "90:80", "--", "sleep", "100"])?;
        // What is there goes on without it.
        net.host().run(&[&["ip", "addr", "del"], &address[..]].concat())?;
        is_refused("publish web 91:80", "192.0.2.77")?;
        net.rewrite_daemon_json("{}")?;
        net.portlane(&["reload"])?;
        net.portlane(&["repair"])?;
        let status = net.json(&["status"])?["absent"].to_string();
        let told = ["`hb` publishes ports on 192.0.2.77, which", "`hb` masquerades packets as 192.0.2.79, which"];
        ensure!(told.iter().all(|words| status.contains(words)), "{status}");
        let printed = net.portlane(&["status"])?;
        ensure!(told.iter().all(|words| printed.contains(&format!("note: network {words}"))), "{printed}");
        net.portlane(&["run", "-d", "-p", "92:80", "--", "sleep", "100"]).map(drop)
    })
}

#[test]
fn a_networks_mtu_is_the_way_outs_unless_it_is_given() -> Result<()> {
    test(|net| {
        let mtu = |network: &str| -> Result<u64> {
            net.json(&["network", "inspect", network])?["mtu"].as_u64().context("mtu")
        };
        net.host().run(&["ip", "link", "set", "up0", "mtu", "1400"])?;
        net.portlane(&["network", "create", "before"])?;
        ensure!(mtu("before")? == 1500, "without a default route: {}", mtu("before")?);
        net.host().run(&["ip", "route", "add", "default", "via", &Family::V4.outside().to_string()])?;
        net.portlane(&["network", "create", "n"])?;
        ensure!(mtu("n")? == 1400, "{}", mtu("n")?);
        net.portlane(&["network", "create", "-o", "mtu=1300", "m"])?;
        ensure!(mtu("m")? == 1300, "{}", mtu("m")?);
        let web = net.container("web", "--network n", "")?;
        let link = web.inside().run(&["ip", "link", "show", "dev", "eth0"])?;
        ensure!(link.contains("mtu 1400"), "{link}");
        Ok(())
    })
}

#[test]
fn a_bridge_whose_mtu_is_too_small_for_ipv6_is_set_right_and_stands_in_nobodys_way() -> Result<()> {
    test(|net| {
        let web = net.container("web", "", "tcp [::]:80")?;
        for command in [&["repair"][..], &["network", "create", "n"]] {
            net.host().set_mtu("portlane0", 1200)?;
            net.portlane(command)?;
            let shown = net.host().run(&["ip", "addr", "show", "dev", "portlane0"])?;
            ensure!(shown.contains("mtu 1500"), "after {command:?}: {shown}");
            both(|family| net.host().ask("tcp", at(web.address(family), 80)).map(drop)).context(command.join(" "))?;
        }
        net.host().set_mtu("portlane0", 1200)?;
        net.portlane(&["uninstall", "--force"]).map(drop)
    })
}

#[test]
fn a_default_network_that_is_made_anew_has_its_new_addresses_alone_and_those_that_somebody_added() -> Result<()> {
    test_with(r#"{"bip": "10.66.0.1/24", "fixed-cidr-v6": "fd66::/64"}"#, |net| {
        let run = || net.portlane(&["run", "--rm", "--", "true"]).map(drop);
        run()?;
        // In a subnet of the network's, and elsewhere.
        let by_hand = ["10.66.0.99/24", "192.0.2.99/24", "fd99::99/64"];
        for address in by_hand {
            net.host().run(&["ip", "addr", "add", address, "dev", "portlane0"])?;
        }
        net.portlane(&["repair"])?;
        let plan = || net.portlane(&["repair", "--dry-run"]);
        ensure!(plan()? == "everything is as it must be", "with what somebody added: {}", plan()?);
        for (settings, own) in [
            (r#"{"bip": "10.66.0.2/24", "fixed-cidr-v6": "fd67::/64"}"#, ["10.66.0.2/24", "fd67::2/64"]),
            (r#"{"bip": "10.67.0.1/16", "fixed-cidr-v6": "fd67::/64"}"#, ["10.67.0.1/16", "fd67::1/64"]),
            (r#"{"bip": "10.67.0.1/24", "fixed-cidr-v6": "fd67::/64"}"#, ["10.67.0.1/24", "fd67::1/64"]),
        ] {
            net.rewrite_daemon_json(settings)?;
            run()?;
            let shown = net.host().run(&["ip", "-br", "addr", "show", "dev", "portlane0"])?;
            let there = shown.split_whitespace().skip(2).filter(|address| !address.starts_with("fe80:"));
            let (there, wanted) = (BTreeSet::from_iter(there), own.iter().chain(&by_hand).copied().collect());
            ensure!(there == wanted, "{there:?} instead of {wanted:?}");
            ensure!(plan()? == "everything is as it must be", "after {settings}: {}", plan()?);
        }
        Ok(())
    })
}

#[test]
fn daemon_json_says_where_addresses_and_subnets_come_from() -> Result<()> {
    let settings = r#"{"bip": "192.168.1.5/24", "fixed-cidr": "192.168.1.128/25", "fixed-cidr-v6": "2001:db8:7::/64",
        "default-gateway": "192.168.1.254", "default-gateway-v6": "2001:db8:7::89", "dns": ["10.20.1.2", "10.20.1.3"],
        "dns-opts": ["ndots:3"], "ip": "127.0.0.1", "default-address-pools": [{"base": "10.32.0.0/16", "size": 24}]}"#;
    test_with(settings, |net| {
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        ensure!(web.address(Family::V4).to_string() == "192.168.1.128", "{}", web.address(Family::V4));
        let routes = web.inside().run(&["sh", "-c", "ip route; ip -6 route"])?;
        ensure!(
            routes.contains("default via 192.168.1.254") && routes.contains("default via 2001:db8:7::89"),
            "{routes}"
        );
        let bridge = net.host().run(&["ip", "-4", "-br", "addr", "show", "dev", "portlane0"])?;
        ensure!(bridge.contains("192.168.1.5/24"), "{bridge}");
        let resolv = web.inside().run(&["cat", "/etc/resolv.conf"])?;
        ensure!(
            resolv.contains("nameserver 10.20.1.2\nnameserver 10.20.1.3") && resolv.contains("options ndots:3"),
            "{resolv}"
        );
        net.host().ask("tcp", at(Family::V4.loopback(), 8080))?;
        net.outside().no_answer("tcp", at(Family::V4.host(), 8080))?;
        net.portlane(&["network", "create", "n"])?;
        ensure!(net.json(&["network", "inspect", "n"])?["subnet4"] == "10.32.0.0/24", "a subnet of the pool");
        Ok(())
    })
}

#[test]
fn an_address_that_was_let_go_of_does_not_come_back_at_once_and_works_when_it_does() -> Result<()> {
    test(|net| {
        let asker = net.container("asker", "", "")?;
        let first = net.container("first", "", "tcp [::]:80")?;
        net.portlane(&["rm", "-f", "first"])?;
        let second = net.container("second", "", "tcp [::]:80")?;
        ensure!(first.address(Family::V4) != second.address(Family::V4), "{} again", first.address(Family::V4));
        // Asked for by name, it comes back with other MACs, and nobody goes on sending to the old one.
        for mac in ["02:00:00:00:00:11", "02:00:00:00:00:22"] {
            let (four, six) = (first.address(Family::V4).to_string(), first.address(Family::V6).to_string());
            let options = format!("--ip {four} --ip6 {six} --mac-address {mac} -p 8080:80");
            let heir = net.container("heir", &options, "tcp [::]:80 udp [::]:80")?;
            both(|family| {
                for place in [net.host(), asker.inside(), second.inside()] {
                    for proto in PROTOS {
                        ensure!(place.ask(proto, at(heir.address(family), 80))?.by == "heir", "{mac}");
                    }
                }
                net.outside().ask("tcp", at(family.host(), 8080)).map(drop)
            })
            .context(mac)?;
            net.portlane(&["rm", "-f", "heir"])?;
        }
        Ok(())
    })
}

#[test]
fn a_subnet_that_the_host_reaches_is_left_alone() -> Result<()> {
    test(|net| {
        net.host().run(&["ip", "route", "add", "172.17.0.0/16", "via", &Family::V4.outside().to_string()])?;
        net.portlane(&["network", "create", "n"])?;
        let subnet = net.json(&["network", "inspect", "n"])?["subnet4"].clone();
        ensure!(subnet == "172.18.0.0/16", "{subnet}");
        Ok(())
    })
}
