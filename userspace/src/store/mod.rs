//! What was asked for, in one ACID file: the state in force, and the one that a change was leading to.
//!
//! A change writes where it is going ([`Store::begin`]) before it touches anything, and the new state
//! ([`Store::commit`]) when all is done. Whoever finds a beginning without an end knows what may be half made.

mod disk;
mod rows;

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use redb::{Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, WriteTransaction, backends::FileBackend};
use thiserror::Error;

use self::{disk::Disk, rows::Problem};
use crate::model::State;

/// Name of an empty file in the state directory, written after each commit of another state: a daemon learns so of changes
/// that others made.
pub const CHANGED: &str = "changed";
/// Name of the file in the state directory.
const FILE: &str = "state.redb";

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
    /// Whether the file holds a state, and in today's form.
    as_today: bool,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The state in force; none before the first change.
    pub state: Option<State>,
    /// Where an unfinished change was leading.
    pub pending: Option<State>,
    /// Whether there is a state in force that no earlier version wrote.
    as_today: bool,
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
        let database = || {
            let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            Database::builder().create_with_backend(Disk::new(FileBackend::new(file)?))
        };
        let database = database().map_err(|error: DatabaseError| StoreError::Database {
            path: path.clone(),
            action: "opened",
            source: Box::new(error.into()),
        })?;
        Ok(Self { path, database, as_today: false })
    }

    /// Whether there is a file, which [`Store::open`] would make.
    pub fn exists(root: &Path) -> bool {
        root.join(FILE).exists()
    }

    /// Reads both states.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn read(&mut self) -> Result<Stored, StoreError> {
        let stored = read(&self.path, &self.database)?;
        self.as_today = stored.as_today;
        Ok(stored)
    }

    /// Notes that a change to `next` begins. `before` is what is in force: what was read, or committed last.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&self, before: &State, next: &State) -> Result<(), StoreError> {
        self.write(|transaction| rows::begin(transaction, before, next))
    }

    /// Puts `state` in force, where `before` is until now: the change is complete, or undone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn commit(&mut self, before: &State, state: &State) -> Result<(), StoreError> {
        let is_new = !self.as_today || before != state;
        self.write(|transaction| rows::commit(transaction, self.as_today.then_some(before), state))?;
        self.as_today = true;
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

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), Problem>) -> Result<(), StoreError> {
        let transaction = || {
            let transaction = self.database.begin_write()?;
            change(&transaction)?;
            Ok::<_, Problem>(transaction.commit()?)
        };
        transaction().map_err(|problem| failed(&self.path, "written", problem))
    }
}

fn read(path: &Path, database: &impl ReadableDatabase) -> Result<Stored, StoreError> {
    rows::read(database).map_err(|problem| failed(path, "read", problem))
}

