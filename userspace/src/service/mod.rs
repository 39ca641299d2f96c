//! `portlane daemon`: what needs a process. Nothing else does; without a daemon every command works the same.
//!
//! A service is a function `serve(settings, changes)` that goes on until it fails; `changes` fires after every commit of the
//! state, also of those that other portlane processes make. [`run`] starts each in one line.
//!
//! Invariant: the engine, which locks and blocks, is used [`apart`] only, and never held while waiting for anything.

mod api;
mod changes;
pub mod dns;
mod ends;
mod error;
mod listen;
mod notify;
mod source;
mod uplink;

use std::fmt::Display;

use log::{info, warn};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use error::ServiceError;
pub use source::Source;

use crate::{
    engine::{DAEMON_LOCK, Engine, EngineError},
    http::Address,
    linux::{
        Lock, limits,
        watch::{FileWatch, LinkEvents},
    },
    request::Request,
    store::CHANGED,
};

type Result<T, E = ServiceError> = std::result::Result<T, E>;

/// Serves until SIGTERM or SIGINT, or until portlane is uninstalled. `addresses` are listened on besides what daemon.json
/// names.
///
/// # Errors
/// Another daemon serves this state or one of the addresses; something cannot be listened on; a service fails.
pub async fn run(source: Source, addresses: Vec<Address>) -> Result<()> {
    // Each question about a name and each caller takes one; where that is refused, there is the limit that there was.
    if let Err(error) = limits::open_as_many_files_as_possible() {
        warn!("{error}");
    }
    let mut end = EndSignals::new()?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServiceError::Signals)?;
    let settings = source.read()?;
    // Makes the state directory, and takes note of what happened while nobody watched, and of what was configured.
    apart({
        let settings = settings.clone();
        || async { Engine::open(settings).await?.take_over().await }
    })
    .await?;
    let alone = settings.root.join(DAEMON_LOCK);
    let _alone = Lock::try_acquire(&alone)?.ok_or_else(|| ServiceError::NotAlone { root: settings.root.clone() })?;
    let sockets = listen::open(&addresses, &settings.daemon).await?;
    let watch = FileWatch::new(&settings.root, CHANGED)?;
    let events = LinkEvents::open()?;

    let (changed, changes) = watch::channel(());
    let (stop, stopped) = watch::channel(false);
    let mut services = JoinSet::new();
    start(&mut services, "changes", changes::serve(watch, changed));
    let (children, started) = mpsc::unbounded_channel();
    start(&mut services, "ends", ends::serve(source.clone(), started, changes.clone()));
    start(&mut services, "uplinks", uplink::serve(source.clone(), events, changes.clone()));
    start(&mut services, "names", dns::serve(settings.root, changes));
    let callee = api::Callee { source: source.clone(), children };
    let mut api = tokio::spawn(api::serve(callee, sockets, stopped));
    notify::ready();

    let ended = loop {
        tokio::select! {
            () = end.recv() => break Ok(()),
            _ = hangup.recv() => reload_and_tell(&source).await,
            Some(ended) = services.join_next() => break ended.unwrap_or_else(|error| Err(ServiceError::Panicked(error.to_string()))),
        }
    };
    notify::stopping();
    // Nobody listens, if the callers' side has failed.
    let _ = stop.send(true);
    services.shutdown().await;
    tokio::select! {
        // Those that are being served get their answers.
        _ = &mut api => {}
        // Asked a second time, not even those.
        () = end.recv() => api.abort(),
    }
    ended
}

/// Adds a service. The daemon ends with the first one that does.
fn start<E: Display>(
    services: &mut JoinSet<Result<()>>,
    name: &'static str,
    service: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    let failed = move |error: E| ServiceError::Failed { service: name, problem: error.to_string() };
    services.spawn(async move { service.await.map_err(failed) });
}

/// Runs what uses the engine on a thread of its own: the engine waits for its lock and for the kernel.
pub(crate) async fn apart<T, E, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<EngineError> + Send + 'static,
    F: Future<Output = Result<T, E>>,
{
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| EngineError::Panicked(error.to_string()))?.block_on(work())
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(error) => Err(EngineError::Panicked(error.to_string()).into()),
    }
}

/// `portlane reload`, with what waits for this daemon to be started again.
async fn reload(source: &Source) -> Result<Value, EngineError> {
    let settings = source.read()?;
    let waits = source.wait_for_restart(&settings.daemon);
    let mut reloaded = Request::Reload.perform(settings).await?;
    if let Some(waiting) = reloaded["waiting"].as_array_mut() {
        waiting
            .extend(waits.iter().map(|key| json!({"key": key, "until": "the daemon listens so once it is restarted"})));
    }
    Ok(reloaded)
}

async fn reload_and_tell(source: &Source) {
    let source = source.clone();
    match apart(move || async move { reload(&source).await }).await {
        Ok(reloaded) => info!("daemon.json is read again: {reloaded}"),
        Err(error) => warn!("daemon.json is not in force: {error}"),
    }
}

/// Those that end the daemon.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(ServiceError::Signals);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
