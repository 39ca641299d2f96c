//! portlane as somebody at a terminal has it.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{Topology, tool::limited, words};

/// A portlane command with a terminal of its own. Dropped, it loses that.
#[derive(Debug)]
pub struct Terminal {
    keys: Option<ChildStdin>,
    screen: ChildStdout,
    child: Child,
    /// All that was printed, escape sequences included.
    pub printed: String,
}

impl Topology {
    /// Starts a portlane command at a terminal.
    ///
    /// # Errors
    /// `script` cannot be started.
    pub fn terminal(&self, arguments: &[&str]) -> Result<Terminal> {
        // A shell that stays between them (dash) would die of the Ctrl-C itself, and tell of that end.
        let command = ["exec".to_owned()].into_iter().chain(self.portlane_command()).chain(words(arguments));
        let command = command.collect::<Vec<_>>().join(" ");
        let script = words(&["script", "-qefc", &command, "/dev/null"]);
        let mut child = limited(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (keys, screen) = (child.stdin.take(), child.stdout.take().context("no pipe")?);
        Ok(Terminal { keys, screen, child, printed: String::new() })
    }
}

impl Terminal {
    /// Reads on until this is printed; returns what came before it.
    ///
    /// # Errors
    /// The command ends without it.
    pub fn until(&mut self, text: &str) -> Result<String> {
        let begin = self.printed.len();
        while !self.printed[begin..].contains(text) {
            if !self.read()? {
                bail!("`{text}` does not come: {:?}", self.printed);
            }
        }
        Ok(self.printed[begin..].to_owned())
    }

    /// Presses keys.
    ///
    /// # Errors
    /// The command has ended.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let input = self.keys.as_mut().context("no pipe")?;
        Ok(input.write_all(keys.as_bytes()).and_then(|()| input.flush())?)
    }

    /// Waits for the command's end; returns its exit status and all that it printed.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub fn end(mut self) -> Result<(Option<i32>, String)> {
        while self.read()? {}
        Ok((self.child.wait()?.code(), std::mem::take(&mut self.printed)))
    }

    fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.screen.read(&mut bytes)?;
        self.printed.push_str(&String::from_utf8_lossy(&bytes[..count]));
        Ok(count > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whoever reads no more and gets no more keys is told that the terminal is gone.
        drop(self.keys.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
