//! The driver of the kernel's side: programs, their attachments, and the maps.
//!
//! [`Datapath::open`] finds what is pinned, or loads it; everything else is a method of [`Datapath`]. Observing and
//! changing are separate, every change is idempotent, and nothing depends on a process of ours staying alive.
//!
//! Invariant: what is attached or filled here is only what a plan asked for; this layer decides nothing.

mod attach;
mod clsact;
mod counters;
mod error;
mod features;
mod fill;
mod flows;
mod foreign;
pub mod layout;
mod load;
mod log_record;
mod logs;
mod pins;
mod probe;
mod qdisc;
mod table;
mod tables;
mod uninstall;

pub use attach::{Pinned, mounted_cgroup};
pub use error::BpfError;
pub use features::{Feature, Note, features, lacking, notes};
pub use fill::MapFill;
pub use foreign::Foreign;
pub use load::{Datapath, LoadSettings, ProgramReport, clock};
pub use logs::{LogReader, start as read_logs};
pub use probe::{Missing, kernel, probe};
pub use table::Table;
pub use uninstall::remove;
