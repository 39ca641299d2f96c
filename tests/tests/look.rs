//! What portlane shows: counters as they grow, JSON for scripts, and what a terminal gets.
#![cfg(feature = "root")]

use anyhow::{Context, Result, bail, ensure};
use portlane_tests::topology::{Family, Topology, at, test};
use serde_json::Value;

/// The lines of JSON that a command prints.
fn lines(net: &Topology, arguments: &[&str]) -> Result<Vec<Value>> {
    let printed = net.portlane(&[&["--json"], arguments].concat())?;
    printed.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

#[test]
fn stats_watch_prints_a_line_of_json_with_rates_each_time() -> Result<()> {
    test(|net| {
        let empty = lines(net, &["stats", "--watch", "0.1", "--count", "2"])?;
        ensure!(empty.len() == 2 && empty[1]["containers"] == serde_json::json!([]), "{empty:?}");
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        net.outside().ask("tcp", at(Family::V4.host(), 8080))?;
        let mut before = net.json(&["stats"])?;
        // It talks to somebody all the while.
        let from_inside = web.inside().start(&["ping", "-i", "0.02", "192.0.2.2"], "bytes from")?;
        let watched = lines(net, &["stats", "--watch", "0.3", "--count", "3"])?;
        drop(from_inside);
        ensure!(watched.len() == 3, "{watched:?}");
        ensure!(watched[0]["interval"].is_null(), "{}", watched[0]);
        ensure!(watched[0]["containers"][0]["rx_packets_per_second"].is_null(), "{}", watched[0]);
        for line in &watched[1..] {
            let container = &line["containers"][0];
            let (now, then) = (container["tx_packets"].as_u64(), before["containers"][0]["tx_packets"].as_u64());
            let interval = line["interval"].as_f64().context("interval")?;
            let rate = container["tx_packets_per_second"].as_f64().context("rate")?;
            ensure!(interval >= 0.3 && rate > 0.0 && now > then, "{line}");
            ensure!(line["ports"][0]["tx_packets_per_second"] == 0.0, "nobody uses the port: {line}");
            before = line.clone();
        }
        let [second, third] = [&watched[1], &watched[2]].map(|line| line["containers"][0]["tx_bytes"].as_f64());
        let passed = third.context("tx_bytes")? - second.context("tx_bytes")?;
        let rate = watched[2]["containers"][0]["tx_bytes_per_second"].as_f64().context("rate")?;
        let worked_out = passed / watched[2]["interval"].as_f64().context("interval")?;
        ensure!((rate - worked_out).abs() < 1.0, "{rate} instead of {worked_out}");
        Ok(())
    })
}

#[test]
fn stats_watch_prints_a_table_after_the_other_in_a_pipe() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "")?;
        let printed = net.portlane(&["stats", "-w", "0.1", "-n", "3"])?;
        ensure!(printed.matches("RX PACKETS/s").count() == 6, "not three times two tables: {printed}");
        ensure!(!printed.contains('\x1b'), "escape sequences in a pipe: {printed}");
        // Whoever reads one line of it has it end.
        let portlane = net.portlane_words(&["stats", "--watch", "0.1"]).join(" ");
        let first = net.host().run(&["sh", "-c", &format!("{portlane} | head -n 1")])?;
        ensure!(first.starts_with("CONTAINER"), "{first}");
        Ok(())
    })
}

#[test]
fn stats_watch_redraws_a_terminal_in_place_and_gives_it_back_on_ctrl_c() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "")?;
        let mut terminal = net.terminal(&["stats", "--watch", "0.1"])?;
        terminal.until("\x1b[?1049h")?;
        for _ in 0..2 {
            // From the top each time.
            terminal.until("\x1b[J")?;
        }
        terminal.press("\x03")?;
        let (status, printed) = terminal.end()?;
        ensure!(status == Some(0), "{status:?}");
        let (_, after) = printed.split_once("\x1b[?1049l").context("the other screen is not left")?;
        ensure!(printed.contains("\x1b[?25h") && printed.contains("\x1b[?7h"), "{printed:?}");
        ensure!(after.contains("web") && !after.contains('\x1b'), "the last table does not stay: {after:?}");
        Ok(())
    })
}

