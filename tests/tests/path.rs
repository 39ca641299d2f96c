//! What routers and far ends say about packets on the way, as those hear it who sent them: ICMP errors, and how large
//! packets may be. All of this needs ICMP errors to be translated.
#![cfg(feature = "root")]

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Container, Family, Place, Topology, at, both, either_way, test};

/// The largest packet that passes the cable between the machine outside and the machine behind it.
const NARROW: u16 = 1400;

#[test]
fn tracepath_in_a_container_reaches_the_machine_outside() -> Result<()> {
    test(|net| {
        let client = net.container("client", "", "")?;
        both(|family| {
            let said = tracepath(&client.inside(), family.outside())?;
            ensure!(reached(&said, family.outside()) && said.contains("Resume: pmtu 1500"), "{said}");
            Ok(())
        })
    })
}

#[test]
fn tracepath_in_a_container_lists_the_routers_and_finds_out_how_large_packets_may_be() -> Result<()> {
    test(|net| {
        let _far = net.far(NARROW)?;
        let client = net.container("client", "", "")?;
        both(|family| {
            let said = tracepath(&client.inside(), family.far())?;
            ensure!(hops(&said).any(|hop| hop == family.outside().to_string()), "no router in: {said}");
            ensure!(reached(&said, family.far()) && said.contains("Resume: pmtu 1400"), "{said}");
            Ok(())
        })
    })
}

#[test]
fn the_host_is_the_first_router_that_tracepath_in_a_container_lists() -> Result<()> {
    test(|net| {
        let client = net.container("client", "", "")?;
        both(|family| {
            let said = tracepath(&client.inside(), family.outside())?;
            let gateway = gateway(net, family)?;
            ensure!(hops(&said).next() == Some(&gateway), "it is not {gateway}: {said}");
            ensure!(said.contains("hops 2"), "{said}");
            Ok(())
        })
    })
}

#[test]
fn tracepath_from_outside_finds_a_published_port_at_the_host() -> Result<()> {
    test(|net| {
        let far = net.far(NARROW)?;
        // The ports that tracepath asks for, one after the other, where nobody listens.
        net.container("web", "-p 44444-44507:44444-44507/udp", "")?;
        both(|family| {
            let said = tracepath(&far.place(), family.host())?;
            ensure!(reached(&said, family.host()) && !said.contains("no reply"), "{said}");
            ensure!(said.contains("hops 2"), "the container is not a hop of its own: {said}");
            Ok(())
        })
    })
}

#[test]
fn an_echo_request_that_is_too_large_for_a_cable_on_the_way_is_answered_by_the_router() -> Result<()> {
    test(|net| {
        let _far = net.far(NARROW)?;
        let client = net.container("client", "", "")?;
        both(|family| {
            let fits = usize::from(NARROW) - family.headers();
            let said = ping(&client, family.far(), fits + 1)?;
            let router = format!("From {} ", family.outside());
            ensure!(said.contains(&router) && said.replace(' ', "").contains("mtu=1400"), "{said}");
            let said = ping(&client, family.far(), fits)?;
            ensure!(said.contains(" 1 received"), "{said}");
            Ok(())
        })
    })
}

#[test]
fn a_megabyte_passes_a_narrow_cable_each_way() -> Result<()> {
    test(|net| {
        let far = net.far(NARROW)?;
        let web = net.container("web", "-p 8080:80", "stream [::]:80")?;
        let client = net.container("client", "", "")?;
        let _server = far.place().serve("stream [::]:9000")?;
        both(|family| {
            client.inside().streams(at(family.far(), 9000), 1_000_000).context("masqueraded")?;
            far.place().streams(at(family.host(), 8080), 1_000_000).context("by a published port")?;
            // Neither would have, had both ends known the cable from the start.
            for container in [&client, &web] {
                let route = container.inside().run(&["ip", "route", "get", &family.far().to_string()])?;
                ensure!(route.contains("mtu 1400"), "{} has not been told: {route}", container.name());
            }
            Ok(())
        })
    })
}

#[test]
fn a_datagram_that_is_too_large_for_a_cable_on_the_way_is_reported_to_the_container() -> Result<()> {
    test(|net| {
        let _far = net.far(NARROW)?;
        let client = net.container("client", "", "")?;
        both(|family| {
            let said = datagram(&client.inside(), family.far(), 9000, 1500 - family.headers())?;
            ensure!(said == "too large: 1400", "{said}");
            Ok(())
        })
    })
}

#[test]
fn a_datagram_to_a_port_that_nobody_listens_on_is_refused() -> Result<()> {
    either_way("9000/udp", |_, way| {
        both(|family| {
            let target = way.at(family, 9000);
            let said = datagram(&way.client, target.ip(), target.port(), 100)?;
            ensure!(said == "refused", "{said}");
            Ok(())
        })
    })
}

#[test]
fn a_machine_that_is_not_there_is_unreachable_to_containers() -> Result<()> {
    test(|net| {
        let _far = net.far(NARROW)?;
        let client = net.container("client", "", "")?;
        net.outside().run(&["ip", "route", "add", "unreachable", "203.0.113.9"])?;
        net.outside().run(&["ip", "route", "add", "unreachable", "2001:db8:3::9"])?;
        both(|family| {
            let nobody = family.pick([203, 0, 113, 9].into(), [0x2001, 0xdb8, 3, 0, 0, 0, 0, 9].into());
            let said = ping(&client, nobody, 56)?;
            ensure!(said.contains(&format!("From {} ", family.outside())), "{said}");
            let said = datagram(&client.inside(), nobody, 9000, 100)?;
            ensure!(said == "unreachable", "{said}");
            Ok(())
        })
    })
}

fn tracepath(place: &Place<'_>, target: IpAddr) -> Result<String> {
    place.run(&["tracepath", "-n", "-m", "5", &target.to_string()])
}

/// Addresses, from lines like ` 2:  192.0.2.2  0.051ms pmtu 1400`.
fn hops(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| line.trim().split_once(":  ")?.1.split_whitespace().next())
}

fn reached(said: &str, target: IpAddr) -> bool {
    said.lines().any(|line| line.contains(&format!(" {target} ")) && line.contains("reached"))
}

/// One echo request of so many bytes, not to be cut up; what ping says, whether or not there is an answer.
fn ping(container: &Container<'_>, target: IpAddr, bytes: usize) -> Result<String> {
    container.inside().run(&["sh", "-c", &format!("ping -n -c 1 -w 5 -M do -s {bytes} {target} 2>&1; true")])
}

fn datagram(place: &Place<'_>, target: IpAddr, port: u16, bytes: usize) -> Result<String> {
    place.script("udp.py", &[&target.to_string(), &port.to_string(), &bytes.to_string()])
}

/// The default network's address of the host.
fn gateway(net: &Topology, family: Family) -> Result<String> {
    let network = net.json(&["network", "inspect", "portlane0"])?;
    let field = if family == Family::V4 { "gateway4" } else { "gateway6" };
    Ok(network[field].as_str().with_context(|| format!("no {field} in {network}"))?.to_owned())
}
