//! `status`.

use std::fmt::Display;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Global, print};
use crate::{
    bpf::{self, Datapath},
    engine::Engine,
};

/// Say whether portlane can work here, what is loaded, and what there is
#[derive(Debug, Args)]
pub(super) struct Status;

impl Status {
    /// Exit status 1 if something is missing that portlane cannot do without.
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let missing = bpf::probe(&global.bpffs);
        let code = i32::from(missing.iter().any(|missing| !missing.optional));
        // Without privileges there is nothing more to see than that.
        let engine = if code == 0 { Some(global.engine().await?) } else { None };
        let datapath = engine.as_ref().map(Engine::datapath).transpose()?.flatten();
        let programs = datapath.as_ref().map(Datapath::programs).transpose()?.unwrap_or_default();
        let attachments = datapath.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
        let state = engine.as_ref().map(Engine::state);
        let networks = state.map_or(0, |state| state.networks.len());
        let containers = state.map_or(0, |state| state.live().count());
        let ports = state.map_or(0, |state| state.publishes().count());
        if global.json {
            let programs = programs.iter().map(|program| {
                json!({"name": program.name, "id": program.id, "verified_instructions": program.verified_insns,
                       "machine_code_bytes": program.jited_bytes})
            });
            let missing = missing.iter().map(
                |missing| json!({"feature": missing.feature, "remedy": missing.remedy, "optional": missing.optional}),
            );
            print::json(&json!({
                "missing": missing.collect::<Vec<_>>(),
                "programs": programs.collect::<Vec<_>>(),
                "attachments": attachments.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "networks": networks,
                "containers": containers,
                "published": ports,
            }))?;
            return Ok(code);
        }
        for missing in &missing {
            print::line(format_args!("{} {missing}", if missing.optional { "better with" } else { "missing:" }))?;
        }
        print::line(format_args!(
            "{networks} network(s), {containers} running container(s), {ports} published port(s) or range(s)"
        ))?;
        print::line(format_args!("{}", plural(attachments.len(), "program attachment")))?;
        for attachment in &attachments {
            print::line(format_args!("  {attachment}"))?;
        }
        if programs.is_empty() {
            print::line("no program is loaded: the first network or container loads them")?;
            return Ok(code);
        }
        let rows: Vec<_> = programs
            .iter()
            .map(|program| {
                vec![
                    program.name.clone(),
                    program.id.to_string(),
                    program.verified_insns.to_string(),
                    program.jited_bytes.to_string(),
                ]
            })
            .collect();
        print::table(&["PROGRAM", "ID", "VERIFIED INSTRUCTIONS", "MACHINE CODE BYTES"], &rows)?;
        Ok(code)
    }
}

fn plural(count: usize, noun: impl Display) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
