//! Network namespaces that somebody else made: what portlane gives them, and what it leaves alone.
#![cfg(feature = "root")]

use std::{
    fs,
    net::IpAddr,
    process::{Child, Command},
};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Topology, at, both, each, test, until};
use serde_json::Value;

/// Attaches a namespace under its own name, with options separated by spaces; returns what `inspect` tells.
fn attach(net: &Topology, netns: &str, options: &str) -> Result<Value> {
    let options: Vec<&str> = options.split_whitespace().collect();
    net.portlane(&[&["attach", netns, "--name", "w1"], &options[..]].concat())?;
    net.json(&["inspect", "w1"])
}

fn address(inspected: &Value, family: Family) -> Result<IpAddr> {
    let field = if family == Family::V4 { "addr4" } else { "addr6" };
    Ok(inspected[field].as_str().context(field)?.parse()?)
}

fn status(net: &Topology, name: &str) -> Result<String> {
    Ok(net.json(&["inspect", name])?["status"].as_str().unwrap_or_default().to_owned())
}

/// A process with a network namespace of its own, which has no name. It ends with this value.
struct Nameless(Child);

impl Nameless {
    fn start() -> Result<Self> {
        let nameless = Self(Command::new("unshare").args(["-n", "sleep", "infinity"]).spawn()?);
        let own = fs::read_link("/proc/self/ns/net")?;
        until(|| Ok(fs::read_link(nameless.netns()).is_ok_and(|found| found != own)))?;
        Ok(nameless)
    }

    fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn run(&self, command: &str) -> Result<String> {
        let inside = format!("--net={}", self.netns());
        let output = Command::new("nsenter").arg(inside).args(command.split_whitespace()).output()?;
        ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_namespace_made_by_hand_talks_to_containers_and_outside_and_is_reached_by_its_port() -> Result<()> {
    test(|net| {
        let (by_hand, db) = (net.by_hand("w1")?, net.container("db", "", "tcp [::]:80 udp [::]:53")?);
        let inspected = attach(net, by_hand.netns(), "-p 8080:80 -p 5353:53/udp")?;
        ensure!(inspected["status"] == "attached" && inspected["netns"] == by_hand.netns(), "{inspected}");
        ensure!(inspected["networks"][0]["interface"] == "eth0", "{inspected}");
        let inside = by_hand.place();
        let _served = (inside.serve("tcp [::]:80 udp [::]:53")?, net.outside().serve("tcp [::]:9000 udp [::]:9000")?);
        each(|family, proto| {
            let own = address(&inspected, family)?;
            let (port, published) = if proto == "tcp" { (80, 8080) } else { (53, 5353) };
            ensure!(inside.ask(proto, at(db.address(family), port))?.seen.ip() == own, "the other container");
            ensure!(db.inside().ask(proto, at(own, port))?.by == by_hand.netns(), "by the other container");
            // Masqueraded.
            ensure!(inside.ask(proto, at(family.outside(), 9000))?.seen.ip() == family.host(), "outside");
            let answer = net.outside().ask(proto, at(family.host(), published))?;
            ensure!(answer.by == by_hand.netns() && answer.seen.ip() == family.outside(), "{answer:?}");
            ensure!(net.host().ask(proto, at(family.loopback(), published))?.by == by_hand.netns(), "loopback");
            Ok(())
        })?;
        both(|family| inside.ping(family.outside()))?;
        inside
            .ping(net.json(&["network", "inspect", "portlane0"])?["gateway4"].as_str().context("gateway4")?.parse()?)?;
        let traffic = net.json(&["stats"])?["containers"].to_string();
        ensure!(traffic.contains("\"w1\""), "{traffic}");
        ensure!(
            net.portlane(&["repair", "--dry-run"])? == "everything is as it must be",
            "{}",
            net.portlane(&["repair"])?
        );
        net.portlane(&["detach", "w1"])?;
        each(|family, proto| {
            net.outside().no_answer(proto, at(family.host(), if proto == "tcp" { 8080 } else { 5353 }))
        })
    })
}

#[test]
fn a_detached_namespace_has_what_its_owner_put_there_and_nothing_else() -> Result<()> {
    test(|net| {
        let (one, other) = (net.by_hand("w1")?, net.by_hand("w2")?);
        one.cable(&other)?;
        one.place().run(&["ip", "link", "set", "lo", "up"])?;
        one.place().run(&["sysctl", "-qw", "net.ipv4.ping_group_range=1 0"])?;
        let (before, neighbour) = (one.inventory()?, "10.0.0.2".parse()?);
        one.place().ping(neighbour)?;
        for leave in ["detach w1", "rm -f w1", "uninstall --force"] {
            let inspected = attach(net, one.netns(), "-p 8080:80")?;
            // The owner's own `eth0` keeps its name.
            ensure!(inspected["networks"][0]["interface"] == "eth1", "{inspected}");
            one.place().ping(neighbour)?;
            one.place().ping(Family::V4.outside())?;
            net.portlane(&leave.split(' ').collect::<Vec<_>>())?;
            let after = one.inventory()?;
            ensure!(before == after, "after `{leave}`:\n{after}\ninstead of:\n{before}");
            let ping = one.place().run(&["cat", "/proc/sys/net/ipv4/ping_group_range"])?;
            ensure!(ping.split_whitespace().eq(["1", "0"]), "{ping}");
            one.place().ping(neighbour)?;
        }
        Ok(())
    })
}

#[test]
fn what_makes_no_sense_with_somebody_elses_namespace_is_refused_and_changes_nothing() -> Result<()> {
    test(|net| {
        let (free, taken, led, routed) =
            (net.by_hand("free")?, net.by_hand("taken")?, net.by_hand("led")?, net.by_hand("routed")?);
        led.cable(&routed)?;
        led.place().run(&["ip", "route", "add", "default", "via", "10.0.0.2"])?;
        routed.place().run(&["ip", "route", "add", "172.17.5.0/24", "via", "10.0.0.1"])?;
        let web = net.container("web", "-p 8080:80", "")?;
        attach(net, taken.netns(), "")?;
        let file = net.file("file");
        fs::write(&file, "")?;
        let (file, pid) = (file.to_string_lossy().into_owned(), net.json(&["inspect", "web"])?["pid"].to_string());
        let free_name = free.netns();
        let rows = [
            (format!("attach {free_name} --network host"), "on `host` cannot have a namespace"),
            (format!("attach {free_name} --network none"), "on `none` cannot have a namespace"),
            (format!("attach {free_name} --network container:web"), "cannot have a namespace"),
            (format!("attach {free_name} --network nowhere"), "there is no network `nowhere`"),
            (format!("attach {free_name} --name web"), "the name `web` is in use"),
            (format!("attach {free_name} -p 8080:80"), "port 8080/tcp is already published by web"),
            (format!("attach {free_name} --ip 10.9.9.9"), "not a host's address in"),
            (format!("attach {}", taken.netns()), "container `w1` is in it"),
            (format!("attach /run/netns/{}", taken.netns()), "container `w1` is in it"),
            (format!("attach {}", web.field("netns")), "container `web` is in it"),
            (format!("attach /proc/{pid}/ns/net"), "container `web` is in it"),
            (format!("attach /proc/{pid}/ns/mnt --name x"), "/ns/mnt is none"),
            (format!("attach {file} --name x"), "is none"),
            ("attach no-such".to_owned(), "/run/netns/no-such is none"),
            (format!("attach {}", net.host_netns()), "it is the host's own"),
            ("attach /proc/self/ns/net --name x".to_owned(), "leads each process elsewhere"),
            (format!("attach {}", led.netns()), "has an IPv4 default route of its own"),
            (format!("attach {}", routed.netns()), "has a route to 172.17.5.0/24"),
            ("stop w1".to_owned(), "`portlane detach w1`"),
            ("rm w1".to_owned(), "`portlane detach w1`"),
            ("uninstall".to_owned(), "w1"),
            ("detach web".to_owned(), "container `web` is not attached"),
            ("detach w1 nobody".to_owned(), "there is no container `nobody`"),
            ("detach w1 web".to_owned(), "container `web` is not attached"),
        ];
        let all = [&free, &taken, &led, &routed];
        let everything = || -> Result<String> {
            let inside = all.iter().map(|by_hand| by_hand.inventory()).collect::<Result<Vec<_>>>()?.join("\n");
            Ok(format!("{}\n{inside}", net.json(&["ps"])?))
        };
        let before = everything()?;
        for (command, words) in &rows {
            let said = net.refused(&command.split(' ').collect::<Vec<_>>())?;
            ensure!(said.contains(words) && said.lines().count() == 1, "`{command}` says: {said}");
            let after = everything()?;
            ensure!(before == after, "`{command}` changes\n{before}\nto\n{after}");
        }
        let (code, said) = net.said(&["attach", free.netns(), "--hostname", "w1"])?;
        ensure!(code == Some(2) && said.contains("--hostname"), "{said}");
        Ok(())
    })
}

#[test]
fn a_namespace_that_its_owner_deletes_gives_its_address_and_port_back() -> Result<()> {
    test(|net| {
        let by_hand = net.by_hand("w1")?;
        let inspected = attach(net, by_hand.netns(), "--ip 172.17.0.9 -p 8080:80")?;
        by_hand.delete()?;
        let anew = net.by_hand("w1")?;
        // Another namespace of the same name is not mistaken for it.
        ensure!(status(net, "w1")? == "exited", "{}", net.portlane(&["ps"])?);
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "something is left over");
        ensure!(anew.place().run(&["ip", "-o", "link"])?.lines().count() == 1, "it has more than `lo`");
        for map in ["pl_veth", "pl_endpoint4", "pl_publish4"] {
            ensure!(net.dump(map)?.is_empty(), "{map}");
        }
        let said = net.refused(&["exec", "w1", "--", "true"])?;
        ensure!(said.contains("does not run"), "{said}");
        let again = ["attach", anew.netns(), "--name", "again", "--ip", "172.17.0.9", "-p", "8080:80"];
        net.portlane(&again)?;
        ensure!(net.json(&["inspect", "again"])?["mac"] == inspected["mac"], "the address is another's");
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "something is left over");
        net.portlane(&["detach", "w1"])?;
        ensure!(status(net, "again")? == "attached", "the other one went with it");
        Ok(())
    })
}

