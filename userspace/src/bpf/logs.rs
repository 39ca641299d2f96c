//! What the programs log, passed on to this process's log while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Map, MapData, RingBuf};
use log::{Record, debug};
use nix::fcntl::{Flock, FlockArg};
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
        log::logger().log(
            &Record::builder()
                .level(message.level)
                .target(&message.target)
                .args(format_args!("{}", message.text))
                .build(),
        );
    }
}
