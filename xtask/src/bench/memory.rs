//! What the maps take of the kernel's memory: for a container, a published port, a conversation, and in all.
//!
//! Hash tables and arrays are allocated whole when they are made, so a place costs the same whether it is taken or not:
//! what the kernel says that a map holds, divided by its places.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{
    control::PINS,
    record::{Figure, Run, Section, Unit, What},
    topology::said,
};
use crate::run::tool;

/// Maps that have an entry for each, of both IP versions together: name, entries.
const CONTAINER: [(&str, f64); 5] =
    [("pl_endpoint4", 1.0), ("pl_endpoint6", 1.0), ("pl_veth", 1.0), ("pl_share", 1.0), ("pl_traffic", 1.0)];
const TCP_PORT: [(&str, f64); 4] =
    [("pl_publish4", 1.0), ("pl_publish6", 1.0), ("pl_generation", 1.0), ("pl_pub_traffic", 1.0)];
/// There and back.
const UDP_PORT: [(&str, f64); 4] =
    [("pl_publish4", 2.0), ("pl_publish6", 2.0), ("pl_generation", 1.0), ("pl_pub_traffic", 1.0)];
/// There and back.
const FLOW4: [(&str, f64); 1] = [("pl_flow4", 2.0)];
const FLOW6: [(&str, f64); 1] = [("pl_flow6", 2.0)];

/// What bpftool says of a map.
#[derive(Debug, Deserialize)]
struct Map {
    max_entries: u32,
    bytes_memlock: u64,
}

/// Measures the maps that are loaded, of the usual sizes.
///
/// # Errors
/// When they cannot be looked at.
pub fn measure(record: &mut Run) -> Result<()> {
    let maps = maps()?;
    let total = maps.values().map(|map| map.bytes_memlock as f64).sum();
    note(record, "all maps", total);
    for (case, parts) in [
        ("a container", &CONTAINER[..]),
        ("a published TCP port or range", &TCP_PORT),
        ("a published UDP port or range", &UDP_PORT),
        ("an IPv4 conversation", &FLOW4),
        ("an IPv6 conversation", &FLOW6),
    ] {
        note(record, case, places(&maps, parts)?);
    }
    Ok(())
}

fn note(record: &mut Run, case: &str, bytes: f64) {
    let (subject, case, metric) = ("portlane".to_owned(), case.to_owned(), "memory".to_owned());
    let what = What { section: Section::Control, subject, case, metric, at: BTreeMap::new() };
    record.figures.push(Figure { what, unit: Unit::Bytes, samples: vec![bytes] });
}

/// Bytes of so many places in each of these maps.
fn places(maps: &BTreeMap<String, Map>, parts: &[(&str, f64)]) -> Result<f64> {
    let bytes = |(name, entries): &(&str, f64)| {
        let map = maps.get(*name).with_context(|| format!("there is no {name}"))?;
        Ok(entries * map.bytes_memlock as f64 / f64::from(map.max_entries))
    };
    parts.iter().map(bytes).sum()
}

/// The pinned maps, by name.
fn maps() -> Result<BTreeMap<String, Map>> {
    let folder = Path::new(PINS).join("maps");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut maps = BTreeMap::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let shown = said(tool("bpftool").args(["-j", "map", "show", "pinned"]).arg(&path))?;
        let map = serde_json::from_str(&shown).with_context(|| format!("what bpftool says of {}", path.display()))?;
        maps.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), map);
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_takes_two_places() {
        let maps = BTreeMap::from([("pl_flow4".to_owned(), Map { max_entries: 10, bytes_memlock: 1_500 })]);
        assert!((places(&maps, &FLOW4).expect("it is there") - 300.0).abs() < f64::EPSILON);
        assert!(places(&maps, &CONTAINER).is_err());
    }
}
