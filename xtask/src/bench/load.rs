//! Traffic, made by the load generator (`tests/src/bin/load`) in namespaces.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{LOAD, record::Unit, release, topology::inside};

/// What the server says when it listens.
const READY: &str = "ready";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests and answers of a byte over TCP.
    Rr,
    /// Connect, request, answer, close.
    Connections,
    /// 64-byte datagrams that arrive.
    Datagrams,
    /// One TCP stream.
    Stream,
}

/// A metric: its name in the generator's line, its name in figures, its unit.
type Metric = (&'static str, &'static str, Unit);

impl Kind {
    /// The generator's verb.
    fn verb(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Connections => "connections",
            Self::Datagrams => "datagrams",
            Self::Stream => "stream",
        }
    }

    fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Rr => &[
                ("p50_ns", "RR p50", Unit::Nanoseconds),
                ("p99_ns", "RR p99", Unit::Nanoseconds),
                ("per_second", "RR/s", Unit::PerSecond),
            ],
            Self::Connections => &[("per_second", "conn/s", Unit::PerSecond)],
            Self::Datagrams => {
                &[("per_second", "UDP 64 B", Unit::PerSecond), ("sent_per_second", "UDP 64 B sent", Unit::PerSecond)]
            }
            Self::Stream => &[("bits_per_second", "stream", Unit::BitsPerSecond)],
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub kind: Kind,
    /// What the client calls.
    pub to: SocketAddr,
    /// How long, after a warm-up.
    pub seconds: f64,
    /// The client's processor.
    pub cpu: usize,
}

/// A server for every kind of job, or a relay to one. Dropped, it has ended.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts one, which listens when this returns.
    ///
    /// # Errors
    /// When it cannot listen; the sentence is the generator's.
    pub fn start(netns: &str, address: SocketAddr, cpu: usize) -> Result<Self> {
        Self::ready(netns, &["serve", &address.to_string()], Some(cpu))
    }

    /// Starts a relay, which does docker-proxy's job; on any processor if none is named.
    ///
    /// # Errors
    /// When it cannot listen; the sentence is the generator's.
    pub fn relay(netns: &str, from: SocketAddr, to: SocketAddr, cpu: Option<usize>) -> Result<Self> {
        Self::ready(netns, &["relay", &from.to_string(), &to.to_string()], cpu)
    }

    fn ready(netns: &str, words: &[&str], cpu: Option<usize>) -> Result<Self> {
        let mut command = generator(netns)?;
        command.args(words).args(cpu.map(|cpu| ["--cpu".to_owned(), cpu.to_string()]).into_iter().flatten());
        // Its input stays open as long as this process lives: even if this one is killed, it ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Self(command.spawn().context("cannot start the load generator")?);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
        if line.trim_end() != READY {
            let mut reason = String::new();
            server.0.stderr.take().context("no stderr")?.read_to_string(&mut reason)?;
            bail!("{} (in namespace {netns})", reason.trim_end());
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a job measured from a namespace, by name of the metric.
///
/// # Errors
/// When nobody answers.
pub fn measure(netns: &str, job: &Job) -> Result<Vec<(&'static str, Unit, f64)>> {
    let verb = job.kind.verb();
    let mut command = generator(netns)?;
    command.args([verb, &job.to.to_string(), "--seconds", &job.seconds.to_string(), "--cpu", &job.cpu.to_string()]);
    let output = command.stdin(Stdio::null()).output().context("cannot start the load generator")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{verb}: {} (from namespace {netns})", reason.trim_end());
    figures(job.kind, &String::from_utf8_lossy(&output.stdout))
}

fn generator(netns: &str) -> Result<Command> {
    let program = release(LOAD)?;
    Ok(inside(netns, &program.to_string_lossy()))
}

fn figures(kind: Kind, line: &str) -> Result<Vec<(&'static str, Unit, f64)>> {
    let object: Value = serde_json::from_str(line).with_context(|| format!("`{line}` is not JSON"))?;
    let figure = |(key, name, unit): &Metric| {
        let value = object[*key].as_f64().with_context(|| format!("`{line}` has no number `{key}`"))?;
        Ok((*name, *unit, value))
    };
    kind.metrics().iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_generator_is_read_into_figures() {
        let figures = |kind, line| figures(kind, line).map_err(|error| error.to_string());
        assert_eq!(
            figures(Kind::Datagrams, "{\"per_second\":5.5,\"sent_per_second\":6}\n").expect("a correct line"),
            [("UDP 64 B", Unit::PerSecond, 5.5), ("UDP 64 B sent", Unit::PerSecond, 6.0)]
        );
        assert!(figures(Kind::Rr, "{\"p50_ns\":1}").expect_err("half a line").contains("no number `p99_ns`"));
        assert!(figures(Kind::Rr, "").expect_err("no line").contains("is not JSON"));
    }
}
