//! What was asked for, in one ACID file: the state in force, and the one that a change was leading to.
//!
//! A change writes where it is going ([`Store::begin`]) before it touches anything, and the new state
//! ([`Store::commit`]) when all is done. Whoever finds a beginning without an end knows what may be half made.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, TableDefinition};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{State, state::SCHEMA, upgrade::upgrade};

/// Name of an empty file in the state directory, written after each commit of another state: a daemon learns so of changes
/// that others made.
pub const CHANGED: &str = "changed";
/// Name of the file in the state directory.
const FILE: &str = "state.redb";
const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("portlane");
/// The state in force.
const STATE: &str = "state";
/// The state that an unfinished change was leading to.
const PENDING: &str = "pending";

/// Why the state cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory cannot be made or removed.
    #[error("{path}: {source}")]
    Directory {
        /// The state directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is damaged or not accessible.
    #[error("the state in {path} cannot be {action}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// "read", "written".
        action: &'static str,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The file holds something else.
    #[error("the state in {path} makes no sense ({problem}): move it away, or use the portlane that wrote it")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The state file. Whoever opens it must hold the lock of its directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The state in force; none before the first change.
    pub state: Option<State>,
    /// Where an unfinished change was leading.
    pub pending: Option<State>,
}

/// Tells two contents of the file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    written: (i64, i64),
}

impl Stamp {
    /// That of the present content; none if there is no file.
    pub fn of(root: &Path) -> Option<Self> {
        let found = fs::metadata(root.join(FILE)).ok()?;
        Some(Self { inode: found.ino(), length: found.len(), written: (found.mtime(), found.mtime_nsec()) })
    }
}

/// What tells the version that a state was stored by.
#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

impl Store {
    /// The state in force, read without touching the file, which opening it does. Whoever looks must hold the lock of its
    /// directory.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn look(root: &Path) -> Result<Option<State>, StoreError> {
        let path = root.join(FILE);
        if !Self::exists(root) {
            return Ok(None);
        }
        match ReadOnlyDatabase::open(&path) {
            Ok(database) => read(&path, &database).map(|stored| stored.state),
            // Whoever wrote it was killed: it must be mended first.
            Err(_) => Self::open(root)?.read().map(|stored| stored.state),
        }
    }

    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(FILE);
        let database = Database::create(&path).map_err(|error| StoreError::Database {
            path: path.clone(),
            action: "opened",
            source: Box::new(error.into()),
        })?;
        Ok(Self { path, database })
    }

    /// Whether there is a file, which [`Store::open`] would make.
    pub fn exists(root: &Path) -> bool {
        root.join(FILE).exists()
    }

    /// Reads both states.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn read(&self) -> Result<Stored, StoreError> {
        read(&self.path, &self.database)
    }

    /// Notes that a change to `next` begins.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&self, next: &State) -> Result<(), StoreError> {
        let text = self.text(next)?;
        self.write(|table| table.insert(PENDING, text.as_str()).map(drop))
    }

    /// Puts `state` in force: the change is complete, or undone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn commit(&self, state: &State) -> Result<(), StoreError> {
        let text = self.text(state)?;
        let mut is_new = false;
        self.write(|table| {
            is_new = table.insert(STATE, text.as_str())?.is_none_or(|before| before.value() != text);
            table.remove(PENDING).map(drop)
        })?;
        if !is_new {
            return Ok(());
        }
        let changed = self.path.with_file_name(CHANGED);
        if let Err(error) = fs::write(&changed, "") {
            // The change is in force all the same; a daemon learns of it with the next one.
            log::warn!("{}: {error}", changed.display());
        }
        Ok(())
    }

    /// Removes the file and what else `names` lists in the directory, and the directory if it is empty then.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(self, root: &Path, names: &[&str]) -> Result<(), StoreError> {
        drop(self.database);
        for name in names.iter().chain(&[FILE, CHANGED]) {
            let path = root.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::Directory { path, source: error });
                }
                _ => {}
            }
        }
        match fs::remove_dir(root) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(StoreError::Directory { path: root.to_owned(), source: error })
            }
            _ => Ok(()),
        }
    }

    fn write(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static str, &'static str>) -> Result<(), redb::StorageError>,
    ) -> Result<(), StoreError> {
        let transaction = || {
            let transaction = self.database.begin_write()?;
            change(&mut transaction.open_table(TABLE)?)?;
            Ok::<_, redb::Error>(transaction.commit()?)
        };
        transaction().map_err(|source| failed(&self.path, "written", source))
    }

    fn text(&self, state: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(state).map_err(|error| nonsense(&self.path, error.to_string()))
    }
}

