//! Published ports, of a container that runs.

use super::{Engine, EngineError, Result, view::Surroundings};
use crate::model::{HostView, Publish, PublishRequest, State, publish};

impl Engine {
    /// Publishes ports of a running container; returns the entries made.
    ///
    /// # Errors
    /// As [`publish::publish`]; a failed step is undone.
    pub async fn publish(&mut self, name: &str, requests: &[PublishRequest]) -> Result<Vec<Publish>> {
        self.rely_on(&[name]).await?;
        let (next, added) = match self.with_publishes(name, requests).await {
            Err(EngineError::Model(_)) if self.look_closely().await? => self.with_publishes(name, requests).await?,
            published => published?,
        };
        self.reach(next).await?;
        Ok(added)
    }

    /// A state with these ports published, and the entries made.
    async fn with_publishes(&self, name: &str, requests: &[PublishRequest]) -> Result<(State, Vec<Publish>)> {
        let mut next = self.configured();
        let publish = |next: &mut State, view: &HostView<'_>| Ok(publish::publish(next, name, requests, view)?);
        let added = self.with_view(&mut next, requests, &Surroundings::default(), publish).await?;
        Ok((next, added))
    }

    /// Takes publish entries back; returns them.
    ///
    /// # Errors
    /// As [`publish::unpublish`]; a failed step is undone.
    pub async fn unpublish(&mut self, name: &str, requests: &[PublishRequest]) -> Result<Vec<Publish>> {
        self.change(|state| publish::unpublish(state, name, requests)).await
    }
}
