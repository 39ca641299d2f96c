//! Datagrams in pieces, as real stacks cut them up, and as nobody should.
#![cfg(feature = "root")]

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Container, Family, Place, Program, Topology, at, both, either_way, test};

/// Where the server listens, and as what that is published.
const PORT: u16 = 9000;
const PUBLISHED: u16 = 19_000;
const OPTIONS: &str = "-p 19000:9000/udp";
/// Every order of three pieces.
const ORDERS: [&str; 6] = ["012", "021", "102", "120", "201", "210"];

#[test]
fn datagrams_of_any_size_pass_whole_both_ways() -> Result<()> {
    either_way("9000/udp", |_, way| {
        let _server = serve(&way.server)?;
        both(|family| {
            let target = way.at(family, PORT);
            let (address, port) = (target.ip().to_string(), target.port().to_string());
            for (number, size) in [1472, 1473, 4000, 20_000, 60_000, 65_000].into_iter().enumerate() {
                let from = (40_000 + number).to_string();
                let same = way.client.script("pieces.py", &["whole", &address, &port, &size.to_string(), &from]);
                ensure!(same.with_context(|| format!("{size} bytes"))? == "same");
            }
            Ok(())
        })
    })
}

#[test]
fn datagrams_of_any_size_pass_whole_between_containers_by_a_published_port() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "--ipv6", "apart"])?;
        let (web, other) = (net.container("web", OPTIONS, "")?, net.container("other", "", "")?);
        let apart = net.container("apart", "--network apart", "")?;
        let _server = serve(&web.inside())?;
        both(|family| {
            for client in [&web, &other, &apart] {
                for size in ["4000", "60000"] {
                    let address = family.host().to_string();
                    let options = ["whole", &address, "19000", size, "40000"];
                    client.inside().script("pieces.py", &options).with_context(|| format!("{size} bytes"))?;
                }
            }
            Ok(())
        })
    })
}

#[test]
fn pieces_from_outside_make_a_datagram_in_whatever_order_they_come() -> Result<()> {
    test(|net| {
        let web = net.container("web", OPTIONS, "")?;
        let _server = serve(&web.inside())?;
        both(|family| all_whole(&from_outside(net, family, &ORDERS)?))
    })
}

#[test]
fn pieces_from_a_container_make_a_datagram_in_whatever_order_it_sends_them() -> Result<()> {
    test(|net| {
        let client = net.container("client", "", "")?;
        let _server = serve(&net.outside())?;
        both(|family| all_whole(&from_inside(&client, family, &ORDERS)?))
    })
}

#[test]
fn a_piece_that_comes_twice_is_counted_and_changes_nothing() -> Result<()> {
    test(|net| {
        let web = net.container("web", OPTIONS, "")?;
        let client = net.container("client", "", "")?;
        let _servers = (serve(&web.inside())?, serve(&net.outside())?);
        let plans = ["0012", "0112", "02021", "020212"];
        both(|family| {
            for inside in [false, true] {
                let before = net.counted("fragment-overlap")?;
                let said =
                    if inside { from_inside(&client, family, &plans)? } else { from_outside(net, family, &plans)? };
                all_whole(&said)?;
                let counted = net.counted("fragment-overlap")? - before;
                ensure!(counted >= 4, "inside {inside}: counted {counted} times");
            }
            Ok(())
        })
    })
}

#[test]
fn a_piece_that_overlaps_another_is_counted_and_no_datagram_is_changed_by_it() -> Result<()> {
    test(|net| {
        let web = net.container("web", OPTIONS, "")?;
        let client = net.container("client", "", "")?;
        let _servers = (serve(&web.inside())?, serve(&net.outside())?);
        let plans = ["0d12", "01d2", "0e12", "01e2", "02e1", "0de12", "d012", "20d1"];
        both(|family| {
            for inside in [false, true] {
                let before = net.counted("fragment-overlap")?;
                let said =
                    if inside { from_inside(&client, family, &plans)? } else { from_outside(net, family, &plans)? };
                ensure!(said.lines().count() == plans.len(), "{said}");
                for line in said.lines() {
                    ensure!(line.ends_with(" whole") || line.ends_with(" silence"), "inside {inside}: {said}");
                }
                let counted = net.counted("fragment-overlap")? - before;
                ensure!(counted >= plans.len() as u64 - 1, "inside {inside}: counted {counted} times");
                // The next datagrams have nothing to do with it.
                let said =
                    if inside { from_inside(&client, family, &ORDERS)? } else { from_outside(net, family, &ORDERS)? };
                all_whole(&said).context("afterwards")?;
            }
            Ok(())
        })
    })
}

#[test]
fn pieces_whose_first_never_comes_keep_no_other_datagram_out() -> Result<()> {
    test(|net| {
        let web = net.container("web", OPTIONS, "")?;
        let client = net.container("client", "", "")?;
        let _servers = (serve(&web.inside())?, serve(&net.outside())?);
        let plans = [&["orphans=5000"], &ORDERS[..]].concat();
        both(|family| {
            all_whole(&from_outside(net, family, &plans)?).context("from outside")?;
            all_whole(&from_inside(&client, family, &plans)?).context("from a container")?;
            let (host, outside) = (at(family.host(), PUBLISHED), at(family.outside(), PORT));
            for (place, target) in [(net.outside(), host), (client.inside(), outside)] {
                let (address, port) = (target.ip().to_string(), target.port().to_string());
                place.script("pieces.py", &["whole", &address, &port, "60000", "40001"])?;
            }
            Ok(())
        })
    })
}

fn serve(place: &Place<'_>) -> Result<Program> {
    place.start_script("pieces.py", &["serve", &PORT.to_string()])
}

/// What becomes of these plans, sent by the machine outside to the published port.
fn from_outside(net: &Topology, family: Family, plans: &[&str]) -> Result<String> {
    send(&net.outside(), family.outside(), family.host(), PUBLISHED, plans)
}

/// What becomes of these plans, sent by a container to the server outside.
fn from_inside(container: &Container<'_>, family: Family, plans: &[&str]) -> Result<String> {
    send(&container.inside(), container.address(family), family.outside(), PORT, plans)
}

fn send(place: &Place<'_>, own: IpAddr, address: IpAddr, port: u16, plans: &[&str]) -> Result<String> {
    let (own, address, port) = (own.to_string(), address.to_string(), port.to_string());
    place.script("pieces.py", &[&["send", &own, &address, &port, "40000"], plans].concat())
}

fn all_whole(said: &str) -> Result<()> {
    ensure!(!said.is_empty() && said.lines().all(|line| line.ends_with(" whole")), "{said}");
    Ok(())
}