fn read(path: &Path, database: &impl ReadableDatabase) -> Result<Stored, StoreError> {
    let (state, pending) = rows(database).map_err(|source| failed(path, "read", source))?;
    Ok(Stored { state: parse(path, state)?, pending: parse(path, pending)? })
}

fn rows(database: &impl ReadableDatabase) -> Result<(Option<String>, Option<String>), redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((None, None)),
        table => table?,
    };
    let row = |key| Ok::<_, redb::Error>(table.get(key)?.map(|row| row.value().to_owned()));
    Ok((row(STATE)?, row(PENDING)?))
}

/// Whatever version of portlane wrote it.
fn parse(path: &Path, text: Option<String>) -> Result<Option<State>, StoreError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |error: serde_json::Error| nonsense(path, error.to_string());
    // Today's need not become a tree of values first, which takes several times as long.
    if serde_json::from_str::<Schema>(&text).is_ok_and(|stored| stored.schema == SCHEMA) {
        return serde_json::from_str(&text).map(Some).map_err(wrong);
    }
    let stored = upgrade(serde_json::from_str(&text).map_err(wrong)?).map_err(|problem| nonsense(path, problem))?;
    serde_json::from_value(stored).map(Some).map_err(wrong)
}

fn failed(path: &Path, action: &'static str, source: redb::Error) -> StoreError {
    StoreError::Database { path: path.to_owned(), action, source: Box::new(source) }
}

fn nonsense(path: &Path, problem: String) -> StoreError {
    StoreError::Content { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of the test's own, removed with it.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("portlane-store-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_change_that_was_begun_and_not_ended_is_seen_by_the_next_who_opens() {
        let root = Root::new("begun");
        let before = State { seed: 1, ..State::default() };
        let next = State { seed: 2, ..State::default() };
        {
            let store = Store::open(&root.0).expect("opens");
            assert_eq!(store.read().expect("reads"), Stored::default());
            store.commit(&before).expect("commits");
            store.begin(&next).expect("begins");
        }
        let store = Store::open(&root.0).expect("opens again");
        let stored = Stored { state: Some(before), pending: Some(next.clone()) };
        assert_eq!(store.read().expect("reads"), stored);
        store.commit(&next).expect("commits");
        assert_eq!(store.read().expect("reads"), Stored { state: Some(next), pending: None });
    }

    #[test]
    fn a_commit_of_another_state_is_seen_by_who_watches() {
        let root = Root::new("watched");
        let store = Store::open(&root.0).expect("opens");
        let changed = root.0.join(CHANGED);
        let state = State { seed: 1, ..State::default() };
        for (seed, told) in [(1, true), (1, false), (2, true)] {
            store.begin(&state).expect("begins");
            store.commit(&State { seed, ..state.clone() }).expect("commits");
            assert_eq!(fs::remove_file(&changed).is_ok(), told, "{seed}");
        }
    }

    #[test]
    fn looking_changes_nothing_and_sees_what_is_in_force() {
        let root = Root::new("looking");
        assert_eq!(Store::look(&root.0).expect("looks"), None);
        assert!(!Store::exists(&root.0) && Stamp::of(&root.0).is_none());
        let state = State { seed: 1, ..State::default() };
        Store::open(&root.0).and_then(|store| store.commit(&state)).expect("commits");
        let stamp = Stamp::of(&root.0);
        assert_eq!(Store::look(&root.0).expect("looks"), Some(state.clone()));
        assert_eq!(Stamp::of(&root.0), stamp);
        Store::open(&root.0).and_then(|store| store.commit(&State { seed: 2, ..state })).expect("commits");
        assert_ne!(Stamp::of(&root.0), stamp);
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        let root = Root::new("else");
        let file = root.0.join(FILE);
        fs::write(&file, "not a database, and longer than its header would be".repeat(100)).expect("writes");
        let error = Store::open(&root.0).expect_err("it is refused").to_string();
        assert!(error.contains("cannot be opened"), "{error}");
        assert!(fs::read_to_string(&file).expect("reads").starts_with("not a database"));
    }

    #[test]
    fn removing_leaves_what_is_not_portlanes() {
        let root = Root::new("removing");
        let store = Store::open(&root.0).expect("opens");
        fs::create_dir(root.0.join("containers")).expect("makes");
        fs::write(root.0.join("notes"), "mine").expect("writes");
        store.remove(&root.0, &["containers", "lock"]).expect("removes");
        let left: Vec<_> = fs::read_dir(&root.0).expect("lists").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["notes"]);
    }
}
