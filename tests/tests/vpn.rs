//! Uplinks whose packets have no Ethernet headers: tun, and with it most VPNs.
#![cfg(feature = "root")]

use anyhow::{Result, ensure};
use portlane_tests::topology::{Family, at, both, each, test};

#[test]
fn published_ports_and_masquerade_work_over_a_vpn() -> Result<()> {
    test(|net| {
        let _vpn = net.vpn()?;
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            let answer = net.outside().ask(proto, at(family.vpn_host(), 8080))?;
            ensure!(answer.seen.ip() == family.vpn_outside() && answer.by == "web", "{answer:?}");
            let answer = web.inside().ask_from(at(family.any(), 43_210), proto, at(family.vpn_outside(), 9000))?;
            ensure!(answer.seen == at(family.vpn_host(), 43_210), "{answer:?}");
            // The other uplink is as it was.
            let answer = net.outside().ask(proto, at(family.host(), 8080))?;
            ensure!(answer.seen.ip() == family.outside() && answer.by == "web", "{answer:?}");
            Ok(())
        })?;
        both(|family| web.inside().ping(family.vpn_outside()))
    })
}

#[test]
fn over_a_vpn_the_host_answers_for_itself_and_containers_addresses_do_not() -> Result<()> {
    test(|net| {
        let _vpn = net.vpn()?;
        let web = net.container("web", "", "tcp [::]:80 udp [::]:80")?;
        let _ssh = net.host().serve("tcp [::]:22 udp [::]:22")?;
        both(|family| {
            let (address, host) = (web.address(family).to_string(), family.vpn_host().to_string());
            net.outside().run(&["ip", "route", "add", &address, "via", &host])?;
            net.outside().ping(family.vpn_host())
        })?;
        each(|family, proto| {
            net.outside().ask(proto, at(family.vpn_host(), 22))?;
            net.outside().no_answer(proto, at(web.address(family), 80))
        })?;
        ensure!(net.counted("direct-access")? >= 4, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn a_large_datagram_and_what_a_router_says_pass_a_vpn() -> Result<()> {
    test(|net| {
        let _vpn = net.vpn()?;
        let _server = net.outside().serve("stream [::]:9000")?;
        let web = net.container("web", "-p 8080:80", "stream [::]:80")?;
        both(|family: Family| {
            net.outside().streams(at(family.vpn_host(), 8080), 1_000_000)?;
            web.inside().streams(at(family.vpn_outside(), 9000), 1_000_000)?;
            // Nobody listens there, and the answer says so.
            let (address, port) = (family.vpn_outside().to_string(), "9999");
            let said = web.inside().script("udp.py", &[&address, port, "100"])?;
            ensure!(said.trim() == "refused", "{family}: {said}");
            Ok(())
        })
    })
}
