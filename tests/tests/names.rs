//! Names of containers on created networks, and names outside.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portlane_tests::topology::{Container, Family, Place, Program, Topology, at, both, each, ip, test_with, until};

/// What the name server outside knows as `outside.test`.
const OUTSIDE: &str = "203.0.113.9";
/// Containers ask the machine outside; the host first asks itself, where nobody listens.
const ASKS_OUTSIDE: &str = r#"{"dns": ["192.0.2.1", "192.0.2.2"]}"#;

/// A topology with a name server outside and `portlane daemon` on the host, and the network `front`.
fn served(options: &str, body: impl FnOnce(&Topology) -> Result<()>) -> Result<()> {
    served_with(ASKS_OUTSIDE, options, body)
}

/// The same with a `daemon.json`.
fn served_with(daemon_json: &str, options: &str, body: impl FnOnce(&Topology) -> Result<()>) -> Result<()> {
    test_with(daemon_json, |net| {
        let _outside = net.outside().start_script("dns.py", &["53", OUTSIDE])?;
        let _daemon = net.daemon_by(&[])?;
        network(net, "front", options)?;
        body(net)
    })
}

/// Makes a network, and waits for its name server.
fn network(net: &Topology, name: &str, options: &str) -> Result<()> {
    let options: Vec<&str> = options.split_whitespace().collect();
    net.portlane(&[&["network", "create", name], &options[..]].concat())?;
    for gateway in gateways(net, name)? {
        let server = format!("@{gateway}");
        until(|| Ok(net.host().run(&["dig", &server, "nobody.test", "+tries=1", "+time=1"]).is_ok()))
            .with_context(|| format!("nobody answers at {gateway}"))?;
    }
    Ok(())
}

fn gateways(net: &Topology, network: &str) -> Result<Vec<String>> {
    let network = net.json(&["network", "inspect", network])?;
    Ok(["gateway4", "gateway6"].iter().filter_map(|key| network[key].as_str().map(str::to_owned)).collect())
}

/// The first address of a name, as the C library finds it.
fn found(place: &Place<'_>, family: Family, name: &str) -> Result<String> {
    let database = if family == Family::V4 { "ahostsv4" } else { "ahostsv6" };
    let said = place.run(&["getent", database, name])?;
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}

fn finds(place: &Place<'_>, family: Family, name: &str, other: &Container<'_>) -> Result<()> {
    let address = found(place, family, name)?;
    ensure!(address == other.address(family).to_string(), "{name} is {address} and not {}", other.address(family));
    Ok(())
}