fn failed(path: &Path, action: &'static str, problem: Problem) -> StoreError {
    let path = path.to_owned();
    match problem {
        Problem::Redb(source) => StoreError::Database { path, action, source: Box::new(source) },
        Problem::Content(problem) => StoreError::Content { path, problem },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Container;

    pub(super) const CONTAINER: &str = r#"{"id":"aa","name":"web","network":"host","endpoints":[],"netns":"","hostname":"",
        "dns":[],"dns_search":[],"dns_options":[],"extra_hosts":[],"links":[],"exposed":[],"publishes":[],
        "command":["true"],"status":{"exited":{"code":0}},"auto_remove":false}"#;
    /// The rest of a state, after schema, seed and containers.
    const REST: &str = r#""default_network":{"bip":null,"ipv6":true,"subnet6":null,"icc":true,"masquerade":true,
        "mtu":1500},"networks":{},"next_generation":1"#;

    pub(super) fn parsed<T: for<'de> serde::Deserialize<'de>>(text: &str) -> T {
        serde_json::from_str(text).expect("it is JSON")
    }

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
            let mut store = Store::open(&root.0).expect("opens");
            assert_eq!(store.read().expect("reads"), Stored::default());
            store.commit(&State::default(), &before).expect("commits");
            store.begin(&before, &next).expect("begins");
        }
        let mut store = Store::open(&root.0).expect("opens again");
        let stored = Stored { state: Some(before.clone()), pending: Some(next.clone()), as_today: true };
        assert_eq!(store.read().expect("reads"), stored);
        store.commit(&before, &next).expect("commits");
        assert_eq!(store.read().expect("reads"), Stored { state: Some(next), pending: None, as_today: true });
    }

    #[test]
    fn a_file_that_somebody_has_open_is_refused() {
        let root = Root::new("open");
        let first = Store::open(&root.0).expect("opens");
        assert!(Store::open(&root.0).is_err());
        drop(first);
        Store::open(&root.0).expect("opens when it is closed");
    }

    #[test]
    fn what_an_earlier_version_stored_in_one_row_is_taken_over_with_its_unfinished_change() {
        let root = Root::new("one-row");
        let earlier = |seed| format!(r#"{{"schema":2,"seed":{seed},"containers":{{"aa":{CONTAINER}}},{REST}}}"#);
        {
            let database = Database::create(root.0.join(FILE)).expect("makes");
            let transaction = database.begin_write().expect("begins");
            let mut table = transaction.open_table(rows::TABLE).expect("opens");
            table.insert("state", earlier(1).as_str()).expect("writes");
            table.insert("pending", earlier(2).as_str()).expect("writes");
            drop(table);
            transaction.commit().expect("commits");
        }
        let mut store = Store::open(&root.0).expect("opens");
        let stored = store.read().expect("reads");
        let (state, pending) = (stored.state.expect("a state"), stored.pending.expect("an unfinished change"));
        assert_eq!((state.seed, pending.seed), (1, 2));
        assert_eq!(state.containers["aa"].name, "web");
        assert_eq!(state.containers, pending.containers);
        store.commit(&state, &state).expect("commits");
        assert_eq!(store.read().expect("reads"), Stored { state: Some(state), pending: None, as_today: true });
    }

    #[test]
    fn what_an_earlier_version_stored_as_text_is_taken_over_with_its_unfinished_change() {
        let root = Root::new("texts");
        let rest = |seed| format!(r#"{{"schema":3,"seed":{seed},"containers":{{}},{REST}}}"#);
        {
            let database = Database::create(root.0.join(FILE)).expect("makes");
            let transaction = database.begin_write().expect("begins");
            let mut table = transaction.open_table(rows::TABLE).expect("opens");
            table.insert("state", rest(1).as_str()).expect("writes");
            let change = format!(r#"{{"rest":{},"containers":{{"aa":null,"bb":{CONTAINER}}}}}"#, rest(2));
            table.insert("pending", change.as_str()).expect("writes");
            transaction.open_table(rows::TEXTS).expect("opens").insert("aa", CONTAINER).expect("writes");
            drop(table);
            transaction.commit().expect("commits");
        }
        let mut store = Store::open(&root.0).expect("opens");
        let stored = store.read().expect("reads");
        let (state, pending) = (stored.state.expect("a state"), stored.pending.expect("an unfinished change"));
        assert_eq!((state.seed, pending.seed, pending.schema), (1, 2, State::default().schema));
        assert_eq!(state.containers.values().collect::<Vec<_>>(), pending.containers.values().collect::<Vec<_>>());
        assert!(state.containers.contains_key("aa") && pending.containers.contains_key("bb"));
        store.commit(&state, &state).expect("commits");
        assert_eq!(store.read().expect("reads"), Stored { state: Some(state), pending: None, as_today: true });
    }

    #[test]
    fn a_change_is_stored_as_what_it_changes() {
        let root = Root::new("change");
        let container = |id: &str, name: &str| Container { id: id.into(), name: name.to_owned(), ..parsed(CONTAINER) };
        let state = |names: &[(&str, &str)]| State {
            containers: names.iter().map(|(id, name)| ((*id).into(), container(id, name).into())).collect(),
            ..State::default()
        };
        let before = state(&[("aa", "stays"), ("bb", "changes"), ("cc", "goes")]);
        let next = state(&[("aa", "stays"), ("bb", "changed"), ("dd", "comes")]);
        let mut store = Store::open(&root.0).expect("opens");
        store.commit(&State::default(), &before).expect("commits");
        store.begin(&before, &next).expect("begins");
        let stored = Stored { state: Some(before.clone()), pending: Some(next.clone()), as_today: true };
        assert_eq!(store.read().expect("reads"), stored);
        store.commit(&before, &next).expect("commits");
        assert_eq!(store.read().expect("reads"), Stored { state: Some(next), pending: None, as_today: true });
    }

    #[test]
    fn a_commit_of_another_state_is_seen_by_who_watches() {
        let root = Root::new("watched");
        let mut store = Store::open(&root.0).expect("opens");
        let changed = root.0.join(CHANGED);
        let mut state = State { seed: 1, ..State::default() };
        for (seed, told) in [(1, true), (1, false), (2, true)] {
            let next = State { seed, ..state.clone() };
            store.begin(&state, &next).expect("begins");
            store.commit(&state, &next).expect("commits");
            state = next;
            assert_eq!(fs::remove_file(&changed).is_ok(), told, "{seed}");
        }
    }

    #[test]
    fn looking_changes_nothing_and_sees_what_is_in_force() {
        let root = Root::new("looking");
        assert_eq!(Store::look(&root.0).expect("looks"), None);
        assert!(!Store::exists(&root.0) && Stamp::of(&root.0).is_none());
        let state = State { seed: 1, ..State::default() };
        let mut store = Store::open(&root.0).expect("opens");
        store.commit(&State::default(), &state).expect("commits");
        drop(store);
        let stamp = Stamp::of(&root.0);
        assert_eq!(Store::look(&root.0).expect("looks"), Some(state.clone()));
        assert_eq!(Stamp::of(&root.0), stamp);
        let mut store = Store::open(&root.0).expect("opens again");
        store.commit(&state, &State { seed: 2, ..state.clone() }).expect("commits");
        drop(store);
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