/// The table and the JSON of the same counts: the host's own multicast reports (RFC 3810 sends them again after up to a
/// second) reach containers whenever they like, so nothing has been counted between two equal answers.
fn counted_at_one_moment(net: &Topology) -> Result<(String, Value)> {
    let mut before = net.json(&["stats"])?;
    for _ in 0..20 {
        let (table, after) = (net.portlane(&["stats"])?, net.json(&["stats"])?);
        if before == after {
            return Ok((table, after));
        }
        before = after;
    }
    bail!("something is counted all the time: {before}")
}

#[test]
fn the_tables_have_packets_and_bytes_of_each_container_port_and_reason() -> Result<()> {
    test(|net| {
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        net.outside().ask("tcp", at(Family::V4.host(), 8080))?;
        net.outside().run(&["ip", "route", "add", &web.field("addr4"), "via", "192.0.2.1"])?;
        net.outside().no_answer("tcp", at(web.address(Family::V4), 80))?;
        let (table, json) = counted_at_one_moment(net)?;
        let row = |begins: &str, holds: &str| {
            let mut rows = table.lines().filter(|line| line.starts_with(begins) && line.contains(holds));
            rows.next().map(|row| row.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>())
        };
        let counted = |row: &[&str], json: &Value, field: &str, place: usize| {
            let same = json[field].as_u64().map(|count| count.to_string()) == row.get(place).map(|c| (*c).to_owned());
            ensure!(same && json[field] != 0, "{field}: {row:?} is not {json}");
            Ok(())
        };
        let (port, container) = (&json["ports"][0], &json["containers"][0]);
        let shown = row("*:8080->80/tcp", "web").context("the port is not shown")?;
        counted(&shown, port, "rx_packets", 2)?;
        counted(&shown, port, "tx_packets", 4)?;
        ensure!(shown[3].ends_with('B') && port["rx_bytes"].as_u64() > port["rx_packets"].as_u64(), "{shown:?}");
        let shown = row("web", &web.field("addr4")).context("the container is not shown")?;
        counted(&shown, container, "rx_packets", 2)?;
        let refused =
            json["reasons"].as_array().context("reasons")?.iter().find(|row| row["reason"] == "direct-access");
        let shown = row("from_uplink", "direct-access").with_context(|| table.clone())?;
        counted(&shown, refused.context("no direct-access")?, "packets", 1)?;
        ensure!(shown[2].ends_with('B'), "{shown:?}");
        Ok(())
    })
}

/// The row of a list in `status --json` with this name.
fn row<'s>(status: &'s Value, list: &str, name: &str) -> Result<&'s Value> {
    let rows = status[list].as_array().with_context(|| format!("`status` has no {list}"))?;
    rows.iter().find(|row| row["name"] == name).with_context(|| format!("no {name} in {list}: {rows:?}"))
}

#[test]
fn status_tells_what_the_kernel_has_the_uplinks_and_how_full_the_maps_are() -> Result<()> {
    test(|net| {
        net.host().run(&["ip", "link", "set", "up0", "mtu", "1400"])?;
        let _web = net.container("web", "-p 8080:80", "")?;
        let status = net.json(&["status"])?;
        for feature in ["bpffs", "cgroup2", "bpf_loop", "bpf_redirect_peer", "bpf_set_retval", "inet_diag_destroy"] {
            ensure!(row(&status, "features", feature)?["present"] == true, "{feature}: {status}");
        }
        let release = net.host().run(&["uname", "-r"])?;
        ensure!(status["kernel"] == release.as_str() && status["daemon"].is_null(), "{status}");
        let uplink = row(&status, "uplinks", "up0")?;
        ensure!(uplink["mtu"] == 1400 && uplink["mode"] == "tc", "{uplink}");
        ensure!(uplink["addr4"] == "192.0.2.1" && uplink["addr6"] == "2001:db8:1::1", "{uplink}");
        let map = row(&status, "maps", "pl_publish4")?;
        ensure!(map["entries"] == 1 && map["warning"].is_null(), "{map}");
        ensure!(row(&status, "maps", "pl_flow4")?["max_entries"] == 2 * 65_536, "{status}");
        let table = net.portlane(&["status"])?;
        for words in [&format!("Linux {release}: ")[..], "up0", "2001:db8:1::1", "1400", "pl_publish4"] {
            ensure!(table.contains(words), "no `{words}`: {table}");
        }
        Ok(())
    })
}

