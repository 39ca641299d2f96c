//! The kernel's grace periods, shortened while programs are put on interfaces. Each program waits for one, 10 to 15 ms
//! (`tcx_entry_sync`, Linux 6.6), where the kernel's own changes of interfaces have theirs expedited (`synchronize_net`).
//!
//! The switch is the whole machine's (`rcupdate.rcu_expedited`); where the administrator has set `rcupdate.rcu_normal`, as
//! real-time kernels do, it changes nothing.

use std::{
    fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use log::warn;

use super::sysctl::boot;

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// Grace periods are expedited until this is dropped.
#[derive(Debug)]
pub struct Expedited {
    switch: PathBuf,
    record: PathBuf,
}

impl Expedited {
    /// Turns the switch, and has a file say so until it is turned back. None where it cannot be turned, which is no error, or
    /// is turned already.
    pub fn begin(record: &Path) -> Option<Self> {
        Self::of(Path::new(SWITCH), record)
    }

    fn of(switch: &Path, record: &Path) -> Option<Self> {
        let boot = boot().ok().filter(|_| is(switch, "0"))?;
        fs::write(record, boot).ok()?;
        // From here on it is turned back.
        let turned = Self { switch: switch.to_owned(), record: record.to_owned() };
        set(switch, "1").ok().map(|()| turned)
    }

    /// Turns the switch back if the file says that somebody who turned it was killed.
    pub fn end(record: &Path) {
        Self::end_of(Path::new(SWITCH), record);
    }

    fn end_of(switch: &Path, record: &Path) {
        let Ok(then) = fs::read_to_string(record) else { return };
        // Since the machine was started anew, it is whatever it is by somebody else's wish.
        let switch_back = boot().is_ok_and(|boot| boot == then) && is(switch, "1");
        let done = if switch_back { set(switch, "0") } else { Ok(()) }.and_then(|()| fs::remove_file(record));
        if let Err(error) = done {
            warn!("{} cannot be set back to 0: {error}", switch.display());
        }
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        Self::end_of(&self.switch, &self.record);
    }
}

fn is(switch: &Path, value: &str) -> bool {
    fs::read_to_string(switch).is_ok_and(|found| found.trim_end() == value)
}

/// In one call, and without making a file: only the kernel's own is meant.
fn set(switch: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(switch)?.write_all_at(value.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use std::mem;

    use super::*;

    /// A switch of the test's own, and where its record would be; both go with it.
    struct Bench {
        folder: PathBuf,
        switch: PathBuf,
        record: PathBuf,
    }

    impl Bench {
        fn with(name: &str, value: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("portlane-grace-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder");
            let switch = folder.join("switch");
            fs::write(&switch, value).expect("written");
            Self { record: folder.join("record"), folder, switch }
        }

        fn turn(&self) -> Option<Expedited> {
            Expedited::of(&self.switch, &self.record)
        }

        fn shows(&self, value: &str) -> bool {
            is(&self.switch, value) && !self.record.exists()
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn it_is_turned_back_when_the_work_is_done() {
        let bench = Bench::with("done", "0\n");
        let expedited = bench.turn().expect("turned");
        assert!(is(&bench.switch, "1") && bench.record.exists());
        drop(expedited);
        assert!(bench.shows("0"));
    }

    #[test]
    fn what_a_killed_command_left_is_turned_back_by_the_next() {
        let bench = Bench::with("killed", "0\n");
        mem::forget(bench.turn().expect("turned"));
        Expedited::end_of(&bench.switch, &bench.record);
        assert!(bench.shows("0"));
    }

    #[test]
    fn what_the_administrator_turned_stays() {
        let bench = Bench::with("administrator", "1\n");
        assert!(bench.turn().is_none());
        Expedited::end_of(&bench.switch, &bench.record);
        assert!(bench.shows("1"));
        // Or turned since the machine was started anew.
        fs::write(&bench.record, "another boot").expect("written");
        Expedited::end_of(&bench.switch, &bench.record);
        assert!(bench.shows("1"));
    }

    #[test]
    fn without_a_switch_nothing_is_made() {
        let bench = Bench::with("missing", "0\n");
        fs::remove_file(&bench.switch).expect("removed");
        assert!(bench.turn().is_none());
        assert!(!bench.switch.exists() && !bench.record.exists());
    }
}
