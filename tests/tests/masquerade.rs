//! What containers send beyond their host, as those see it who get it.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Conversation, Family, at, both, each, test};

/// What the machine outside serves.
const SERVER: &str = "tcp [::]:9000 udp [::]:9000";

#[test]
fn a_server_outside_sees_the_hosts_address_and_the_containers_source_port() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let client = net.container("client", "", "")?;
        each(|family, proto| {
            let server = at(family.outside(), 9000);
            let answer = client.inside().ask(proto, server)?;
            ensure!(answer.seen.ip() == family.host() && answer.peer == server, "{answer:?}");
            let answer = client.inside().ask_from(at(family.any(), 43_210), proto, server)?;
            ensure!(answer.seen == at(family.host(), 43_210), "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn containers_that_use_the_same_source_port_to_the_same_server_do_not_disturb_each_other() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let containers = ["one", "two", "three"].map(|name| net.container(name, "", ""));
        let containers = containers.into_iter().collect::<Result<Vec<_>>>()?;
        each(|family, proto| {
            let from = at(family.any(), 40_000).to_string();
            let mut talks = Vec::new();
            for container in &containers {
                let server = at(family.outside(), 9000);
                talks.push(container.inside().converse(proto, server, &["--from", &from])?);
            }
            let mut ports = Vec::new();
            for talk in &mut talks {
                talk.goes_on()?;
                let first = talk.first()?;
                ensure!(first.seen.ip() == family.host(), "{first:?}");
                ensure!(!ports.contains(&first.seen.port()), "two containers share port {}", first.seen.port());
                ports.push(first.seen.port());
            }
            ensure!(ports[0] == 40_000, "the first one's port was free, and yet changed to {}", ports[0]);
            Ok(())
        })
    })
}

#[test]
fn a_process_of_the_host_and_a_container_can_use_the_same_source_port() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let client = net.container("client", "", "")?;
        each(|family, proto| {
            let server = at(family.outside(), 9000);
            for (port, host_first) in [(42_000, true), (42_001, false)] {
                let (host, container) = (at(family.host(), port).to_string(), at(family.any(), port).to_string());
                let host = || net.host().converse(proto, server, &["--from", &host]);
                let container = || client.inside().converse(proto, server, &["--from", &container]);
                let mut talks = if host_first { vec![host()?, container()?] } else { vec![container()?, host()?] };
                let first = || format!("who came first: host {host_first}");
                talks.iter_mut().try_for_each(Conversation::goes_on).with_context(first)?;
                ensure!(talks[0].first()?.seen != talks[1].first()?.seen, "both are {:?}", talks[0].first()?);
            }
            Ok(())
        })
    })
}

#[test]
fn each_uplink_has_an_address_of_its_own_to_masquerade_with() -> Result<()> {
    test(|net| {
        net.second_uplink()?;
        let _server = net.outside().serve(SERVER)?;
        let client = net.container("client", "", "")?;
        each(|family, proto| {
            for (host, outside) in [(family.host(), family.outside()), (family.second_host(), family.second_outside())]
            {
                let answer = client.inside().ask(proto, at(outside, 9000))?;
                ensure!(answer.seen.ip() == host, "{answer:?}");
            }
            Ok(())
        })
    })
}

#[test]
fn echo_requests_of_containers_are_answered() -> Result<()> {
    test(|net| {
        let (one, two) = (net.container("one", "", "")?, net.container("two", "", "")?);
        both(|family| {
            one.inside().ping(family.outside())?;
            two.inside().ping(family.outside())?;
            one.inside().ping(family.outside())
        })
    })
}

#[test]
fn containers_of_a_network_with_subnets_of_its_own_reach_out() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let subnets = ["--subnet", "10.9.8.0/24", "--subnet", "fd00:9:8::/64"];
        net.portlane(&[&["network", "create"], &subnets[..], &["own"]].concat())?;
        let client = net.container("client", "--network own --ip 10.9.8.77 --ip6 fd00:9:8::77", "")?;
        each(|family, proto| {
            let own = family.pick([10, 9, 8, 77].into(), [0xfd00, 9, 8, 0, 0, 0, 0, 0x77].into());
            ensure!(client.address(family) == own, "its address is {}", client.address(family));
            let answer = client.inside().ask(proto, at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == family.host(), "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn a_network_without_masquerade_reaches_out_with_its_own_addresses() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve(SERVER)?;
        let subnets = ["--subnet", "10.55.0.0/24", "--subnet", "fd00:55::/64"];
        net.portlane(&[&["network", "create"], &subnets[..], &["-o", "masquerade=false", "plain"]].concat())?;
        let client = net.container("client", "--network plain", "tcp [::]:80")?;
        net.outside().run(&["ip", "route", "add", "10.55.0.0/24", "via", &Family::V4.host().to_string()])?;
        net.outside().run(&["ip", "-6", "route", "add", "fd00:55::/64", "via", &Family::V6.host().to_string()])?;
        each(|family, proto| {
            let answer = client.inside().ask(proto, at(family.outside(), 9000))?;
            ensure!(answer.seen.ip() == client.address(family), "{answer:?}");
            Ok(())
        })?;
        both(|family| net.outside().no_answer("tcp", at(client.address(family), 80)))
    })
}
