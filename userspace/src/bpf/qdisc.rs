//! The clsact qdisc of an interface, which filters need: made where it is missing, and taken away again if it was
//! portlane's to make and nobody has a filter in it any more.
//!
//! `links/qdisc-<interface>`, a symbolic link to the interface's index, says that portlane made it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{
    clsact,
    error::{BpfError, Result},
    pins::{self, Pins},
};

/// Begins the names of the records.
const PREFIX: &str = "qdisc-";

/// Has an interface have the qdisc.
pub(super) fn make(pins: &Pins, interface: &str, ifindex: u32) -> Result<()> {
    let record = record(pins, interface);
    let is_ours = says(&record, ifindex);
    if !is_ours {
        // It comes first: a qdisc without one would stay for ever.
        pins::remove(&record)?;
        symlink(ifindex.to_string(), &record).map_err(BpfError::pin("created", &record))?;
    }
    let made = clsact::add_qdisc(interface).map_err(|error| failed(interface, error));
    if !is_ours && !matches!(made, Ok(true)) {
        pins::remove(&record)?;
    }
    made.map(drop)
}

/// Takes the qdisc away that portlane made, if it is empty.
pub(super) fn release(pins: &Pins, interface: &str, ifindex: u32) -> Result<()> {
    let record = record(pins, interface);
    if !says(&record, ifindex) || clsact::has_filters(ifindex).map_err(|error| failed(interface, error))? {
        return Ok(());
    }
    clsact::remove_qdisc(ifindex).map_err(|error| failed(interface, error))?;
    pins::remove(&record)
}

/// Removes the record of this name if it is of no such interface any more: its qdisc went with it. Does nothing for the
/// pin of anything else.
pub(super) fn forget(pins: &Pins, name: &str, index_of: impl Fn(&str) -> Option<u32>) -> Result<()> {
    let Some(interface) = name.strip_prefix(PREFIX) else { return Ok(()) };
    let record = pins.links().join(name);
    match index_of(&pins::interface(interface)) {
        Some(ifindex) if says(&record, ifindex) => Ok(()),
        _ => pins::remove(&record),
    }
}

fn record(pins: &Pins, interface: &str) -> PathBuf {
    pins.links().join(format!("{PREFIX}{}", pins::file_name(interface)))
}

fn says(record: &Path, ifindex: u32) -> bool {
    fs::read_link(record).is_ok_and(|target| target == Path::new(&ifindex.to_string()))
}

fn failed(interface: &str, source: std::io::Error) -> BpfError {
    BpfError::Attach { program: "the clsact qdisc", target: interface.to_owned(), source }
}
