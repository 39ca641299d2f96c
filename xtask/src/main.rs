//! The project's own tools, one verb a file: `cargo xtask setup | check | test | demo | bench | sandbox`.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod check;
mod demo;
mod run;
mod sandbox;
mod setup;
mod source;
mod test;
mod tidy;

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
    /// Setup, check, the rootless tests, then the root tests, each binary in a sandbox
    Test {
        /// Run only the tests whose name contains this
        filter: Option<String>,
    },
    /// Setup, build, then show portlane at work inside a sandbox
    Demo,
    /// Setup, build for release, then measure commands inside a sandbox
    Bench,
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
    BenchSteps,
}

fn main() -> ExitCode {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match Arguments::parse().verb {
        Verb::Setup => done(setup::run()),
        Verb::Check => done(check::run()),
        Verb::Test { filter } => done(test::run(filter.as_deref())),
        Verb::Demo => demo::run(),
        Verb::Sandbox { command } => sandbox::run(&command),
        Verb::SandboxInit { parent, command } => sandbox::init(parent, &command),
        Verb::DemoSteps => done(demo::steps()),
        Verb::Bench => bench::run(),
        Verb::BenchSteps => done(bench::steps()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
