//! The load generator of `cargo xtask bench`: blocking sockets, one thread a side, nothing allocated while it measures.
//!
//! Exit status: 0 done, 1 nobody answers or the machine does not let it, 2 usage.

use std::{
    io,
    process::{ExitCode, exit},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use arguments::{Arguments, Verb};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use relay::Relay;
use server::Server;

mod arguments;
mod connections;
mod datagrams;
mod line;
mod measured;
mod relay;
mod rr;
mod samples;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

/// What a measurement may take longer than it was asked to, before nobody is said to answer.
const GRACE: Duration = Duration::from_secs(3);

const FAILED: u8 = 1;
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() || words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{}", arguments::HELP);
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::parse(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("load: {error:#} (`load --help` has examples)");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(cpu) = arguments.cpu {
        pin(cpu)?;
    }
    match arguments.verb {
        Verb::Serve => return Server::bind(arguments.address)?.run(),
        Verb::Relay { to } => return Relay::bind(arguments.address)?.run(to),
        _ => {}
    }
    println!("{}", line::json(&measure(arguments)?));
    Ok(())
}

/// Figures by their names in the line of JSON. Who measures waits without timeouts, which would set a timer for each request:
/// another thread gives up on it.
fn measure(arguments: &Arguments) -> Result<Vec<(&'static str, f64)>> {
    let (of, limit) = (arguments.clone(), measured::WARM_UP + arguments.time + GRACE);
    let (sender, result) = mpsc::channel();
    // Nobody listens any more to one that was given up on.
    thread::spawn(move || drop(sender.send(figures(&of))));
    let late = || bail!("no result in {:.1} s", limit.as_secs_f64());
    result
        .recv_timeout(limit)
        .unwrap_or_else(|_| late())
        .with_context(|| format!("nobody answers at {}", arguments.address))
}

fn figures(arguments: &Arguments) -> Result<Vec<(&'static str, f64)>> {
    let (to, time) = (arguments.address, arguments.time);
    match arguments.verb {
        Verb::Serve | Verb::Relay { .. } => Ok(Vec::new()),
        Verb::Rr => rr::tcp(to, time),
        Verb::UdpRr => rr::udp(to, time),
        Verb::Connections => connections::measure(to, time),
        Verb::Datagrams => datagrams::measure(to, time, arguments.size),
        Verb::Stream => stream::measure(to, time),
    }
}

/// Ends the program when standard input closes, which it does when whoever started this ends.
fn end_with_input() {
    thread::spawn(|| {
        let ended = io::copy(&mut io::stdin(), &mut io::sink());
        exit(ended.is_err().into())
    });
}

/// Runs on this processor only, with all threads that it starts.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).with_context(|| format!("no processor {cpu}"))
}
