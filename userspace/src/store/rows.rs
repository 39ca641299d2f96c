//! A state as rows: one for each container, and one for the rest. Of many containers, a change writes those that it
//! changes, and what a change leads to is stored as its difference from what is in force.
//!
//! The rest, and a change, are JSON. Every command reads the rows of all containers: those are postcard, which has neither names nor
//! kinds of fields. So any change of what a container has, a new field too, is a new schema: the container as it was stays behind,
//! to read its rows.

use std::{collections::BTreeMap, sync::Arc};

use redb::{ReadTransaction, ReadableDatabase, ReadableTable as _, TableDefinition, Value, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::Stored;
use crate::model::{
    Container, State,
    state::SCHEMA,
    tables::difference,
    upgrade::{OF_LISTS, OF_MESSAGES, OF_ONE_ROW, OF_TEXT, upgrade},
};

/// [`STATE`] and [`PENDING`].
pub(super) const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("portlane");
/// Containers in force, by identifier.
const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("packed");
/// The same as JSON, of [`OF_TEXT`].
pub(super) const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("containers");
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
    containers: BTreeMap<Arc<str>, Option<Arc<Container>>>,
}

impl Change {
    fn between(before: &State, next: &State) -> Self {
        let (put, gone) = difference(&next.containers, &before.containers);
        let put = put.map(|(id, container)| (id.clone(), Some(container.clone())));
        let containers = put.chain(gone.map(|(id, _)| (id.clone(), None))).collect();
        Self { rest: without_containers(next), containers }
    }

