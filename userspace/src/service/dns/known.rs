//! The names of the present state: a command that has returned is known to every question that comes after it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use log::warn;
use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    task::{self, spawn_blocking},
    time::timeout,
};

use crate::{
    engine::{self, EngineError},
    model::Names,
    store::Stamp,
};

/// How long a question waits for a command in its middle, longer than one takes; then it is answered from what is known.
const PATIENCE: Duration = Duration::from_millis(500);

/// Names, and the state file that they are from.
#[derive(Debug)]
pub(super) struct Known {
    root: PathBuf,
    held: watch::Sender<Held>,
    /// One reads, the others wait for it.
    reading: Arc<Mutex<()>>,
}

#[derive(Clone, Debug)]
struct Held {
    stamp: Option<Stamp>,
    names: Arc<Names>,
}

impl Known {
    pub(super) async fn new(root: PathBuf) -> Result<Arc<Self>, EngineError> {
        let held = watch::Sender::new(read(root.clone()).await?);
        Ok(Arc::new(Self { root, held, reading: Arc::default() }))
    }

    /// The names. Word of a change may still be on its way when the first question about it comes, so the file is looked
    /// at.
    pub(super) async fn names(self: &Arc<Self>) -> Arc<Names> {
        if !self.is_current() {
            let renewed = async {
                let guard = Arc::clone(&self.reading).lock_owned().await;
                if !self.is_current() {
                    self.read(guard).await;
                }
            };
            // Who is out of patience leaves the reading to itself.
            let _ = timeout(PATIENCE, renewed).await;
        }
        self.held()
    }

    /// The names, read anew, however long that takes.
    pub(super) async fn renewed(self: &Arc<Self>) -> Arc<Names> {
        let guard = Arc::clone(&self.reading).lock_owned().await;
        self.read(guard).await;
        self.held()
    }

    fn held(&self) -> Arc<Names> {
        Arc::clone(&self.held.borrow().names)
    }

    fn is_current(&self) -> bool {
        Stamp::of(&self.root) == self.held.borrow().stamp
    }

    /// A task of its own: one who waits may go away, and another must not begin before this one has ended.
    async fn read(self: &Arc<Self>, guard: OwnedMutexGuard<()>) {
        let known = Arc::clone(self);
        let reading = task::spawn(async move {
            match read(known.root.clone()).await {
                Ok(read) => drop(known.held.send_replace(read)),
                Err(error) => warn!("names may be old: {error}"),
            }
            drop(guard);
        });
        // It panics no more than what it does.
        let _ = reading.await;
    }
}

async fn read(root: PathBuf) -> Result<Held, EngineError> {
    let (state, stamp) = spawn_blocking(move || engine::look(&root))
        .await
        .map_err(|error| EngineError::Panicked(error.to_string()))??;
    Ok(Held { stamp, names: Arc::new(Names::of(&state)) })
}
