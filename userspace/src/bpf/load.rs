//! Programs and maps: loaded once, pinned, and found again by every later command.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use aya::{
    EbpfLoader, include_bytes_aligned,
    programs::{Program, ProgramError, ProgramInfo},
    util::nr_cpus,
};
use bytemuck::Pod;
use nix::time::{ClockId, clock_getres, clock_gettime};
use portlane_common::config::{MAX_FLOWS, SCHEMA, global, map, program};

use super::{
    attach,
    error::{BpfError, Result},
    layout::{Layout, SHAPES},
    pins::{self, Pins},
    table::Table,
};
use crate::{
    linux::{
        bpf_syscall::{self, Map},
        random,
    },
    progress,
};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portlane-datapath"));

/// aya-log's ring buffer.
pub(super) const LOG_MAP: &str = "AYA_LOGS";

/// Threads that load programs: there are some fifteen that take long.
const MOST_LOADERS: usize = 8;

/// What the programs are loaded with. Other settings than the loaded programs' have them replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Cookie of the host's network namespace, the only one whose sockets the socket programs touch.
    pub netns_cookie: u64,
    /// aya-log's level, 0 (off) to 5 (trace).
    pub log_level: u8,
    /// Flow entries that each family's table holds.
    pub flows: u32,
    /// What masquerade ports are drawn with; by chance if none.
    pub port_secret: Option<u32>,
    /// Cgroup whose processes the socket programs serve; `None` for the root of the mounted cgroup2 hierarchy.
    pub cgroup: Option<PathBuf>,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self { netns_cookie: 0, log_level: 0, flows: MAX_FLOWS, port_secret: None, cgroup: None }
    }
}

/// portlane's programs and maps in the kernel.
#[derive(Debug)]
pub struct Datapath {
    pub(super) pins: Pins,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) cpus: usize,
    loaded_now: bool,
}

/// A program as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramReport {
    /// Name.
    pub name: String,
    /// The kernel's number of it.
    pub id: u32,
    /// Instructions that the verifier walked through; 0 before Linux 5.16, which does not tell.
    pub verified_insns: u32,
    /// Bytes of machine code; 0 where the kernel interprets.
    pub jited_bytes: u32,
}

impl Datapath {
    /// Finds the programs and maps pinned below `bpffs`, or loads them if they are missing, incomplete, or made from
    /// another object or other settings. Attached programs are then replaced between two packets, and maps of an
    /// unchanged shape keep their content.
    pub fn open(bpffs: &Path, settings: LoadSettings) -> Result<Self> {
        let version = version(&settings);
        let mut datapath = Self::new(bpffs, settings.cgroup.clone())?;
        if datapath.pins.version().as_ref() != Some(&version) {
            datapath.pins.create()?;
            let _lock = datapath.pins.lock()?;
            if datapath.pins.version().as_ref() != Some(&version) {
                datapath.load(&settings, &version)?;
                datapath.loaded_now = true;
            }
        }
        Ok(datapath)
    }

    /// Finds what is pinned below `bpffs`, with whatever settings it was loaded, for commands that only look.
    pub fn existing(bpffs: &Path) -> Result<Option<Self>> {
        let datapath = Self::new(bpffs, None)?;
        let known = datapath.pins.version().is_some_and(|version| version.ends_with(&schema_suffix()));
        Ok(known.then_some(datapath))
    }

    fn new(bpffs: &Path, cgroup: Option<PathBuf>) -> Result<Self> {
        let cpus = nr_cpus().map_err(|(path, error)| BpfError::pin("read", path)(error))?;
        Ok(Self { pins: Pins::new(bpffs), cgroup, cpus, loaded_now: false })
    }

    /// Whether the programs were loaded when this was opened, and not found.
    pub const fn was_loaded_now(&self) -> bool {
        self.loaded_now
    }

    /// The folder of the pins.
    pub fn bpffs(&self) -> &Path {
        self.pins.root()
    }

