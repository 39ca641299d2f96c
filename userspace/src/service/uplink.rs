//! Follows the host's uplinks: one that is plugged in, gets another address (DHCP) or goes away.

use log::{info, warn};
use tokio::sync::watch;

use super::{Result, Source, apart};
use crate::{
    engine::{Engine, EngineError, Followed, HostAddresses},
    linux::{Host, watch::LinkEvents},
};

pub(super) async fn serve(source: Source, mut events: LinkEvents, mut changes: watch::Receiver<()>) -> Result<()> {
    let host = Host::open()?;
    loop {
        changes.mark_unchanged();
        // The first time for what changed while there was no daemon.
        let followed = follow(&source).await.unwrap_or_else(|error| {
            warn!("the uplinks could not be followed: {error}");
            Followed::default()
        });
        for step in &followed.steps {
            info!("{step}");
        }
        loop {
            tokio::select! {
                event = events.next() => event?,
                // Networks and containers have interfaces too.
                changed = changes.changed() => {
                    if changed.is_err() { return Ok(()) }
                    break;
                }
            }
            // Most events are of containers' interfaces: nothing is locked for those.
            if HostAddresses::of(host.facts(&followed.owned).await?) != followed.seen {
                break;
            }
        }
    }
}

async fn follow(source: &Source) -> Result<Followed, EngineError> {
    let settings = source.read_or_last();
    apart(|| async move {
        match Engine::existing(settings).await? {
            Some(mut engine) => engine.follow().await,
            None => Ok(Followed::default()),
        }
    })
    .await
}
