//! How full the maps are.

use portlane_common::config::map;

use super::{
    error::{BpfError, Result},
    layout::{Kind, SHAPES, Shape},
    load::Datapath,
};
use crate::linux::bpf_syscall::Map;

/// Percent from which a map is called nearly full.
const NEARLY_FULL: u32 = 80;

/// A map, and how many of its places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFill {
    /// Its name.
    pub name: &'static str,
    /// Entries that it has.
    pub entries: u32,
    /// Entries that fit.
    pub most: u32,
    /// Whether the oldest make room for others when it is full.
    pub makes_room: bool,
}

impl MapFill {
    /// Percent, rounded down.
    pub fn percent(&self) -> u32 {
        u32::try_from(u64::from(self.entries) * 100 / u64::from(self.most.max(1))).unwrap_or(100)
    }

    /// What follows from that, if it is nearly full and nothing makes room.
    pub fn warning(&self) -> Option<String> {
        (self.percent() >= NEARLY_FULL && !self.makes_room).then(|| {
            let remedy = match self.name {
                map::FLOW4 | map::FLOW6 => r#"give `"portlane": {"flows": …}` in daemon.json a larger number"#,
                _ => "its size is fixed: have fewer containers, ports or links on this host",
            };
            format!("{} is {} % full: {remedy}", self.name, self.percent())
        })
    }
}

impl Datapath {
    /// How full each map is that fills: arrays have every entry from the start.
    pub fn fill(&self) -> Result<Vec<MapFill>> {
        let fills = |shape: &&Shape| matches!(shape.kind, Kind::Hash | Kind::LruHash);
        SHAPES.iter().filter(fills).map(|shape| self.fill_of(shape)).collect()
    }

    fn fill_of(&self, shape: &Shape) -> Result<MapFill> {
        let path = self.pins.map(shape.name);
        let map = Map::open(&path, self.cpus).map_err(BpfError::pin("opened", &path))?;
        let mut entries = 0;
        map.for_each(|_, _| entries += 1).map_err(BpfError::pin("read", path))?;
        Ok(MapFill { name: shape.name, entries, most: map.info().max_entries, makes_room: shape.kind == Kind::LruHash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_are_nearly_full_unless_the_oldest_make_room() {
        let fill = |entries, makes_room| MapFill { name: map::FLOW4, entries, most: 1000, makes_room };
        assert_eq!(fill(799, false).warning(), None);
        assert_eq!(fill(1000, true).warning(), None);
        let said = fill(800, false).warning().unwrap_or_default();
        assert!(said.contains("80 % full") && said.contains("flows"), "{said}");
    }
}
