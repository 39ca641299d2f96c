//! The state file as redb sees it, which waits for the disk less often than redb asks it to.
//!
//! redb waits seven times for a command that changes something. Four of these are what a power cut is survived by: one for each of
//! the two transactions, and two for what the closed file knows of its free pages. The other three are about
//!
//! - the *recovery flag* in its header, which says that whoever opened the file has not closed it (redb 4.4, `docs/design.md`: "god
//!   byte"). It is set before anything else is written, and cleared when all the rest is on the disk. If the power goes and the disk
//!   has not heard that it was set, the file is as it was closed before, but for what was written to its free pages; if the disk has
//!   not heard that it was cleared, the next one who opens the file mends what needs no mending.
//! - the file's *length*, where it gets shorter: redb mends a file that is longer than its header says.
//!
//! Whoever is killed, on a host that goes on, loses nothing of what he wrote; whoever opens the file then waits for the disk first.

use std::{
    io,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend};

/// Bytes of the header, which begins the file.
const HEADER: usize = 320;
/// Where its flags are.
const FLAGS: usize = 9;
/// The recovery flag.
const RECOVERY: u8 = 2;
/// No header, and so like none: it has no magic number.
const UNKNOWN: [u8; HEADER] = [0; HEADER];

/// A file that waits for the disk where something could be lost.
#[derive(Debug)]
pub(super) struct Disk<B> {
    file: B,
    written: Mutex<Written>,
}

/// What is in the file, and perhaps not on the disk.
#[derive(Debug)]
struct Written {
    /// The header, as far as it is known.
    header: Option<[u8; HEADER]>,
    /// Whether the disk may lack something that would be missed.
    matters: bool,
}

