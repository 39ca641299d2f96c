//! Takes note of containers whose process ends, so that they let go of their addresses and ports at once.

use std::collections::BTreeSet;

use log::{info, warn};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{Result, Source, apart};
use crate::{
    engine::{Engine, EngineError},
    linux::process,
    model::Status,
};

/// A container's identifier, its process, and when that began.
pub(super) type Process = (String, u32, u64);

/// `children` tells of those that the daemon started: one that ends at once is never seen running.
pub(super) async fn serve(
    source: Source,
    mut children: mpsc::UnboundedReceiver<Process>,
    mut changes: watch::Receiver<()>,
) -> Result<()> {
    let mut watched: BTreeSet<Process> = BTreeSet::new();
    let mut ends = JoinSet::new();
    changes.mark_changed();
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                match running(&source).await {
                    Ok(running) => running.into_iter().for_each(|process| watch_end(process, &mut watched, &mut ends)),
                    Err(error) => warn!("containers cannot be watched: {error}"),
                }
            }
            Some(process) = children.recv() => watch_end(process, &mut watched, &mut ends),
            Some(Ok((process, code))) = ends.join_next() => {
                note(&source, &process, code).await;
                watched.remove(&process);
            }
        }
    }
}

fn watch_end(process: Process, watched: &mut BTreeSet<Process>, ends: &mut JoinSet<(Process, Option<i32>)>) {
    if watched.insert(process.clone()) {
        ends.spawn(end_of(process));
    }
}

async fn end_of(process: Process) -> (Process, Option<i32>) {
    let (id, pid, start_time) = &process;
    let code = process::ended(*pid, *start_time).await.unwrap_or_else(|error| {
        warn!("container {id}: {error}");
        None
    });
    (process, code)
}

async fn note(source: &Source, (id, ..): &Process, code: Option<i32>) {
    let (settings, ended) = (source.read_or_last(), id.clone());
    let noted = apart(move || async move {
        // To open is to take note of who is gone; what is left is how.
        let Some(mut engine) = Engine::existing(settings).await? else { return Ok::<_, EngineError>(()) };
        engine.ended(&ended, code).await
    });
    match noted.await {
        Ok(()) => info!("container {id} has ended"),
        Err(error) => warn!("the end of container {id} could not be taken note of: {error}"),
    }
}

async fn running(source: &Source) -> Result<Vec<Process>, EngineError> {
    let settings = source.read_or_last();
    apart(|| async move {
        let Some(engine) = Engine::existing(settings).await? else { return Ok(Vec::new()) };
        let running = engine.state().containers.values().filter_map(|container| match container.status {
            Status::Running { pid, start_time, .. } => Some((container.id.to_string(), pid, start_time)),
            _ => None,
        });
        Ok(running.collect())
    })
    .await
}
