//! Anything at any time: several callers at once, commands killed between any two steps. Whatever comes of it, nothing is
//! lost track of. `PORTLANE_SEED` plays the same commands again, `PORTLANE_COMMANDS` says how many.
#![cfg(feature = "root")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{ByHand, Family, Topology, at, test, until};
use serde_json::Value;

const COMMANDS: usize = 500;
const CALLERS: u64 = 3;
/// One command of so many is killed.
const KILLS: u64 = 4;
/// After up to two to the power of so many system calls: as often early as late.
const MOST_CALLS: u64 = 12;
/// All networks are cut from it, and no other test's are.
const POOL: &str = "10.96.0.0/12";

/// Numbers that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn container(dice: &mut Dice) -> String {
    format!("c{}", dice.below(9))
}

fn network(dice: &mut Dice) -> String {
    format!("n{}", dice.below(3))
}

fn port(dice: &mut Dice) -> String {
    let first = 8000 + dice.below(12);
    match dice.below(4) {
        0 => format!("{first}-{}:80-{}/udp", first + 3, 83),
        1 => "80".to_owned(),
        2 => format!("127.0.0.1:{first}:80"),
        _ => format!("{first}:80"),
    }
}

/// The words of a command.
fn command(dice: &mut Dice, peer: &str, namespaces: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |text: &str| words.extend(text.split(' ').map(str::to_owned));
    match dice.below(26) {
        0..11 => {
            let name = container(dice);
            if dice.below(6) == 0 {
                say(&format!("run -d --name {name} --network container:{} -- sleep 600", container(dice)));
                return words;
            }
            let mut networks = vec![dice.one(&["n0", "n1", "n2", "bridge", "bridge", "none"]).to_owned()];
            if dice.below(4) == 0 {
                networks.push(network(dice));
            }
            say(&format!("run -d --name {name}"));
            networks.iter().for_each(|network| say(&format!("--network {network}")));
            (0..dice.below(3)).for_each(|_| say(&format!("-p {}", port(dice))));
            if dice.below(6) == 0 {
                // One that ends by itself, some time.
                say("--rm -- sleep 0.3");
            } else {
                say(&format!("-- {peer} serve tcp [::]:80 --name {name}"));
            }
        }
        11..14 => say(&format!("rm -f {}", container(dice))),
        14 => say(&format!("stop -t 0 {}", container(dice))),
        15 => say(&format!("publish {} {}", container(dice), port(dice))),
        16 => say(&format!("unpublish {} 80", container(dice))),
        17 | 18 => {
            let (name, icc) = (network(dice), dice.below(2) == 0);
            say(&format!("network create --ipv6 -o icc={icc} {name}"));
        }
        19 => say(&format!("network rm {}", network(dice))),
        20 => {
            let (network, container, priority) = (network(dice), container(dice), dice.below(3));
            say(&format!("network connect --gw-priority {priority} {network} {container}"));
        }
        21 => say(&format!("network disconnect {} {}", network(dice), container(dice))),
        22 => say(dice.one(&["network prune", "repair", "stats", "ps"])),
        23 => {
            let (netns, name, network) = (dice.one(namespaces), container(dice), network(dice));
            say(&format!("attach {netns} --name {name} --network {network} -p {}", port(dice)));
        }
        24 => say(&format!("detach {}", container(dice))),
        _ => say(&format!("inspect {}", container(dice))),
    }
    words
}

/// Gives commands until all have been given; each is done, refused in a sentence, or killed.
fn call(
    net: &Topology,
    mut dice: Dice,
    left: &AtomicUsize,
    (peer, namespaces): (&str, &[&str]),
) -> Result<(usize, usize)> {
    let (mut done, mut killed) = (0, 0);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let words = command(&mut dice, peer, namespaces);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if dice.below(KILLS) == 0 {
            let most = 1 << (1 + dice.below(MOST_CALLS));
            let calls = 1 + dice.below(most) as u32;
            killed += usize::from(net.killed_after(calls, &words)?);
            continue;
        }
        let (code, said) = net.said(&words)?;
        let explain = || format!("`portlane {}` exits with {code:?}: {said}", words.join(" "));
        ensure!(code == Some(0) || code == Some(1), "{}", explain());
        ensure!(
            code == Some(0) || said.lines().last().is_some_and(|line| line.starts_with("portlane: ")),
            "{}",
            explain()
        );
        ensure!(!said.contains("panicked") && !said.contains("could not be undone"), "{}", explain());
        done += usize::from(code == Some(0));
    }
    Ok((done, killed))
}

