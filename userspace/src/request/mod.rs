//! What can be asked of portlane: one function a request, for the command line and for the daemon's callers alike.
//!
//! [`Request::perform`] answers with the JSON that `--json` prints. What the two ways have in common is all of it: the
//! command line turns arguments into a [`Request`] and prints the answer, [`http`](crate::http) carries both over a socket.

mod containers;
mod look;
mod networks;
mod ports;
mod status;
mod upkeep;

use serde_json::Value;

pub use containers::{run, start};
pub use ports::PublishedPort;

use crate::{
    engine::{EngineError, Settings},
    model::{ConnectRequest, ContainerRequest, NetworkRequest, PortSpec, PublishRequest},
};

type Result<T, E = EngineError> = std::result::Result<T, E>;

/// One thing that can be asked of portlane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `portlane ps`
    Containers,
    /// `portlane run -d`
    Run(Box<ContainerRequest>),
    /// `portlane attach`
    Attach {
        /// Name or path of the namespace.
        netns: String,
        /// What it is given.
        request: Box<ContainerRequest>,
    },
    /// `portlane detach`: all, or none if one is unknown or not attached.
    Detach {
        /// Names or identifiers.
        names: Vec<String>,
    },
    /// `portlane inspect`
    Inspect {
        /// Name or identifier.
        name: String,
    },
    /// `portlane stop`
    Stop {
        /// Name or identifier.
        name: String,
        /// Before SIGKILL.
        seconds: u64,
    },
    /// `portlane rm`: all, or none if one is unknown or may not be removed.
    Remove {
        /// Names or identifiers.
        names: Vec<String>,
        /// Whether those that run are killed.
        force: bool,
    },
    /// `portlane port`
    Ports {
        /// Name or identifier.
        name: String,
        /// Only what leads to one of these.
        port: Option<PortSpec>,
    },
    /// `portlane publish`
    Publish {
        /// Name or identifier.
        name: String,
        /// Ports.
        specs: Vec<PublishRequest>,
    },
    /// `portlane unpublish`
    Unpublish {
        /// Name or identifier.
        name: String,
        /// As they were published.
        specs: Vec<PublishRequest>,
    },
    /// `portlane network ls`
    Networks,
    /// `portlane network create`
    CreateNetwork(Box<NetworkRequest>),
    /// `portlane network inspect`
    InspectNetwork {
        /// Its name.
        name: String,
    },
    /// `portlane network rm`: all, or none if one is unknown or in use.
    RemoveNetworks {
        /// Their names.
        names: Vec<String>,
    },
    /// `portlane network prune`
    PruneNetworks,
    /// `portlane network connect`
    Connect {
        /// Name or identifier.
        container: String,
        /// Where, and as what.
        request: Box<ConnectRequest>,
    },
    /// `portlane network disconnect`
    Disconnect {
        /// Name or identifier.
        container: String,
        /// The network's name.
        network: String,
    },
    /// `portlane stats`
    Stats,
    /// `portlane flows`
    Flows,
    /// `portlane status`
    Status,
    /// `portlane repair`
    Repair {
        /// Whether it is only said what would be done.
        dry_run: bool,
    },
    /// `portlane reload`
    Reload,
}

impl Request {
    /// Does what is asked, and answers.
    ///
    /// # Errors
    /// It makes no sense, clashes with what is there, or a step fails: everything is as it was.
    pub async fn perform(self, settings: Settings) -> Result<Value> {
        match self {
            Self::Containers => containers::list(settings).await,
            Self::Run(request) => Ok(run(settings, *request).await?.0),
            Self::Attach { netns, request } => containers::attach(settings, &netns, *request).await,
            Self::Detach { names } => containers::detach(settings, &names).await,
            Self::Inspect { name } => containers::inspect(settings, &name).await,
            Self::Stop { name, seconds } => containers::stop(&settings, &name, seconds).await,
            Self::Remove { names, force } => containers::remove(settings, &names, force).await,
            Self::Ports { name, port } => ports::list(settings, &name, port).await,
            Self::Publish { name, specs } => ports::publish(settings, &name, &specs).await,
            Self::Unpublish { name, specs } => ports::unpublish(settings, &name, &specs).await,
            Self::Networks => networks::list(settings).await,
            Self::CreateNetwork(request) => networks::create(settings, *request).await,
            Self::InspectNetwork { name } => networks::inspect(settings, &name).await,
            Self::RemoveNetworks { names } => networks::remove(settings, &names).await,
            Self::PruneNetworks => networks::prune(settings).await,
            Self::Connect { container, request } => networks::connect(settings, &container, &request).await,
            Self::Disconnect { container, network } => networks::disconnect(settings, &container, &network).await,
            Self::Stats => look::stats(settings).await,
            Self::Flows => look::flows(settings).await,
            Self::Status => status::status(settings).await,
            Self::Repair { dry_run } => upkeep::repair(settings, dry_run).await,
            Self::Reload => upkeep::reload(settings).await,
        }
    }
}
