//! SCTP associations, as they are set up, used and shut down, with their checksums right at both ends. A script speaks
//! SCTP, for the kernel may have none.
#![cfg(feature = "root")]

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use portlane_tests::topology::{Family, Place, Program, at, both, test};

/// What the server listens on.
const PORT: u16 = 3868;

#[test]
fn a_published_sctp_port_leads_to_the_container_under_its_own_number_and_another() -> Result<()> {
    test(|net| {
        let diameter = net.container("diameter", "-p 3868:3868/sctp -p 3869:3868/sctp", "")?;
        let _server = serve(&diameter.inside())?;
        both(|family| {
            // The client's ports differ: to the container both are associations with its one port.
            for (port, own) in [(PORT, 40_000), (3869, 40_001)] {
                let seen = ask(&net.outside(), at(family.host(), port), own, &[])?;
                ensure!(seen == at(family.outside(), own), "by port {port} the server sees {seen}");
            }
            Ok(())
        })
    })
}

#[test]
fn a_container_of_another_network_reaches_a_published_sctp_port_by_the_hosts_address() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "apart"])?;
        let diameter = net.container("diameter", "-p 3869:3868/sctp", "")?;
        let client = net.container("client", "--network apart", "")?;
        let _server = serve(&diameter.inside())?;
        both(|family| {
            let seen = ask(&client.inside(), at(family.host(), 3869), 40_000, &[])?;
            ensure!(seen == at(family.host(), 40_000), "the server sees {seen}");
            Ok(())
        })
    })
}

#[test]
fn the_same_client_port_can_begin_a_new_sctp_association_after_the_last() -> Result<()> {
    test(|net| {
        let diameter = net.container("diameter", "-p 3869:3868/sctp", "")?;
        let _server = serve(&diameter.inside())?;
        both(|family| {
            for options in [&[][..], &["leave-open"], &[]] {
                ask(&net.outside(), at(family.host(), 3869), 40_000, options)?;
            }
            Ok(())
        })
    })
}

#[test]
fn a_server_outside_sees_the_hosts_address_and_the_containers_sctp_port() -> Result<()> {
    test(|net| {
        let _server = serve(&net.outside())?;
        let client = net.container("client", "", "")?;
        both(|family| {
            let seen = ask(&client.inside(), at(family.outside(), PORT), 40_000, &[])?;
            ensure!(seen == at(family.host(), 40_000), "the server sees {seen}");
            Ok(())
        })
    })
}

#[test]
fn containers_that_use_the_same_sctp_port_to_the_same_server_do_not_disturb_each_other() -> Result<()> {
    test(|net| {
        let _server = serve(&net.outside())?;
        let (one, two) = (net.container("one", "", "")?, net.container("two", "", "")?);
        both(|family| {
            let server = at(family.outside(), PORT);
            let first = ask(&one.inside(), server, 40_000, &["leave-open"])?;
            let second = ask(&two.inside(), server, 40_000, &["leave-open"])?;
            ensure!(first == at(family.host(), 40_000), "its port was free, and yet the first one is {first}");
            ensure!(second.ip() == family.host() && second.port() != 40_000, "the second one is {second}");
            Ok(())
        })
    })
}

#[test]
fn containers_of_a_network_and_the_host_reach_an_sctp_server_by_its_containers_address() -> Result<()> {
    test(|net| {
        let diameter = net.container("diameter", "", "")?;
        let client = net.container("client", "", "")?;
        let _server = serve(&diameter.inside())?;
        both(|family| {
            let server = at(diameter.address(family), PORT);
            let seen = ask(&client.inside(), server, 40_000, &[])?;
            ensure!(seen == at(client.address(family), 40_000), "the server sees {seen}");
            ask(&net.host(), server, 40_000, &[]).map(drop)
        })
    })
}

#[test]
fn sctp_of_the_host_itself_is_left_alone() -> Result<()> {
    test(|net| {
        let _container = net.container("any", "", "")?;
        for (server, client, address, seen) in [
            (net.host(), net.outside(), Family::host as fn(Family) -> _, Family::outside as fn(Family) -> _),
            (net.outside(), net.host(), Family::outside, Family::host),
        ] {
            let _server = serve(&server)?;
            both(|family| {
                let found = ask(&client, at(address(family), PORT), 40_000, &[])?;
                ensure!(found == at(seen(family), 40_000), "the server sees {found}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn serve(place: &Place<'_>) -> Result<Program> {
    place.start_script("sctp.py", &["serve", &PORT.to_string()])
}

/// As whom the server sees a client at this port.
fn ask(place: &Place<'_>, target: SocketAddr, from: u16, options: &[&str]) -> Result<SocketAddr> {
    let (address, port, from) = (target.ip().to_string(), target.port().to_string(), from.to_string());
    Ok(place.script("sctp.py", &[&["ask", &address, &port, &from], options].concat())?.parse()?)
}
