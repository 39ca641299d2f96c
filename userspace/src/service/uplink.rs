//! Follows the host's uplinks: one that is plugged in, gets another address (DHCP) or goes away; and attached namespaces:
//! one whose owner deletes it takes its interface along.

use log::{info, warn};
use tokio::sync::watch;

use super::{Result, Source, apart};
use crate::{
    engine::{Engine, EngineError, Followed, HostAddresses},
    linux::{Host, watch::LinkEvents},
};

pub(super) async fn serve(source: Source, mut events: LinkEvents, mut changes: watch::Receiver<()>) -> Result<()> {
    let host = Host::open()?;
    let mut known = Followed::default();
    loop {
        changes.mark_unchanged();
        // The first time for what changed while there was no daemon.
        known = follow(&source, known.seen).await.unwrap_or_else(|error| {
            warn!("the uplinks could not be followed: {error}");
            Followed::default()
        });
        for step in &known.steps {
            info!("{step}");
        }
        loop {
            tokio::select! {
                event = events.next() => event?,
                // Networks and containers have interfaces too, which are no uplinks.
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
            }
            // Most events are of containers' interfaces: nothing is locked for those.
            let found = HostAddresses::of(host.facts(&known.owned).await?, &known.owned);
            if known.seen != Some(found) {
                break;
            }
        }
    }
}

async fn follow(source: &Source, seen: Option<HostAddresses>) -> Result<Followed, EngineError> {
    let settings = source.read_or_last();
    apart(move || async move {
        match Engine::existing(settings).await? {
            Some(mut engine) => engine.follow(seen.as_ref()).await,
            None => Ok(Followed::default()),
        }
    })
    .await
}
