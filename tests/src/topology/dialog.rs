//! Scripts that are told what to do step by step.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Place, tool::limited, tools::script};

/// One of `src/scripts` that answers each line with a line, and says `ready` when it is. Dropped, it ends.
#[derive(Debug)]
pub struct Dialog {
    name: String,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    child: Child,
}

impl Place<'_> {
    /// Starts a script there, and waits for it to be ready.
    ///
    /// # Errors
    /// It ends before that.
    pub fn dialog(&self, name: &str, arguments: &[&str]) -> Result<Dialog> {
        let path = script(name);
        let command = self.words(&[&["python3", "-u", &path], arguments].concat());
        let mut child = limited(&command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("no pipe")?);
        let name = [&[name], arguments].concat().join(" ");
        let mut dialog = Dialog { name, input, output: BufReader::new(output), child };
        let first = dialog.hear()?;
        ensure!(first == "ready", "`{}` does not start: {first}", dialog.name);
        Ok(dialog)
    }

    /// One end of a conversation, which calls `target`.
    ///
    /// # Errors
    /// Nobody answers over TCP.
    pub fn calls(&self, proto: &str, target: SocketAddr) -> Result<Dialog> {
        self.dialog("end.py", &[proto, "connect", &target.ip().to_string(), &target.port().to_string()])
    }
}

impl Dialog {
    /// Says a line, and returns the answer.
    ///
    /// # Errors
    /// The script has ended.
    pub fn say(&mut self, line: &str) -> Result<String> {
        let input = self.input.as_mut().context("no pipe")?;
        writeln!(input, "{line}").with_context(|| format!("`{}` has ended", self.name))?;
        self.hear()
    }

    /// Says a line that must be answered with this.
    ///
    /// # Errors
    /// It is answered with something else.
    pub fn expect(&mut self, line: &str, answer: &str) -> Result<()> {
        let said = self.say(line)?;
        ensure!(said == answer, "`{}`: {line}: {said} instead of {answer}", self.name);
        Ok(())
    }

    /// The script's own time limits bound this, and those of `timeout`.
    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => bail!("`{}` has ended", self.name),
        }
    }
}

impl Drop for Dialog {
    fn drop(&mut self) {
        // The end of its input is the script's end.
        drop(self.input.take());
        drop(self.child.wait());
    }
}