fn finds_nobody(place: &Place<'_>, name: &str) -> Result<()> {
    let said = place.run(&["sh", "-c", r#"getent ahosts "$0" || test $? = 2"#, name])?;
    ensure!(said.is_empty(), "{name} is {said}");
    Ok(())
}

/// What dig says of a question to the servers of the place.
fn status(place: &Place<'_>, question: &[&str]) -> Result<String> {
    place.run(&[&["dig", "+tries=1"], question].concat())
}

#[test]
fn containers_know_each_other_by_name_short_id_and_host_name_both_ways() -> Result<()> {
    served("--ipv6", |net| {
        let web = net.container("web", "--network front --hostname W1.example", "")?;
        let db = net.container("db", "--network front", "")?;
        let (here, id) = (db.inside(), web.field("id"));
        both(|family| {
            for name in ["web", "WEB", "web.front", "w1.example", &id[..12]] {
                finds(&here, family, name, &web)?;
            }
            finds(&web.inside(), family, "db", &db)?;
            let back = here.run(&["getent", "hosts", &web.address(family).to_string()])?;
            ensure!(back.split_whitespace().nth(1) == Some("web.front"), "{back}");
            Ok(())
        })?;
        let python = "import socket; print(*sorted({at[4][0] for at in socket.getaddrinfo(\"web\", 80)}))";
        let mut all = Family::BOTH.map(|family| web.address(family).to_string());
        all.sort();
        ensure!(here.run(&["python3", "-c", python])? == all.join(" "), "python finds others");
        Ok(())
    })
}

#[test]
fn a_name_is_answered_over_either_protocol_and_family_with_its_time_to_live() -> Result<()> {
    served("--ipv6", |net| {
        let web = net.container("web", "--network front", "")?;
        let inside = web.inside();
        for gateway in gateways(net, "front")? {
            for transport in ["+notcp", "+tcp"] {
                let server = format!("@{gateway}");
                let said = status(&inside, &[&server, transport, "web", "A"])?;
                let record = format!("web.\t\t\t5\tIN\tA\t{}", web.address(Family::V4));
                ensure!(said.contains(&record) && said.contains("flags: qr aa rd ra"), "{said}");
                let way = if transport == "+tcp" { "(TCP)" } else { "(UDP)" };
                ensure!(said.contains(way), "not {way}: {said}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_family_that_a_name_has_not_is_no_error_and_nobody_else_is_asked() -> Result<()> {
    served("--subnet 172.18.0.0/16", |net| {
        let web = net.container("web", "--network front", "")?;
        // The server outside would say that there is no such name.
        for kind in ["AAAA", "MX", "TXT"] {
            let said = status(&web.inside(), &["web", kind])?;
            ensure!(said.contains("status: NOERROR") && said.contains("ANSWER: 0"), "{kind}: {said}");
        }
        let said = status(&web.inside(), &["-x", "172.18.77.77"])?;
        ensure!(said.contains("status: NXDOMAIN"), "{said}");
        let said = status(&web.inside(), &["-x", OUTSIDE])?;
        ensure!(said.contains("outside.test."), "{said}");
        Ok(())
    })
}

#[test]
fn names_of_another_network_are_unknown_and_its_name_server_refuses() -> Result<()> {
    served("", |net| {
        network(net, "back", "")?;
        let web = net.container("web", "--network front", "")?;
        let db = net.container("db", "--network back", "")?;
        finds(&web.inside(), Family::V4, "web", &web)?;
        finds_nobody(&web.inside(), "db")?;
        finds_nobody(&web.inside(), "db.back")?;
        let said = status(&web.inside(), &["-x", &db.address(Family::V4).to_string()])?;
        ensure!(said.contains("status: NXDOMAIN"), "{said}");
        let back = format!("@{}", gateways(net, "back")?[0]);
        let said = status(&web.inside(), &[&back, "db"])?;
        ensure!(said.contains("status: REFUSED"), "{said}");
        ip(&format!("-n {} route add {}/32 via {}", net.outside_netns(), &back[1..], Family::V4.host()))?;
        let said = status(&net.outside(), &[&back, "db"])?;
        ensure!(said.contains("status: REFUSED"), "{said}");
        Ok(())
    })
}

#[test]
fn a_container_is_known_once_it_runs_and_unknown_once_it_is_removed() -> Result<()> {
    served("", |net| {
        let web = net.container("web", "--network front", "")?;
        for _ in 0..5 {
            finds_nobody(&web.inside(), "db")?;
            let db = net.container("db", "--network front", "")?;
            finds(&web.inside(), Family::V4, "db", &db)?;
            net.portlane(&["rm", "-f", "db"])?;
        }
        Ok(())
    })
}

#[test]
fn a_container_on_two_networks_knows_both_and_is_known_by_its_alias_on_one() -> Result<()> {
    served("--subnet 172.30.0.0/24", |net| {
        network(net, "back", "--subnet 172.31.0.0/24")?;
        let web = net.container("web", "--network front", "")?;
        let db = net.container("db", "--network back", "")?;
        let both = net.container("both", "--network front", "")?;
        net.portlane(&["network", "connect", "--alias", "gate", "--ip", "172.31.0.77", "back", "both"])?;
        let knows = |place: &Place<'_>, name: &str, address: &str| {
            let address_found = found(place, Family::V4, name)?;
            ensure!(address_found == address, "{name} is {address_found}");
            Ok(())
        };
        finds(&both.inside(), Family::V4, "web", &web)?;
        finds(&both.inside(), Family::V4, "db", &db)?;
        finds(&web.inside(), Family::V4, "both", &both)?;
        knows(&db.inside(), "both", "172.31.0.77")?;
        knows(&db.inside(), "gate", "172.31.0.77")?;
        finds_nobody(&web.inside(), "gate")?;
        finds_nobody(&web.inside(), "db")?;
        // Its name server was the gateway there.
        net.portlane(&["network", "disconnect", "front", "both"])?;
        finds_nobody(&both.inside(), "web")?;
        finds_nobody(&web.inside(), "both")?;
        finds(&both.inside(), Family::V4, "db", &db)
    })
}

#[test]
fn names_are_known_where_containers_must_not_talk() -> Result<()> {
    served("-o icc=false", |net| {
        let web = net.container("web", "--network front", "")?;
        let db = net.container("db", "--network front", "")?;
        finds(&web.inside(), Family::V4, "db", &db)?;
        ensure!(found(&web.inside(), Family::V4, "outside.test")? == OUTSIDE, "outside.test");
        Ok(())
    })
}

#[test]
fn names_outside_are_asked_of_the_next_server_over_udp_and_over_tcp() -> Result<()> {
    served("", |net| {
        let web = net.container("web", "--network front", "")?;
        let inside = web.inside();
        let gateway = gateways(net, "front")?.remove(0);
        ensure!(found(&inside, Family::V4, "outside.test")? == OUTSIDE, "outside.test");
        finds_nobody(&inside, "nobody.test")?;
        for (bytes, transport) in [(400, "(UDP)"), (1144, "(UDP)"), (4000, "(TCP)"), (9000, "(TCP)")] {
            let said = status(&inside, &[&format!("{bytes}.test"), "TXT", "+bufsize=4096"])?;
            let text: usize = said.split('"').skip(1).step_by(2).map(str::len).sum();
            ensure!(text == bytes && said.contains(transport), "{bytes} bytes {transport}: {said}");
            ensure!(said.contains(&format!("SERVER: {gateway}#53")), "another server: {said}");
        }
        let small = status(&inside, &["1144.test", "TXT", "+noedns", "+ignore"])?;
        ensure!(small.contains("flags: qr aa tc") || small.contains("flags: qr tc"), "not truncated: {small}");
        Ok(())
    })
}

#[test]
fn a_containers_own_name_server_is_asked() -> Result<()> {
    served("", |net| {
        // It is a container itself.
        let other = net.container("other", "--network front", "")?;
        let _server = other.inside().start_script("dns.py", &["53", "203.0.113.77"])?;
        let own = format!("--network front --dns {}", other.address(Family::V4));
        let web = net.container("web", &own, "")?;
        ensure!(found(&web.inside(), Family::V4, "outside.test")? == "203.0.113.77", "its own server");
        ensure!(found(&other.inside(), Family::V4, "outside.test")? == OUTSIDE, "not its own server");
        finds(&web.inside(), Family::V4, "other", &other)
    })
}

#[test]
fn the_hosts_name_servers_are_asked_where_none_are_configured_also_on_its_loopback() -> Result<()> {
    test_with("{}", |net| {
        let _server = net.host().start_script("dns.py", &["53", OUTSIDE, "127.0.0.1"])?;
        let file = net.file("resolv.conf");
        std::fs::write(&file, "nameserver 127.0.0.1\n")?;
        let mount = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
        let _daemon = net.daemon_by(&["unshare", "-m", "sh", "-c", mount, &file.to_string_lossy()])?;
        network(net, "front", "")?;
        let web = net.container("web", "--network front", "")?;
        ensure!(found(&web.inside(), Family::V4, "outside.test")? == OUTSIDE, "outside.test");
        Ok(())
    })
}

#[test]
fn the_name_servers_of_daemon_json_are_asked_from_the_next_reload_on() -> Result<()> {
    test_with("{}", |net| {
        let _outside = net.outside().start_script("dns.py", &["53", OUTSIDE])?;
        let daemon = net.daemon()?;
        network(net, "front", "")?;
        let web = net.container("web", "--network front", "")?;
        let server = format!("@{}", gateways(net, "front")?[0]);
        let finds =
            || Ok(status(&web.inside(), &[&server, "+time=1", "outside.test"]).is_ok_and(|s| s.contains(OUTSIDE)));
        net.rewrite_daemon_json(r#"{"dns": ["192.0.2.2"]}"#)?;
        net.portlane(&["reload"])?;
        until(finds).context("after `portlane reload` beside the daemon")?;
        // Nobody listens there, nor on the host.
        net.rewrite_daemon_json(r#"{"dns": ["192.0.2.1"]}"#)?;
        daemon.portlane(&["reload"])?;
        until(|| Ok(!finds()?)).context("after `portlane reload` by the daemon")?;
        net.rewrite_daemon_json(r#"{"dns": ["192.0.2.2"]}"#)?;
        daemon.signal(Signal::SIGHUP)?;
        until(finds).context("after SIGHUP")?;
        // And from its start on, whoever was not told before.
        drop(daemon);
        net.rewrite_daemon_json(r#"{"dns": ["192.0.2.1"]}"#)?;
        let _daemon = net.daemon()?;
        until(|| Ok(status(&web.inside(), &[&server, "web"]).is_ok()))?;
        ensure!(!finds()?, "it asks those from before its start");
        Ok(())
    })
}

#[test]
fn an_internal_network_knows_its_own_names_and_no_others() -> Result<()> {
    served("--internal", |net| {
        let web = net.container("web", "--network front", "")?;
        let db = net.container("db", "--network front", "")?;
        finds(&web.inside(), Family::V4, "db", &db)?;
        let said = status(&web.inside(), &["outside.test"])?;
        ensure!(said.contains("status: SERVFAIL"), "{said}");
        Ok(())
    })
}

#[test]
fn names_outside_are_found_while_no_daemon_runs() -> Result<()> {
    test_with(r#"{"dns": ["192.0.2.2"]}"#, |net| {
        let _outside = net.outside().start_script("dns.py", &["53", OUTSIDE])?;
        net.portlane(&["network", "create", "front"])?;
        let web = net.container("web", "--network front", "")?;
        let asks = |said: &str| ensure_says(&web.inside(), said);
        asks(OUTSIDE)?;
        let gateway = gateways(net, "front")?.remove(0);
        let daemon: Program = net.daemon_by(&[])?;
        let server = format!("@{gateway}");
        until(|| Ok(net.host().run(&["dig", &server, "web", "+tries=1", "+time=1"]).is_ok()))?;
        finds(&web.inside(), Family::V4, "web", &web)?;
        drop(daemon);
        finds_nobody(&web.inside(), "nobody.test")?;
        asks(OUTSIDE)
    })
}

fn ensure_says(place: &Place<'_>, expected: &str) -> Result<()> {
    let said = found(place, Family::V4, "outside.test")?;
    ensure!(said == expected, "outside.test is {said}");
    Ok(())
}

#[test]
fn a_port_53_on_every_address_and_a_networks_name_server_serve_side_by_side() -> Result<()> {
    // Not of the host, whose port 53 is about to be the container's.
    served_with(r#"{"dns": ["192.0.2.2"]}"#, "--ipv6", |net| {
        let web = net.container("web", "--network front", "")?;
        let dns = net.container("dns", "-p 53:53/udp -p 53:53", "udp [::]:53 tcp [::]:53")?;
        network(net, "back", "--ipv6").context("a network that is made while the port is published")?;
        let neighbour = net.container("neighbour", "", "")?;
        each(|family, proto| {
            for place in [net.outside(), net.host(), neighbour.inside()] {
                let answer = place.ask(proto, at(family.host(), 53))?;
                ensure!(answer.by == dns.name(), "{answer:?}");
            }
            Ok(())
        })?;
        let both_networks = net.container("both", "--network front --network back", "")?;
        both(|family| finds(&both_networks.inside(), family, "web", &web))?;
        for network in ["front", "back"] {
            for gateway in gateways(net, network)? {
                for transport in ["+notcp", "+tcp"] {
                    let said = status(&both_networks.inside(), &[&format!("@{gateway}"), transport, "web", "A"])?;
                    ensure!(said.contains(&web.address(Family::V4).to_string()), "{gateway} {transport}: {said}");
                }
            }
        }
        // Whoever asks for the port on the very address meets who listens there.
        let gateway = &gateways(net, "front")?[0];
        let said = net.refused(&["publish", "dns", &format!("{gateway}:53:54/udp")])?;
        ensure!(said.contains("53/udp"), "{said}");
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "something differs");
        Ok(())
    })
}
