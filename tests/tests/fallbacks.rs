//! What portlane does on kernels that lack something it can do without: the same, or what README promises instead. The
//! kernel here may have it; portlane is told to do as if it had not.
#![cfg(feature = "root")]

use std::fs;

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Place, Topology, at, both, each, test, test_with};
use serde_json::Value;

/// What containers serve here.
const SERVER: &str = "tcp [::]:80 udp [::]:80 tcp [::]:81 udp [::]:81";
const PUBLISHED: &str = "-p 8080:80 -p 8080:80/udp";
/// Both ways in and out of the host.
const SIDES: [&str; 2] = ["ingress", "egress"];
const REPAIRED: &str = "everything is as it must be";

/// tc on the host's uplink.
fn tc(net: &Topology, words: &str) -> Result<String> {
    net.host().run(&[&["tc"], &words.split(' ').collect::<Vec<_>>()[..]].concat())
}

/// Each of the uplink's programs is there once, by a filter or by a link. A link lives in its pin, where a filter has a
/// record.
fn ensure_attached(net: &Topology, filters: bool) -> Result<()> {
    for (side, name) in SIDES.into_iter().zip(["from_uplink", "to_uplink"]) {
        let shown = tc(net, &format!("filter show dev up0 {side}"))?;
        let of_ours = shown.matches(&format!(" {name} direct-action")).count();
        ensure!(of_ours == usize::from(filters), "{of_ours} of {name}: {shown}");
        let pin = fs::symlink_metadata(net.bpffs().join("links").join(format!("{name}-up0")))?;
        ensure!(pin.is_symlink() == filters, "{name} is a filter and a link");
    }
    Ok(())
}

/// A published port, masquerade, a host process: all that goes by programs.
fn ensure_traffic(net: &Topology, inside: &Place<'_>) -> Result<()> {
    each(|family, proto| {
        let answer = net.outside().ask(proto, at(family.host(), 8080))?;
        ensure!(answer.by == "web" && answer.seen.ip() == family.outside(), "{answer:?}");
        let answer = inside.ask(proto, at(family.outside(), 9000))?;
        ensure!(answer.seen.ip() == family.host(), "{answer:?}");
        ensure!(net.host().ask(proto, at(family.loopback(), 8080))?.by == "web", "the host itself");
        Ok(())
    })
}

fn feature(net: &Topology, name: &str) -> Result<Value> {
    let status = net.json(&["status"])?;
    let features = status["features"].as_array().context("features")?;
    features.iter().find(|feature| feature["name"] == name).cloned().with_context(|| format!("no {name}: {status}"))
}

#[test]
fn status_names_what_the_kernel_lacks_and_what_takes_its_place() -> Result<()> {
    test(|net| {
        let rows =
            [("tcx", "clsact filters"), ("force_forwarding", "forwarding setting"), ("inet_diag_destroy", "they wait")];
        for (name, instead) in rows {
            net.without(name);
            let row = feature(net, name)?;
            ensure!(row["present"] == false, "{row}");
            let said = net.portlane(&["status"])?;
            let line = said.lines().find(|line| line.trim().starts_with(&format!("lacks {name}: ")));
            ensure!(line.is_some_and(|line| line.contains(instead)), "{said}");
            // The others are as the kernel has them.
            for (other, _) in rows.iter().filter(|(other, _)| *other != name) {
                net.without("");
                let as_it_is = feature(net, other)?;
                net.without(name);
                ensure!(feature(net, other)? == as_it_is, "without {name}: {as_it_is}");
            }
        }
        Ok(())
    })
}

#[test]
fn what_portlane_cannot_do_without_is_wrong_usage_in_one_sentence() -> Result<()> {
    test(|net| {
        net.without("tcx,btf");
        let (code, said) = net.said(&["network", "create", "n"])?;
        ensure!(code == Some(2) && said.lines().count() == 1, "{code:?}: {said}");
        ensure!(said.contains("not without `btf`") && said.contains("force_forwarding"), "{said}");
        ensure!(!net.bpffs().exists(), "something was changed");
        net.without("");
        for (variable, expected) in
            [("PORTLANE_WITHOUT=tcx,btf", 2), ("PORTLANE_WITHOUT=tcx", 0), ("PORTLANE_WITHOUT=", 0)]
        {
            let (code, said) = net.said_through(&["env", variable], &["ps"])?;
            ensure!(code == Some(expected), "{variable}: {code:?}: {said}");
        }
        Ok(())
    })
}

