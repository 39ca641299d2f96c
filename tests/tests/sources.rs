//! Ports that are open to some senders only: who gets in, who does not, and who counts that.
#![cfg(feature = "root")]

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Place, Topology, at, both, each, test};

const REFUSED: &str = "source-refused";

#[test]
fn a_port_with_sources_serves_them_and_nobody_else() -> Result<()> {
    test(|net| {
        second_address_outside(net)?;
        let from = "from=192.0.2.2,from=2001:db8:1::/126";
        let published = format!("-p 8080:80,{from} -p 8080:80/udp,{from}");
        let _web = net.container("web", &published, "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            let answer = net.outside().ask_from(at(family.outside(), 0), proto, at(family.host(), 8080))?;
            ensure!(answer.by == "web" && answer.seen.ip() == family.outside(), "{answer:?}");
            refused(net, net.outside(), proto, at(stranger(family), 0), at(family.host(), 8080))
        })
    })
}

#[test]
fn without_sources_a_port_serves_everybody_as_before() -> Result<()> {
    test(|net| {
        second_address_outside(net)?;
        let _web =
            net.container("web", "-p 8080:80 -p 8080:80/udp -p 81:81,from=10.9.9.9", "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            net.outside().ask(proto, at(family.host(), 8080))?;
            net.outside().ask_from(at(stranger(family), 0), proto, at(family.host(), 8080)).map(drop)
        })?;
        ensure!(net.counted(REFUSED)? == 0);
        let row =
            |id: u64| Ok::<_, anyhow::Error>(net.dump("pl_publish4")?.into_iter().find(|row| row["value"]["id"] == id));
        ensure!(row(1)?.context("no entry 1")?["value"]["flags"] == 0, "it costs a look-up");
        ensure!(row(3)?.context("no entry 3")?["value"]["flags"] == 1);
        Ok(())
    })
}

#[test]
fn sources_of_one_family_close_the_port_to_the_other() -> Result<()> {
    test(|net| {
        let published = "-p 84:80,from=0.0.0.0/0 -p 84:80/udp,from=0.0.0.0/0 -p 86:80,from=::/0 -p 86:80/udp,from=::/0";
        let _web = net.container("web", published, "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            let (open, closed) = if family.host().is_ipv4() { (84, 86) } else { (86, 84) };
            net.outside().ask(proto, at(family.host(), open))?;
            refused(net, net.outside(), proto, at(family.any(), 0), at(family.host(), closed))
        })
    })
}

#[test]
fn a_neighbour_needs_to_be_a_source_too() -> Result<()> {
    test(|net| {
        let subnets = ["--subnet", "10.9.8.0/24", "--subnet", "fd00:9:8::/64"];
        net.portlane(&[&["network", "create"], &subnets[..], &["own"]].concat())?;
        let from = "from=10.9.8.64/26,from=fd00:9:8::40/122";
        let published = format!("--network own -p 8080:80,{from} -p 8080:80/udp,{from}");
        let _web = net.container("web", &published, "tcp [::]:80 udp [::]:80")?;
        let friend = net.container("friend", "--network own --ip 10.9.8.77 --ip6 fd00:9:8::4d", "")?;
        let other = net.container("other", "--network own --ip 10.9.8.33 --ip6 fd00:9:8::21", "")?;
        each(|family, proto| {
            let answer = friend.inside().ask(proto, at(family.host(), 8080))?;
            ensure!(answer.by == "web", "{answer:?}");
            refused(net, other.inside(), proto, at(family.any(), 0), at(family.host(), 8080))?;
            refused(net, net.outside(), proto, at(family.any(), 0), at(family.host(), 8080))
        })
    })
}

#[test]
fn a_container_of_another_network_is_a_source_by_its_own_address() -> Result<()> {
    test(|net| {
        let subnets = ["--subnet", "10.9.8.0/24", "--subnet", "fd00:9:8::/64"];
        net.portlane(&[&["network", "create"], &subnets[..], &["other"]].concat())?;
        // The server sees the host's address, which opens nothing.
        let from = "from=10.9.8.64/26,from=fd00:9:8::40/122";
        let hosts = "from=192.0.2.1,from=2001:db8:1::1";
        let ports = [(8080, "", from), (8080, "/udp", from), (8081, "", hosts), (8081, "/udp", hosts)];
        let published = ports.map(|(port, proto, from)| format!("-p {port}:80{proto},{from}")).join(" ");
        let _web = net.container("web", &published, "tcp [::]:80 udp [::]:80")?;
        let friend = net.container("friend", "--network other --ip 10.9.8.77 --ip6 fd00:9:8::4d", "")?;
        let stranger = net.container("stranger", "--network other --ip 10.9.8.33 --ip6 fd00:9:8::21", "")?;
        each(|family, proto| {
            let answer = friend.inside().ask(proto, at(family.host(), 8080))?;
            ensure!(answer.by == "web" && answer.seen.ip() == family.host(), "{answer:?}");
            refused(net, stranger.inside(), proto, at(family.any(), 0), at(family.host(), 8080))?;
            refused(net, friend.inside(), proto, at(family.any(), 0), at(family.host(), 8081))
        })
    })
}

#[test]
fn the_hosts_own_processes_always_get_in() -> Result<()> {
    test(|net| {
        let from = "from=203.0.113.9";
        let published = format!("-p 8080:80,{from} -p 8080:80/udp,{from}");
        let _web = net.container("web", &published, "tcp [::]:80 udp [::]:80")?;
        each(|family, proto| {
            for called in [family.loopback(), family.host()] {
                let answer = net.host().ask(proto, at(called, 8080)).with_context(|| called.to_string())?;
                ensure!(answer.by == "web", "{answer:?}");
            }
            refused(net, net.outside(), proto, at(family.any(), 0), at(family.host(), 8080))
        })
    })
}

