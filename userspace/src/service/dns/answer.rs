//! From a question to an answer, as messages.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};

use super::{known::Known, upstream};
use crate::{
    engine::{self, EngineError},
    model::{
        Names,
        names::{self, Answer, Kind, TTL},
    },
};

/// The largest datagram: what passes anywhere without fragments (the DNS flag day of 2020).
const DATAGRAM: u16 = 1232;
/// The same for who says nothing of what it can take (RFC 1035 §4.2.1).
const SMALL_DATAGRAM: u16 = 512;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What answers are made from.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) known: Arc<Known>,
}

impl Resolver {
    pub(super) async fn new(root: PathBuf) -> Result<Self, EngineError> {
        Ok(Self { known: Known::new(root).await? })
    }

    /// The answer to a message that came to `gateway`; none to what is no question.
    pub(super) async fn answer(
        &self,
        gateway: IpAddr,
        source: IpAddr,
        transport: Transport,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let Ok(query) = Message::from_vec(bytes) else { return malformed(bytes) };
        let limit = match (transport, &query.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(SMALL_DATAGRAM, DATAGRAM),
            (Transport::Udp, None) => SMALL_DATAGRAM,
        };
        let question = match checked(&query) {
            Checked::Nothing => return None,
            Checked::Wrong(code) => return fitted(&reply(&query, code), limit),
            Checked::Question(question) => question,
        };
        let names = self.known.names().await;
        // A name that cannot be written down is nobody's here.
        let name = plain(question.name()).unwrap_or_default();
        let local = |code, data: Vec<RData>| {
            let mut message = reply(&query, code);
            message.metadata.authoritative = true;
            let record = |data| Record::from_rdata(question.name().clone(), TTL, data);
            message.add_answers(data.into_iter().map(record));
            fitted(&message, limit)
        };
        match names.answer(gateway, source, &name, kind(question.query_type())) {
            Answer::Addresses(mut addresses) => {
                // Not always the same one first.
                let turns = usize::from(query.id) % addresses.len().max(1);
                addresses.rotate_left(turns);
                local(ResponseCode::NoError, addresses.into_iter().map(address).collect())
            }
            Answer::Name(name) => {
                // A name with a label that is too long for any message stays without.
                let name = Name::from_ascii(format!("{name}.")).ok();
                local(ResponseCode::NoError, name.map(|name| RData::PTR(PTR(name))).into_iter().collect())
            }
            Answer::NoSuchName => local(ResponseCode::NXDomain, Vec::new()),
            Answer::Refused => fitted(&reply(&query, ResponseCode::Refused), limit),
            Answer::Internal => fitted(&reply(&query, ResponseCode::ServFail), limit),
            Answer::Forward(own) => match upstream::ask(&servers(&names, &own), transport, bytes).await {
                Some(response) if response.len() <= usize::from(limit) => Some(response),
                Some(_) => fitted(&reply(&query, ResponseCode::NoError).truncate(), limit),
                None => fitted(&reply(&query, ResponseCode::ServFail), limit),
            },
        }
    }
}

/// Those of the container, or of `daemon.json`, or the host's. A loopback address that is not the host's own choice
/// means the container's loopback, which is out of reach; our own address would ask in circles.
fn servers(names: &Names, own: &[IpAddr]) -> Vec<SocketAddr> {
    let chosen = if own.is_empty() { names.servers() } else { own };
    let mut servers = if chosen.is_empty() {
        engine::host_name_servers()
    } else {
        let reachable = chosen.iter().filter(|server| !server.is_loopback());
        reachable.map(|server| SocketAddr::new(*server, names::PORT)).collect()
    };
    servers.retain(|server| names.gateways().all(|gateway| gateway != server.ip()));
    servers
}

/// What a message turns out to be.
enum Checked<'a> {
    Question(&'a Query),
    Wrong(ResponseCode),
    Nothing,
}

fn checked(query: &Message) -> Checked<'_> {
    let [question] = query.queries.as_slice() else { return Checked::Wrong(ResponseCode::FormErr) };
    if query.metadata.message_type == MessageType::Response {
        // Answering an answer might never end.
        Checked::Nothing
    } else if query.metadata.op_code != OpCode::Query {
        Checked::Wrong(ResponseCode::NotImp)
    } else if query.version() != 0 {
        // RFC 6891 §6.1.3.
        Checked::Wrong(ResponseCode::BADVERS)
    } else if matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR) {
        Checked::Wrong(ResponseCode::Refused)
    } else {
        Checked::Question(question)
    }
}

/// "Format error", if so much of a header is there that it can be said to whom.
fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (id, flags) = (bytes.first_chunk::<2>()?, *bytes.get(2)?);
    let is_question = bytes.len() >= 12 && flags & 0x80 == 0;
    let message = || Message::error_msg(u16::from_be_bytes(*id), OpCode::Query, ResponseCode::FormErr);
    is_question.then(message)?.to_vec().ok()
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(query.id, query.metadata.op_code);
    message.metadata = Metadata::response_from_request(&query.metadata);
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(query.queries.iter().cloned());
    // RFC 6891 §6.1.1: who sends the option gets it back.
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        message.set_edns(edns);
    }
    message
}

/// The message as bytes; without its records, and marked so, if it is too large.
fn fitted(message: &Message, limit: u16) -> Option<Vec<u8>> {
    match message.to_vec() {
        Ok(bytes) if bytes.len() > usize::from(limit) => message.truncate().to_vec().ok(),
        bytes => bytes.ok(),
    }
}

fn kind(asked: RecordType) -> Kind {
    match asked {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::PTR => Kind::Ptr,
        RecordType::ANY => Kind::Any,
        _ => Kind::Other,
    }
}

fn address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(four) => RData::A(A(four)),
        IpAddr::V6(six) => RData::AAAA(AAAA(six)),
    }
}

/// The name with dots between its labels, if none has a dot or worse inside.
fn plain(name: &Name) -> Option<String> {
    let labels = name.iter().map(|label| std::str::from_utf8(label).ok().filter(|label| !label.contains('.')));
    Some(labels.collect::<Option<Vec<&str>>>()?.join("."))
}

#[cfg(test)]
mod tests;
