//! Where a daemon's settings come from.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use log::warn;

use crate::{
    daemon_json::DaemonJson,
    engine::{EngineError, Settings},
};

/// The settings of a daemon: read for each request, as each command reads them, so that a daemon and a command never
/// disagree on what is configured.
#[derive(Clone, Debug)]
pub struct Source {
    config: PathBuf,
    required: bool,
    root: PathBuf,
    bpffs: PathBuf,
    last: Arc<Mutex<Option<DaemonJson>>>,
    /// What the daemon was started with.
    first: Arc<OnceLock<DaemonJson>>,
}

impl Source {
    /// From this daemon.json, which must be there if it is `required`.
    pub fn new(config: PathBuf, required: bool, root: PathBuf, bpffs: PathBuf) -> Self {
        Self { config, required, root, bpffs, last: Arc::default(), first: Arc::default() }
    }

    /// What the file says.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn read(&self) -> Result<Settings, EngineError> {
        let daemon = DaemonJson::read(&self.config, self.required)?;
        self.first.get_or_init(|| daemon.clone());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(daemon.clone());
        Ok(self.settings(daemon))
    }

    /// What the file says, or said when it could last be used: what has to be done is done in any case.
    pub fn read_or_last(&self) -> Settings {
        self.read().unwrap_or_else(|error| {
            warn!("{error}; until that is mended, what it said before counts");
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.settings(last.unwrap_or_default())
        })
    }

    /// Keys about what the daemon listens on that are otherwise than when it was started.
    pub fn wait_for_restart(&self, daemon: &DaemonJson) -> Vec<&'static str> {
        let Some(first) = self.first.get() else { return Vec::new() };
        let keys = [
            ("hosts", first.hosts != daemon.hosts),
            ("tlsverify", first.tls_verify != daemon.tls_verify),
            ("tlscacert", first.tls.ca != daemon.tls.ca),
            ("tlscert", first.tls.cert != daemon.tls.cert),
            ("tlskey", first.tls.key != daemon.tls.key),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    fn settings(&self, daemon: DaemonJson) -> Settings {
        Settings { root: self.root.clone(), bpffs: self.bpffs.clone(), daemon, log_level: 0, brief: false }
    }
}
