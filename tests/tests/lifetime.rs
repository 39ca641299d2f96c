//! How long conversations are remembered, what ends them, and what whoever still talks is told then.
#![cfg(feature = "root")]

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{
    Conversation, Dialog, Family, PROTOS, Place, Topology, at, both, each, test, test_with, until,
};
use serde_json::Value;

/// Everything is over after the least that can be set.
const SHORT: &str =
    r#"{"portlane": {"timeouts": {"tcp": 2, "tcp-transitory": 2, "udp": 2, "udp-unanswered": 2, "icmp": 2}}}"#;
/// Connections that are not confirmed are over soon, others are not.
const LONG_ONCE_CONFIRMED: &str = r#"{"portlane": {"timeouts": {"tcp": 600, "tcp-transitory": 2}}}"#;
/// Room for many conversations of one container.
const MANY: &str = r#"{"portlane": {"flows": 8000, "flow-share": 4000, "timeouts": {"udp-unanswered": 2}}}"#;

#[test]
fn removing_a_container_resets_the_connections_of_its_clients() -> Result<()> {
    test(|net| {
        both(|family| {
            let web = net.container("web", "-p 8080:80", "")?;
            let mut server = web.inside().dialog("end.py", &["tcp", "listen", "80"])?;
            let mut client = connect(&net.outside(), "tcp", family, family.host(), 8080)?;
            talk(&mut client, &mut server)?;
            net.portlane(&["rm", "-f", "web"])?;
            client.expect("fate", "reset")
        })
    })
}

#[test]
fn removing_a_container_resets_its_connections_to_servers_outside() -> Result<()> {
    test(|net| {
        both(|family| {
            let web = net.container("web", "", "")?;
            let mut server = net.outside().dialog("end.py", &["tcp", "listen", "9000"])?;
            let mut client = connect(&web.inside(), "tcp", family, family.outside(), 9000)?;
            talk(&mut client, &mut server)?;
            net.portlane(&["rm", "-f", "web"])?;
            server.expect("fate", "reset")
        })
    })
}

#[test]
fn removing_a_container_has_the_datagrams_of_its_clients_and_servers_refused() -> Result<()> {
    test(|net| {
        both(|family| {
            let web = net.container("web", "-p 8080:80/udp", "")?;
            let mut published = web.inside().dialog("end.py", &["udp", "listen", "80"])?;
            let mut outer_client = connect(&net.outside(), "udp", family, family.host(), 8080)?;
            talk(&mut outer_client, &mut published).context("by a published port")?;
            let mut outer_server = net.outside().dialog("end.py", &["udp", "listen", "9000"])?;
            let mut inner_client = connect(&web.inside(), "udp", family, family.outside(), 9000)?;
            talk(&mut inner_client, &mut outer_server).context("masqueraded")?;
            net.portlane(&["rm", "-f", "web"])?;
            outer_client.expect("fate", "refused")?;
            outer_server.expect("fate", "refused")
        })
    })
}

#[test]
fn removing_a_container_ends_the_sockets_of_the_hosts_processes() -> Result<()> {
    test(|net| {
        each(|family, proto| {
            let web = net.container("web", "-p 8080-8081:80-81 -p 8080-8081:80-81/udp", "")?;
            let other = net.container("other", "", "")?;
            let mut own = other.inside().dialog("end.py", &[proto, "listen", "80"])?;
            let mut own_client = connect(&net.host(), proto, family, other.address(family), 80)?;
            talk(&mut own_client, &mut own)?;
            let mut talks = Vec::new();
            // One listener for each way, since over TCP it takes one client.
            let ways = [(family.loopback(), 8080, 80), (family.host(), 8081, 81), (web.address(family), 82, 82)];
            for (address, port, at) in ways {
                let mut server = web.inside().dialog("end.py", &[proto, "listen", &at.to_string()])?;
                let mut client = connect(&net.host(), proto, family, address, port)?;
                talk(&mut client, &mut server)?;
                talks.push((client, server));
            }
            net.portlane(&["rm", "-f", "web"])?;
            for (client, _server) in &mut talks {
                client.expect("fate", "aborted")?;
            }
            talk(&mut own_client, &mut own).context("of another container")?;
            net.portlane(&["rm", "-f", "other"]).map(drop)
        })
    })
}

