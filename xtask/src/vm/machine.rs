//! One virtual machine: QEMU, two serial lines, three disks, and two network cards on one cable.
//!
//! The first line is the kernel's console; the second is what the guest tells about the tests. A machine that ends
//! without having told that it is done has crashed, whatever QEMU's exit status.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{PROCESSORS, guest, kernel::Kernel, report::Outcome, suite::Part};
use crate::run::{done, tool};

/// A machine that runs for longer hangs.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How long a machine with KVM may take to boot: without, it takes less than this.
const PROBE: Duration = Duration::from_secs(15);
const MEMORY: &str = "3072";
/// What an emulated processor does slowly, and nobody tests: deep page tables, and copying by the byte.
const EMULATED: &str = "max,-la57,-smap,-smep,-pku,-erms,-fsrm";
/// The same for the kernel: detours against flaws that an emulated processor has not, and `rep movs`.
const KERNEL: &str = "console=ttyS0 panic=-1 quiet mitigations=off init_on_alloc=0 clearcpuid=112,297,580";
/// Of a console, this many lines tell why a machine ended.
const LAST_LINES: usize = 20;

/// How machines are run here.
#[derive(Debug)]
pub struct Machine<'a> {
    user_land: &'a Path,
    programs: &'a Path,
    /// Consoles, one file a kernel.
    logs: PathBuf,
    kvm: bool,
}

impl<'a> Machine<'a> {
    /// Finds out how to run them: by KVM, if a machine boots with it.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn new(cache: &Path, user_land: &'a Path, programs: &'a Path, kernels: &[Kernel]) -> Result<Self> {
        let logs = programs.with_file_name("logs");
        fs::create_dir_all(&logs)?;
        let mut machine = Self { user_land, programs, logs, kvm: false };
        if let Some(kernel) = kernels.first() {
            machine.kvm = machine.has_kvm(cache, kernel)?;
        }
        Ok(machine)
    }

    /// What runs the machines' programs.
    pub fn accelerator(&self) -> &'static str {
        if self.kvm { "KVM" } else { "emulation" }
    }

    /// Boots a machine with KVM, in which only its end is of interest. `/dev/kvm` can be there and the machine hang. The answer
    /// is kept until this machine itself boots again.
    fn has_kvm(&mut self, cache: &Path, kernel: &Kernel) -> Result<bool> {
        if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(false);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let kept = cache.join("kvm");
        if let Some((known, answer)) = fs::read_to_string(&kept).unwrap_or_default().split_once(' ')
            && known == boot.trim()
        {
            return Ok(answer.trim() == "true");
        }
        println!("trying KVM, for {} s at most", PROBE.as_secs());
        self.kvm = true;
        let mut command = self.command(kernel, guest::PROBE);
        command.args(["-serial", "file:/dev/null", "-serial", "stdio"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let outcome = watch(command.spawn()?, kernel, PROBE)?;
        fs::write(kept, format!("{} {}", boot.trim(), outcome.done))?;
        Ok(outcome.done)
    }

    /// Boots a kernel and runs a part of its jobs.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn run(&self, kernel: &Kernel, part: Part) -> Result<Outcome> {
        let console = self.logs.join(format!("{}-{}.log", kernel.name, part.number));
        let test = format!("{} {}{part}", guest::TEST, guest::PART);
        let mut command = self.command(kernel, if kernel.is_supported() { &test } else { guest::REFUSE });
        command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
        let errors = fs::File::create(console.with_extension("qemu"))?;
        let child = command.stdout(Stdio::piped()).stderr(errors).spawn().context("cannot start QEMU")?;
        let mut outcome = watch(child, kernel, LONGEST)?;
        if !outcome.done {
            let text = fs::read(&console).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            outcome.output.push(format!("the machine ended before its tests did; its console, {}:", console.display()));
            outcome.output.extend(last.iter().map(|line| (*line).to_owned()));
        }
        Ok(outcome)
    }

    /// Boots a kernel and connects its console with this terminal.
    ///
    /// # Errors
    /// QEMU fails.
    pub fn shell(&self, kernel: &Kernel) -> Result<()> {
        let mut command = self.command(kernel, guest::SHELL);
        done(command.stdin(Stdio::inherit()).args(["-serial", "mon:stdio"]))
    }

    /// QEMU with everything but the serial lines.
    fn command(&self, kernel: &Kernel, purpose: &str) -> Command {
        let mut command = tool("qemu-system-x86_64");
        let machine =
            if self.kvm { ["-accel", "kvm", "-cpu", "host"] } else { ["-accel", "tcg,thread=multi", "-cpu", EMULATED] };
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35"])
            .args(machine);
        command.args(["-smp", &PROCESSORS.to_string(), "-m", MEMORY]);
        command.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(kernel.initramfs());
        command.arg("-append").arg(format!("{KERNEL} {}{purpose}", guest::PURPOSE));
        for disk in [self.user_land, &kernel.modules(), self.programs] {
            let drive = format!("file={},if=virtio,format=raw,readonly=on", disk.display());
            command.arg("-drive").arg(drive);
        }
        for card in ["a", "b"] {
            command.args(["-netdev", &format!("hubport,id={card},hubid=0")]);
            command.args(["-device", &format!("virtio-net-pci,netdev={card},mac=52:54:00:00:00:0{card}")]);
        }
        command.stdin(Stdio::null());
        command
    }
}

/// Reads what a guest tells until it ends, or the time is over.
fn watch(mut child: Child, kernel: &Kernel, longest: Duration) -> Result<Outcome> {
    let output = child.stdout.take().context("QEMU has no output")?;
    let (send, lines) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let mut outcome = Outcome::new(kernel);
    let end = Instant::now() + longest;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(news) = outcome.read(&line) {
                    println!("   {}: {news}", kernel.name);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                outcome.output.push(format!("the machine was still running after {} s", longest.as_secs()));
                child.kill().context("cannot end QEMU")?;
                break;
            }
        }
    }
    child.wait().context("cannot wait for QEMU")?;
    drop(reader.join());
    Ok(outcome)
}
