//! The names of the present state: a command that has returned is known to every question that comes after it.

use std::{path::PathBuf, sync::Arc};

use log::warn;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{
    engine::{self, EngineError},
    model::Names,
    store::Stamp,
};

/// Names, and the state file that they are from.
#[derive(Debug)]
pub(super) struct Known {
    root: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    stamp: Option<Stamp>,
    names: Arc<Names>,
}

impl Known {
    pub(super) async fn new(root: PathBuf) -> Result<Self, EngineError> {
        let held = read(root.clone()).await?;
        Ok(Self { root, held: Mutex::new(held) })
    }

    /// The names. Word of a change may still be on its way when the first question about it comes, so the file is looked
    /// at; a command in its middle is waited for.
    pub(super) async fn names(&self) -> Arc<Names> {
        let mut held = self.held.lock().await;
        if Stamp::of(&self.root) != held.stamp {
            self.read_into(&mut held).await;
        }
        Arc::clone(&held.names)
    }

    /// The names, read anew.
    pub(super) async fn renewed(&self) -> Arc<Names> {
        let mut held = self.held.lock().await;
        self.read_into(&mut held).await;
        Arc::clone(&held.names)
    }

    async fn read_into(&self, held: &mut Held) {
        match read(self.root.clone()).await {
            Ok(read) => *held = read,
            Err(error) => warn!("names may be old: {error}"),
        }
    }
}

async fn read(root: PathBuf) -> Result<Held, EngineError> {
    let (state, stamp) = spawn_blocking(move || engine::look(&root))
        .await
        .map_err(|error| EngineError::Panicked(error.to_string()))??;
    Ok(Held { stamp, names: Arc::new(Names::of(&state)) })
}
