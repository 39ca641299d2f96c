//! `status`: what the kernel has, what there is, what gets in the way, and what to type to mend it.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{
    Global,
    print::{self, cells, field, rows, texts},
};
use crate::request::Request;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 1 if something is missing that portlane cannot do without.
JSON: docs/json.md names the fields.")]
pub(super) struct Status;

impl Status {
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let status = global.ask(Request::Status).await?;
        if global.json {
            print::json(&status)?;
        } else {
            print::text(&table(&status))?;
        }
        Ok(i32::from(rows(&status["missing"]).any(|row| !is(row, "optional"))))
    }
}

fn is(row: &Value, name: &str) -> bool {
    row[name] == Value::Bool(true)
}

/// What is missing or gets in the way, and what to type: a line each.
fn advice(status: &Value) -> Vec<String> {
    let missing = rows(&status["missing"]).map(|row| {
        let begin = if is(row, "optional") { "better with" } else { "missing:" };
        format!("{begin} {}: {}", field(row, "feature"), field(row, "remedy"))
    });
    let notes =
        rows(&status["notes"]).map(|row| format!("note: {}: run `{}`", field(row, "what"), field(row, "remedy")));
    let warnings = rows(&status["maps"]).filter_map(|row| row["warning"].as_str());
    let warnings = warnings.map(|warning| format!("warning: {warning}"));
    let foreign = rows(&status["foreign"]).map(|row| {
        let [interface, place, name, id] = ["interface", "place", "name", "id"].map(|key| field(row, key));
        format!("note: program {id} (`{name}`) of somebody else is on {interface}, {place}: it sees packets too")
    });
    let sentences = ["held", "absent"].into_iter().flat_map(|key| texts(&status[key]));
    let sentences = sentences.map(|sentence| format!("note: {sentence}"));
    missing.chain(warnings).chain(notes).chain(sentences).chain(foreign).collect()
}

fn table(status: &Value) -> String {
    let mut text: String = advice(status).iter().map(|line| format!("{line}\n")).collect();
    let features = |present: Option<bool>| {
        rows(&status["features"]).filter(move |row| row["present"].as_bool() == present).collect::<Vec<_>>()
    };
    let names = |present| features(present).iter().map(|row| field(row, "name")).collect::<Vec<_>>().join(" ");
    text += &format!("Linux {}: {}\n", field(status, "kernel"), names(Some(true)));
    for row in features(Some(false)) {
        text += &format!("  lacks {}: {}\n", field(row, "name"), field(row, "purpose"));
    }
    if !features(None).is_empty() {
        text += &format!("  not to be told: {}\n", names(None));
    }
    text += &match status["daemon"].as_u64() {
        Some(pid) => format!("`portlane daemon` runs (pid {pid})\n"),
        None => "`portlane daemon` does not run, nor need it\n".to_owned(),
    };
    let [networks, containers, ports] = ["networks", "containers", "published"].map(|key| field(status, key));
    text +=
        &format!("{networks} network(s), {containers} running container(s), {ports} published port(s) or range(s)\n");
    let uplinks: Vec<_> = rows(&status["uplinks"])
        .map(|row| {
            let or_none = |key| Some(field(row, key)).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
            ["name", "addr4", "addr6", "mtu", "mode"].map(or_none).to_vec()
        })
        .collect();
    if !uplinks.is_empty() {
        text += &format!("\n{}", print::columns(&["UPLINK", "IPV4", "IPV6", "MTU", "MODE"], &uplinks));
    }
    let programs = cells(&status["programs"], &["name", "id", "verified_instructions", "machine_code_bytes"]);
    if programs.is_empty() {
        return text + "\nno program is loaded: the first network or container loads them\n";
    }
    let attachments = texts(&status["attachments"]);
    text += &format!("\n{} program attachment(s)\n", attachments.len());
    text.extend(attachments.iter().map(|attachment| format!("  {attachment}\n")));
    let header = ["PROGRAM", "ID", "VERIFIED INSTRUCTIONS", "MACHINE CODE BYTES"];
    text += &format!("\n{}", print::columns(&header, &programs));
    let maps = rows(&status["maps"]).map(|row| {
        let full = if is(row, "oldest_make_room") { "the oldest make room" } else { "no more is taken" };
        let [name, entries, most, percent] = ["name", "entries", "max_entries", "percent"].map(|key| field(row, key));
        vec![name, entries, most, format!("{percent} %"), full.to_owned()]
    });
    let header = ["MAP", "ENTRIES", "OF AT MOST", "SHARE", "WHEN FULL"];
    text + &format!("\n{}", print::columns(&header, &maps.collect::<Vec<_>>()))
}