#[test]
fn without_tcx_containers_are_reached_reach_out_and_reach_each_other() -> Result<()> {
    test(|net| {
        net.without("tcx");
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", PUBLISHED, SERVER)?;
        let client = net.container("client", "", "")?;
        ensure_attached(net, true)?;
        ensure_traffic(net, &web.inside())?;
        each(|family, proto| {
            let answer = client.inside().ask(proto, at(web.address(family), 80))?;
            ensure!(answer.seen.ip() == client.address(family), "{answer:?}");
            net.outside().no_answer(proto, at(family.host(), 8081))
        })?;
        both(|family| client.inside().ping(family.outside()))?;
        let status = net.json(&["status"])?;
        ensure!(status["foreign"] == serde_json::json!([]), "its own filters are somebody else's: {status}");
        ensure!(net.portlane(&["repair", "--dry-run"])? == REPAIRED, "{}", net.portlane(&["repair"])?);
        // A container that goes takes its filters along, and leaves no word of them.
        net.portlane(&["rm", "-f", "web", "client"])?;
        net.portlane(&["repair"])?;
        let left: Vec<_> =
            fs::read_dir(net.bpffs().join("links"))?.map(|link| Ok(link?.file_name())).collect::<Result<_>>()?;
        let of_veths: Vec<_> = left.iter().filter(|name| name.to_string_lossy().contains("veth")).collect();
        ensure!(of_veths.is_empty(), "{of_veths:?}");
        Ok(())
    })
}

#[test]
fn without_tcx_icc_and_links_hold() -> Result<()> {
    test_with(r#"{"icc": false}"#, |net| {
        net.without("tcx");
        let db = net.container("db", "--expose 80 --expose 80/udp", SERVER)?;
        let app = net.container("app", "--link db", SERVER)?;
        let stranger = net.container("stranger", "", "")?;
        let before = net.counted("icc-off")?;
        each(|family, proto| {
            app.inside().ask(proto, at(db.address(family), 80))?;
            app.inside().no_answer(proto, at(db.address(family), 81))?;
            db.inside().no_answer(proto, at(app.address(family), 80))?;
            stranger.inside().no_answer(proto, at(db.address(family), 80))
        })?;
        ensure!(net.counted("icc-off")? >= before + 12, "the reason is not counted");
        Ok(())
    })
}

#[test]
fn without_tcx_repair_puts_back_a_filter_that_was_taken_off_and_one_that_is_on_record_no_more() -> Result<()> {
    test(|net| {
        net.without("tcx");
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", PUBLISHED, SERVER)?;
        let veth = web.field("veth");
        let link = |name: &str| net.bpffs().join("links").join(name);
        let breaks: [(&str, &dyn Fn() -> Result<()>); 4] = [
            ("tc filter del", &|| tc(net, "filter del dev up0 ingress").map(drop)),
            ("tc qdisc del", &|| tc(net, "qdisc del dev up0 clsact").map(drop)),
            ("tc filter del of the veth", &|| tc(net, &format!("filter del dev {veth} ingress")).map(drop)),
            ("rm of the record", &|| Ok(fs::remove_file(link("from_uplink-up0"))?)),
        ];
        for (what, spoil) in breaks {
            spoil().context(what)?;
            let plan = net.portlane(&["repair", "--dry-run"])?;
            ensure!(plan.contains("up0") || plan.contains(&veth), "{what}: {plan}");
            net.portlane(&["repair"])?;
            ensure!(net.portlane(&["repair", "--dry-run"])? == REPAIRED, "after {what}");
            ensure_attached(net, true).context(what)?;
            ensure_traffic(net, &web.inside()).context(what)?;
        }
        Ok(())
    })
}

#[test]
fn without_tcx_uninstall_leaves_no_filter_and_no_qdisc() -> Result<()> {
    test(|net| {
        net.without("tcx");
        let before = tc(net, "qdisc show dev up0")?;
        ensure!(!before.contains("clsact"), "{before}");
        for gone in [&["network", "rm", "n"][..], &["uninstall", "--force"]] {
            net.portlane(&["network", "create", "n"])?;
            ensure!(tc(net, "qdisc show dev up0")?.contains("clsact"), "nothing is attached");
            if gone[0] == "uninstall" {
                net.portlane(&["run", "-d", "--name", "web", "--network", "n", "--", "sleep", "infinity"])?;
            }
            net.portlane(gone)?;
        }
        let after = tc(net, "qdisc show dev up0")?;
        ensure!(before == after, "{after} instead of {before}");
        for side in SIDES {
            let filters = tc(net, &format!("filter show dev up0 {side}"))?;
            ensure!(filters.is_empty(), "{side}: {filters}");
        }
        Ok(())
    })
}

