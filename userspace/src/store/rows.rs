//! A state as rows: one for each container, and one for the rest. Of many containers, a change writes those that it
//! changes, and what a change leads to is stored as its difference from what is in force.

use std::{collections::BTreeMap, sync::Arc};

use redb::{AccessGuard, ReadableDatabase, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::Stored;
use crate::{
    model::{
        Container, State,
        state::SCHEMA,
        tables::difference,
        upgrade::{OF_ONE_ROW, upgrade},
    },
    parallel,
};

/// [`STATE`] and [`PENDING`].
pub(super) const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("portlane");
/// Containers in force, by identifier.
const CONTAINERS: TableDefinition<'_, &str, &str> = TableDefinition::new("containers");
/// The state in force, without its containers.
const STATE: &str = "state";
/// The [`Change`] that is not finished.
const PENDING: &str = "pending";

/// The way from one state to another.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    /// The other, without its containers.
    rest: State,
    /// Its containers that are new or otherwise; none where one is gone.
    containers: BTreeMap<String, Option<Arc<Container>>>,
}

impl Change {
    fn between(before: &State, next: &State) -> Self {
        let (put, gone) = difference(&next.containers, &before.containers);
        let put = put.map(|(id, container)| (id.clone(), Some(container.clone())));
        let containers = put.chain(gone.map(|(id, _)| (id.clone(), None))).collect();
        Self { rest: without_containers(next), containers }
    }

    fn from(self, before: &State) -> State {
        let mut next = State { containers: before.containers.clone(), ..self.rest };
        for (id, container) in self.containers {
            match container {
                Some(container) => drop(next.containers.insert(id, container)),
                None => drop(next.containers.remove(&id)),
            }
        }
        next
    }
}

/// What is in the way of reading or writing.
#[derive(Debug)]
pub(super) enum Problem {
    /// The file.
    Redb(redb::Error),
    /// What it holds, in a few words.
    Content(String),
}

impl<E: Into<redb::Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

type Result<T> = std::result::Result<T, Problem>;

/// Notes where a change leads that begins with `before` in force.
pub(super) fn begin(transaction: &WriteTransaction, before: &State, next: &State) -> Result<()> {
    let text = text(&Change::between(before, next))?;
    transaction.open_table(TABLE)?.insert(PENDING, text.as_str())?;
    Ok(())
}

/// Puts `state` in force. `before` is what the rows hold, if that is known and in today's form.
pub(super) fn commit(transaction: &WriteTransaction, before: Option<&State>, state: &State) -> Result<()> {
    let mut table = transaction.open_table(TABLE)?;
    table.insert(STATE, text(&without_containers(state))?.as_str())?;
    table.remove(PENDING)?;
    let mut rows = transaction.open_table(CONTAINERS)?;
    let none = BTreeMap::new();
    if before.is_none() {
        rows.retain(|_, _| false)?;
    }
    let (put, gone) = difference(&state.containers, before.map_or(&none, |before| &before.containers));
    for (id, container) in put {
        rows.insert(id.as_str(), text(container)?.as_str())?;
    }
    for (id, _) in gone {
        rows.remove(id.as_str())?;
    }
    Ok(())
}

/// Whatever version of portlane wrote it.
pub(super) fn read(database: &impl ReadableDatabase) -> Result<Stored> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Stored::default()),
        table => table?,
    };
    let row = |key| Ok::<_, Problem>(table.get(key)?.map(|row| row.value().to_owned()));
    let (mut state, as_today) = match row(STATE)? {
        Some(text) => {
            let (state, as_today) = state_of(&text)?;
            (Some(state), as_today)
        }
        None => (None, false),
    };
    if let Some(state) = state.as_mut().filter(|_| as_today) {
        let containers = transaction.open_table(CONTAINERS)?;
        let rows = containers.iter()?.collect::<std::result::Result<Vec<_>, _>>()?;
        let read = |(id, container): &(AccessGuard<'_, &str>, AccessGuard<'_, &str>)| {
            Ok::<_, Problem>((id.value().to_owned(), parse(container.value())?))
        };
        state.containers = parallel::all(&rows, read)?.into_iter().collect();
    }
    let pending = match row(PENDING)? {
        Some(text) => Some(pending_of(&text, state.as_ref())?),
        None => None,
    };
    Ok(Stored { state, pending, as_today })
}

/// What a row holds of a state, and whether that is today's form, with containers in rows of their own.
fn state_of(text: &str) -> Result<(State, bool)> {
    if schema(text) == Some(SCHEMA) {
        return Ok((parse(text)?, true));
    }
    let stored = upgrade(parse(text)?).map_err(Problem::Content)?;
    serde_json::from_value(stored).map(|state| (state, false)).map_err(no_sense)
}

/// Earlier versions stored the whole state that a change was leading to.
fn pending_of(text: &str, before: Option<&State>) -> Result<State> {
    if schema(text).is_some_and(|schema| schema <= OF_ONE_ROW) {
        return state_of(text).map(|(state, _)| state);
    }
    Ok(parse::<Change>(text)?.from(before.unwrap_or(&State::default())))
}

fn schema(text: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    serde_json::from_str(text).ok().map(|stored: Schema| stored.schema)
}

fn without_containers(state: &State) -> State {
    let State { schema, seed, next_generation, xdp, .. } = *state;
    State {
        schema,
        seed,
        next_generation,
        xdp,
        default_network: state.default_network.clone(),
        resolver: state.resolver.clone(),
        pools: state.pools.clone(),
        networks: state.networks.clone(),
        flows: state.flows,
        containers: BTreeMap::new(),
    }
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(no_sense)
}

fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(no_sense)
}

fn no_sense(error: serde_json::Error) -> Problem {
    Problem::Content(error.to_string())
}