    fn from(self, before: &State) -> State {
        // An earlier version may have begun it.
        let mut next = State { containers: before.containers.clone(), schema: SCHEMA, ..self.rest };
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
        transaction.delete_table(TEXTS)?;
    }
    let (put, gone) = difference(&state.containers, before.map_or(&none, |before| &before.containers));
    for (id, container) in put {
        rows.insert(&**id, pack(container)?.as_slice())?;
    }
    for (id, _) in gone {
        rows.remove(&**id)?;
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
    let (mut state, stored_as) = match row(STATE)? {
        Some(text) => {
            let (state, schema) = state_of(&text)?;
            (Some(state), schema)
        }
        None => (None, None),
    };
    if let Some(state) = state.as_mut() {
        match stored_as {
            Some(SCHEMA) => state.containers = containers(&transaction, CONTAINERS, unpack)?,
            Some(OF_MESSAGES | OF_LISTS) => state.containers = containers(&transaction, CONTAINERS, unpack_message)?,
            Some(OF_TEXT) => state.containers = containers(&transaction, TEXTS, parse)?,
            _ => {}
        }
    }
    let as_today = stored_as == Some(SCHEMA);
    let pending = match row(PENDING)? {
        Some(text) => Some(pending_of(&text, state.as_ref())?),
        None => None,
    };
    Ok(Stored { state, pending, as_today })
}

/// The rows of all containers.
fn containers<V: Value>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, &'static str, V>,
    read: impl Fn(V::SelfType<'_>) -> Result<Container>,
) -> Result<BTreeMap<Arc<str>, Arc<Container>>> {
    let table = transaction.open_table(table)?;
    let rows = table.iter()?;
    rows.map(|row| {
        let container = read(row?.1.value())?;
        Ok((Arc::clone(&container.id), Arc::new(container)))
    })
    .collect()
}

/// What a row holds of a state, and its schema; where that is not today's, containers may be in it.
fn state_of(text: &str) -> Result<(State, Option<u32>)> {
    let schema = schema(text);
    if schema == Some(SCHEMA) {
        return Ok((parse(text)?, schema));
    }
    let stored = upgrade(parse(text)?).map_err(Problem::Content)?;
    serde_json::from_value(stored).map(|state| (state, schema)).map_err(no_sense)
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

fn pack(container: &Container) -> Result<Vec<u8>> {
    postcard::to_allocvec(container).map_err(no_sense)
}

fn unpack(row: &[u8]) -> Result<Container> {
    postcard::from_bytes(row).map_err(no_sense)
}

/// Of [`OF_LISTS`] and [`OF_MESSAGES`].
fn unpack_message(row: &[u8]) -> Result<Container> {
    rmp_serde::from_slice(row).map_err(no_sense)
}

fn no_sense(error: impl ToString) -> Problem {
    Problem::Content(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container with something in each of its fields, as it is packed today.
    const TODAY: &str =
        "0261610377656206627269646765010309706f72746c616e65300465746830ac11000201fd0000000000000000000000000000
        020242ac1100020b76657468313233343536370101770d05706c2d616101016205016801000909090901076578616d706c6501076e646f74
        733a3101017801fd0000000000000000000000000000030102626202646201013536280101020001007f000001903f913f5002000a000000
        0801fd000000000000000000000000000000080105736c65657001070801090101";
    /// The same when rows had their ports as one string of bytes.
    const DENSE: &str = "dc0012a26161a3776562a6627269646765919903a9706f72746c616e6530a46574683094ccac110002dc0010ccfd00000000000000000000
        0000000002960242ccac110002ab766574683132333435363791a177f9a5706c2d616192a16205a1689181a25634940909090991a7657861
        6d706c6591a76e646f74733a319192a17881a25636dc0010ccfd0000000000000000000000000000039192a26262a264629192a375647092
        3536c4280101020001007f000001903f913f5002000a0000000801fd0000000000000000000000000000000891a5736c65657081a772756e
        6e696e6793070809c3a966756c6c2d636f6e65";
    /// The same when rows were first packed.
    const PACKED: &str = "dc0012a26161a3776562a6627269646765919903a9706f72746c616e6530a46574683094ccac110002dc0010ccfd00000000000000000000
        0000000002960242ccac110002ab766574683132333435363791a177f9a5706c2d616192a16205a1689181a25634940909090991a7657861
        6d706c6591a76e646f74733a319192a17881a25636dc0010ccfd0000000000000000000000000000039192a26262a264629192a375647092
        353691970102a374637081a25634947f00000192cd1f90cd1f91509281a25634950a0000000881a25636dc0011ccfd000000000000000000
        0000000000000891a5736c65657081a772756e6e696e6793070809c3a966756c6c2d636f6e65";
    const TEXT: &str = r#"{"id":"aa","name":"web","network":"bridge","endpoints":[{"number":3,"network":"portlane0",
        "interface":"eth0","addr4":"172.17.0.2","addr6":"fd00::2","mac":"02:42:ac:11:00:02","veth":"veth1234567",
        "aliases":["w"],"priority":-7}],"netns":"pl-aa","foreign":{"boot":"b","cookie":5},"hostname":"h",
        "dns":["9.9.9.9"],"dns_search":["example"],"dns_options":["ndots:1"],"extra_hosts":[["x","fd00::3"]],
        "links":[{"target":"bb","alias":"db"}],"exposed":[{"proto":"udp","span":"53-54"}],
        "publishes":[{"id":1,"generation":2,"proto":"tcp","host_addr":"127.0.0.1","host":"8080-8081",
        "container_first":80,"sources":["10.0.0.0/8","fd00::/8"]}],"command":["sleep"],
        "status":{"running":{"pid":7,"start_time":8,"identity":9}},"auto_remove":true,"nat":"full-cone"}"#;

    #[test]
    fn a_row_is_read_as_it_was_first_packed() {
        let container: Container = parse(TEXT).unwrap_or_else(|_| panic!("it is a container"));
        for hexadecimal in [TODAY, DENSE, PACKED] {
            let bytes = hexadecimal.split_whitespace().flat_map(|line| line.as_bytes().chunks(2));
            let bytes: Vec<u8> = bytes
                .map(|digits| u8::from_str_radix(&String::from_utf8_lossy(digits), 16).expect("two hexadecimal digits"))
                .collect();
            let unpack = if hexadecimal == TODAY { unpack } else { unpack_message };
            assert!(unpack(&bytes).is_ok_and(|unpacked| unpacked == container));
        }
        // Before Linux 6.9, and for those that ended.
        for status in [r#"{"running":{"pid":7,"start_time":8}}"#, r#"{"exited":{"code":null}}"#] {
            let status = parse(status).unwrap_or_else(|_| panic!("it is a status"));
            let container = Container { status, ..container.clone() };
            let packed = pack(&container).unwrap_or_else(|_| panic!("it can be packed"));
            assert!(unpack(&packed).is_ok_and(|unpacked| unpacked == container));
        }
    }
}
