//! The name server of created networks, at their gateways' addresses, over UDP and TCP.
//!
//! A question's way: [`listen`] takes it off a socket, [`answer`] reads it, [`known`] has the names of the present state,
//! the model says what becomes of it, and [`upstream`] asks others where the model does not know.
//!
//! Invariant: nothing is changed here, neither the state nor the host.

mod answer;
mod known;
mod listen;
mod upstream;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use log::{info, warn};
use tokio::{sync::watch::Receiver, time::sleep};

use crate::engine::EngineError;
use answer::Resolver;
use listen::Listener;

/// How soon an address is tried again at which nobody can listen: somebody else does, or it is not there yet.
const RETRY: Duration = Duration::from_secs(1);

/// Answers until nobody is left who tells of `changes`: whoever has changed the state sends word.
///
/// # Errors
/// The state cannot be read.
pub async fn serve(root: PathBuf, mut changes: Receiver<()>) -> Result<(), EngineError> {
    let resolver = Arc::new(Resolver::new(root).await?);
    let mut listeners = BTreeMap::new();
    let mut deaf = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        let wanted: BTreeSet<IpAddr> = resolver.known.renewed().await.gateways().collect();
        listeners.retain(|gateway, _| wanted.contains(gateway));
        deaf.retain(|gateway| wanted.contains(gateway));
        listen_at(&wanted, &resolver, &mut listeners, &mut deaf).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = sleep(RETRY), if !deaf.is_empty() => {}
        }
    }
}

/// `deaf` are addresses of which it has been said that nobody listens there.
async fn listen_at(
    wanted: &BTreeSet<IpAddr>,
    resolver: &Arc<Resolver>,
    listeners: &mut BTreeMap<IpAddr, Listener>,
    deaf: &mut BTreeSet<IpAddr>,
) {
    for gateway in wanted {
        if listeners.contains_key(gateway) {
            continue;
        }
        match Listener::start(*gateway, Arc::clone(resolver)).await {
            Ok(listener) => {
                info!("names are answered at {gateway}");
                listeners.insert(*gateway, listener);
                deaf.remove(gateway);
            }
            Err(error) => {
                if deaf.insert(*gateway) {
                    warn!("names cannot be answered at {gateway}, port 53: {error}; it is tried again");
                }
            }
        }
    }
}
