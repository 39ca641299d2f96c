//! From a state directory to an [`Engine`] whose state is in force: nothing half done, nobody believed to run who has ended.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use nix::unistd::Uid;

use super::{Engine, EngineError, Result, Settings, files, life, scope::Scope};
use crate::{
    linux::{Begun, Expedited, Host, Lock, random},
    model::{ContainerRequest, Owned, State},
    progress,
    store::{Stamp, Store},
};

impl Engine {
    /// Waits for the lock, reads the state, and completes or undoes what an earlier command left half done.
    ///
    /// # Errors
    /// No privileges, no state directory, or a host that cannot be brought in order.
    pub async fn open(settings: Settings) -> Result<Self> {
        Ok(Self::open_as(settings, false, || Ok(())).await?.0)
    }

    /// [`Engine::open`] for who is about one container, among hundreds: that another runs is believed if there is a process of its
    /// number, and of many that run only some are asked for, others each time. That process may be one that has ended, whose parent
    /// has not heard of it, or its number's next holder; so who depends on another, or is refused something, looks closely.
    ///
    /// # Errors
    /// As there.
    pub async fn open_believing(settings: Settings) -> Result<Self> {
        Ok(Self::open_as(settings, true, || Ok(())).await?.0)
    }

    /// The same for who is to start a container: its process [begins](life::begin) while the state is read. Not before there is
    /// the lock: it has copies of all open files until it runs the command, so of two at a time the one would hold the pipe at whose
    /// end the other's parent waits.
    ///
    /// # Errors
    /// As there, and those of [`life::begin`].
    pub async fn open_to_run(settings: Settings, request: &ContainerRequest, detached: bool) -> Result<(Self, Begun)> {
        Self::open_as(settings, true, || life::begin(request, detached)).await
    }

    async fn open_as<T>(
        settings: Settings,
        believing: bool,
        once_locked: impl FnOnce() -> Result<T>,
    ) -> Result<(Self, T)> {
        if !Uid::effective().is_root() {
            return Err(EngineError::NotRoot);
        }
        let root = &settings.root;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(files::failed("created", root))?;
        let path = root.join(files::LOCK);
        let lock = match Lock::try_acquire(&path)? {
            Some(lock) => lock,
            // Whoever has it may be served by this very thread.
            None => {
                let _step = progress::step("waiting for another portlane command to end");
                life::blocking(move || Lock::acquire(&path)).await??
            }
        };
        Expedited::end(&root.join(files::EXPEDITED));
        let done = once_locked()?;
        let mut store = Store::open(root)?;
        let stored = store.read()?;
        let state = match stored.state {
            Some(state) => state,
            None => State { seed: random::<8>().map(u64::from_ne_bytes)?, ..State::default() },
        };
        let host = Host::open()?;
        let mut engine = Self { settings, host, store, state, believing, _lock: lock };
        engine.recover(stored.pending).await?;
        Ok((engine, done))
    }

    /// [`Engine::open`], unless there is no state: it does not come back after `portlane uninstall`.
    ///
    /// # Errors
    /// As there.
    pub async fn existing(settings: Settings) -> Result<Option<Self>> {
        let root = settings.root.clone();
        if !Store::exists(&root) {
            return Ok(None);
        }
        match Self::open(settings).await {
            // It went while the lock was waited for.
            Err(_) if !Store::exists(&root) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Looks closely if one of the containers of these names has ended: what is asked for depends on them.
    pub(super) async fn rely_on(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            let Ok(container) = self.state.container(name) else { continue };
            if self.believing && !life::lasts(container)? {
                self.look_closely().await?;
            }
        }
        Ok(())
    }

    /// Believes no longer; returns whether a container that was believed to run has ended.
    pub(super) async fn look_closely(&mut self) -> Result<bool> {
        let ended = self.believing && !life::are_as_stored(&self.state)?;
        self.believing = false;
        if ended {
            self.recover(None).await?;
        }
        Ok(ended)
    }

    /// Undoes what `pending` was to lead to, and takes note of containers that ended while nobody watched.
    async fn recover(&mut self, pending: Option<State>) -> Result<()> {
        let as_stored = if self.believing { life::seem_as_stored } else { life::are_as_stored };
        if pending.is_none() && as_stored(&self.state)? {
            return files::sweep(&self.settings.root, &self.state.containers);
        }
        self.believing = false;
        let mut next = self.state.clone();
        life::forget_dead(&mut next)?;
        // Until this is committed, what is owned must be known to whoever takes over.
        let datapath = self.datapath_for(&next)?;
        if let Some(pending) = pending {
            let owned = Owned::by([&pending, &self.state, &next]);
            self.apply(datapath.as_ref(), Scope::everything(&next, &owned)).await?;
        } else {
            let scope = Scope::change(&self.state, &next, datapath.as_ref());
            self.store.begin(&self.state, &next)?;
            self.apply(datapath.as_ref(), scope).await?;
        }
        self.commit(next)?;
        files::sweep(&self.settings.root, &self.state.containers)
    }
}

/// What is in force, for who only looks, and the stamp of the file that it is in. Waits for the lock.
///
/// # Errors
/// The state cannot be locked or read.
pub fn look(root: &Path) -> Result<(State, Option<Stamp>)> {
    if !Store::exists(root) {
        return Ok((State::default(), None));
    }
    let _lock = Lock::acquire(&root.join(files::LOCK))?;
    Ok((Store::look(root)?.unwrap_or_default(), Stamp::of(root)))
}
