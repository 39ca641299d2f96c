//! Where a program can run: on the host, outside, or in a container.

use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Topology,
    tool::{finish, limited},
    words,
};

/// What `peer` exits with when nobody answered.
const NO_ANSWER: i32 = 1;
/// How long silence takes to be believed, in milliseconds.
const SILENCE: &str = "300";

/// One of a topology's machines.
#[derive(Debug)]
pub struct Place<'t> {
    topology: &'t Topology,
    name: String,
    /// The command that leads there.
    entry: Vec<String>,
}

/// What a server told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The client as the server saw it.
    pub seen: SocketAddr,
    /// The server's name.
    pub by: String,
    /// The server as the client saw it.
    pub peer: SocketAddr,
}

impl Answer {
    fn parse(line: &str) -> Result<Self> {
        let field = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.with_context(|| format!("no {name} in: {line}"))
        };
        Ok(Self { seen: field("seen")?.parse()?, by: field("by")?.to_owned(), peer: field("peer")?.parse()? })
    }
}

impl<'t> Place<'t> {
    pub(super) fn new(topology: &'t Topology, name: &str, entry: Vec<String>) -> Self {
        Self { topology, name: name.to_owned(), entry }
    }

    /// Runs a command there; returns what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, command: &[&str]) -> Result<String> {
        let output = self.output(command)?;
        finish(&format!("{} ({})", command.join(" "), self.name), &output)
    }

    /// Starts `peer serve` there, with the words it takes, separated by spaces; it ends with the value returned.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn serve(&self, what: &str) -> Result<Server> {
        let ready = self.topology.ready()?;
        let mut command = self.command(&[&self.topology.peer, "serve", "--name", &self.name]);
        command.args(what.split_whitespace()).args(["--ready", &ready.path()]).stdin(Stdio::null());
        let server = Server(command.spawn().context("cannot start a server")?);
        ready.wait().with_context(|| format!("{} serves {what}", self.name))?;
        Ok(server)
    }

    /// Asks a server, which must answer.
    ///
    /// # Errors
    /// It does not.
    pub fn ask(&self, proto: &str, target: SocketAddr) -> Result<Answer> {
        self.ask_with(proto, target, &[])
    }

    /// The same from an address and port of its own; either may be zero.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_from(&self, from: SocketAddr, proto: &str, target: SocketAddr) -> Result<Answer> {
        self.ask_with(proto, target, &["--from", &from.to_string()])
    }

    /// The same with options for `peer ask`.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_with(&self, proto: &str, target: SocketAddr, options: &[&str]) -> Result<Answer> {
        let target = target.to_string();
        let peer = [&[&self.topology.peer[..], "ask", proto, &target], options].concat();
        Answer::parse(&self.run(&peer)?)
    }

    /// Asks a server that must not be reached.
    ///
    /// # Errors
    /// There is an answer.
    pub fn no_answer(&self, proto: &str, target: SocketAddr) -> Result<()> {
        self.no_answer_with(proto, target, &[])
    }

    /// The same with options for `peer ask`.
    ///
    /// # Errors
    /// As [`Self::no_answer`].
    pub fn no_answer_with(&self, proto: &str, target: SocketAddr, options: &[&str]) -> Result<()> {
        let target = target.to_string();
        let peer = [&[&self.topology.peer[..], "ask", proto, &target, "--timeout-ms", SILENCE], options].concat();
        self.silence(&peer)
    }

    /// Starts to talk to a server, which must answer once; then it can be asked again.
    ///
    /// # Errors
    /// It does not answer.
    pub fn converse(&self, proto: &str, target: SocketAddr, options: &[&str]) -> Result<Conversation> {
        let target = target.to_string();
        let limits = ["--repeat", "--timeout-ms", "1000"];
        let peer = [&[&self.topology.peer[..], "ask", proto, &target], &limits[..], options].concat();
        let mut client = self.command(&peer).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = (client.stdin.take().context("no pipe")?, client.stdout.take().context("no pipe")?);
        let mut conversation =
            Conversation { input: pipes.0, output: BufReader::new(pipes.1), first: None, _client: Server(client) };
        conversation.first = Some(Answer::parse(&conversation.line()?)?);
        Ok(conversation)
    }

    /// Sends an echo request, which must be answered.
    ///
    /// # Errors
    /// It is not.
    pub fn ping(&self, target: IpAddr) -> Result<()> {
        self.run(&[&self.topology.peer, "ping", &target.to_string()]).map(drop)
    }

    /// Sends an echo request, which must not be answered.
    ///
    /// # Errors
    /// It is.
    pub fn no_echo(&self, target: IpAddr) -> Result<()> {
        self.silence(&[&self.topology.peer, "ping", &target.to_string(), "--timeout-ms", SILENCE])
    }

    /// Sends that many bytes to a `serve stream`, and receives as many: each end's hash must be the other's.
    ///
    /// # Errors
    /// The stream breaks off, or changes on its way.
    pub fn streams(&self, target: SocketAddr, bytes: u64) -> Result<()> {
        for (direction, seed) in [("send-stream", "1"), ("receive-stream", "2")] {
            self.run(&[&self.topology.peer, direction, &target.to_string(), &bytes.to_string(), seed])
                .with_context(|| format!("{direction} of {bytes} bytes"))?;
        }
        Ok(())
    }

    /// Binds a socket and closes it.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn bind(&self, proto: &str, address: SocketAddr) -> Result<()> {
        self.run(&[&self.topology.peer, "bind", proto, &address.to_string()]).map(drop)
    }

    /// Runs a client that must get no answer, and for no other reason.
    fn silence(&self, peer: &[&str]) -> Result<()> {
        let output = self.output(peer)?;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        match output.status.code() {
            Some(NO_ANSWER) => Ok(()),
            Some(0) => bail!("`{}` ({}) should get no answer, and gets: {said}", peer.join(" "), self.name),
            _ => bail!("`{}` ({}): {}: {said}", peer.join(" "), self.name, output.status),
        }
    }

    fn output(&self, command: &[&str]) -> Result<Output> {
        Ok(limited(&self.words(command)).output()?)
    }

    /// A command with what leads there before it.
    pub(super) fn words(&self, command: &[&str]) -> Vec<String> {
        [self.entry.clone(), words(command)].concat()
    }

    /// Without `timeout`, so that it can be killed.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.entry[0]);
        command.args(&self.entry[1..]).args(words);
        command
    }
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A connection, or a UDP socket, that stays open.
#[derive(Debug)]
pub struct Conversation {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    first: Option<Answer>,
    _client: Server,
}

impl Conversation {
    /// The first answer.
    ///
    /// # Errors
    /// There was none.
    pub fn first(&self) -> Result<&Answer> {
        self.first.as_ref().context("no answer yet")
    }

    /// Asks again; there must be an answer.
    ///
    /// # Errors
    /// There is none.
    pub fn again(&mut self) -> Result<Answer> {
        self.input.write_all(b"\n")?;
        Answer::parse(&self.line()?)
    }

    /// Asks again; the answer must be the first one, to the letter.
    ///
    /// # Errors
    /// It is another, or there is none.
    pub fn goes_on(&mut self) -> Result<()> {
        let again = self.again()?;
        let first = self.first()?;
        ensure!(again == *first, "{again:?} instead of {first:?}");
        Ok(())
    }

    /// Asks again; there must be no answer.
    ///
    /// # Errors
    /// There is one.
    pub fn is_over(&mut self) -> Result<()> {
        self.input.write_all(b"\n")?;
        let line = self.line()?;
        ensure!(line.contains("no answer"), "still answered: {line}");
        Ok(())
    }

    /// The client's own time limit bounds this.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the client ended without an answer");
        Ok(line)
    }
}
