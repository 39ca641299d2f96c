//! `flows`.

use anyhow::Result;
use clap::Args;

use super::{Global, print};
use crate::request::Request;

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
        print::table(&header, &print::cells(&flows, &names))
    }
}
