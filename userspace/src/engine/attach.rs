//! Network namespaces that somebody else made: attached, and let go of.

use std::path::Path;

use super::{Engine, EngineError, Result, life};
use crate::{
    linux::{Host, LinuxError, netns},
    model::{Container, ContainerRequest, Foreign, Inside, Status},
};

/// Paths that lead each process elsewhere.
const EACH_ITS_OWN: [&str; 2] = ["/proc/self/", "/proc/thread-self/"];

impl Engine {
    /// Gives a network namespace that somebody else made, by name or path, its places on networks; returns identifier and
    /// name. The name is the namespace's where the request has none, or is drawn where that has none either.
    ///
    /// # Errors
    /// The namespace is not there, the host's own, or a container's; as [`crate::model::container::add_container`]; a
    /// failed step is undone.
    pub async fn attach(&mut self, netns: &str, mut request: ContainerRequest) -> Result<(String, String)> {
        let namespace = self.foreign(netns)?;
        life::draw_id(&mut request)?;
        if request.name.is_empty() {
            request.name = if netns.contains('/') { format!("c-{}", &request.id[..8]) } else { netns.to_owned() };
        }
        let name = request.name.clone();
        request.namespace = Some(namespace);
        let inside = Host::open_within(netns)?.inside(&[].into()).await?;
        let (next, id) = self.with_container(request, inside).await?;
        self.prepare_container(&next, &id, || Ok(())).await?;
        self.commit(next)?;
        Ok((id, name))
    }

    /// Takes portlane's interfaces out of namespaces that were attached, and leaves all else in them alone; returns the
    /// containers' names.
    ///
    /// # Errors
    /// One that is unknown, or no attached one: none is let go of then. A failed step is undone.
    pub async fn detach(&mut self, names: &[String]) -> Result<Vec<String>> {
        for name in names {
            let container = self.state.container(name)?;
            if !container.is_attachment() {
                return Err(EngineError::NotAttached { name: container.name.clone() });
            }
        }
        self.remove(names, true).await
    }

    /// What is in the namespace that a container is attached to, but for portlane's own.
    pub(super) async fn inside(&self, container: &Container) -> Result<Inside> {
        if container.status != Status::Attached {
            return Ok(Inside::default());
        }
        let ours = container.endpoints.iter().map(|endpoint| endpoint.interface.clone()).collect();
        Ok(Host::open_within(&container.netns)?.inside(&ours).await?)
    }

    fn foreign(&self, netns: &str) -> Result<Foreign> {
        let refused = |problem: String| EngineError::NotAttachable { netns: netns.to_owned(), problem };
        let lasting = netns.starts_with('/') && !EACH_ITS_OWN.iter().any(|own| netns.starts_with(own));
        if netns.contains('/') && !lasting {
            return Err(refused("the path leads each process elsewhere: write one that begins at /".to_owned()));
        }
        let identity = netns::identify(netns).map_err(|error| match error {
            LinuxError::Unusable { problem, .. } => refused(problem),
            error => error.into(),
        })?;
        let path = netns::path(netns);
        if netns::is_same(&path, Path::new("/proc/thread-self/ns/net")) {
            return Err(refused("it is the host's own".to_owned()));
        }
        let mut with_one = self.state.live().filter(|container| !container.netns.is_empty());
        match with_one.find(|container| netns::is_same(&path, &netns::path(&container.netns))) {
            Some(container) => Err(refused(format!("container `{}` is in it", container.name))),
            None => Ok(Foreign { netns: netns.to_owned(), identity }),
        }
    }
}
