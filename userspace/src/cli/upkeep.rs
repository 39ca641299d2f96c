//! `repair`, `reload`, `uninstall`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{Global, print};
use crate::{
    engine::{self, Engine, EngineError},
    request::Request,
};

#[derive(Debug, Args)]
pub(super) struct Repair {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Repair {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let steps = global.ask(Request::Repair { dry_run: self.dry_run }).await?;
        if global.json {
            return print::json(&steps);
        }
        let steps: String = print::rows(&steps).filter_map(Value::as_str).map(|step| format!("{step}\n")).collect();
        print::text(if steps.is_empty() { "everything is as it must be\n" } else { &steps })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
What can change at once does: icc, ip, ip-masq, default-address-pools, xdp, timeouts, flow-share, flows; dns, dns-search
and dns-opts for containers that are made from then on, dns also for what a daemon asks on behalf of those that were made
without. A key of the default network that is left out waits as one that is changed: until the network is made anew. A
running daemon does the same when it starts and on SIGHUP; what it listens on (hosts, tls…) it reads only when it starts.
Example: portlane reload")]
pub(super) struct Reload;

impl Reload {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let reloaded = global.ask(Request::Reload).await?;
        if global.json {
            return print::json(&reloaded);
        }
        let in_force = print::rows(&reloaded["in_force"]).filter_map(Value::as_str).collect::<Vec<_>>();
        let first = if in_force.is_empty() { "nothing new".to_owned() } else { in_force.join(", ") };
        let waiting = print::rows(&reloaded["waiting"])
            .map(|row| format!("waits: {}: {}\n", print::field(row, "key"), print::field(row, "until")));
        print::text(&format!("in force: {first}\n{}", waiting.collect::<String>()))
    }
}

#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// Kill containers that run, and let go of attached namespaces
    #[arg(long)]
    force: bool,
}

impl Uninstall {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        global.only_here("uninstall")?;
        let settings = global.settings()?;
        let engine = Engine::open(settings.clone()).await?;
        let live = || engine.state().live();
        if live().next().is_some() && !self.force {
            return Err(EngineError::InUse { names: live().map(|container| container.name.clone()).collect() }.into());
        }
        // What runs where containers are attached is not portlane's.
        let running: Vec<_> = live().cloned().collect();
        drop(engine);
        for container in &running {
            engine::terminate(container, Duration::ZERO).await?;
        }
        Ok(Engine::open(settings).await?.uninstall().await?)
    }
}