    /// Opens a map.
    pub fn table<K: Pod, V: Pod>(&self, layout: &Layout<K, V>) -> Result<Table<K, V>> {
        let path = self.pins.map(layout.shape.name);
        let map = Map::open(&path, self.cpus).map_err(BpfError::pin("opened", path))?;
        if !layout.shape.holds_the_same(map.info()) {
            return Err(BpfError::NotLoaded { path: self.bpffs().to_owned() });
        }
        Ok(Table::new(map, layout.shape))
    }

    /// The loaded programs.
    pub fn programs(&self) -> Result<Vec<ProgramReport>> {
        let report = |name: String| {
            let info = ProgramInfo::from_pin(self.pins.program(&name)).map_err(|e| BpfError::program(&name, e))?;
            Ok(ProgramReport {
                id: info.id(),
                verified_insns: info.verified_instruction_count().unwrap_or(0),
                jited_bytes: info.size_jitted(),
                name,
            })
        };
        pins::programs().into_iter().map(report).collect()
    }

    /// Every step leaves the version removed until all are done, so that an interrupted load is begun anew.
    fn load(&self, settings: &LoadSettings, version: &str) -> Result<()> {
        let _step = progress::step("loading the programs");
        self.pins.clear_version()?;
        self.remove_misfits(settings.flows)?;
        let jiffies: u64 = jiffies_per_second()?;
        let secret = match settings.port_secret {
            Some(secret) => secret,
            None => random().map(u32::from_ne_bytes).map_err(|error| BpfError::Object(error.to_string()))?,
        };
        let mut loader = EbpfLoader::new();
        loader
            .override_global(global::JIFFIES_PER_SECOND, &jiffies, true)
            .override_global(global::NETNS_COOKIE, &settings.netns_cookie, true)
            .override_global(global::PORT_SECRET, &secret, true)
            .override_global(global::AYA_LOG_LEVEL, &settings.log_level, false);
        for name in map::ALL.into_iter().chain([LOG_MAP]) {
            loader.map_pin_path(name, self.pins.map(name));
        }
        for shape in SHAPES {
            loader.map_max_entries(shape.name, shape.sized(settings.flows).entries);
        }
        let mut object = loader.load(OBJECT).map_err(BpfError::loading)?;
        self.check_shapes(settings.flows)?;
        let known = pins::programs();
        let mut programs: BTreeMap<_, _> = object.programs_mut().filter(|(name, _)| known.contains(*name)).collect();
        if let Some(name) = known.iter().find(|name| !programs.contains_key(name.as_str())) {
            return Err(BpfError::Object(format!("it has no {name}")));
        }
        self.load_all(programs.iter_mut().map(|(name, program)| (*name, &mut **program)))?;
        // What carries on first: what is attached never leaves a packet to a program that is not there.
        for (map, programs) in [(map::NEXT, &program::NEXT[..]), (map::NEXT_XDP, &program::NEXT_XDP[..])] {
            self.fill_program_array(map, programs)?;
        }
        attach::replace_all(&self.pins)?;
        self.pins.set_version(version)
    }

