//! What links carry beyond an ordinary veth pair (`-o link-mtu=`, `gro=`, `big-tcp=`): each by itself, beside portlane without.

use anyhow::Result;

use super::{
    Plan,
    load::Kind,
    offloads::Offloads::{Off, On},
    paths::{Family, Path},
    peers::{self, LinkSettings},
    record::{Run, Section},
    traffic::{Cpus, Turn, processors, rounds},
};

const ALL: [LinkSettings; 4] = [
    LinkSettings { subject: peers::PORTLANE, key: None, big: false },
    LinkSettings { subject: "link-mtu=65535", key: Some(("link-mtu", "65535")), big: false },
    LinkSettings { subject: "gro=true", key: Some(("gro", "true")), big: false },
    LinkSettings { subject: "big-tcp=true", key: Some(("big-tcp", "true")), big: true },
];

/// Measures containers with each other and with outside.
///
/// # Errors
/// When portlane cannot be set up. What then cannot be measured is left out.
pub fn measure(plan: &Plan, record: &mut Run) -> Result<()> {
    let cpu = processors()?[0];
    let peers = ALL.iter().map(|settings| peers::linked(plan, settings)).collect::<Result<Vec<_>>>()?;
    let mut turns = Vec::new();
    for path in [Path::Container, Path::Published, Path::Masquerade] {
        for family in Family::BOTH {
            let streams = [(Kind::Stream, On), (Kind::Stream, Off)];
            let others = [Kind::Rr, Kind::Connections, Kind::Datagrams].map(|kind| (kind, On));
            // What is not a stream is the same to both families.
            let others = others.into_iter().filter(|_| family == Family::V4);
            let cpus = Cpus { client: cpu, server: cpu };
            let turn = |(kind, offloads)| Turn { section: Section::Beyond, path, family, kind, cpus, offloads };
            turns.extend(streams.into_iter().chain(others).map(turn));
        }
    }
    record.settings.push(
        "link settings: GRO at the host's ends as portlane sets it; the uplink carries long trains if big-tcp"
            .to_owned(),
    );
    rounds(plan, &peers, &turns, record)
}
