//! Programs of others on the interfaces that portlane works on: they see packets before its own do, or after.

use std::collections::{BTreeMap, BTreeSet};

use aya::programs::loaded_programs;

use super::{
    clsact,
    error::{BpfError, Result},
    load::Datapath,
};
use crate::{
    linux::{bpf_query, bpf_syscall::AttachType},
    model::Attachment,
};

/// A program that is not this portlane's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// The interface.
    pub interface: String,
    /// Where on it: `tcx ingress`, `tcx egress`, `clsact ingress`, `clsact egress`, `xdp`.
    pub place: &'static str,
    /// Its name.
    pub name: String,
    /// The kernel's number of it.
    pub id: u32,
}

/// Both sides of an interface, in tcx and in clsact.
const SIDES: [(AttachType, &str, u32, &str); 2] = [
    (AttachType::TcxIngress, "tcx ingress", clsact::INGRESS, "clsact ingress"),
    (AttachType::TcxEgress, "tcx egress", clsact::EGRESS, "clsact egress"),
];

impl Datapath {
    /// Those on interfaces, whose indices by name these are, that programs of this portlane are attached to. `xdp`: XDP
    /// programs by the interface's index.
    pub fn foreign(
        &self,
        attached: &[Attachment],
        interfaces: &BTreeMap<String, u32>,
        xdp: &BTreeMap<u32, u32>,
    ) -> Result<Vec<Foreign>> {
        let ours: BTreeSet<u32> = self.programs()?.into_iter().map(|program| program.id).collect();
        let attached: BTreeSet<&String> = attached.iter().map(|attachment| &attachment.interface).collect();
        let mut found = Vec::new();
        for (interface, ifindex) in interfaces.iter().filter(|(interface, _)| attached.contains(interface)) {
            let ifindex = *ifindex;
            let mut add = |place, ids: Vec<u32>| {
                let foreign = ids.into_iter().filter(|id| !ours.contains(id));
                found.extend(foreign.map(|id| Foreign {
                    interface: interface.clone(),
                    place,
                    name: String::new(),
                    id,
                }));
            };
            for (kind, tcx, parent, filters) in SIDES {
                // A kernel without tcx has none there, an interface without the qdisc no filters.
                add(tcx, bpf_query::programs(ifindex, kind).unwrap_or_default());
                add(filters, clsact::programs(ifindex, parent).unwrap_or_default());
            }
            add("xdp", xdp.get(&ifindex).copied().into_iter().collect());
        }
        if !found.is_empty() {
            let names = names()?;
            for foreign in &mut found {
                foreign.name = names.get(&foreign.id).cloned().unwrap_or_default();
            }
        }
        Ok(found)
    }
}

/// Of every loaded program.
fn names() -> Result<BTreeMap<u32, String>> {
    let mut names = BTreeMap::new();
    for program in loaded_programs() {
        let program = program.map_err(|error| BpfError::program("another's program", error))?;
        names.insert(program.id(), String::from_utf8_lossy(program.name()).trim_end_matches('\0').to_owned());
    }
    Ok(names)
}