#[test]
fn a_host_process_with_a_udp_socket_to_a_published_port_hears_that_it_moved() -> Result<()> {
    test(|net| {
        let web = net.container("web", "-p 8080-8081:80-81/udp -p 9090:90/udp -p 8080:80", "")?;
        both(|family| {
            let mut clients = Vec::new();
            for (proto, at, port) in [("udp", 81, 8081), ("udp", 90, 9090), ("tcp", 80, 8080)] {
                let mut server = web.inside().dialog("end.py", &[proto, "listen", &at.to_string()])?;
                let mut client = connect(&net.host(), proto, family, family.loopback(), port)?;
                talk(&mut client, &mut server)?;
                clients.push((client, server));
            }
            let mut direct = web.inside().dialog("end.py", &["udp", "listen", "80"])?;
            let mut direct_client = connect(&net.host(), "udp", family, web.address(family), 80)?;
            talk(&mut direct_client, &mut direct)?;
            net.portlane(&["unpublish", "web", "8080-8081:80-81/udp"])?;
            clients[0].0.expect("fate", "aborted")?;
            // Who came by another port, without NAT, or over TCP goes on.
            for (client, server) in &mut clients[1..] {
                talk(client, server)?;
            }
            talk(&mut direct_client, &mut direct)?;
            net.portlane(&["publish", "web", "8080-8081:80-81/udp"]).map(drop)
        })
    })
}

#[test]
fn a_udp_client_with_a_live_flow_is_served_by_the_new_container_with_its_next_datagram() -> Result<()> {
    test(|net| {
        let _old = net.container("old", "-p 5353:53/udp", "udp [::]:53")?;
        let _new = net.container("new", "", "udp [::]:53")?;
        let neighbour = net.container("neighbour", "", "")?;
        let mut clients = Vec::new();
        both(|family| {
            for place in [net.outside(), neighbour.inside()] {
                for options in [&[][..], &["--connect"]] {
                    clients.push(place.converse("udp", at(family.host(), 5353), options)?);
                }
            }
            Ok(())
        })?;
        answered_by(&mut clients, "old")?;
        // The port moves to a container that runs.
        net.portlane(&["unpublish", "old", "5353:53/udp"])?;
        net.portlane(&["publish", "new", "5353:53/udp"])?;
        answered_by(&mut clients, "new")?;
        // The container makes way for one that starts.
        net.portlane(&["rm", "-f", "new"])?;
        let _newer = net.container("newer", "-p 5353:53/udp", "udp [::]:53")?;
        answered_by(&mut clients, "newer")
    })
}

#[test]
fn a_time_set_in_daemon_json_is_the_flows() -> Result<()> {
    test_with(SHORT, |net| {
        let web = net.container("web", "-p 5353:53/udp -p 8080:80", "udp [::]:53 tcp [::]:80")?;
        net.route_to_far()?;
        both(|family| {
            let mut server = net.outside().dialog("end.py", &["udp", "listen", "9000"])?;
            let mut unanswered = connect(&web.inside(), "udp", family, family.far(), 9001)?;
            let mut answered = connect(&web.inside(), "udp", family, family.outside(), 9000)?;
            unanswered.expect("say hello", "said")?;
            talk(&mut answered, &mut server)?;
            let mut published = net.outside().converse("udp", at(family.host(), 5353), &[])?;
            published.again()?;
            web.inside().no_answer("tcp", at(family.far(), 9002))?;
            web.inside().ping(family.outside())?;
            ensure!(entries(net)? > 0, "none of these conversations is in the tables");

            until(|| Ok(entries(net)? == 0)).context("entries are left in the tables")?;
            let left = flows(net)?;
            ensure!(left.is_empty(), "still listed: {left:?}");
            // What is late is the host's by now, where nobody waits for it.
            server.expect("fate", "refused")?;
            answered.expect("quiet", "silence")?;
            // Whoever goes on begins anew.
            published.again().map(drop)
        })
    })
}

#[test]
fn no_flow_is_forgotten_in_the_tables_however_many_there_are() -> Result<()> {
    test_with(MANY, |net| {
        let web = net.container("web", "", "")?;
        net.route_to_far()?;
        both(|family| {
            web.inside().script("many.py", &[&family.far().to_string(), "10000", "2000"])?;
            until(|| Ok(entries(net)? == 0)).with_context(|| format!("{:?} entries are left", entries(net)))
        })
    })
}

#[test]
fn what_a_removed_container_leaves_in_the_tables_goes_away_by_itself() -> Result<()> {
    test_with(SHORT, |net| {
        let neighbour = net.container("neighbour", "", "")?;
        both(|family| {
            let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
            let mut server = net.outside().dialog("end.py", &["udp", "listen", "9000"])?;
            let mut client = connect(&web.inside(), "udp", family, family.outside(), 9000)?;
            let mut talks = Vec::new();
            for proto in PROTOS {
                talks.push(net.outside().converse(proto, at(family.host(), 8080), &[])?);
                talks.push(neighbour.inside().converse(proto, at(family.host(), 8080), &[])?);
            }
            talk(&mut client, &mut server)?;
            talks.iter_mut().try_for_each(|talk| talk.again().map(drop))?;
            net.portlane(&["rm", "-f", "web"])?;
            let gone = || Ok(entries(net)? == 0);
            until(gone).with_context(|| format!("still listed: {:?}", flows(net)))?;
            server.expect("fate", "refused")
        })
    })
}