#[test]
fn a_daemon_hears_at_once_that_the_owner_deleted_a_namespace() -> Result<()> {
    test(|net| {
        let _daemon = net.daemon()?;
        let by_hand = net.by_hand("w1")?;
        attach(net, by_hand.netns(), "-p 8080:80")?;
        ensure!(!net.dump("pl_publish4")?.is_empty(), "nothing is published");
        by_hand.delete()?;
        // No command is given that would look.
        until(|| Ok(net.dump("pl_publish4")?.is_empty() && net.dump("pl_veth")?.is_empty()))
    })
}

#[test]
fn a_namespace_without_a_name_is_attached_by_the_path_of_a_process_for_as_long_as_that_lives() -> Result<()> {
    test(|net| {
        let nameless = Nameless::start()?;
        attach(net, &nameless.netns(), "-p 8080:80")?;
        ensure!(nameless.run("ip -4 -br address show eth0")?.contains("172.17.0.2/16"), "no address");
        ensure!(
            net.portlane(&["exec", "w1", "--", "ip", "-4", "route"])?.contains("default via 172.17.0.1"),
            "no route"
        );
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "something is amiss");
        drop(nameless);
        ensure!(status(net, "w1")? == "exited", "{}", net.portlane(&["ps"])?);
        net.container("web", "--ip 172.17.0.2 -p 8080:80", "").map(drop)
    })
}

