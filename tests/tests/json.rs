//! `--json`: each command prints the fields that docs/json.md names, no more and no fewer.
#![cfg(feature = "root")]

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, bail, ensure};
use portlane_tests::topology::{Family, Topology, at, test};
use serde_json::Value;

/// The cells of the table's rows.
fn rows(document: &str, header: &str) -> Vec<Vec<String>> {
    let rows = document.lines().skip_while(|line| *line != header).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What is between backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What a healthy host has none of.
const TROUBLES: [&str; 3] = ["missing", "notes", "foreign"];

/// docs/json.md.
struct Document(String);

impl Document {
    fn read() -> Result<Self> {
        Ok(Self(fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md"))?))
    }

    /// Fields of an object that the command prints, alone or in a list.
    fn fields(&self, command: &str) -> Result<BTreeSet<String>> {
        let rows = rows(&self.0, "| command | prints | fields |");
        let row = rows.iter().find(|row| quoted(&row[0]).contains(command)).with_context(|| command.to_owned())?;
        let fields = quoted(&row[2]);
        match row[2].strip_prefix("as ") {
            Some(_) => self.fields(fields.first().context("as what?")?),
            None => Ok(fields),
        }
    }

    /// Fields of what is in a list or object inside.
    fn inside(&self, command: &str) -> Vec<(String, BTreeSet<String>)> {
        let rows = rows(&self.0, "| field | of | fields |");
        let of = rows.into_iter().filter(|row| quoted(&row[1]).contains(command));
        of.flat_map(|row| quoted(&row[0]).into_iter().map(move |field| (field, quoted(&row[2])))).collect()
    }

    /// Compares what a command printed, and what is inside, with what is documented.
    fn check(&self, command: &str, printed: &Value) -> Result<()> {
        let fields = self.fields(command)?;
        if fields.is_empty() {
            let list = printed.as_array().with_context(|| format!("`{command}` prints no list: {printed}"))?;
            ensure!(list.iter().all(Value::is_string), "`{command}`: {printed}");
            return Ok(());
        }
        self.check_fields(command, printed, &fields)?;
        for (field, fields) in self.inside(command) {
            let value = printed.get(&field).or_else(|| printed.get(0)?.get(&field)).with_context(|| field.clone())?;
            if !(TROUBLES.contains(&&*field) && value.as_array().is_some_and(Vec::is_empty)) {
                self.check_fields(&format!("{command}: {field}"), value, &fields)?;
            }
        }
        Ok(())
    }

    fn check_fields(&self, what: &str, value: &Value, expected: &BTreeSet<String>) -> Result<()> {
        let objects = match value {
            Value::Array(list) if !list.is_empty() => list.iter().collect(),
            Value::Object(_) => vec![value],
            _ => bail!("`{what}` is neither an object nor a list of some: {value}"),
        };
        for object in objects {
            let found: BTreeSet<String> = object.as_object().context("no object")?.keys().cloned().collect();
            ensure!(found == *expected, "`{what}` has {found:?} and must have {expected:?}");
        }
        Ok(())
    }
}

#[test]
fn every_command_that_prints_prints_the_json_that_is_documented() -> Result<()> {
    let document = Document::read()?;
    let mut checked = BTreeSet::new();
    test(|net: &Topology| {
        let mut check = |command: &str, arguments: &str| {
            let arguments: Vec<&str> = arguments.split_whitespace().collect();
            checked.insert(command.to_owned());
            document.check(command, &net.json(&arguments)?)
        };
        let _db = net.container("db", "--expose 5432", "")?;
        let _web = net.container("web", "--link db:database -p 8080:80", "tcp [::]:80")?;
        net.outside().ask("tcp", at(Family::V4.host(), 8080))?;
        net.outside().run(&["ip", "route", "add", "172.17.0.0/16", "via", "192.0.2.1"])?;
        net.outside().no_answer("tcp", at(net_address(net)?, 80))?;
        check("run -d", "run -d --name sleeper -- sleep infinity")?;
        let by_hand = net.by_hand("w1")?;
        check("attach", &format!("attach {}", by_hand.netns()))?;
        check("detach", &format!("detach {}", by_hand.netns()))?;
        check("ps -q", "ps -q")?;
        check("network ls -q", "network ls -q")?;
        check("inspect", "inspect web")?;
        check("port", "port web")?;
        check("publish", "publish web 8443:443")?;
        check("unpublish", "unpublish web 8443:443")?;
        check("network create", "network create n")?;
        check("network inspect", "network inspect portlane0")?;
        check("network rm", "network rm n")?;
        net.portlane(&["network", "create", "unused"])?;
        check("network prune", "network prune")?;
        check("stats", "stats")?;
        check("flows", "flows")?;
        check("status", "status")?;
        check("repair --dry-run", "repair --dry-run")?;
        check("repair", "repair")?;
        check("reload", "reload")?;
        check("stop", "stop -t 0 sleeper")?;
        check("rm", "rm sleeper")?;
        // With rates besides, which are beside every count.
        let watched = net.json(&["stats", "--watch", "--count", "1"])?;
        document.check_fields("stats --watch", &watched, &document.fields("stats --watch")?)?;
        for (field, mut fields) in document.inside("stats") {
            let counts = ["packets", "bytes"];
            let rates: Vec<_> =
                fields.iter().filter(|field| counts.iter().any(|count| field.ends_with(count))).collect();
            let rates: Vec<_> = rates.into_iter().map(|count| format!("{count}_per_second")).collect();
            fields.extend(rates);
            document.check_fields(&format!("stats --watch: {field}"), &watched[&field], &fields)?;
        }
        // Of containers that share another's network, and of those that ended.
        net.portlane(&["run", "--name", "shares", "--network", "container:web", "--", "true"])?;
        for container in net.json(&["ps"])?.as_array().context("ps")? {
            document.check_fields("ps", container, &document.fields("ps")?)?;
        }
        for network in net.json(&["network", "ls"])?.as_array().context("network ls")? {
            document.check_fields("network ls", network, &document.fields("network ls")?)?;
        }
        Ok(())
    })?;
    let documented = rows(&document.0, "| command | prints | fields |").into_iter().flat_map(|row| quoted(&row[0]));
    let left: Vec<_> = documented.filter(|command| !checked.contains(command)).collect();
    ensure!(left == ["ps", "network ls", "stats --watch"], "nothing runs {left:?}");
    Ok(())
}

fn net_address(net: &Topology) -> Result<std::net::IpAddr> {
    Ok(net.json(&["inspect", "web"])?["addr4"].as_str().context("addr4")?.parse()?)
}

#[test]
fn before_there_is_anything_each_list_is_empty_and_no_field_is_missing() -> Result<()> {
    let document = Document::read()?;
    test(|net| {
        for command in ["ps", "flows", "repair --dry-run"] {
            let printed = net.json(&command.split(' ').collect::<Vec<_>>())?;
            ensure!(printed == serde_json::json!([]), "`{command}`: {printed}");
        }
        for command in ["stats", "status"] {
            document.check_fields(command, &net.json(&[command])?, &document.fields(command)?)?;
        }
        Ok(())
    })
}