fn list(net: &Topology, words: &[&str]) -> Result<Vec<Value>> {
    net.json(words)?.as_array().cloned().context("no list")
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Nothing is there that the state does not know, and all that it knows is.
fn settled(net: &Topology) -> Result<()> {
    // The first command after a kill completes what was begun, or undoes it. What ends by itself has ended soon.
    let mut containers = Vec::new();
    until(|| {
        containers = list(net, &["ps"])?;
        let ends = |container: &&Value| container["command"].to_string().contains("0.3");
        Ok(!containers.iter().filter(ends).any(|container| container["status"] == "running"))
    })
    .with_context(|| format!("a container runs that had ended: {containers:?}"))?;
    let plan = net.portlane(&["repair", "--dry-run"])?;
    ensure!(plan == "everything is as it must be", "{plan}");
    let networks = list(net, &["network", "ls"])?;
    let live = |container: &&Value| container["status"] == "running" || container["status"] == "attached";
    let running: Vec<&Value> = containers.iter().filter(live).collect();
    let places: Vec<&Value> = running.iter().filter_map(|running| running["networks"].as_array()).flatten().collect();
    let wanted: BTreeSet<String> = networks
        .iter()
        .map(|network| text(network, "bridge"))
        .chain(places.iter().map(|place| text(place, "veth")))
        .chain(["lo".to_owned(), "up0".to_owned()])
        .collect();
    // The kernel takes the interfaces of a namespace that is gone down in the background.
    until(|| {
        let links = net.host().run(&["sh", "-c", "ls /proc/sys/net/ipv4/conf | grep -vx -e all -e default"])?;
        Ok(links.lines().map(str::to_owned).collect::<BTreeSet<_>>() == wanted)
    })
    .with_context(|| format!("there are other interfaces than {wanted:?}"))?;
    // Nothing that is attached has files of portlane's.
    let with_files = containers.iter().filter(|container| container["status"] != "attached");
    let known: BTreeSet<String> = with_files.map(|container| text(container, "id")).collect();
    let folders: BTreeSet<String> = fs::read_dir(net.state().join("containers"))
        .map(|found| found.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect())
        .unwrap_or_default();
    ensure!(folders == known, "folders {folders:?} of containers {known:?}");
    let alive: BTreeSet<String> = running.iter().map(|running| text(running, "netns")).collect();
    for namespace in net.host().run(&["ls", "/run/netns"])?.lines().filter(|name| name.starts_with("pl-")) {
        let inside = format!("--net=/run/netns/{namespace}");
        let addresses = net.host().run(&["nsenter", &inside, "ip", "-4", "addr", "show", "to", POOL]);
        let ours = addresses.is_ok_and(|addresses| !addresses.is_empty());
        ensure!(!ours || alive.contains(namespace), "namespace {namespace} is left over");
    }
    for (map, rows) in [("pl_endpoint4", places.len()), ("pl_veth", places.len())] {
        ensure!(net.dump(map)?.len() == rows, "{map} has {} rows, not {rows}", net.dump(map)?.len());
    }
    Ok(())
}

/// Every container that serves is reached by the host, and from outside by what it publishes.
fn talks(net: &Topology) -> Result<usize> {
    let mut asked = 0;
    for container in list(net, &["ps"])?.iter().filter(|container| container["status"] == "running") {
        let serves = container["command"].to_string().contains("serve");
        let name = text(container, "name");
        for place in container["networks"].as_array().into_iter().flatten().filter(|_| serves) {
            for field in ["addr4", "addr6"] {
                let Some(address) = place[field].as_str() else { continue };
                let address: IpAddr = address.parse()?;
                let answer = || Ok(net.host().ask("tcp", at(address, 80)).is_ok_and(|answer| answer.by == name));
                until(answer).with_context(|| format!("{name} at {address}"))?;
                asked += 1;
            }
        }
        let leads = container["addr4"].is_string();
        for port in container["publishes"].as_array().into_iter().flatten().filter(|_| leads && serves) {
            let port = port.as_str().unwrap_or_default();
            let (Some(host), true) = (port.strip_prefix("*:"), port.ends_with("->80/tcp")) else { continue };
            let number = host.split("->").next().unwrap_or_default().parse()?;
            let answer =
                net.outside().ask("tcp", at(Family::V4.host(), number)).with_context(|| format!("{name} {port}"))?;
            ensure!(answer.by == name, "{port} of {name} is answered by {}", answer.by);
            asked += 1;
        }
    }
    Ok(asked)
}

#[test]
fn five_hundred_commands_of_several_callers_some_killed_lose_track_of_nothing() -> Result<()> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64 >> 10);
    let seed = number("PORTLANE_SEED").unwrap_or_else(now);
    let commands = number("PORTLANE_COMMANDS").map_or(COMMANDS, |commands| commands as usize);
    println!("    PORTLANE_SEED={seed} PORTLANE_COMMANDS={commands}");
    test(|net| {
        net.rewrite_daemon_json(&format!(r#"{{"default-address-pools": [{{"base": "{POOL}", "size": 24}}]}}"#))?;
        for name in ["n0", "n1", "n2"] {
            net.portlane(&["network", "create", name])?;
        }
        let by_hand = [net.by_hand("w0")?, net.by_hand("w1")?];
        by_hand.iter().try_for_each(|by_hand| by_hand.place().run(&["ip", "link", "set", "lo", "up"]).map(drop))?;
        let before: Vec<String> = by_hand.iter().map(ByHand::inventory).collect::<Result<_>>()?;
        let namespaces = by_hand.each_ref().map(ByHand::netns);
        let (left, peer) = (AtomicUsize::new(commands), net.peer().to_owned());
        let ends: Vec<Result<(usize, usize)>> = thread::scope(|scope| {
            let call = |caller: u64| {
                let (left, peer, namespaces) = (&left, &peer, &namespaces);
                scope.spawn(move || call(net, Dice(seed ^ caller << 32), left, (peer, namespaces)))
            };
            let callers: Vec<_> = (0..CALLERS).map(call).collect();
            callers.into_iter().map(|caller| caller.join().expect("no caller panics")).collect()
        });
        let mut total = BTreeMap::from([("done", 0), ("killed", 0)]);
        for end in ends {
            let (done, killed) = end.with_context(|| format!("PORTLANE_SEED={seed}"))?;
            *total.entry("done").or_default() += done;
            *total.entry("killed").or_default() += killed;
        }
        settled(net).with_context(|| format!("PORTLANE_SEED={seed}"))?;
        // Chance may leave no container that serves.
        let serve = [&["--", net.peer()][..], &["serve", "tcp", "[::]:80", "--name", "last"]].concat();
        let last = net.portlane(&[&["run", "-d", "--name", "last", "-p", "8090:80"], &serve[..]].concat());
        last.and_then(|_| settled(net)).with_context(|| format!("PORTLANE_SEED={seed}"))?;
        let asked = talks(net).with_context(|| format!("PORTLANE_SEED={seed}"))?;
        println!(
            "    of {commands} commands {} were done and {} killed; {asked} services answer",
            total["done"], total["killed"]
        );
        ensure!(asked > 1, "the last container is asked at its address and by its port, {asked} were asked");
        ensure!(commands < COMMANDS || (total["killed"] > 5 && total["done"] > 50), "{total:?}");
        for container in list(net, &["ps"])? {
            net.portlane(&["rm", "-f", &text(&container, "name")])?;
        }
        net.portlane(&["network", "prune"])?;
        settled(net)?;
        let after: Vec<String> = by_hand.iter().map(ByHand::inventory).collect::<Result<_>>()?;
        ensure!(before == after, "somebody else's namespaces were {before:?} and are {after:?}");
        net.portlane(&["uninstall"])?;
        ensure!(!net.state().exists() && !net.bpffs().exists(), "something is left behind");
        Ok(())
    })
}