#[test]
fn an_attached_namespace_joins_and_leaves_networks_while_it_is_there() -> Result<()> {
    test(|net| {
        for (name, subnet) in [("n", "10.81.0.0/24"), ("m", "10.82.0.0/24")] {
            net.portlane(&["network", "create", "--subnet", subnet, name])?;
        }
        let by_hand = net.by_hand("w1")?;
        by_hand.place().run(&["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "own"])?;
        attach(net, by_hand.netns(), "--network n --network name=m,gw-priority=1,alias=back -p 8080:80")?;
        let inside = by_hand.place();
        let _served = inside.serve("tcp [::]:80")?;
        let routes = || inside.run(&["ip", "-4", "route", "show", "default"]);
        ensure!(routes()?.contains("via 10.82.0.1 dev eth2"), "{}", routes()?);
        let asked =
            || -> Result<bool> { Ok(net.outside().ask("tcp", at(Family::V4.host(), 8080))?.by == by_hand.netns()) };
        ensure!(asked()?, "by way of m");
        net.portlane(&["network", "disconnect", "m", "w1"])?;
        ensure!(routes()?.contains("via 10.81.0.1 dev eth0") && asked()?, "{}", routes()?);
        net.portlane(&["network", "connect", "--gw-priority", "2", "bridge", "w1"])?;
        ensure!(routes()?.contains("via 172.17.0.1 dev eth2") && asked()?, "{}", routes()?);
        inside.run(&["ip", "link", "set", "eth1", "up"])?;
        inside.run(&["ip", "route", "add", "10.82.0.128/25", "dev", "eth1"])?;
        let said = net.refused(&["network", "connect", "m", "w1"])?;
        ensure!(said.contains("has a route to 10.82.0.128/25"), "{said}");
        Ok(())
    })
}

#[test]
fn ports_links_and_names_lead_to_an_attached_namespace_as_to_any_container() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "-o", "icc=false", "quiet"])?;
        let by_hand = net.by_hand("w1")?;
        let inspected = attach(net, by_hand.netns(), "--network quiet --expose 80")?;
        let own = address(&inspected, Family::V4)?;
        let _served = by_hand.place().serve("tcp [::]:80 tcp [::]:81")?;
        let linked = net.container("linked", "--network quiet --link w1:db", "")?;
        let _daemon = net.daemon()?;
        let found = linked.inside().run(&["getent", "ahostsv4", "w1"])?;
        ensure!(found.starts_with(&own.to_string()), "{found}");
        let hosts = linked.inside().run(&["grep", "-w", "db", "/etc/hosts"])?;
        ensure!(hosts.split_whitespace().eq([&own.to_string(), "db", "w1"]), "{hosts}");
        linked.inside().ask("tcp", at(own, 80))?;
        linked.inside().no_answer("tcp", at(own, 81))?;
        ensure!(net.portlane(&["publish", "w1", "8081:81"])?.contains("8081"), "publish");
        ensure!(
            net.portlane(&["port", "w1"])?.contains("81/tcp -> 0.0.0.0:8081"),
            "{}",
            net.portlane(&["port", "w1"])?
        );
        net.outside().ask("tcp", at(Family::V4.host(), 8081))?;
        net.portlane(&["unpublish", "w1", "8081:81"])?;
        net.outside().no_answer("tcp", at(Family::V4.host(), 8081))?;
        // One that joins it is portlane's own process: it outlives the attachment, and the namespace outlives it.
        net.portlane(&["run", "-d", "--name", "joined", "--network", "container:w1", "--", "sleep", "infinity"])?;
        ensure!(net.portlane(&["exec", "joined", "--", "ip", "-4", "address"])?.contains(&own.to_string()), "joined");
        net.portlane(&["detach", "w1"])?;
        net.portlane(&["rm", "-f", "joined"])?;
        by_hand.place().run(&["true"]).map(drop)
    })
}

#[test]
fn processes_of_the_owner_live_on_whatever_portlane_takes_away() -> Result<()> {
    test(|net| {
        let by_hand = net.by_hand("w1")?;
        attach(net, by_hand.netns(), "")?;
        let _owners = by_hand.place().serve("tcp [::]:80")?;
        net.portlane(&["run", "--rm", "--network", "container:w1", "--", "true"])?;
        net.portlane(&["uninstall", "--force"])?;
        by_hand.place().run(&["ip", "link", "set", "lo", "up"])?;
        by_hand.place().ask("tcp", at(Family::V4.loopback(), 80)).map(drop)
    })
}
