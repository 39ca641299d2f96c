//! What lies between two machines: a veth pair, or the network cards of the virtual machine that the tests run in.

use std::{env, fs, thread, time::Duration};

use anyhow::{Context, Result};

use super::ip;

/// Set inside `cargo xtask vm`: hardware addresses of two cards on one cable, for tests on a real driver.
const CARDS: &str = "PORTLANE_CARDS";
/// How often a card is looked for, at a tenth of a second each: the kernel hands those of a namespace that ended back in
/// the background, and tells nobody.
const LOOKS: u32 = 100;

/// Connects two network namespaces: the first cable of a test is the cards, where there are some.
pub(super) fn lay(netns: [&str; 2], interfaces: [&str; 2], first: bool) -> Result<()> {
    if let Some(cards) = env::var(CARDS).ok().filter(|_| first) {
        for ((card, netns), interface) in cards.split(' ').zip(netns).zip(interfaces) {
            ip(&format!("link set {} netns {netns} name {interface}", find(card)?))?;
        }
        return Ok(());
    }
    let ([here, there], [near, far]) = (netns, interfaces);
    ip(&format!("-n {here} link add {near} type veth peer name {far} netns {there}"))
}

/// The interface with a hardware address.
fn find(card: &str) -> Result<String> {
    let look = || {
        let mut links = fs::read_dir("/sys/class/net").ok()?.flatten();
        let link =
            links.find(|link| fs::read_to_string(link.path().join("address")).is_ok_and(|at| at.trim() == card))?;
        Some(link.file_name().to_string_lossy().into_owned())
    };
    let wait = || {
        thread::sleep(Duration::from_millis(100));
        look()
    };
    look().or_else(|| (0..LOOKS).find_map(|_| wait())).with_context(|| format!("there is no network card {card}"))
}
