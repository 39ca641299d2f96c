//! Bringing the host back to what it must be, and taking over what the administrator configured since.

use serde_json::{Value, json};

use super::Result;
use crate::engine::{Engine, Settings};

pub(super) async fn repair(settings: Settings, dry_run: bool) -> Result<Value> {
    let mut engine = Engine::open(settings).await?;
    Ok(if dry_run { engine.outlook().await? } else { engine.repair().await? }.into())
}

pub(super) async fn reload(settings: Settings) -> Result<Value> {
    let reloaded = Engine::open(settings).await?.reload().await?;
    let waiting = reloaded.waiting.iter().map(|(key, until)| json!({"key": key, "until": until}));
    Ok(json!({"in_force": reloaded.in_force, "waiting": waiting.collect::<Vec<_>>()}))
}
