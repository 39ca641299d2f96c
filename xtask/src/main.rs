//! The project's own tools, one verb a file: `cargo xtask setup | check | test | fuzz | demo | vm | bench |
//! dist | sandbox`.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

mod bench;
mod check;
mod demo;
mod dist;
mod fuzz;
mod run;
mod sandbox;
mod setup;
mod source;
mod test;
mod tidy;
mod vm;

/// Sets the machine up, checks the sources, runs the tests and the demo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing to build, test and show portlane; quick when nothing is
    Setup,
    /// Formatting, clippy and the house rules
    Check,
    /// Setup, check, the rootless tests, some fuzzing, the root tests, each binary in a sandbox, and those that a kernel could
    /// make a difference to in virtual machines with the oldest and the newest
    Test {
        /// Run only the tests whose name contains this, and no virtual machine
        filter: Option<String>,
        /// Virtual machines with every kernel of the matrix
        #[arg(long, conflicts_with = "filter")]
        all_kernels: bool,
    },
    /// Look for packets that the packet path cannot stand, guided by coverage; needs no root, and a C++ compiler
    #[command(
        after_help = "Example: cargo xtask fuzz hooks --seconds 600\n\nAn input that breaks something is written \
                            to a file, whose path is printed; exit code 1."
    )]
    Fuzz {
        /// Only this one
        target: Option<fuzz::Target>,
        /// How long each runs
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// Add what reached further to tests/fuzz/corpus
        #[arg(long)]
        keep: bool,
    },
    /// Setup, build, then show portlane at work inside a sandbox
    Demo,
    /// Setup, build for release, then measure packets and commands inside a sandbox, beside what others cost
    Bench(bench::Options),
    /// Setup, build for release, then make a Debian package, with man pages, completions and systemd units, in target/dist
    Dist {
        /// Package this program instead of building one
        #[arg(long, value_name = "FILE", requires = "to")]
        binary: Option<PathBuf>,
        /// Put everything here
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Setup, build, then run the root tests inside virtual machines with other kernels, several side by side
    #[command(after_help = "Examples:
  cargo xtask vm                                   the whole matrix
  cargo xtask vm 6.1 newest                        both ends of it
  cargo xtask vm 6.12 -- publish masquerade        two test programs, all of their tests
  cargo xtask vm --shell 6.12                      a prompt, with portlane on the PATH
Kernels are Debian's cloud kernels, the latest of each version; they and the disks are kept in ~/.cache/portlane.")]
    Vm(vm::Arguments),
    /// Process 1 of a virtual machine
    #[command(hide = true)]
    VmGuest,
    /// Run a command in namespaces of its own: nothing it does to the network, BPF or mounts outlives it
    Sandbox {
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// The first process of a sandbox
    #[command(hide = true)]
    SandboxInit {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// The part of the demo that runs inside the sandbox
    #[command(hide = true)]
    DemoSteps,
    /// The part of the benchmark that runs inside the sandbox
    #[command(hide = true)]
    BenchSteps(bench::Options),
    /// A host with containers, beside which the benchmark measures
    #[command(hide = true)]
    BenchHost { portlane: PathBuf, containers: usize },
}

fn main() -> ExitCode {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match Arguments::parse().verb {
        Verb::Setup => done(setup::run()),
        Verb::Check => done(check::run()),
        Verb::Test { filter, all_kernels } => done(test::run(filter.as_deref(), all_kernels)),
        Verb::Fuzz { target, seconds, keep } => {
            let all = fuzz::Target::value_variants();
            done(fuzz::run(target.as_ref().map_or(all, std::slice::from_ref), seconds, keep, 0))
        }
        Verb::Demo => demo::run(),
        Verb::Sandbox { command } => sandbox::run(&command),
        Verb::SandboxInit { parent, command } => sandbox::init(parent, &command),
        Verb::DemoSteps => done(demo::steps()),
        Verb::Bench(options) => bench::run(&options),
        Verb::Dist { binary, to } => done(dist::run(binary, to)),
        Verb::Vm(arguments) => done(vm::run(&arguments)),
        Verb::VmGuest => done(vm::guest::run()),
        Verb::BenchSteps(options) => done(bench::steps(&options)),
        Verb::BenchHost { portlane, containers } => done(bench::host::serve(&portlane, containers)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
