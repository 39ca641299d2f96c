//! `stats`, `flows`, `status`.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{Global, print};
use crate::request::Request;

/// Show what passed, by container and by published port, and what was refused, and why
#[derive(Debug, Args)]
pub(super) struct Stats;

impl Stats {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let stats = global.ask(Request::Stats).await?;
        if global.json {
            return print::json(&stats);
        }
        if stats.as_object().is_none_or(serde_json::Map::is_empty) {
            return print::line("nothing is loaded, so nothing is counted");
        }
        let counted = |table: &str, names: [&str; 2]| -> Vec<_> {
            print::rows(&stats[table])
                .map(|row| names.map(|name| print::field(row, name)).into_iter().chain(counts(row)).collect())
                .collect()
        };
        let containers = counted("containers", ["name", "address"]);
        print::table(&["CONTAINER", "ADDRESS", "RX PACKETS", "RX BYTES", "TX PACKETS", "TX BYTES"], &containers)?;
        let ports = counted("ports", ["port", "container"]);
        if !ports.is_empty() {
            print::text("\n")?;
            print::table(&["PUBLISHED", "CONTAINER", "RX PACKETS", "RX BYTES", "TX PACKETS", "TX BYTES"], &ports)?;
        }
        let reasons = columns(&stats["reasons"], &["hook", "packets", "reason", "meaning"]);
        if !reasons.is_empty() {
            print::text("\n")?;
            print::table(&["HOOK", "PACKETS", "REASON", "MEANING"], &reasons)?;
        }
        Ok(())
    }
}

fn counts(row: &Value) -> [String; 4] {
    let bytes = |name: &str| print::bytes(row[name].as_u64().unwrap_or(0));
    [print::field(row, "rx_packets"), bytes("rx_bytes"), print::field(row, "tx_packets"), bytes("tx_bytes")]
}

fn columns(table: &Value, names: &[&str]) -> Vec<Vec<String>> {
    print::rows(table).map(|row| names.iter().map(|name| print::field(row, name)).collect()).collect()
}

/// List the flows that are remembered: what comes in, and as what it goes on
#[derive(Debug, Args)]
pub(super) struct Flows;

impl Flows {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let flows = global.ask(Request::Flows).await?;
        if global.json {
            return print::json(&flows);
        }
        let names = ["proto", "from", "source", "destination", "leaves_as", "state", "idle_seconds"];
        let header = ["PROTO", "FROM", "SOURCE", "DESTINATION", "LEAVES AS", "STATE", "IDLE s"];
        print::table(&header, &columns(&flows, &names))
    }
}

/// Say whether portlane can work here, what is loaded, and what there is
#[derive(Debug, Args)]
pub(super) struct Status;

impl Status {
    /// Exit status 1 if something is missing that portlane cannot do without.
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let status = global.ask(Request::Status).await?;
        let optional = |row: &Value| row["optional"] == Value::Bool(true);
        let code = i32::from(print::rows(&status["missing"]).any(|row| !optional(row)));
        if global.json {
            print::json(&status)?;
            return Ok(code);
        }
        for row in print::rows(&status["missing"]) {
            let (feature, remedy) = (print::field(row, "feature"), print::field(row, "remedy"));
            print::line(format_args!(
                "{} {feature}: {remedy}",
                if optional(row) { "better with" } else { "missing:" }
            ))?;
        }
        let count = |name| print::field(&status, name);
        print::line(format_args!(
            "{} network(s), {} running container(s), {} published port(s) or range(s)",
            count("networks"),
            count("containers"),
            count("published")
        ))?;
        let attachments: Vec<_> = print::rows(&status["attachments"]).filter_map(Value::as_str).collect();
        let plural = if attachments.len() == 1 { "" } else { "s" };
        print::line(format_args!("{} program attachment{plural}", attachments.len()))?;
        for attachment in attachments {
            print::line(format_args!("  {attachment}"))?;
        }
        let programs = columns(&status["programs"], &["name", "id", "verified_instructions", "machine_code_bytes"]);
        if programs.is_empty() {
            print::line("no program is loaded: the first network or container loads them")?;
            return Ok(code);
        }
        print::table(&["PROGRAM", "ID", "VERIFIED INSTRUCTIONS", "MACHINE CODE BYTES"], &programs)?;
        Ok(code)
    }
}
