//! The command line: arguments → request → print. Docker's words, because its users' hands know them.
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage; `run` and `exec` have that of what they ran.

mod attach;
mod container;
mod daemon;
mod flows;
mod generate;
mod later;
mod logger;
mod network;
mod options;
mod print;
mod publish;
mod screen;
mod stats;
mod status;
mod upkeep;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{
    ArgAction, Args, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};
use log::LevelFilter;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use self::later::Later;
use crate::{
    daemon_json::DaemonJson,
    engine::{Engine, EngineError, Settings},
    http::{Address, Client, ClientError, TlsFiles},
    linux::Without,
    progress,
    request::Request,
    service::ServiceError,
};

/// Where the configuration is unless `--config` says otherwise; it need not be there.
const CONFIG: &str = "/etc/portlane/daemon.json";
const EXAMPLES: &str = "\
Examples:
  portlane run -d --name web -p 8080:80 -- python3 -m http.server 80
  portlane port web                      where its ports are published
  portlane publish web 8443:443          one more, while it runs
  portlane network create -o icc=false quiet
  portlane run --rm --network quiet --link db:db -- curl http://db/
  portlane stats                         what passed, and what was refused and why
  bpftool map dump pinned /sys/fs/bpf/portlane/maps/pl_publish4";

/// Docker's network model for any process, with eBPF in the place of iptables.
///
/// Networks, published ports and masquerade live in BPF maps; nothing of portlane's need run between two commands.
#[derive(Debug, Parser)]
#[command(name = "portlane", version, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
#[command(args_override_self = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Docker's daemon.json, with portlane's own settings under "portlane" [default: /etc/portlane/daemon.json]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// State directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PORTLANE_ROOT",
        default_value = "/var/lib/portlane",
        help_heading = "Global options"
    )]
    root: PathBuf,
    /// Folder of programs, maps and links, on a BPF file system
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PORTLANE_BPFFS",
        default_value = "/sys/fs/bpf/portlane",
        help_heading = "Global options"
    )]
    bpffs: PathBuf,
    /// Ask the `portlane daemon` at this address instead of acting here: unix:///PATH or tcp://HOST:PORT
    #[arg(long, global = true, value_name = "ADDRESS", env = "PORTLANE_HOST", help_heading = "Global options")]
    host: Option<Address>,
    /// Certificate of the authority that the daemon at tcp:// must be known to
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    tlscacert: Option<PathBuf>,
    /// Certificate to show to the daemon at tcp://
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    tlscert: Option<PathBuf>,
    /// Its private key
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    tlskey: Option<PathBuf>,
    /// Do as if the kernel lacked these, which commas separate: tcx, force_forwarding, inet_diag_destroy. For tests of
    /// what takes their place
    #[arg(long, global = true, value_name = "FEATURES", env = "PORTLANE_WITHOUT", default_value = "", hide = true)]
    without: Without,
    /// Print JSON; docs/json.md says what is in it
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Say more; -vv: the programs report each packet that is refused or handed to the host, while the command runs
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command in a container: network, UTS and mount namespaces of its own
    Run(Later<container::Run>),
    /// Run a command where a container is
    Exec(Later<container::Exec>),
    /// Give a network namespace that somebody else made a place on networks
    Attach(Later<attach::Attach>),
    /// Take portlane's interfaces out of namespaces that were attached, and leave all else in them alone
    Detach(Later<attach::Detach>),
    /// List containers, those that ended too
    Ps(Later<container::Ps>),
    /// Print all that is known of a container, as JSON; of several, as a list
    Inspect(Later<container::Inspect>),
    /// Stop containers: SIGTERM, and SIGKILL to those still there after a while
    Stop(Later<container::Stop>),
    /// Remove containers
    Rm(Later<container::Rm>),
    /// List where a container's ports are published, as `docker port` does
    Port(Later<publish::Port>),
    /// Publish ports of a running container
    Publish(Later<publish::Publish>),
    /// Close published ports of a container; flows through them end
    Unpublish(Later<publish::Unpublish>),
    #[command(subcommand)]
    Network(network::Network),
    /// Show what passed, by container and by published port, and what was refused, and why
    Stats(Later<stats::Stats>),
    /// List the flows that are remembered: what comes in, and as what it goes on
    Flows(Later<flows::Flows>),
    /// Say whether portlane can work here, what is loaded, what there is, and what gets in the way
    Status(Later<status::Status>),
    /// Bring the host back to what it must be: interfaces, programs, tables
    Repair(Later<upkeep::Repair>),
    /// Read daemon.json again, and say what of it is in force and what has to wait
    Reload(Later<upkeep::Reload>),
    /// Serve requests over HTTP, answer containers that ask for names, and follow containers' ends and the host's uplinks
    Daemon(Later<daemon::Daemon>),
    /// Take away everything that is portlane's: containers, networks, programs, maps and state
    Uninstall(Later<upkeep::Uninstall>),
    /// Print what has a shell complete portlane's words
    Completions(Later<generate::Completions>),
    /// Write a man page for each verb
    #[command(hide = true)]
    ManPages(Later<generate::ManPages>),
}

