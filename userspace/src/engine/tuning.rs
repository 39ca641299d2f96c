//! What links carry beyond an ordinary veth pair. Nothing is looked at where no network asks for it.

use std::collections::BTreeSet;

use super::{Engine, Result, scope::Scope};
use crate::{
    linux::Snapshot,
    model::{HostFacts, Step, tuning},
};

impl Engine {
    /// Steps that bring links to what their networks ask for; once the links are there.
    pub(super) async fn tuning(&self, scope: &Scope<'_>, seen: &Snapshot) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        if !tuning::is_asked(scope.part()) {
            return Ok(steps);
        }
        let tuning = tuning::tuning(scope.part(), &seen.facts(scope.owned()), &self.host.ways_out().await?);
        for tuned in tuning.links {
            if !self.host.is_tuned(&tuned).await? {
                steps.push(Step::Tune(tuned));
            }
        }
        for route in tuning.routes {
            if !self.host.is_held(&route).await? {
                steps.push(Step::Lead(route));
            }
        }
        Ok(steps)
    }

    /// Why TCP trains of networks with BIG TCP are shorter than they could be: a sentence each.
    ///
    /// # Errors
    /// The kernel refuses to list routes.
    pub async fn held_trains(&self, facts: &HostFacts) -> Result<Vec<String>> {
        let asked = tuning::is_asked(self.state());
        let ways_out = if asked { self.host.ways_out().await? } else { BTreeSet::new() };
        Ok(tuning::held(self.state(), facts, &ways_out))
    }
}