#[test]
fn without_tcx_filters_of_others_stay_and_run_and_so_does_their_qdisc() -> Result<()> {
    test(|net| {
        net.without("tcx");
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        tc(net, "qdisc add dev up0 clsact")?;
        // It copies what it sees to a cable that nobody else uses.
        net.host().run(&["ip", "link", "add", "copy", "type", "veth", "peer", "name", "copied"])?;
        for end in ["copy", "copied"] {
            net.host().run(&["sysctl", "-qw", &format!("net.ipv6.conf.{end}.disable_ipv6=1")])?;
            net.host().run(&["ip", "link", "set", end, "up"])?;
        }
        for side in SIDES {
            let copies = "protocol ip prio 1 u32 match u32 0 0 action mirred egress mirror dev copy continue";
            tc(net, &format!("filter add dev up0 {side} {copies}"))?;
        }
        let filters =
            || SIDES.iter().map(|side| tc(net, &format!("filter show dev up0 {side}"))).collect::<Result<String>>();
        let others = filters()?;
        let web = net.container("web", PUBLISHED, SERVER)?;
        let seen = || copied(net);
        let before = seen()?;
        ensure_traffic(net, &web.inside())?;
        ensure!(seen()? > before, "the other filter sees nothing");
        net.portlane(&["uninstall", "--force"])?;
        ensure!(filters()? == others, "{}", filters()?);
        let before = seen()?;
        both(|family| net.outside().ping(family.host()))?;
        ensure!(seen()? > before, "the other filter sees nothing any more");
        for side in SIDES {
            tc(net, &format!("filter del dev up0 {side}"))?;
        }
        // Empty by now, it is still not portlane's to take away.
        net.portlane(&["network", "create", "n"])?;
        net.portlane(&["uninstall", "--force"])?;
        ensure!(tc(net, "qdisc show dev up0")?.contains("clsact"), "somebody else's qdisc is gone");
        Ok(())
    })
}

/// Packets that came by the cable which another's filter copies to.
fn copied(net: &Topology) -> Result<u64> {
    let shown: Value = serde_json::from_str(&net.host().run(&["ip", "-j", "-s", "link", "show", "dev", "copied"])?)?;
    shown[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| shown.to_string())
}

#[test]
fn from_filters_to_links_and_back_what_runs_goes_on_and_nothing_is_attached_twice() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        for (before, after) in [("tcx", ""), ("", "tcx")] {
            let filters = before == "tcx";
            net.without(before);
            let web = net.container("web", PUBLISHED, SERVER)?;
            ensure_attached(net, filters)?;
            let mut talk = net.outside().converse("tcp", at(Family::V4.host(), 8080), &[])?;
            net.without(after);
            let client = net.container("client", "", "")?;
            net.portlane(&["repair"])?;
            ensure!(net.portlane(&["repair", "--dry-run"])? == REPAIRED, "{}", net.portlane(&["repair"])?);
            // What is attached stays so: it serves as well.
            ensure_attached(net, filters)?;
            talk.goes_on()?;
            ensure_traffic(net, &client.inside())?;
            each(|family, proto| client.inside().ask(proto, at(web.address(family), 80)).map(drop))?;
            net.portlane(&["uninstall", "--force"])?;
            ensure!(!tc(net, "qdisc show dev up0")?.contains("clsact"), "the qdisc stays");
        }
        Ok(())
    })
}

#[test]
fn without_force_forwarding_icmpv6_errors_come_once_the_host_forwards_as_status_says() -> Result<()> {
    test(|net| {
        net.without("force_forwarding");
        let client = net.container("client", "", "")?;
        let outlived = |family: Family| {
            let ping = format!("ping -n -c 1 -w 2 -t 1 {} 2>&1; true", family.outside());
            Ok::<_, anyhow::Error>(client.inside().run(&["sh", "-c", &ping])?.contains("exceeded"))
        };
        ensure!(outlived(Family::V4)?, "IPv4 needs nothing");
        ensure!(!outlived(Family::V6)?, "the kernel answers all the same");
        both(|family| client.inside().ping(family.outside()))?;
        let said = net.portlane(&["status"])?;
        let line = said.lines().find(|line| line.contains("no hop left")).with_context(|| said.clone())?;
        let remedy = line.split('`').nth(1).with_context(|| line.to_owned())?;
        net.host().run(&remedy.split(' ').collect::<Vec<_>>())?;
        both(|family| {
            ensure!(outlived(family)?, "nobody says that the packet ran out of hops");
            client.inside().ping(family.outside())
        })?;
        let said = net.portlane(&["status"])?;
        ensure!(!said.contains("no hop left"), "{said}");
        Ok(())
    })
}

#[test]
fn without_inet_diag_destroy_a_container_goes_and_the_hosts_processes_are_merely_not_told() -> Result<()> {
    test(|net| {
        net.without("inet_diag_destroy");
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "")?;
        let other = net.container("other", "", SERVER)?;
        let mut server = web.inside().dialog("end.py", &["udp", "listen", "80"])?;
        let mut client = net.host().dialog("end.py", &["udp", "connect", "127.0.0.1", "8080"])?;
        client.expect("say hello", "said")?;
        server.expect("hear", "hello")?;
        net.portlane(&["rm", "-f", "web"])?;
        client.expect("quiet", "silence")?;
        // The port is free, and its next owner is reached.
        net.portlane(&["publish", "other", "8080:80", "8080:80/udp"])?;
        each(|family, proto| {
            ensure!(net.host().ask(proto, at(family.loopback(), 8080))?.by == other.name(), "by the host");
            ensure!(net.outside().ask(proto, at(family.host(), 8080))?.by == other.name(), "from outside");
            Ok(())
        })?;
        ensure!(net.portlane(&["repair", "--dry-run"])? == REPAIRED, "something is left over");
        Ok(())
    })
}
