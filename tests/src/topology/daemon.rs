//! `portlane daemon` on the host, and commands that ask it.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    Topology,
    ready::Ready,
    tool::{finish, limited},
    until, words,
};

/// A daemon that serves. Dropped, it ends.
#[derive(Debug)]
pub struct Daemon<'t> {
    topology: &'t Topology,
    child: Child,
    told: Ready,
}

impl Topology {
    /// Starts a daemon, and waits until it serves: it says so to its service manager.
    ///
    /// # Errors
    /// It does not.
    pub fn daemon(&self) -> Result<Daemon<'_>> {
        self.daemon_with(&["--listen", &self.daemon_address()])
    }

    /// The same with options of its own. Without `--listen` it is at the one address that is the default.
    ///
    /// # Errors
    /// It does not serve.
    pub fn daemon_with(&self, options: &[&str]) -> Result<Daemon<'_>> {
        let told = self.ready()?;
        let mut command = self.daemon_command(options)?;
        let child = command.env("NOTIFY_SOCKET", told.path()).spawn().context("cannot start the daemon")?;
        let daemon = Daemon { topology: self, child, told };
        daemon.told.hear("READY=1")?;
        Ok(daemon)
    }

    /// Starts a daemon that must not come to serve; returns its sentence.
    ///
    /// # Errors
    /// It serves, or does not say why it does not.
    pub fn daemon_refused(&self) -> Result<String> {
        let command = [self.portlane_command(), words(&["daemon", "--listen", &self.daemon_address()])].concat();
        let output = limited(&command).output()?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.code() == Some(1), "the daemon ends with {}: {said}", output.status);
        ensure!(said.lines().count() == 1 && said.starts_with("portlane: "), "the daemon says: {said}");
        Ok(said)
    }

    fn daemon_command(&self, options: &[&str]) -> Result<Command> {
        let words = [self.portlane_command(), words(&["daemon"]), words(options)].concat();
        let (program, arguments) = words.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// Where its socket is.
    pub fn daemon_socket(&self) -> PathBuf {
        self.file("portlane.sock")
    }

    /// The same as `--host` takes it.
    pub fn daemon_address(&self) -> String {
        format!("unix://{}", self.daemon_socket().display())
    }
}

impl Daemon<'_> {
    /// Has it do a command that must succeed; returns what that prints.
    ///
    /// # Errors
    /// It fails.
    pub fn portlane(&self, arguments: &[&str]) -> Result<String> {
        self.topology.portlane(&[&["--host", &self.topology.daemon_address()], arguments].concat())
    }

    /// Has it do a command that must be refused; returns the sentence.
    ///
    /// # Errors
    /// It does not exit with 1.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        self.topology.refused(&[&["--host", &self.topology.daemon_address()], arguments].concat())
    }

    /// Speaks HTTP to it: status and answer.
    ///
    /// # Errors
    /// It does not answer, or not in JSON.
    pub fn http(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
        let (socket, url) = (self.topology.daemon_socket(), format!("http://localhost{path}"));
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "-X", method, "-d", body, &url]).arg("--unix-socket").arg(socket);
        let text = finish(&format!("curl {method} {path}"), &curl.output().context("cannot start curl")?)?;
        let (answer, status) = text.rsplit_once('\n').context("no status")?;
        Ok((status.parse()?, serde_json::from_str(answer).with_context(|| answer.to_owned())?))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }

    /// Waits for what it tells its service manager next.
    ///
    /// # Errors
    /// It tells something else, or nothing.
    pub fn tells(&self, word: &str) -> Result<()> {
        self.told.hear(word)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It ends with another exit status than 0.
    pub fn ends(&mut self) -> Result<()> {
        let mut status = None;
        until(|| {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .context("the daemon does not end")?;
        ensure!(status.is_some_and(|status| status.success()), "the daemon ends with {status:?}");
        Ok(())
    }

    /// Kills it without a warning.
    ///
    /// # Errors
    /// It is gone.
    pub fn crash(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have ended by itself, or do so only by force.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            drop(self.signal(Signal::SIGTERM));
            if self.ends().is_err() {
                drop(self.child.kill());
                drop(self.child.wait());
            }
        }
    }
}
