//! `run`, `exec`, `ps`, `inspect`, `stop`, `rm`.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{Global, options::Networking, print};
use crate::{
    engine::{self, Engine, EngineError},
    linux::exec_in,
    model::{ContainerRequest, spec, state::SHORT_ID},
    request::{Request, start},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane run -d --name web -p 8080:80 -- nginx -g 'daemon off;'
  portlane run -d --name app --expose 80 --expose 443 -P -- ./server
  portlane run --rm -p 127.0.0.1::53/udp --dns 10.0.0.2 -- dnsmasq -k
  portlane run -d -p 5432:5432,from=10.0.0.0/8,from=2001:db8::/32 -- postgres
  portlane run --rm --network container:web -- curl http://localhost/
Published ports: [address:][hostPort[-hostPort]]:containerPort[-containerPort][/tcp|/udp|/sctp],
address::containerPort, or containerPort; an IPv6 address in brackets. Without a host port, a free one is taken; of a
range for one container port (8000-8009:80), the first that is free. Behind that, `,from=PREFIX` as often as needed: only
these sources may use the port, and the host's own processes, which always may.")]
pub(super) struct Run {
    /// Name [default: drawn at random]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    networking: Networking,
    /// Host name [default: the short identifier]
    #[arg(short = 'H', long)]
    hostname: Option<String>,
    /// Name server instead of the host's (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Search domain instead of the host's; `.` for none (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of resolv.conf instead of the host's (repeatable)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Line for /etc/hosts (repeatable); host-gateway for IP is where the container finds the host
    #[arg(long, value_parser = spec::extra_host, value_name = "HOST:IP")]
    add_host: Vec<(String, Option<IpAddr>)>,
    /// Do not wait: print the identifier; `inspect` shows where the output goes
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let detach = self.detach;
        let request = self.request();
        if detach && (global.is_remote() || global.verbose < 2) {
            print::id(global, &global.ask(Request::Run(Box::new(request))).await?)?;
            return Ok(0);
        }
        ensure!(!global.is_remote(), "over --host a container runs by itself: use `portlane run -d`");
        let (mut engine, begun) = Engine::open_to_run(global.settings()?, &request, detach).await?;
        let settings = engine.settings().clone();
        let verbose = settings.log_level > 0;
        let log = if verbose { engine.listen()? } else { None };
        let started = start(&mut engine, request, begun).await?;
        drop(engine);
        let code = if detach {
            print::id(global, &json!({"id": started.id, "name": started.name}))?;
            0
        } else {
            engine::finish(settings.clone(), started).await?
        };
        drop(log);
        if verbose {
            Engine::open(engine::Settings { log_level: 0, ..settings }).await?.listen()?;
        }
        Ok(code)
    }

    fn request(self) -> ContainerRequest {
        ContainerRequest {
            hostname: self.hostname,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
            extra_hosts: self.add_host,
            command: self.command,
            auto_remove: self.rm,
            ..self.networking.request(self.name)
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane exec web -- ss -tln")]
pub(super) struct Exec {
    /// Name or identifier
    name: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        global.only_here("exec")?;
        let place = global.engine().await?.place_of(&self.name)?;
        let [command, args @ ..] = self.command.as_slice() else { return Err(EngineError::NoCommand.into()) };
        exec_in(place, command, args).map_err(|error| EngineError::from(error).into())
    }
}

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Nothing more is listed: for who is used to Docker's
    #[arg(short, long)]
    all: bool,
    /// Print identifiers only
    #[arg(short, long)]
    quiet: bool,
}

impl Ps {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let Self { all: _, quiet } = self;
        let containers = global.ask(Request::Containers).await?;
        if quiet {
            return print::names(global, print::rows(&containers).map(short_id).collect());
        }
        if global.json {
            return print::json(&containers);
        }
        let rows: Vec<_> = print::rows(&containers)
            .map(|row| {
                let field = |name| print::field(row, name);
                let list = |name| print::rows(&row[name]).filter_map(Value::as_str).collect::<Vec<_>>();
                // Who ended has let go of them.
                let live = !field("status").starts_with("exited");
                let networks = print::rows(&row["networks"]).filter(|_| live);
                let addresses = networks.flat_map(|at| [print::field(at, "addr4"), print::field(at, "addr6")]);
                let addresses = addresses.filter(|address| !address.is_empty());
                vec![
                    short_id(row),
                    field("name"),
                    field("status"),
                    field("network"),
                    addresses.collect::<Vec<_>>().join(", "),
                    if live { list("publishes").join(", ") } else { String::new() },
                    shortened(&list("command").join(" ")),
                ]
            })
            .collect();
        print::table(&["CONTAINER ID", "NAME", "STATUS", "NETWORK", "ADDRESS", "PORTS", "COMMAND"], &rows)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane inspect web")]
pub(super) struct Inspect {
    /// Names or identifiers
    #[arg(required = true)]
    names: Vec<String>,
}

impl Inspect {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let mut answers = Vec::new();
        for name in self.names {
            answers.push(global.ask(Request::Inspect { name }).await?);
        }
        match answers.as_slice() {
            [one] => print::json(one),
            several => print::json(&several.into()),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane stop -t 2 web")]
pub(super) struct Stop {
    /// Seconds before SIGKILL
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    time: u64,
    /// Names or identifiers
    #[arg(required = true)]
    names: Vec<String>,
}

impl Stop {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let mut stopped = Vec::new();
        for name in self.names {
            let answer = global.ask(Request::Stop { name, seconds: self.time }).await?;
            let name = print::field(&answer, "name");
            if !global.json {
                print::line(&name)?;
            }
            stopped.push(name);
        }
        if global.json { print::json(&stopped.into()) } else { Ok(()) }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane rm -f web db")]
pub(super) struct Rm {
    /// Kill those that run, and detach those that are attached
    #[arg(short, long)]
    force: bool,
    /// Names or identifiers
    #[arg(required = true)]
    names: Vec<String>,
}

impl Rm {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        global.ask(Request::Remove { names: self.names.clone(), force: self.force }).await?;
        print::names(global, self.names)
    }
}

fn short_id(row: &Value) -> String {
    print::field(row, "id").chars().take(SHORT_ID).collect()
}

fn shortened(command: &str) -> String {
    const WIDTH: usize = 40;
    if command.chars().count() <= WIDTH {
        return command.to_owned();
    }
    command.chars().take(WIDTH - 1).chain(['…']).collect()
}
