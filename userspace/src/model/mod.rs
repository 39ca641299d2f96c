//! What the user asked for, what follows from it, and how to get there: pure values.
//!
//! A request changes a [`State`] ([`network`], [`container`], [`publish`]); [`desired`] derives what the host and the
//! maps must hold; [`plan`] compares that with what they do hold. Nothing here reads or writes anything: the store,
//! the host and the kernel are seen only as arguments.
//!
//! Invariant: no I/O crate, no clock, no randomness; a seed is an argument.

pub mod attach;
mod configured;
pub mod connect;
pub mod container;
pub mod desired;
pub mod error;
mod hash;
pub mod hosts;
pub mod ipam;
pub mod lead;
pub mod names;
pub mod network;
pub mod part;
pub mod plan;
mod process;
mod proto;
pub mod publish;
mod published;
pub mod settings;
pub mod spec;
pub mod state;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod tuning;
pub mod upgrade;
mod words;

pub use attach::{Foreign, Inside, NetnsIdentity};
pub use connect::ConnectRequest;
pub use container::{ContainerRequest, LinkRequest};
pub use desired::{
    Attachment, Bridge, Desired, EndpointLink, HostFacts, UplinkFact, VETH_HOOKS, desired, desired_links, desired_part,
};
pub use error::ModelError;
pub use lead::{DefaultRoute, Lead};
pub use names::Names;
pub use network::NetworkRequest;
pub use part::Part;
pub use plan::{Observed, ObservedBridge, ObservedLinks, Owned, Step};
pub use process::Process;
pub use publish::HostView;
pub use spec::PublishRequest;
pub use state::{Container, DefaultNetwork, Endpoint, Link, Network, PortSpec, Proto, Publish, State, Status};
pub use tables::{Row, Tables};
pub use tuning::{LinkSettings, Trains, Tuned};