#[test]
fn sources_change_by_unpublishing_and_publishing_and_end_what_they_no_longer_allow() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "", "tcp [::]:80 udp [::]:80")?;
        let ports =
            ["8080:80,from=192.0.2.0/24,from=2001:db8:1::/64", "8080:80/udp,from=192.0.2.0/24,from=2001:db8:1::/64"];
        let said = net.portlane(&[&["publish", "web"], &ports[..]].concat())?;
        let shown = "*:8080->80/tcp,from=192.0.2.0/24,from=2001:db8:1::/64";
        ensure!(said.lines().next() == Some(shown), "{said}");
        ensure!(net.portlane(&["ps"])?.contains(shown));
        let listed = net.portlane(&["ps"])?;
        ensure!(listed.contains("*:8080->80/tcp,from="), "{listed}");
        ensure!(net.json(&["port", "web", "80"])?[0]["sources"][1] == "2001:db8:1::/64");
        ensure!(net.json(&["inspect", "web"])?.to_string().contains(shown));
        let mut talks = Vec::new();
        each(|family, proto| {
            let mut talk = net.outside().converse(proto, at(family.host(), 8080), &[])?;
            talk.again()?;
            talks.push(talk);
            Ok(())
        })?;
        let said = net.refused(&["unpublish", "web", "8080:80,from=10.0.0.0/8"])?;
        ensure!(said.contains("does not publish 8080:80/tcp,from=10.0.0.0/8"), "{said}");
        net.portlane(&["unpublish", "web", "8080:80", ports[1]])?;
        ensure!(net.dump("pl_source4")?.is_empty() && net.dump("pl_source6")?.is_empty(), "rows are left");
        net.portlane(&["publish", "web", "8080:80,from=10.0.0.0/8", "8080:80/udp,from=10.0.0.0/8"])?;
        talks.iter_mut().try_for_each(|talk| talk.is_over())?;
        each(|family, proto| refused(net, net.outside(), proto, at(family.any(), 0), at(family.host(), 8080)))
    })
}

#[test]
fn repair_puts_back_what_somebody_took_out_of_the_table() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80,from=192.0.2.2,from=2001:db8:1::2", "tcp [::]:80")?;
        let rows = net.dump("pl_source4")?;
        ensure!(rows.len() == 1 && rows[0]["key"]["prefix_len"] == 64, "{rows:?}");
        ensure!(rows[0]["key"]["data"]["addr"]["octets"] == serde_json::json!([192, 0, 2, 2]), "{rows:?}");
        ensure!(rows[0]["key"]["data"]["publish"] == serde_json::json!([0, 0, 0, 1]), "{rows:?}");
        let map = net.bpffs().join("maps/pl_source4");
        let key = "64 0 0 0 0 0 0 1 192 0 2 2";
        let command = format!("bpftool map delete pinned {} key {key}", map.display());
        net.host().run(&command.split(' ').collect::<Vec<_>>())?;
        net.outside().no_answer("tcp", at(Family::V4.host(), 8080))?;
        let said = net.portlane(&["repair"])?;
        ensure!(said.contains("publish entry 1's being open to 192.0.2.2/32"), "{said}");
        both(|family| net.outside().ask("tcp", at(family.host(), 8080)).map(drop))
    })
}

#[test]
fn whom_a_container_speaks_to_from_its_port_may_answer_and_nothing_else() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("udp [::]:9000")?;
        let web = net.container("web", "-p 8080:80/udp,from=203.0.113.9", "")?;
        both(|family| {
            let answer = web.inside().ask_from(at(family.any(), 80), "udp", at(family.outside(), 9000))?;
            ensure!(answer.seen == at(family.host(), 8080), "{answer:?}");
            refused(net, net.outside(), "udp", at(family.any(), 0), at(family.host(), 8080))
        })
    })
}

#[test]
fn what_is_no_prefix_is_refused_in_a_sentence() -> Result<()> {
    test(|net| {
        for (source, part) in [
            ("from=10.0.0.0/33", "`10.0.0.0/33` is no prefix"),
            ("from=10.1.2.3/8", "write 10.0.0.0/8 or 10.1.2.3"),
            ("from=localhost", "`localhost` is no prefix"),
            ("to=10.0.0.0/8", "`to=10.0.0.0/8` is not known"),
        ] {
            let (status, said) = net.said(&["run", "--name", "web", "-p", &format!("80:80,{source}"), "--", "true"])?;
            ensure!(status == Some(2) && said.contains(part), "{source}: {status:?} {said}");
        }
        net.refused(&["inspect", "web"]).map(drop)
    })
}

/// Nobody answers, and that is counted.
fn refused(net: &Topology, by: Place<'_>, proto: &str, from: SocketAddr, target: SocketAddr) -> Result<()> {
    let before = net.counted(REFUSED)?;
    by.no_answer_with(proto, target, &["--from", &from.to_string()])?;
    ensure!(net.counted(REFUSED)? > before, "{from} to {target}/{proto} is not counted");
    Ok(())
}

/// Another address of the machine outside, once [`second_address_outside`] has added it.
fn stranger(family: Family) -> IpAddr {
    family.pick([192, 0, 2, 77].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x77].into())
}

fn second_address_outside(net: &Topology) -> Result<()> {
    net.outside().run(&["ip", "addr", "add", "192.0.2.77/24", "dev", "eth0"])?;
    net.outside().run(&["ip", "addr", "add", "2001:db8:1::77/64", "dev", "eth0", "nodad"]).map(drop)
}
