//! A container's life: made, started, ended.

use std::{sync::Arc, time::Duration};

use super::{Engine, EngineError, Result, Settings, files, view::Surroundings};
use crate::{
    linux::{Begun, ContainerSpec, Place, Running, netns, process, random},
    model::{Container, ContainerRequest, HostView, Inside, Process, State, Status, container},
    parallel, progress,
};

/// Containers that a command looks at that is about another one.
const SAMPLE: usize = 64;

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Full identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its process.
    pub running: Running,
}

impl Engine {
    /// Makes a container, and has the process that [`Engine::open_to_run`] started for it run the command. Identifier and
    /// name are drawn where the request has none.
    ///
    /// The process waits until the container is committed: one that runs is always known.
    ///
    /// # Errors
    /// As [`container::add_container`]; the command cannot be executed; a failed step is undone.
    pub async fn run(&mut self, mut request: ContainerRequest, begun: Begun) -> Result<Started> {
        draw_id(&mut request)?;
        if request.name.is_empty() {
            request.name = format!("c-{}", &request.id[..8]);
        }
        self.rely_on(&request.others()).await?;
        let (next, id) = match self.with_container(request.clone(), Inside::default()).await {
            Err(EngineError::Model(_)) if self.look_closely().await? => {
                self.with_container(request, Inside::default()).await?
            }
            added => added?,
        };
        let mut next = Arc::new(next);
        let container = Arc::clone(&next.containers[id.as_str()]);
        let name = container.name.clone();
        let (root, state) = (self.settings.root.clone(), Arc::clone(&next));
        let start = move || {
            let netns = (!container.netns.is_empty()).then(|| container.netns.clone());
            let etc_dir = files::write(&root, &state, &container)?;
            let (hostname, log) = (container.hostname.clone(), files::log(&root, &container.id));
            Ok(begun.enter(&ContainerSpec { netns, hostname, etc_dir, log })?)
        };
        let starting = match self.prepare_container(&next, &id, start).await {
            Ok(starting) => starting,
            Err(error) => {
                // Best effort: the error that is reported is the first one.
                drop(files::remove(&self.settings.root, &id));
                return Err(error);
            }
        };
        let (pid, start_time) = (starting.pid(), starting.start_time());
        Arc::make_mut(&mut next).container_mut(&id)?.status =
            Status::Running { pid, start_time, identity: process::identity(pid) };
        // The next state is known as pending: who takes over from here finds a dead process, and undoes this.
        self.commit(Arc::unwrap_or_clone(next))?;
        match starting.go() {
            Ok(running) => Ok(Started { id, name, running }),
            Err(error) => {
                let mut without = self.state.clone();
                container::remove_container(&mut without, &id)?;
                self.reach(without).await?;
                files::remove(&self.settings.root, &id)?;
                Err(error.into())
            }
        }
    }

    /// Where a command for `portlane exec` finds the container.
    ///
    /// # Errors
    /// It is unknown, or does not run.
    pub fn place_of(&self, name: &str) -> Result<Place> {
        let container = self.state.container(name)?;
        match container.status {
            Status::Running { pid, start_time, .. } => Ok(Place::Process { pid, start_time }),
            Status::Attached => Ok(Place::Netns(container.netns.clone())),
            Status::Creating | Status::Exited { .. } => Err(EngineError::NotRunning { name: container.name.clone() }),
        }
    }

    /// A state with one more container, and its identifier.
    pub(super) async fn with_container(&self, request: ContainerRequest, inside: Inside) -> Result<(State, String)> {
        let requests = request.publishes.clone();
        let mut next = self.configured();
        let around = self.surroundings_of(&next).await?;
        let add = |next: &mut State, view: &HostView<'_>| Ok(container::add_container(next, request, view)?);
        let id = self.with_view(&mut next, &requests, &Surroundings { inside, ..around }, add).await?;
        Ok((next, id))
    }

    /// [`Self::prepare_while`], and waits until the container's bridges carry packets.
    pub(super) async fn prepare_container<T: Send + 'static>(
        &mut self,
        next: &State,
        id: &str,
        beside: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = self.prepare_while(next, beside).await?;
        for endpoint in &next.container(id)?.endpoints {
            if let Some(network) = next.networks.get(&endpoint.network) {
                self.host.wait_until_running(&network.bridge).await?;
            }
        }
        Ok(done)
    }

    /// Takes note that a container's process has ended: the container lets go of its address and ports, and goes away
    /// if it is to. Somebody else may have seen the end first, and not how it came about.
    ///
    /// # Errors
    /// A step fails.
    pub async fn ended(&mut self, id: &str, code: Option<i32>) -> Result<()> {
        let Some(container) = self.state.containers.get(id) else { return Ok(()) };
        let auto_remove = container.auto_remove;
        match container.status {
            Status::Exited { code: Some(_) } => return Ok(()),
            Status::Exited { code: None } if code.is_none() => return Ok(()),
            _ => {}
        }
        let mut next = self.configured();
        if auto_remove {
            container::remove_container(&mut next, id)?;
        } else {
            next.container_mut(id)?.status = Status::Exited { code };
        }
        self.reach(next).await?;
        if auto_remove { files::remove(&self.settings.root, id) } else { Ok(()) }
    }
}

/// Starts what is to be a container's process, which makes namespaces of its own while the state is read and the container's
/// network made: with hundreds of containers, each takes its time. It has done nothing if it is dropped.
///
/// # Errors
/// No command, or one that is not there; the kernel refuses a process.
pub(super) fn begin(request: &ContainerRequest, detached: bool) -> Result<Begun> {
    let [command, args @ ..] = request.command.as_slice() else {
        return Err(EngineError::NoCommand);
    };
    let networks = request.networks();
    let shares = |word: &str| word == "host" || word.starts_with("container:");
    let apart = !networks.first().is_some_and(|first| shares(&first.network));
    Ok(process::begin(command, args, !detached, apart)?)
}

