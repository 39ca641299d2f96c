//! From a request to a host on which it is in force.
//!
//! [`Engine::open`] takes the lock of the state directory and completes or undoes what an earlier command left half
//! done. A change is a new [`State`] made by the pure model; [`Engine::change`] notes where it is going, has
//! [`apply`](self::apply) bring host and maps there, and commits. When a step fails, the same code brings them back.
//!
//! Invariant: host and maps are touched only between a `begin` and a `commit` of the store, under the lock.

mod apply;
mod attach;
mod error;
mod files;
mod gone;
mod life;
mod open;
mod ports;
mod presence;
mod reload;
mod scope;
mod tuning;
mod view;

use std::{mem, path::PathBuf};

pub use apply::{Followed, HostAddresses};
pub use error::EngineError;
pub use files::DAEMON_LOCK;
pub use files::host_name_servers;
pub use life::{Started, finish, stop, terminate};
pub use open::look;
pub use reload::Reloaded;

pub use crate::linux::Begun;
use crate::{
    bpf::{self, Datapath, LoadSettings},
    daemon_json::DaemonJson,
    linux::{Host, Lock, netns},
    model::{
        Attachment, ConnectRequest, Container, HostFacts, HostView, ModelError, Owned, State, Status, connect,
        container, network,
    },
    store::Store,
};
use scope::Scope;
use view::Surroundings;

type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Where portlane keeps what it keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// State directory.
    pub root: PathBuf,
    /// Folder of the pins.
    pub bpffs: PathBuf,
    /// What the administrator configured.
    pub daemon: DaemonJson,
    /// aya-log's level of the programs, 0 (off) to 5 (trace).
    pub log_level: u8,
    /// Whether the process ends with the command.
    pub brief: bool,
}

/// portlane's state, locked.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    host: Host,
    store: Store,
    state: State,
    /// Whether containers are believed to run for a first look at their processes.
    believing: bool,
    _lock: Lock,
}

impl Engine {
    /// What is in force.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Where it keeps what it keeps.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Lets go of the lock. Who ends with the command leaves what is in memory to the kernel, which takes it back in one piece:
    /// that of hundreds of containers is thousands.
    pub fn leave(self) {
        if self.settings.brief {
            mem::forget(self.state);
        }
    }

    /// Where a container's output goes, if it is a detached one.
    pub fn log(&self, container: &Container) -> Option<PathBuf> {
        Some(files::log(&self.settings.root, &container.id)).filter(|log| log.exists())
    }

    /// The programs and maps, if they are loaded.
    ///
    /// # Errors
    /// The kernel refuses to show them.
    pub fn datapath(&self) -> Result<Option<Datapath>> {
        Ok(Datapath::existing(&self.settings.bpffs)?)
    }

