//! Taking over what the administrator configured since the last change.

use super::{Engine, Result};
use crate::model::settings;

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
    /// A step fails; it is undone.
    pub async fn reload(&mut self) -> Result<Reloaded> {
        let next = self.configured();
        let mut in_force = settings::changed(&self.state, &next);
        if next != self.state {
            self.reach(next).await?;
        }
        let waiting = settings::waiting(&self.state);
        in_force.retain(|key| waiting.iter().all(|(waits, _)| waits != key));
        Ok(Reloaded { in_force, waiting })
    }
}