/// An identifier for a container that has none yet.
pub(super) fn draw_id(request: &mut ContainerRequest) -> Result<()> {
    if request.id.is_empty() {
        request.id = random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    }
    Ok(())
}

/// Waits for a container's process without holding the lock, takes note of its end, and returns its exit status.
///
/// # Errors
/// The process cannot be waited for, or the container's network not be taken down.
pub async fn finish(settings: Settings, started: Started) -> Result<i32> {
    let Started { id, running, .. } = started;
    let code = blocking(move || running.wait()).await??;
    Engine::open_believing(settings).await?.ended(&id, Some(code)).await?;
    Ok(code)
}

/// Ends a container's process: SIGTERM, and SIGKILL to who is still there after `grace`. Does nothing if it does not
/// run; returns its name.
///
/// # Errors
/// It is unknown, attached, or cannot be stopped.
pub async fn stop(settings: &Settings, name: &str, grace: Duration) -> Result<String> {
    let engine = Engine::open_believing(settings.clone()).await?;
    let container = Arc::clone(&engine.state.containers[&engine.state.container(name)?.id]);
    drop(engine);
    if container.status == Status::Attached {
        return Err(EngineError::Attached { name: container.name.clone() });
    }
    if matches!(container.status, Status::Running { .. }) {
        let code = terminate(&container, grace).await?;
        // A foreground `run`, or a daemon, may have been first to see it.
        let mut engine = Engine::open_believing(settings.clone()).await?;
        engine.ended(&container.id, code).await?;
    }
    Ok(container.name.clone())
}

/// Ends a container's process, if it runs; returns its exit status, where that can be known.
///
/// # Errors
/// It cannot be stopped.
pub async fn terminate(container: &Container, grace: Duration) -> Result<Option<i32>> {
    let Status::Running { pid, start_time, .. } = container.status else { return Ok(None) };
    let name = &container.name;
    let _step = progress::step(format!("waiting for {name} to end, SIGKILL after {} s", grace.as_secs()));
    Ok(blocking(move || process::terminate(pid, start_time, grace)).await??)
}

/// Containers whose process is gone have ended, and go away with that if they are to; those that were attached to a namespace
/// that is gone have ended, too.
///
/// # Errors
/// It cannot be told whether a namespace is there.
pub(super) fn forget_dead(state: &mut State) -> Result<()> {
    for (id, mut container) in std::mem::take(&mut state.containers) {
        if !lasts(&container)? {
            if container.auto_remove || container.status == Status::Creating {
                continue;
            }
            Arc::make_mut(&mut container).status = Status::Exited { code: None };
        }
        state.containers.insert(id, container);
    }
    Ok(())
}

/// Whether what a container's status tells of is still so.
pub(super) fn lasts(container: &Container) -> Result<bool> {
    Ok(match (container.status, &container.foreign) {
        (Status::Exited { .. }, _) => true,
        (Status::Running { pid, start_time, identity }, _) => process::runs(&Process { pid, start_time, identity })?,
        (Status::Attached, Some(identity)) => netns::is_still(&container.netns, identity)?,
        (Status::Attached, None) | (Status::Creating, _) => false,
    })
}

/// Whether what is stored of the containers is so, at the price of one short system call for each that runs. Of many, it looks at
/// so many, from a place that is drawn each time.
pub(super) fn seem_as_stored(state: &State) -> Result<bool> {
    let count = state.containers.len();
    let first = if count > SAMPLE { usize::from_ne_bytes(random()?) % count } else { 0 };
    for container in state.containers.values().cycle().skip(first).take(count.min(SAMPLE)) {
        let seems = match container.status {
            Status::Running { pid, .. } => process::is_there(pid),
            _ => lasts(container)?,
        };
        if !seems {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether what is stored of the containers is so.
pub(super) fn are_as_stored(state: &State) -> Result<bool> {
    let containers: Vec<&Container> = state.containers.values().map(Arc::as_ref).collect();
    Ok(parallel::all(&containers, |container| lasts(container))?.into_iter().all(|lasts| lasts))
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::Panicked(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConnectRequest, HostView};

    #[test]
    fn of_many_processes_one_that_is_gone_is_missed_now_and_found_soon() {
        let mut state = State::default();
        let many = SAMPLE * 2;
        for number in 0..many {
            let request = ContainerRequest {
                id: format!("{number:012x}").repeat(6)[..64].to_owned(),
                name: format!("c{number}"),
                networks: vec![ConnectRequest::to("host")],
                ..ContainerRequest::default()
            };
            container::add_container(&mut state, request, &HostView::default()).expect("it is new");
        }
        let pid = std::process::id();
        for running in state.containers.values_mut() {
            Arc::make_mut(running).status = Status::Running { pid, start_time: 0, identity: None };
        }
        let looks =
            |state: &State| (0..many).map(|_| seem_as_stored(state).expect("it can be told")).collect::<Vec<_>>();
        assert!(looks(&state).into_iter().all(|seems| seems));

        // No process has such a number (PID_MAX_LIMIT).
        let gone = Status::Running { pid: 1 << 23, start_time: 0, identity: None };
        state.container_mut("c7").expect("it is there").status = gone;
        let looks = looks(&state);
        assert!(looks.contains(&false) && looks.contains(&true));
        assert!(!are_as_stored(&state).expect("it can be told"));
    }
}