#[test]
fn a_connection_that_was_idle_for_longer_than_unconfirmed_ones_may_be_goes_on() -> Result<()> {
    test_with(LONG_ONCE_CONFIRMED, |net| {
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        let neighbour = net.container("neighbour", "", "")?;
        let _server = net.outside().serve("tcp [::]:9000")?;
        let mut talks = Vec::new();
        both(|family| {
            talks.push(net.outside().converse("tcp", at(family.host(), 8080), &[])?);
            talks.push(web.inside().converse("tcp", at(family.outside(), 9000), &[])?);
            talks.push(neighbour.inside().converse("tcp", at(family.host(), 8080), &[])?);
            Ok(())
        })?;
        until(|| {
            let flows = flows(net)?;
            let idle = flows.iter().filter(|flow| flow["idle_seconds"].as_u64() >= Some(3)).count();
            ensure!(flows.len() == talks.len(), "not {} flows: {flows:?}", talks.len());
            Ok(idle == talks.len())
        })?;
        talks.iter_mut().try_for_each(Conversation::goes_on)
    })
}

#[test]
fn two_containers_keep_the_same_source_port_towards_different_servers() -> Result<()> {
    test(|net| {
        net.outside().run(&["ip", "addr", "add", "192.0.2.7/24", "dev", "eth0"])?;
        net.outside().run(&["ip", "addr", "add", "2001:db8:1::7/64", "dev", "eth0", "nodad"])?;
        let containers = ["one", "two", "three"].map(|name| net.container(name, "", ""));
        let containers = containers.into_iter().collect::<Result<Vec<_>>>()?;
        let (ports, second) = ([9000, 9001], |family: Family| {
            family.pick([192, 0, 2, 7].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 7].into())
        });
        let serves = |family: Family, proto| {
            format!(
                "{proto} {} {} {}",
                at(family.outside(), ports[0]),
                at(family.outside(), ports[1]),
                at(second(family), ports[0])
            )
        };
        each(|family, proto| {
            let _servers = net.outside().serve(&serves(family, proto))?;
            let servers =
                [at(family.outside(), ports[0]), at(family.outside(), ports[1]), at(second(family), ports[0])];
            let from = at(family.any(), 40_000).to_string();
            let mut talks = Vec::new();
            for (container, server) in containers.iter().zip(servers) {
                talks.push(container.inside().converse(proto, server, &["--from", &from])?);
            }
            for (talk, container) in talks.iter_mut().zip(&containers) {
                let again = talk.again()?;
                ensure!(again.seen == at(family.host(), 40_000), "{} is seen as {}", container.name(), again.seen);
            }
            Ok(())
        })
    })
}

/// One end that a test speaks for, connected to an address and port.
fn connect(place: &Place<'_>, proto: &str, family: Family, address: IpAddr, port: u16) -> Result<Dialog> {
    place.calls(proto, at(address, port)).with_context(|| format!("{proto} {family}"))
}

/// Words both ways, twice.
fn talk(client: &mut Dialog, server: &mut Dialog) -> Result<()> {
    for round in ["one", "two"] {
        client.expect(&format!("say question-{round}"), "said")?;
        server.expect("hear", &format!("question-{round}"))?;
        server.expect(&format!("say answer-{round}"), "said")?;
        client.expect("hear", &format!("answer-{round}"))?;
    }
    Ok(())
}

/// Each client's next datagrams are answered by this server.
fn answered_by(clients: &mut [Conversation], name: &str) -> Result<()> {
    for (number, client) in clients.iter_mut().enumerate() {
        for round in 0..3 {
            let answer = client.again().with_context(|| format!("client {number}, datagram {round}, of {name}"))?;
            ensure!(answer.by == name, "client {number}, datagram {round}: {answer:?} instead of {name}");
        }
    }
    Ok(())
}

/// What `portlane flows` lists.
fn flows(net: &Topology) -> Result<Vec<Value>> {
    let flows = net.json(&["flows"])?;
    Ok(flows.as_array().with_context(|| format!("no list: {flows}"))?.clone())
}

/// Entries in the tables of flows, seen without portlane's help.
fn entries(net: &Topology) -> Result<usize> {
    Ok(net.dump("pl_flow4")?.len() + net.dump("pl_flow6")?.len())
}
