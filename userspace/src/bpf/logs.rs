//! What the programs log, passed on to this process's log while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Map, MapData, RingBuf};
use log::debug;
use nix::fcntl::{Flock, FlockArg};
use portlane_common::reason::Reason;
use tokio::task::JoinHandle;

use super::{
    load::{Datapath, LOG_MAP},
    log_record,
};
use crate::linux::bpf_syscall;

type Ring = Arc<Mutex<RingBuf<MapData>>>;

/// Reads the programs' log until dropped.
#[derive(Debug)]
#[must_use = "the log is read until this is dropped"]
pub struct LogReader {
    task: JoinHandle<()>,
    ring: RingHandle,
    /// One reader at a time: two would lose each other's place in the ring.
    _only_reader: Flock<std::fs::File>,
}

struct RingHandle(Ring);

impl std::fmt::Debug for RingHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingHandle")
    }
}

/// Begins to read the log, on the tokio runtime that this is called on. `None` if the programs do not log, if another
/// command reads already, or if the kernel does not let us: a log is not worth failing for.
pub fn start(datapath: &Datapath) -> Option<LogReader> {
    let path = datapath.pins.map(LOG_MAP);
    let folder = std::fs::File::open(datapath.pins.maps()).ok()?;
    let only_reader = Flock::lock(folder, FlockArg::LockExclusiveNonblock).ok()?;
    let ring = MapData::from_pin(&path).ok().map(Map::RingBuf).and_then(|map| RingBuf::try_from(map).ok())?;
    let ring: Ring = Arc::new(Mutex::new(ring));
    let readable = bpf_syscall::readable(bpf_syscall::obj_get(&path).ok()?).ok()?;
    let for_task = Arc::clone(&ring);
    let task = tokio::spawn(async move {
        while let Ok(mut ready) = readable.readable().await {
            ready.clear_ready();
            drain(&for_task);
        }
    });
    Some(LogReader { task, ring: RingHandle(ring), _only_reader: only_reader })
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.task.abort();
        // What was logged during the last step.
        drain(&self.ring.0);
    }
}

fn drain(ring: &Ring) {
    let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(item) = ring.next() {
        let Some(message) = log_record::decode(&item) else {
            debug!("the programs logged {} bytes that are no message", item.len());
            continue;
        };
        let text = in_words(&message.text).unwrap_or(message.text);
        log::log!(target: &message.target, message.level, "{text}");
    }
}

/// What a program said of a packet, with the reason's sentence in the place of its number: the programs have no words.
fn in_words(text: &str) -> Option<String> {
    let (hook, rest) = text.split_once(": action ")?;
    let (action, number) = rest.split_once(" for reason ")?;
    let reason = Reason::from_number(number.parse().ok()?)?;
    let done = if action == "0" { "left a packet to the host" } else { "refused a packet" };
    Some(format!("{hook} {done}: {} ({})", reason.sentence(), reason.name()))
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn numbers_of_reasons_are_put_into_words() {
        assert_eq!(
            in_words("from_container: action 1 for reason 8").as_deref(),
            Some("from_container refused a packet: a container sent to a container of another network (other-network)")
        );
        assert!(in_words("to_uplink: action 0 for reason 34").is_some_and(|text| text.contains("left a packet")));
        assert_eq!(in_words("from_container: action 1 for reason 255"), None);
        assert_eq!(in_words("anything else"), None);
    }
}
