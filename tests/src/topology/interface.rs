//! What interfaces do by themselves, and what they and the kernel count.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;

impl Place<'_> {
    /// Turns on and off what an interface does by itself, in the words of `ethtool -K`: `gro on tx off`.
    ///
    /// # Errors
    /// It cannot.
    pub fn offload(&self, interface: &str, words: &str) -> Result<()> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.run(&[&["ethtool", "-K", interface], &words[..]].concat()).map(drop)
    }

    /// Has packets of so many bytes pass an interface.
    ///
    /// # Errors
    /// It cannot.
    pub fn set_mtu(&self, interface: &str, bytes: u16) -> Result<()> {
        self.run(&["ip", "link", "set", interface, "mtu", &bytes.to_string()]).map(drop)
    }

    /// Bytes and packets that an interface has received.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn received(&self, interface: &str) -> Result<(u64, u64)> {
        let text = self.run(&["ip", "-j", "-s", "link", "show", "dev", interface])?;
        let links: Value = serde_json::from_str(&text)?;
        let count = |what: &str| links[0]["stats64"]["rx"][what].as_u64().with_context(|| format!("no {what}: {text}"));
        Ok((count("bytes")?, count("packets")?))
    }

    /// One of the network stack's counters, by the name that nstat has for it: `UdpInCsumErrors`.
    ///
    /// # Errors
    /// There is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = self.run(&["nstat", "-asz", "-j", name])?;
        let counters: Value = serde_json::from_str(&text)?;
        counters["kernel"][name].as_u64().with_context(|| format!("no {name}: {text}"))
    }
}