    /// Has the kernel verify and translate programs, one on each processor: it takes up to a quarter of a second for one.
    fn load_all<'a>(&self, programs: impl Iterator<Item = (&'a str, &'a mut Program)> + Send) -> Result<()> {
        let waiting = Mutex::new(programs);
        let next = || waiting.lock().ok()?.next();
        let work = || {
            while let Some((name, program)) = next() {
                load_program(program).map_err(|error| BpfError::program(name, error))?;
                let fd = program.fd().map_err(|error| BpfError::program(name, error))?;
                self.pin_program(name, fd)?;
            }
            Ok(())
        };
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST_LOADERS);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let broke_off = |_| Err(BpfError::Object("a thread that loaded programs broke off".to_owned()));
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(broke_off))
        })
    }

    /// Unpins maps of another shape than this program's, and whatever is no program of it.
    fn remove_misfits(&self, flows: u32) -> Result<()> {
        for shape in SHAPES.map(|shape| shape.sized(flows)) {
            let path = self.pins.map(shape.name);
            if Map::open(&path, self.cpus).is_ok_and(|map| !shape.fits(map.info())) {
                pins::remove(&path)?;
            }
        }
        let known = pins::programs();
        for name in pins::names(&self.pins.progs())?.difference(&known) {
            pins::remove(&self.pins.program(name))?;
        }
        Ok(())
    }

    fn check_shapes(&self, flows: u32) -> Result<()> {
        for shape in SHAPES.map(|shape| shape.sized(flows)) {
            let path = self.pins.map(shape.name);
            let map = Map::open(&path, self.cpus).map_err(|_| BpfError::Object(format!("it has no {}", shape.name)))?;
            if !shape.fits(map.info()) {
                let info = map.info();
                pins::remove(&path)?;
                return Err(BpfError::Object(format!("its {} is {info:?} and must be {shape:?}", shape.name)));
            }
        }
        Ok(())
    }

    /// Puts programs at their places in an array, each between two packets.
    fn fill_program_array(&self, map: &str, programs: &[&str]) -> Result<()> {
        let path = self.pins.map(map);
        let array = Map::open(&path, self.cpus).map_err(BpfError::pin("opened", &path))?;
        for (place, name) in (0u32..).zip(programs) {
            let program = self.pins.open_program(name)?;
            let fd = program.as_raw_fd().to_ne_bytes();
            array.update(&place.to_ne_bytes(), &fd).map_err(BpfError::pin("filled", &path))?;
        }
        Ok(())
    }

    /// The pin leads to the former program or to this one, never nowhere.
    fn pin_program(&self, name: &str, program: &impl AsFd) -> Result<()> {
        let (path, beside) = (self.pins.program(name), self.pins.program(&format!("{name}_next")));
        pins::remove(&beside)?;
        bpf_syscall::obj_pin(program.as_fd(), &beside).map_err(BpfError::pin("created", &beside))?;
        fs::rename(&beside, &path).map_err(BpfError::pin("created", path))
    }
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Ticks of `bpf_jiffies64` a second: the coarse clocks advance by one tick at a time.
fn jiffies_per_second() -> Result<u64> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_err(|error| BpfError::Object(format!("the kernel does not tell its tick: {error}")))?;
    Ok(1_000_000_000 / tick.tv_nsec().cast_unsigned().max(1))
}

/// What flows are stamped with: seconds since boot, suspension included, as the programs count them.
///
/// # Errors
/// The kernel does not tell its clock.
pub fn clock() -> Result<u32> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(no_clock)?;
    Ok(now.tv_sec() as u32)
}

fn no_clock(error: nix::Error) -> BpfError {
    BpfError::Object(format!("the kernel does not tell its clock: {error}"))
}

/// `bpf_jiffies64`, as user space can work it out.
///
/// # Errors
/// The kernel does not tell its clock.
pub fn jiffies() -> Result<u64> {
    let second = jiffies_per_second()?;
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(no_clock)?;
    let since_boot = now.tv_sec().cast_unsigned() * second + now.tv_nsec().cast_unsigned() * second / 1_000_000_000;
    // INITIAL_JIFFIES of linux/jiffies.h: 32 bits that run over five minutes after boot.
    Ok((1 << 32) - 300 * second + since_boot)
}

/// What programs and maps are made from.
fn version(settings: &LoadSettings) -> String {
    let LoadSettings { netns_cookie, log_level, flows, .. } = settings;
    let object = env!("PORTLANE_OBJECT_HASH");
    let suffix = schema_suffix();
    format!("object {object}, network namespace {netns_cookie}, log level {log_level}, {flows} flow entries{suffix}")
}

fn schema_suffix() -> String {
    format!(", schema {SCHEMA}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_part_of_the_version() {
        let settings = LoadSettings::default();
        assert_ne!(version(&settings), version(&LoadSettings { log_level: 1, ..settings.clone() }));
        assert_ne!(version(&settings), version(&LoadSettings { netns_cookie: 1, ..settings.clone() }));
        assert!(version(&settings).ends_with(&schema_suffix()));
    }
}
