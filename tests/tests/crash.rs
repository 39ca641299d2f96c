//! `kill -9` at any moment: the next command completes what was begun, or undoes it.
#![cfg(feature = "root")]

use std::fs;

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Topology, at, test, until};

/// System calls between two kills: small enough that every step of a plan is hit, which takes tens of them.
const STRIDE: usize = 23;
/// No command takes as many.
const MOST: u32 = 6000;

/// Kills a command after ever more system calls, until one ends by itself; `check` looks at what is left each time.
fn at_every_moment(
    net: &Topology,
    subnet: &str,
    prepare: impl Fn() -> Result<()>,
    command: &[&str],
    check: impl Fn(bool) -> Result<()>,
) -> Result<()> {
    for (kills, calls) in (1..MOST).step_by(STRIDE).enumerate() {
        prepare().context("preparing")?;
        let killed = net.killed_after(calls, command)?;
        let explain = || format!("`portlane {}` killed after {calls} system calls", command.join(" "));
        check(killed).with_context(explain)?;
        settled(net, subnet).with_context(explain)?;
        if !killed {
            ensure!(
                kills > 10,
                "`{}` ended after {calls} system calls: too few to have been killed",
                command.join(" ")
            );
            return Ok(());
        }
    }
    anyhow::bail!("`portlane {}` takes more than {MOST} system calls", command.join(" "))
}

/// Host and maps are what the state says, and nothing of portlane's is there that the state does not know.
fn settled(net: &Topology, subnet: &str) -> Result<()> {
    let steps = net.portlane(&["repair", "--dry-run"])?;
    ensure!(steps == "everything is as it must be", "{steps}");
    // Other tests' commands turn it as well.
    until(|| Ok(fs::read_to_string("/sys/kernel/rcu_expedited").map_or(true, |value| value.trim_end() == "0")))
        .context("grace periods stay expedited")?;
    let containers = net.json(&["ps"])?;
    let known: Vec<&str> =
        containers.as_array().context("no list")?.iter().filter_map(|c| c["netns"].as_str()).collect();
    let namespaces = net.host().run(&["ls", "/run/netns"])?;
    let alive: Vec<&str> = containers
        .as_array()
        .context("no list")?
        .iter()
        .filter(|container| container["status"] == "running")
        .filter_map(|container| container["netns"].as_str())
        .collect();
    for namespace in namespaces.lines().filter(|name| mine(net, subnet, name)) {
        ensure!(alive.contains(&namespace), "namespace {namespace} is left over; known are {known:?}");
    }
    Ok(())
}

/// Namespaces of this portlane: those of tests that run at the same time are in the same directory, and have other
/// subnets.
fn mine(net: &Topology, subnet: &str, namespace: &str) -> bool {
    let inside = format!("--net=/run/netns/{namespace}");
    let route = || net.host().run(&["nsenter", &inside, "ip", "-4", "route", "show", subnet]);
    namespace.starts_with("pl-") && route().is_ok_and(|route| !route.is_empty())
}

fn network(net: &Topology, subnet: &str) -> Result<()> {
    net.portlane(&["network", "create", "--subnet", subnet, "--ipv6", "n"]).map(drop)
}

#[test]
fn a_killed_run_leaves_a_whole_container_or_none() -> Result<()> {
    test(|net| {
        network(net, "10.71.0.0/16")?;
        let run = ["run", "-d", "--name", "k", "--network", "n", "-p", "8080:80", "--", "sleep", "600"];
        at_every_moment(
            net,
            "10.71.0.0/16",
            || Ok(()),
            &run,
            |_| {
                let containers = net.json(&["ps"])?;
                let listed = containers.as_array().context("no list")?;
                ensure!(listed.len() <= 1, "{containers}");
                if let Some(container) = listed.first() {
                    // Killed between commit and the word to go, it has ended without having run; else it runs.
                    ensure!(container["status"] == "running" || container["status"] == "exited", "{container}");
                    net.portlane(&["rm", "-f", "k"])?;
                }
                Ok(())
            },
        )?;
        // What the kills left behind does not stand in the way.
        let _web = net.container("k", "--network n -p 8080:80", "tcp [::]:80")?;
        net.outside().ask("tcp", at(Family::V4.host(), 8080)).map(drop)
    })
}

#[test]
fn a_killed_rm_leaves_the_container_stopped_or_gone_and_its_port_free() -> Result<()> {
    test(|net| {
        network(net, "10.72.0.0/16")?;
        let run = ["run", "-d", "--name", "k", "--network", "n", "-p", "8080:80", "--", "sleep", "600"];
        let prepare = || net.portlane(&run).map(drop);
        at_every_moment(net, "10.72.0.0/16", prepare, &["rm", "-f", "k"], |killed| {
            let gone = net.json(&["ps"])?.as_array().is_some_and(Vec::is_empty);
            ensure!(killed || gone, "`rm -f` succeeded and the container is there");
            if !gone {
                net.portlane(&["rm", "-f", "k"])?;
            }
            Ok(())
        })
    })
}

#[test]
fn a_killed_publish_opens_the_port_or_leaves_it_closed() -> Result<()> {
    test(|net| {
        network(net, "10.73.0.0/16")?;
        let web = net.container("web", "--network n", "tcp [::]:80")?;
        at_every_moment(
            net,
            "10.73.0.0/16",
            || Ok(()),
            &["publish", "web", "8080:80"],
            |killed| {
                let listed = net.portlane(&["port", "web"])?;
                let target = at(Family::V4.host(), 8080);
                if listed.is_empty() {
                    ensure!(killed, "`publish` succeeded and the port is not listed");
                    ensure!(net.dump("pl_publish4")?.is_empty(), "the port is in the map and not in the state");
                    return Ok(());
                }
                net.outside().ask("tcp", target)?;
                net.portlane(&["unpublish", web.name(), "8080:80"]).map(drop)
            },
        )
    })
}