impl<B> Disk<B> {
    pub(super) const fn new(file: B) -> Self {
        // Whoever wrote what is there was perhaps killed.
        Self { file, written: Mutex::new(Written { header: None, matters: true }) }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: StorageBackend> StorageBackend for Disk<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)?;
        let mut written = self.written();
        if let (None, Some(header)) = (&written.header, header_in(offset, out)) {
            // Whoever cleared the flag had waited for all that mattered.
            written.matters = header[FLAGS] & RECOVERY != 0;
            written.header = Some(header);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.written().matters |= length > self.file.len()?;
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut written = self.written();
        if written.matters {
            self.file.sync_data()?;
            written.matters = false;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let header = header_in(offset, data);
        written.matters |= !header.zip(written.header).is_some_and(differ_by_the_flag);
        if offset < HEADER as u64 {
            written.header = Some(header.unwrap_or(UNKNOWN));
        }
        self.file.write(offset, data)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// The header, if that is what these bytes at this offset are.
fn header_in(offset: u64, data: &[u8]) -> Option<[u8; HEADER]> {
    data.try_into().ok().filter(|_| offset == 0)
}

/// Whether the recovery flag, and nothing else, is otherwise in one header than in the other.
fn differ_by_the_flag((mut one, other): ([u8; HEADER], [u8; HEADER])) -> bool {
    one[FLAGS] ^= RECOVERY;
    one == other
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::Database;

    use super::{
        super::{rows, tests::CONTAINER, tests::parsed},
        *,
    };
    use crate::model::{Container, State};

    /// What was asked of a file.
    #[derive(Clone, Debug)]
    enum Asked {
        Write(u64, Vec<u8>),
        Length(u64),
        Sync,
    }

    /// What is in a file, and all that was asked of it.
    #[derive(Debug, Default)]
    struct Content {
        bytes: Vec<u8>,
        asked: Vec<Asked>,
    }

    impl Content {
        fn ask(&mut self, asked: Asked) {
            match &asked {
                Asked::Write(offset, data) => {
                    let offset = usize::try_from(*offset).expect("it is short");
                    self.bytes[offset..offset + data.len()].copy_from_slice(data);
                }
                Asked::Length(length) => self.bytes.resize(usize::try_from(*length).expect("it is short"), 0),
                Asked::Sync => {}
            }
            self.asked.push(asked);
        }
    }

    /// A file in memory.
    #[derive(Clone, Debug, Default)]
    struct Memory(Arc<Mutex<Content>>);

    impl Memory {
        fn content(&self) -> MutexGuard<'_, Content> {
            self.0.lock().expect("nobody panicked")
        }

        fn open(&self) -> Database {
            Database::builder().create_with_backend(Disk::new(self.clone())).expect("it opens")
        }

        fn syncs(&self) -> usize {
            self.content().asked.iter().filter(|asked| matches!(asked, Asked::Sync)).count()
        }
    }

    impl StorageBackend for Memory {
        fn len(&self) -> io::Result<u64> {
            Ok(self.content().bytes.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            out.copy_from_slice(&self.content().bytes[offset..offset + out.len()]);
            Ok(())
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.content().ask(Asked::Length(length));
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.content().ask(Asked::Sync);
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.content().ask(Asked::Write(offset, data.to_vec()));
            Ok(())
        }
    }

    /// As many containers as the number says, one for each change: the file grows, and shrinks again.
    fn state(number: u64) -> State {
        let many = if number % 4 == 3 { 0 } else { number * 12 };
        let containers = (0..many).map(|id| {
            let id: Arc<str> = format!("{id:064}").into();
            (Arc::clone(&id), Arc::new(Container { id, ..parsed(CONTAINER) }))
        });
        State { seed: number, containers: containers.collect(), ..State::default() }
    }

    fn change(database: &Database, (before, next): (&State, &State), end: bool) {
        let transaction = database.begin_write().expect("begins");
        if end { rows::commit(&transaction, Some(before), next) } else { rows::begin(&transaction, before, next) }
            .expect("writes");
        transaction.commit().expect("commits");
    }

    #[test]
    fn a_change_waits_for_the_disk_four_times_and_who_only_reads_twice() {
        let file = Memory::default();
        let database = file.open();
        change(&database, (&State::default(), &state(1)), true);
        drop(database);
        let before = file.syncs();
        drop(file.open());
        let read = file.syncs();
        let database = file.open();
        change(&database, (&state(1), &state(2)), false);
        change(&database, (&state(1), &state(2)), true);
        drop(database);
        assert_eq!((read - before, file.syncs() - read), (2, 4));
    }

    /// The number of the state that is found when the power went after all of this was asked, and the disk had heard of what was not
    /// waited for, or had not.
    fn found_after_power_cut(asked: &[Asked], random: &mut u64) -> Option<u64> {
        let heard = asked.iter().rposition(|asked| matches!(asked, Asked::Sync)).unwrap_or_default();
        let after = Memory::default();
        for (index, asked) in asked.iter().enumerate() {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Of a file that did not become longer, nothing behind its end was written.
            let grows = matches!(asked, Asked::Length(length) if *length > after.content().bytes.len() as u64);
            if index <= heard || grows || *random >> 63 == 0 {
                after.content().ask(asked.clone());
            }
        }
        rows::read(&after.open()).expect("the state can be read").state.map(|state| state.seed)
    }

    #[test]
    fn whatever_the_disk_has_heard_when_the_power_goes_the_state_is_the_last_one_or_the_next() {
        let file = Memory::default();
        // How much had been asked when a change was complete, and its number.
        let mut complete = Vec::new();
        let mut before = State::default();
        for number in 1..=6 {
            let next = state(number);
            let database = file.open();
            change(&database, (&before, &next), false);
            change(&database, (&before, &next), true);
            complete.push((file.content().asked.len(), number));
            before = next;
        }
        let asked = file.content().asked.clone();
        let mut random = 1;
        for end in (complete[0].0..=asked.len()).flat_map(|end| [end; 3]) {
            let last = complete.iter().rfind(|(when, _)| *when <= end).map(|(_, number)| *number);
            let next = complete.iter().find(|(when, _)| *when > end).map(|(_, number)| *number);
            let found = found_after_power_cut(&asked[..end], &mut random);
            assert!(found == last || found == next, "{found:?} after {end}: {last:?}, {next:?}");
        }
    }

    #[test]
    fn the_same_holds_for_who_goes_on_where_another_was_killed() {
        let file = Memory::default();
        let change_to = |file: &Memory, number| {
            let database = file.open();
            let before = rows::read(&database).expect("reads").state.unwrap_or_default();
            change(&database, (&before, &state(number)), true);
            file.content().asked.len()
        };
        change_to(&file, 1);
        let first = file.content().asked.len();
        change_to(&file, 2);
        let asked = file.content().asked.clone();
        let mut random = 1;
        for killed in first..asked.len() {
            let file = Memory::default();
            asked[..killed].iter().for_each(|asked| file.content().ask(asked.clone()));
            let complete = change_to(&file, 5);
            let asked = file.content().asked.clone();
            for end in killed..=asked.len() {
                let found = found_after_power_cut(&asked[..end], &mut random);
                let known = if end < complete { &[1, 2, 5][..] } else { &[5] };
                assert!(found.is_some_and(|found| known.contains(&found)), "{found:?}: {killed}, {end} of {complete}");
            }
        }
    }
}