/// Runs the command that the arguments name, and returns the process's exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    cli.global.without.declare();
    logger::install(level(cli.global.verbose));
    // A daemon does several things at once.
    let brief = !matches!(cli.command, Command::Daemon(_));
    if brief {
        progress::show();
    }
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start");
    let run = |runtime: Runtime| {
        let done = runtime.block_on(dispatch(&cli.global, cli.command));
        if brief {
            // Its threads have nothing left to do, and end with the process.
            runtime.shutdown_background();
        }
        done
    };
    match runtime.and_then(run) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            // They say themselves what caused them.
            let says_all = error.is::<EngineError>() || error.is::<ClientError>() || error.is::<ServiceError>();
            if says_all {
                eprintln!("portlane: {error}");
            } else {
                eprintln!("portlane: {error:#}");
            }
            let code = error.downcast_ref().map_or(1, EngineError::exit_code);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
    }
}

async fn dispatch(global: &Global, command: Command) -> Result<i32> {
    match command {
        Command::Run(run) => return run.0.run(global).await,
        Command::Exec(exec) => return exec.0.run(global).await,
        Command::Attach(attach) => attach.0.run(global).await?,
        Command::Detach(detach) => detach.0.run(global).await?,
        Command::Ps(ps) => ps.0.run(global).await?,
        Command::Inspect(inspect) => inspect.0.run(global).await?,
        Command::Stop(stop) => stop.0.run(global).await?,
        Command::Rm(rm) => rm.0.run(global).await?,
        Command::Port(port) => port.0.run(global).await?,
        Command::Publish(publish) => publish.0.run(global).await?,
        Command::Unpublish(unpublish) => unpublish.0.run(global).await?,
        Command::Network(network) => network.run(global).await?,
        Command::Stats(stats) => stats.0.run(global).await?,
        Command::Flows(flows) => flows.0.run(global).await?,
        Command::Status(status) => return status.0.run(global).await,
        Command::Repair(repair) => repair.0.run(global).await?,
        Command::Reload(reload) => reload.0.run(global).await?,
        Command::Daemon(daemon) => daemon.0.run(global).await?,
        Command::Uninstall(uninstall) => uninstall.0.run(global).await?,
        Command::Completions(completions) => completions.0.run()?,
        Command::ManPages(pages) => pages.0.run()?,
    }
    Ok(0)
}

impl Global {
    /// Has the request done: here, or by the daemon that was named.
    async fn ask(&self, request: Request) -> Result<Value> {
        let Some(address) = &self.host else {
            return Ok(request.perform(Settings { brief: true, ..self.settings()? }).await?);
        };
        let tls = TlsFiles { ca: self.tlscacert.clone(), cert: self.tlscert.clone(), key: self.tlskey.clone() };
        Ok(Client::new(address.clone(), tls).ask(&request).await?)
    }

    const fn is_remote(&self) -> bool {
        self.host.is_some()
    }

    /// Refuses what a daemon cannot do for somebody else.
    fn only_here(&self, verb: &str) -> Result<()> {
        ensure!(!self.is_remote(), "`portlane {verb}` works on this host only: leave --host and PORTLANE_HOST away");
        Ok(())
    }

    fn config_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| CONFIG.into())
    }

    fn settings(&self) -> Result<Settings, EngineError> {
        let path = self.config_path();
        let daemon = DaemonJson::read(&path, self.config.is_some())?;
        if !daemon.ignored.is_empty() {
            log::warn!("{}: not about networking, or done without: {}", path.display(), daemon.ignored.join(", "));
        }
        let (root, bpffs) = (self.root.clone(), self.bpffs.clone());
        Ok(Settings { root, bpffs, daemon, log_level: self.programs_level(), brief: false })
    }

    async fn engine(&self) -> Result<Engine, EngineError> {
        Engine::open(self.settings()?).await
    }

    /// aya-log's number of the level: packets are reported at debug, which is 4.
    const fn programs_level(&self) -> u8 {
        match self.verbose {
            0 | 1 => 0,
            2 => 4,
            _ => 5,
        }
    }
}

const fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// Help and version as they are; everything else in one sentence.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody reads it: nothing can be done about that.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let context = |kind| error.get(kind).map(ToString::to_string);
    let sentence = match (std::error::Error::source(error), context(ContextKind::InvalidValue)) {
        // A value that one of our parsers refused, which says all there is to say.
        (Some(refused), _) if refused.to_string().starts_with('`') => refused.to_string(),
        (Some(refused), Some(value)) => {
            format!("`{value}` is no {}: {refused}", context(ContextKind::InvalidArg).unwrap_or_default())
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
            let line = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            format!("{line}; `portlane{} --help` tells more", verb())
        }
    };
    eprintln!("portlane: {sentence}");
    ExitCode::from(2)
}

/// The verb that was given, if it is one, after a blank.
fn verb() -> String {
    let known = |arg: &String| Cli::command().get_subcommands().any(|verb| verb.get_name() == arg);
    std::env::args().skip(1).find(known).map(|verb| format!(" {verb}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_verb_says_of_itself_what_is_said_of_it_among_the_others() {
        fn same(listed: &clap::Command, itself: &clap::Command) {
            for verb in listed.get_subcommands() {
                let built = itself.find_subcommand(verb.get_name()).expect("it is there when built");
                assert_eq!(verb.get_about(), built.get_about(), "{}", verb.get_name());
                same(verb, built);
            }
        }
        let (listed, mut itself) = (Cli::command(), Cli::command());
        itself.build();
        same(&listed, &itself);
    }

    #[test]
    fn every_verb_explains_itself_with_an_example_or_has_no_arguments() {
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{} has no help", verb.get_name());
            let arguments = verb.get_positionals().count();
            assert!(arguments == 0 || verb.get_after_help().is_some(), "{} has no example", verb.get_name());
        }
    }
}
