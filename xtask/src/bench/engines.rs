//! Docker and Podman, where they are installed on this machine: what it takes them to start and to remove a container.
//!
//! They are asked as they run, outside the sandbox, in which no daemon of the machine can be reached; they make
//! containers of an image of their own, and nothing of that stays.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    control::{note, timed},
    record::{Figure, Run},
};
use crate::run::{done, find, output, tool};

/// Names of what is measured, for portlane as for the engines.
pub const RUN: &str = "run --rm";
pub const START: &str = "run -d, ports published";
pub const REMOVE: &str = "rm -f, ports published";
/// Ports that a container publishes as it starts: one range of each of these sizes.
pub const PORTS: [u16; 2] = [1, 100];
pub const FIRST: u16 = 40_000;
/// Times that each is measured: Docker's proxies make it a matter of seconds.
const ROUNDS: usize = 3;
/// Where the sandbox finds what was measured outside.
const FOUND: &str = "PORTLANE_ENGINES";
/// What names of images and containers begin with.
const NAME: &str = "portlane-bench";

/// What was measured, and what could not be.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    figures: Vec<Figure>,
    left_out: Vec<String>,
}

/// An engine whose command line is Docker's.
struct Engine {
    name: &'static str,
    program: &'static str,
    /// What `info` is asked for: it answers if there is something to measure.
    version: &'static str,
}

const ENGINES: [Engine; 2] = [
    Engine { name: "Docker", program: "docker", version: "{{.ServerVersion}}" },
    Engine { name: "Podman", program: "podman", version: "{{.Version.Version}}" },
];

/// Measures the engines that there are. Of each that is not, or does not work, it is said why.
pub fn measure() -> Found {
    let mut found = Found::default();
    for engine in ENGINES {
        if let Err(reason) = engine.measure(&mut found.figures) {
            found.left_out.push(format!("{} on this machine: {reason:#}", engine.name));
        }
    }
    found
}

impl Found {
    /// As `NAME=value` for env(1).
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn assignment(&self) -> Result<OsString> {
        Ok(format!("{FOUND}={}", serde_json::to_string(self).context("cannot write JSON")?).into())
    }
}

/// Adds what was measured outside the sandbox.
///
/// # Errors
/// When the variable is something else.
pub fn add(record: &mut Run) -> Result<()> {
    let Some(text) = env::var_os(FOUND) else { return Ok(()) };
    let found: Found = serde_json::from_str(&text.to_string_lossy()).with_context(|| format!("{FOUND} is not JSON"))?;
    record.figures.extend(found.figures);
    record.left_out.extend(found.left_out);
    Ok(())
}

/// `-p` of a range that leads to the same ports.
pub fn range(ports: u16) -> String {
    let last = FIRST + (ports - 1);
    format!("{FIRST}-{last}:{FIRST}-{last}")
}

impl Engine {
    fn measure(&self, figures: &mut Vec<Figure>) -> Result<()> {
        if find(self.program).is_none() {
            bail!("not installed");
        }
        let asked = output(self.command().args(["info", "--format", self.version]).stderr(Stdio::null()));
        let version = asked.filter(|version| !version.is_empty()).context("installed, but it does not answer")?;
        let subject = format!("{} {version}", self.name);
        let image = Image::import(self)?;
        let name = image.name.as_str();
        let run =
            Self::repeated(|| timed(|| self.done(&["run", "--rm", "--pull", "never", name, "/busybox", "true"])))?;
        note(figures, &subject, RUN, &[], &run);
        for ports in PORTS {
            let (range, at) = (range(ports), [("ports", ports.to_string())]);
            let mut remove = vec![];
            let words =
                ["run", "-d", "--name", name, "--pull", "never", "-p", &range, name, "/busybox", "sleep", "600"];
            let start = Self::repeated(|| {
                let start = timed(|| self.done(&words));
                remove.push(timed(|| self.done(&["rm", "-f", name]))?);
                start
            })?;
            note(figures, &subject, START, &at, &start);
            note(figures, &subject, REMOVE, &at, &remove);
        }
        Ok(())
    }

    fn repeated<T>(mut work: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        (0..ROUNDS).map(|_| work()).collect()
    }

    fn command(&self) -> Command {
        let mut command = tool(self.program);
        command.stdin(Stdio::null());
        command
    }

    fn done(&self, arguments: &[&str]) -> Result<()> {
        done(self.command().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()))
    }
}

/// An image with busybox in it and nothing else, and the folder that it is made of.
struct Image<'a> {
    engine: &'a Engine,
    /// Of the image and of its one container: nobody else's.
    name: String,
    folder: PathBuf,
}

impl<'a> Image<'a> {
    fn import(engine: &'a Engine) -> Result<Self> {
        let busybox = find("busybox").context("no busybox to make an image of (Debian's busybox-static)")?;
        let name = format!("{NAME}-{}", std::process::id());
        let folder = env::temp_dir().join(&name);
        let image = Self { engine, name, folder };
        image.fill(&busybox).with_context(|| format!("cannot make an image in {}", image.folder.display()))?;
        let archive = image.folder.join("image.tar");
        engine.done(&["import", &archive.to_string_lossy(), &image.name])?;
        Ok(image)
    }

    fn fill(&self, busybox: &Path) -> Result<()> {
        fs::create_dir(&self.folder)?;
        let copy = self.folder.join("busybox");
        fs::copy(busybox, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        done(tool("tar").arg("-C").arg(&self.folder).args(["-cf"]).arg(self.folder.join("image.tar")).arg("busybox"))
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // Whatever of it is there: a measurement may have broken off anywhere.
        let _ = self.engine.done(&["rm", "-f", &self.name]);
        let _ = self.engine.done(&["rmi", &self.name]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}
