//! Answers as messages. Which names there are is the model's, which has tests of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    linux::Lock,
    model::{
        ConnectRequest, ContainerRequest, HostView, NetworkRequest, State, container::add_container,
        network::add_network,
    },
    store::Store,
};

const GATEWAY: &str = "10.0.0.1";
const ASKER: &str = "10.0.0.2";
/// How many containers share the name `many`.
const MANY: u8 = 40;

/// A resolver, and the directory of its state, which goes with it.
struct Fixture {
    root: PathBuf,
    runtime: Runtime,
    resolver: Resolver,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.root));
    }
}

impl Fixture {
    /// An internal network, from which nobody is asked.
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("portlane-dns-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a temporary directory");
        commit(&root, MANY);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let resolver = runtime.block_on(Resolver::new(root.clone())).expect("a resolver");
        Self { root, runtime, resolver }
    }

    fn bytes(&self, transport: Transport, query: &[u8]) -> Option<Vec<u8>> {
        let [gateway, asker] = [GATEWAY, ASKER].map(|at| at.parse().expect("an address"));
        self.runtime.block_on(self.resolver.answer(gateway, asker, transport, query))
    }

    /// The answer, and its length.
    fn ask(&self, transport: Transport, query: &Message) -> (Message, usize) {
        let bytes = self.bytes(transport, &query.to_vec().expect("a message")).expect("an answer");
        let message = Message::from_vec(&bytes).expect("a message");
        assert_eq!((message.id, message.metadata.message_type), (query.id, MessageType::Response));
        (message, bytes.len())
    }

    fn code(&self, query: &Message) -> ResponseCode {
        self.ask(Transport::Udp, query).0.metadata.response_code
    }
}

/// Puts the network in force with so many containers.
fn commit(root: &Path, containers: u8) {
    let mut state = State::default();
    let subnet4 = "10.0.0.0/24".parse().ok();
    add_network(
        &mut state,
        NetworkRequest { subnet4, internal: true, ..NetworkRequest::named("n") },
        &HostView::default(),
    )
    .expect("a network");
    for number in 0..containers {
        let request = ContainerRequest {
            id: format!("{number:08x}").repeat(8),
            name: format!("c{number}"),
            networks: vec![ConnectRequest::to("n")],
            hostname: Some("many".to_owned()),
            ..ContainerRequest::default()
        };
        add_container(&mut state, request, &HostView::default()).expect("a container");
    }
    Store::open(root).and_then(|mut store| store.commit(&State::default(), &state)).expect("commits");
}

fn query(name: &str, asked: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), asked));
    message
}

fn with_edns(mut query: Message, payload: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(version);
    query.set_edns(edns);
    query
}

#[test]
fn an_answer_that_does_not_fit_says_so_and_comes_whole_over_tcp() {
    let fixture = Fixture::new("fits");
    let question = query("many.", RecordType::A);
    let check = |transport, query: &Message, limit: usize, records: usize| {
        let (answer, length) = fixture.ask(transport, query);
        assert!(length <= limit, "{length} bytes");
        assert_eq!(answer.answers.len(), records);
        assert_eq!(answer.metadata.truncation, records == 0);
        assert_eq!(answer.edns.is_some(), query.edns.is_some());
        assert!(answer.answers.iter().all(|record| record.ttl == TTL));
    };
    check(Transport::Udp, &question, 512, 0);
    check(Transport::Udp, &with_edns(question.clone(), 100, 0), 512, 0);
    check(Transport::Udp, &with_edns(question.clone(), 4096, 0), 1232, MANY.into());
    check(Transport::Tcp, &question, 65_535, MANY.into());
}

#[test]
fn what_is_in_force_is_known_before_anybody_tells() {
    let fixture = Fixture::new("known");
    let newest = query(&format!("c{MANY}."), RecordType::A);
    assert_eq!(fixture.code(&newest), ResponseCode::ServFail);
    commit(&fixture.root, MANY + 1);
    assert_eq!(fixture.code(&newest), ResponseCode::NoError);
    commit(&fixture.root, MANY);
    assert_eq!(fixture.code(&newest), ResponseCode::ServFail);
}

#[test]
fn whoever_is_in_the_middle_of_a_command_does_not_stop_the_answers() {
    let fixture = Fixture::new("middle");
    let _lock = Lock::acquire(&fixture.root.join("lock")).expect("a lock");
    commit(&fixture.root, 1);
    assert_eq!(fixture.code(&query("c1.", RecordType::A)), ResponseCode::NoError, "as before the command");
}

#[test]
fn who_shares_a_name_takes_turns() {
    let fixture = Fixture::new("turns");
    let firsts = [0, 1].map(|id| {
        let mut query = with_edns(query("many.", RecordType::A), 4096, 0);
        query.metadata.id = id;
        fixture.ask(Transport::Udp, &query).0.answers[0].data.clone()
    });
    assert_ne!(firsts[0], firsts[1]);
}

#[test]
fn the_question_comes_back_as_it_was_spelled() {
    let fixture = Fixture::new("spelled");
    let (answer, _) = fixture.ask(Transport::Udp, &query("C0.n.", RecordType::A));
    assert_eq!(answer.queries[0].name().to_string(), "C0.n.");
    assert_eq!(answer.answers[0].to_string(), "C0.n. 5 IN A 10.0.0.2");
    let flags = answer.metadata;
    assert!(flags.authoritative && flags.recursion_available && flags.recursion_desired);
}

#[test]
fn what_is_no_plain_question_is_refused_with_the_code_that_says_why() {
    let fixture = Fixture::new("codes");
    let question = || query("c0.", RecordType::A);
    let mut twice = question();
    twice.add_query(question().queries[0].clone());
    let mut notify = question();
    notify.metadata.op_code = OpCode::Notify;
    for (asked, code) in [
        (question(), ResponseCode::NoError),
        (twice, ResponseCode::FormErr),
        (Message::new(1, MessageType::Query, OpCode::Query), ResponseCode::FormErr),
        (notify, ResponseCode::NotImp),
        (with_edns(question(), 4096, 1), ResponseCode::BADVERS),
        (query("c0.", RecordType::AXFR), ResponseCode::Refused),
        (query("elsewhere.test.", RecordType::A), ResponseCode::ServFail),
        (query("9.9.0.10.in-addr.arpa.", RecordType::PTR), ResponseCode::ServFail),
        (query("99.0.0.10.in-addr.arpa.", RecordType::PTR), ResponseCode::NXDomain),
    ] {
        // 16 has two names.
        assert_eq!(u16::from(fixture.code(&asked)), u16::from(code), "{asked}");
    }
    let mut answer = question();
    answer.metadata.message_type = MessageType::Response;
    assert_eq!(fixture.bytes(Transport::Udp, &answer.to_vec().expect("a message")), None);
    assert_eq!(fixture.bytes(Transport::Udp, b"\x12\x34\0\0\0"), None);
    let broken = fixture.bytes(Transport::Udp, b"\x12\x34\x01\0\0\x09\0\0\0\0\0\0").expect("an answer");
    assert_eq!(broken[..4], *b"\x12\x34\x80\x01");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_too_strange(start in any::<bool>(), rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let fixture = Fixture::new("strange");
        let begin: &[u8] = if start { b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" } else { b"" };
        let query = [begin, &rest].concat();
        if let Some(answer) = fixture.bytes(Transport::Udp, &query) {
            prop_assert!(answer.len() <= usize::from(DATAGRAM) && answer[2] & 0x80 != 0);
            prop_assert_eq!(&answer[..2], &query[..2]);
        }
    }
}