#[test]
fn a_killed_network_create_or_rm_can_be_done_again() -> Result<()> {
    test(|net| {
        let create = ["network", "create", "--subnet", "10.74.0.0/16", "m"];
        let there =
            || Ok::<_, anyhow::Error>(net.portlane(&["network", "ls"])?.lines().any(|line| line.starts_with("m ")));
        at_every_moment(
            net,
            "10.74.0.0/16",
            || Ok(()),
            &create,
            |killed| {
                ensure!(killed || there()?, "`network create` succeeded and the network is not there");
                if there()? {
                    net.portlane(&["network", "rm", "m"])?;
                }
                Ok(())
            },
        )?;
        let prepare = || if there()? { Ok(()) } else { net.portlane(&create).map(drop) };
        at_every_moment(net, "10.74.0.0/16", prepare, &["network", "rm", "m"], |killed| {
            ensure!(killed || !there()?, "`network rm` succeeded and the network is there");
            Ok(())
        })
    })
}

#[test]
fn a_killed_connect_or_disconnect_leaves_the_container_reachable_and_its_port_open() -> Result<()> {
    test(|net| {
        network(net, "10.75.0.0/16")?;
        net.portlane(&["network", "create", "--subnet", "10.76.0.0/16", "m"])?;
        let web = net.container("web", "--network n -p 8080:80", "tcp [::]:80")?;
        let connected = || {
            let places = net.json(&["inspect", web.name()])?["networks"].as_array().map_or(0, Vec::len);
            ensure!((1..=2).contains(&places), "it is on {places} networks");
            Ok::<_, anyhow::Error>(places == 2)
        };
        let connected = &connected;
        let check = |wanted: bool| {
            move |killed: bool| {
                // Whoever looks completes what was begun, or undoes it.
                ensure!(connected()? == wanted || killed, "the command succeeded and nothing has changed");
                let answer = net.outside().ask("tcp", at(Family::V4.host(), 8080))?;
                ensure!(answer.by == "web", "{answer:?}");
                Ok(())
            }
        };
        // It draws the default route, and with it the published port, to itself.
        let connect = ["network", "connect", "--gw-priority", "1", "m", "web"];
        let disconnect = ["network", "disconnect", "m", "web"];
        let apart = || if connected()? { net.portlane(&disconnect).map(drop) } else { Ok(()) };
        at_every_moment(net, "10.75.0.0/16", apart, &connect, check(true))?;
        let together = || if connected()? { Ok(()) } else { net.portlane(&connect).map(drop) };
        at_every_moment(net, "10.75.0.0/16", together, &disconnect, check(false))
    })
}

#[test]
fn a_killed_run_leaves_the_default_network_with_its_former_addresses_or_its_new_ones() -> Result<()> {
    test(|net| {
        let settings = |bip: &str| net.rewrite_daemon_json(&format!(r#"{{"bip": "{bip}"}}"#));
        let run = ["run", "--rm", "--", "true"];
        let prepare = || {
            settings("10.77.0.1/24")?;
            net.portlane(&run)?;
            settings("10.77.0.2/16")
        };
        at_every_moment(net, "10.77.0.0/16", prepare, &run, |killed| {
            // Whoever looks completes what was begun, or undoes it.
            net.portlane(&["ps"])?;
            let shown = net.host().run(&["ip", "-4", "-br", "addr", "show", "dev", "portlane0"])?;
            let there: Vec<&str> = shown.split_whitespace().skip(2).collect();
            ensure!(there == ["10.77.0.2/16"] || (killed && there == ["10.77.0.1/24"]), "it has {there:?}");
            Ok(())
        })
    })
}

#[test]
fn a_killed_attach_or_detach_leaves_somebody_elses_namespace_whole() -> Result<()> {
    test(|net| {
        network(net, "10.79.0.0/16")?;
        let by_hand = net.by_hand("w1")?;
        // Once up, as any attach leaves it.
        by_hand.place().run(&["ip", "link", "set", "lo", "up"])?;
        let (before, _served) = (by_hand.inventory()?, by_hand.place().serve("tcp [::]:80")?);
        // Whoever looks completes what was begun, or undoes it.
        let attached = || Ok::<_, anyhow::Error>(net.json(&["ps"])?.as_array().is_some_and(|list| !list.is_empty()));
        let check = || {
            if attached()? {
                net.outside().ask("tcp", at(Family::V4.host(), 8080))?;
            } else {
                let after = by_hand.inventory()?;
                ensure!(before == after, "not attached, and there is\n{after}\ninstead of\n{before}");
            }
            Ok::<_, anyhow::Error>(())
        };
        let attach = ["attach", by_hand.netns(), "--name", "w1", "--network", "n", "-p", "8080:80"];
        let detach = ["detach", "w1"];
        let apart = || if attached()? { net.portlane(&detach).map(drop) } else { Ok(()) };
        at_every_moment(net, "10.79.0.0/16", apart, &attach, |killed| {
            ensure!(killed || attached()?, "`attach` succeeded and nothing is attached");
            check()
        })?;
        let together = || if attached()? { Ok(()) } else { net.portlane(&attach).map(drop) };
        at_every_moment(net, "10.79.0.0/16", together, &detach, |killed| {
            ensure!(killed || !attached()?, "`detach` succeeded and it is attached");
            check()
        })
    })
}
