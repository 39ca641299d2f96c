//! Taking over what the administrator configured since the last change.

use super::{Engine, Result, view::Surroundings};
use crate::model::{HostView, State, network, settings, state::DEFAULT_NETWORK};

/// What became of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys of daemon.json that changed and are in force.
    pub in_force: Vec<&'static str>,
    /// Keys that are not in force yet, and what they wait for.
    pub waiting: Vec<(&'static str, &'static str)>,
}

impl Engine {
    /// Puts in force what can change while containers run; the rest waits.
    ///
    /// # Errors
    /// The default network could not be made as it is configured now; nothing is changed then. A step fails; it is undone.
    pub async fn reload(&mut self) -> Result<Reloaded> {
        let next = self.configured();
        if settings::shape_the_default_network(&settings::changed(&self.state, &next)) {
            self.try_default_network(&next).await?;
        }
        self.take_over().await
    }

    /// [`Self::reload`] for a daemon that starts: one whose default network could not be made now serves the others.
    ///
    /// # Errors
    /// A step fails; it is undone.
    pub async fn take_over(&mut self) -> Result<Reloaded> {
        let next = self.configured();
        let mut in_force = settings::changed(&self.state, &next);
        if next != self.state {
            self.reach(next).await?;
        }
        let waiting = settings::waiting(&self.state);
        in_force.retain(|key| waiting.iter().all(|(waits, _)| waits != key));
        Ok(Reloaded { in_force, waiting })
    }

    /// Whether the default network could be made as it is to be, with its present self out of the way.
    async fn try_default_network(&self, next: &State) -> Result<()> {
        let mut tried = next.clone();
        tried.networks.remove(DEFAULT_NETWORK);
        let Surroundings { used, mtu, .. } = self.surroundings().await?;
        let view = HostView { used: &used, mtu, ..HostView::default() };
        Ok(network::ensure_network(&mut tried, DEFAULT_NETWORK, &view).map(drop)?)
    }
}
