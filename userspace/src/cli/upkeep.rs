//! `repair`, `uninstall`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{Global, print};
use crate::engine::{self, Engine, EngineError};

/// Bring the host back to what it must be: interfaces, programs, tables
#[derive(Debug, Args)]
pub(super) struct Repair {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Repair {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let mut engine = global.engine().await?;
        let steps = if self.dry_run { engine.outlook().await? } else { engine.repair().await? };
        if global.json {
            return print::json(&steps.into());
        }
        if steps.is_empty() {
            return print::line("everything is as it must be");
        }
        print::text(&steps.iter().map(|step| format!("{step}\n")).collect::<String>())
    }
}

/// Take away everything that is portlane's: containers, networks, programs, maps and state
#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// Kill containers that run
    #[arg(long)]
    force: bool,
}

impl Uninstall {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let settings = global.settings()?;
        let engine = Engine::open(settings.clone()).await?;
        let running: Vec<_> =
            engine.state().live().map(|container| (container.id.clone(), container.name.clone())).collect();
        if !running.is_empty() && !self.force {
            let names = running.into_iter().map(|(_, name)| name).collect();
            return Err(EngineError::InUse { names }.into());
        }
        drop(engine);
        for (id, _) in &running {
            engine::stop(&settings, id, Duration::ZERO).await?;
        }
        Ok(Engine::open(settings).await?.uninstall().await?)
    }
}
