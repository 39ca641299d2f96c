//! How long tests wait before they give up. Nothing waits longer than what it waits for.

use std::{env, time::Duration};

/// Set inside `cargo xtask vm`, where processors may be emulated: everything may take so many times as long.
const SLOWNESS: &str = "PORTLANE_SLOWNESS";

/// How many times as long as on the machine that the tests were written on something may take.
pub fn slowness() -> u32 {
    env::var(SLOWNESS).ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// So many seconds there.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds) * slowness()
}