    /// The host's uplinks and addresses.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub async fn facts(&self) -> Result<HostFacts> {
        Ok(self.host.facts(&Owned::by([&self.state])).await?)
    }

    /// Programs of others on interfaces that portlane works on.
    ///
    /// # Errors
    /// The kernel refuses to show them.
    pub async fn foreign_programs(
        &self,
        datapath: &Datapath,
        attached: &[Attachment],
        facts: &HostFacts,
    ) -> Result<Vec<bpf::Foreign>> {
        Ok(datapath.foreign(attached, &facts.ifindex, &self.host.xdp_programs().await?)?)
    }

    /// Loads programs that log at the settings' level, or at none, and reads what they log until dropped.
    ///
    /// # Errors
    /// The programs cannot be loaded.
    pub fn listen(&self) -> Result<Option<bpf::LogReader>> {
        Ok(bpf::read_logs(&self.load()?))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// As [`network::add_network`]; a failed step is undone.
    pub async fn add_network(&mut self, request: crate::model::NetworkRequest) -> Result<()> {
        let Surroundings { used, mtu, .. } = self.surroundings().await?;
        self.change(|state| network::add_network(state, request, &HostView { used: &used, mtu, ..HostView::default() }))
            .await
    }

    /// Takes every created network away that no container uses; returns their names.
    ///
    /// # Errors
    /// A failed step is undone.
    pub async fn prune_networks(&mut self) -> Result<Vec<String>> {
        self.change(|state| Ok(network::prune(state))).await
    }

    /// Connects a running container to one more network.
    ///
    /// # Errors
    /// As [`connect::connect`]; a failed step is undone.
    pub async fn connect(&mut self, name: &str, request: &ConnectRequest) -> Result<()> {
        let container = self.state.container(name)?;
        let inside = self.inside(container).await?;
        let mut next = self.configured();
        let around = Surroundings { inside, ..self.surroundings_of(&next).await? };
        let connect = |next: &mut State, view: &HostView<'_>| Ok(connect::connect(next, name, request, view)?);
        self.with_view(&mut next, &[], &around, connect).await?;
        self.reach(next).await?;
        self.rewrite_files(name)
    }

    /// Disconnects a container from a network.
    ///
    /// # Errors
    /// As [`connect::disconnect`]; a failed step is undone.
    pub async fn disconnect(&mut self, name: &str, network: &str) -> Result<()> {
        self.change(|state| connect::disconnect(state, name, network)).await?;
        self.rewrite_files(name)
    }

    fn rewrite_files(&self, name: &str) -> Result<()> {
        match self.state.container(name)? {
            container if container.is_attachment() => Ok(()),
            container => files::write(&self.settings.root, &self.state, container).map(drop),
        }
    }

    /// Takes a network away.
    ///
    /// # Errors
    /// As [`network::remove_network`]; a failed step is undone.
    pub async fn remove_network(&mut self, name: &str) -> Result<String> {
        self.change(|state| network::remove_network(state, name)).await.map(|network| network.name)
    }

    /// Takes containers away that do not run, and attached ones if those are to be let go of; returns their names.
    ///
    /// # Errors
    /// One that is unknown, or still there: none is taken away then. A failed step is undone.
    pub async fn remove(&mut self, names: &[String], attached_too: bool) -> Result<Vec<String>> {
        for name in names {
            let container = self.state.container(name)?;
            match container.status {
                Status::Exited { .. } => {}
                Status::Attached if attached_too => {}
                Status::Attached => return Err(EngineError::Attached { name: container.name.clone() }),
                Status::Creating | Status::Running { .. } => {
                    return Err(EngineError::StillRuns { name: container.name.clone() });
                }
            }
        }
        let gone = self
            .change(|state| {
                names.iter().map(|name| container::remove_container(state, name)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        for container in &gone {
            files::remove(&self.settings.root, &container.id)?;
        }
        Ok(gone.into_iter().map(|container| container.name.clone()).collect())
    }

    /// What would be done to the host for it to be what it must be.
    ///
    /// # Errors
    /// The kernel refuses to show what is there.
    pub async fn outlook(&self) -> Result<Vec<String>> {
        self.survey(&self.state, &Owned::by([&self.state])).await
    }

    /// Does it; returns the steps that were taken.
    ///
    /// # Errors
    /// A step fails.
    pub async fn repair(&mut self) -> Result<Vec<String>> {
        let state = self.state.clone();
        self.store.begin(&state, &state)?;
        let mut steps: Vec<String> = apply::missing_sockets(self.datapath()?.as_ref(), &state)?.into_iter().collect();
        let datapath = self.datapath_for(&state)?;
        let owned = Owned::by([&state]);
        steps.extend(datapath.iter().filter(|datapath| datapath.was_loaded_now()).map(|_| apply::LOAD.to_owned()));
        steps.extend(self.apply(datapath.as_ref(), Scope::everything(&state, &owned)).await?);
        self.store.commit(&state, &state)?;
        Ok(steps)
    }

    /// Takes away everything that is portlane's, containers included.
    ///
    /// # Errors
    /// Something cannot be taken away; another call goes on from there.
    pub async fn uninstall(mut self) -> Result<()> {
        self.reach(State { seed: self.state.seed, ..State::default() }).await?;
        bpf::remove(&self.settings.bpffs)?;
        Ok(self.store.remove(&self.settings.root, &[files::CONTAINERS, files::LOCK, DAEMON_LOCK])?)
    }

    /// A changed state, in force.
    async fn change<T>(&mut self, edit: impl FnOnce(&mut State) -> Result<T, ModelError>) -> Result<T> {
        let mut next = self.configured();
        let value = edit(&mut next)?;
        self.reach(next).await?;
        Ok(value)
    }

    /// The present state, with what the administrator configured since.
    fn configured(&self) -> State {
        let mut next = self.state.clone();
        network::set_default(&mut next, self.settings.daemon.default_network.clone());
        next.pools.clone_from(&self.settings.daemon.pools);
        next.xdp = self.settings.daemon.xdp;
        next.flows = self.settings.daemon.flows;
        next.resolver.clone_from(&self.settings.daemon.resolver);
        next
    }

    /// Puts `next` in force, or leaves everything as it is.
    async fn reach(&mut self, next: State) -> Result<()> {
        self.prepare(&next).await?;
        self.commit(next)
    }

    /// Brings host and maps to `next`, or back.
    async fn prepare(&mut self, next: &State) -> Result<()> {
        self.prepare_while(next, || Ok(())).await
    }

    /// [`Self::prepare`], and what can be done beside it once interfaces and namespaces are there: whoever attaches a program
    /// waits for the kernel (an RCU grace period), not for the processor.
    async fn prepare_while<T: Send + 'static>(
        &mut self,
        next: &State,
        beside: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // What the kernel lacks is found before anything is touched.
        let datapath = self.datapath_for(next)?;
        let mut scope = Scope::change(&self.state, next, datapath.as_ref());
        self.store.begin(&self.state, next)?;
        let both = async {
            let linked = self.apply_links(&mut scope).await?;
            let beside = tokio::task::spawn_blocking(beside);
            let applied = self.apply_tables(datapath.as_ref(), &scope, linked).await;
            let done = beside.await.map_err(|error| EngineError::Panicked(error.to_string()))?;
            applied.and(done)
        };
        match both.await {
            Ok(done) => Ok(done),
            Err(error) => Err(self.undo(next, error).await),
        }
    }

    fn commit(&mut self, next: State) -> Result<()> {
        self.store.commit(&self.state, &next)?;
        self.state = next;
        Ok(())
    }

    /// Brings host and maps back from where `next` was to lead; returns why.
    async fn undo(&mut self, next: &State, error: EngineError) -> EngineError {
        let undone = async {
            let datapath = self.datapath_for(&self.state)?;
            let owned = Owned::by([&self.state, next]);
            self.apply(datapath.as_ref(), Scope::everything(&self.state, &owned)).await?;
            Ok(self.store.commit(&self.state, &self.state)?)
        };
        match undone.await {
            Ok(()) => error,
            Err(undo) => EngineError::NotUndone { error: Box::new(error), undo: Box::new(undo) },
        }
    }

    fn load(&self) -> Result<Datapath> {
        // What an old kernel says about it would tell nobody that it is old.
        self.open_datapath().map_err(|error| bpf::lacking().map_or(error, EngineError::from))
    }

    fn open_datapath(&self) -> Result<Datapath> {
        let netns_cookie = netns::host_cookie()?;
        let (log_level, flows) = (self.settings.log_level, self.settings.daemon.flows.table * 2);
        let settings = LoadSettings { netns_cookie, log_level, flows, ..LoadSettings::default() };
        Ok(Datapath::open(&self.settings.bpffs, settings)?)
    }
}
