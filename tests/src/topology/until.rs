//! Waiting for what comes by itself.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};

use super::Place;
use crate::patience;

/// How often, and how long apart, is looked.
const LOOKS: u32 = 300;
const LOOK: Duration = Duration::from_millis(100);
/// The same for an interface to be up.
const READY_LOOKS: u32 = 500;
const READY_LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until it has come.
///
/// # Errors
/// A look's; or it does not come.
pub fn until(has_come: impl FnMut() -> Result<bool>) -> Result<()> {
    look(LOOKS * patience::slowness(), LOOK, has_come)
}

/// The kernel takes note of a cable in the background: until then neighbours ask in vain, once a second.
pub(super) fn ready_to_talk(place: &Place<'_>, interface: &str) -> Result<()> {
    let shown = format!("ip -o link show dev {interface}; ip -6 -o addr show dev {interface}");
    let mut state = String::new();
    let is_up = || {
        state = place.run(&["sh", "-c", &shown])?;
        Ok(state.contains("state UP") && state.contains(" fe80:") && !state.contains("tentative"))
    };
    look(READY_LOOKS * patience::slowness(), READY_LOOK, is_up)
        .with_context(|| format!("{interface} is not up: {state}"))
}

fn look(looks: u32, apart: Duration, mut has_come: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..looks {
        if has_come()? {
            return Ok(());
        }
        thread::sleep(apart);
    }
    bail!("it does not come")
}
