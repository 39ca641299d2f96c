//! Processes of containers, as the state knows them.

use super::state::{Container, State, Status};

/// A process that no other is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, which may be somebody else's by now.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub start_time: u64,
    /// What the kernel knows it by and no other process ever, where the kernel has such a number.
    pub identity: Option<u64>,
}

impl Status {
    /// The first process of a container that runs.
    pub const fn process(self) -> Option<Process> {
        match self {
            Self::Running { pid, start_time, identity } => Some(Process { pid, start_time, identity }),
            Self::Creating | Self::Attached | Self::Exited { .. } => None,
        }
    }
}

impl State {
    /// Processes that were started in a network namespace of portlane's making: the container's that it was made for, and those
    /// of containers that share it.
    pub fn started_in<'a>(&'a self, netns: &'a str) -> impl Iterator<Item = Process> + 'a {
        let shares = move |container: &&Container| container.owns_netns() && container.netns == netns;
        self.live().filter(shares).filter_map(|container| container.status.process())
    }
}