#[test]
fn status_warns_of_a_map_that_is_nearly_full_and_of_programs_of_others() -> Result<()> {
    // The other portlane's programs are somebody else's.
    test(|other| {
        other.portlane(&["network", "create", "n"])?;
        let program = |name: &str| other.bpffs().join("progs").join(name).to_string_lossy().into_owned();
        test(|net| {
            let _web = net.container("web", "", "")?;
            ensure!(
                net.json(&["status"])?["foreign"] == serde_json::json!([]),
                "somebody else is there from the start"
            );
            net.host().run(&["tc", "qdisc", "add", "dev", "up0", "clsact"])?;
            let filter = ["tc", "filter", "add", "dev", "up0", "egress", "bpf", "direct-action", "pinned"];
            net.host().run(&[&filter[..], &[&program("to_uplink")]].concat())?;
            let xdp = ["ip", "link", "set", "dev", "up0", "xdpgeneric", "pinned", &program("from_uplink_xdp")];
            net.host().run(&xdp)?;
            fill(net, "pl_uplink")?;
            let status = net.json(&["status"])?;
            for (name, place) in [("to_uplink", "clsact egress"), ("from_uplink_xdp", "xdp")] {
                let found = row(&status, "foreign", name)?;
                ensure!(found["place"] == place && found["interface"] == "up0", "{found}");
            }
            let map = row(&status, "maps", "pl_uplink")?;
            ensure!(map["percent"].as_u64() >= Some(80) && map["warning"].is_string(), "{map}");
            let table = net.portlane(&["status"])?;
            for words in ["warning: pl_uplink is 9", "(`from_uplink_xdp`) of somebody else is on up0, xdp"] {
                ensure!(table.contains(words), "no `{words}`: {table}");
            }
            Ok(())
        })
    })
}

/// Fills nine tenths of a map whose keys are numbers, with zeros.
fn fill(net: &Topology, map: &str) -> Result<()> {
    let path = net.bpffs().join("maps").join(map).to_string_lossy().into_owned();
    let shown: Value = serde_json::from_str(&net.host().run(&["bpftool", "-j", "map", "show", "pinned", &path])?)?;
    let number = |field: &str| shown[field].as_u64().with_context(|| field.to_owned());
    let (most, zeros) = (number("max_entries")?, "0 ".repeat(usize::try_from(number("bytes_value")?)?));
    let updates: String = (0..most * 9 / 10)
        .map(|key| format!("map update pinned {path} key {} {} 77 0 value {zeros}\n", key % 256, key / 256))
        .collect();
    let batch = net.file("fill");
    std::fs::write(&batch, updates)?;
    net.host().run(&["bpftool", "batch", "file", &batch.to_string_lossy()]).map(drop)
}

/// Ignores SIGTERM, so that `stop` waits out its grace period.
fn deaf(net: &Topology, name: &str) -> Result<()> {
    let deaf = "trap '' TERM; echo on; while :; do sleep 0.1; done";
    net.portlane(&["run", "-d", "--name", name, "--", "sh", "-c", deaf])?;
    let log = net.json(&["inspect", name])?["log"].as_str().context("log")?.to_owned();
    net.host().run(&["sh", "-c", &format!("until grep -q on {log}; do sleep 0.02; done")]).map(drop)
}

#[test]
fn a_terminal_is_told_what_takes_longer_than_a_second_and_the_line_goes_again() -> Result<()> {
    test(|net| {
        deaf(net, "deaf")?;
        let (status, printed) = net.terminal(&["stop", "-t", "2", "deaf"])?.end()?;
        ensure!(status == Some(0), "{status:?}");
        let (line, after) = printed.split_once("portlane: waiting for deaf to end").context(printed.clone())?;
        ensure!(line.ends_with("\r\x1b[K") && after.contains(" s\r\x1b[K"), "{printed:?}");
        ensure!(after.ends_with("\r\x1b[Kdeaf\r\n"), "the line stays: {after:?}");
        // What is done at once needs no line.
        let (_, printed) = net.terminal(&["rm", "deaf"])?.end()?;
        ensure!(printed == "deaf\r\n", "{printed:?}");
        Ok(())
    })
}

#[test]
fn a_pipe_is_told_nothing_but_what_was_asked_for() -> Result<()> {
    test(|net| {
        deaf(net, "deaf")?;
        let (status, said) = net.said(&["stop", "-t", "2", "deaf"])?;
        ensure!(status == Some(0) && said.is_empty(), "{status:?}: {said:?}");
        Ok(())
    })
}
