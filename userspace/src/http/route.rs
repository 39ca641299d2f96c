//! Which method and path stand for which request.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    model::{ConnectRequest, PublishRequest, spec},
    request::Request,
};

/// Seconds before SIGKILL if the caller names none: Docker's.
const STOP_SECONDS: u64 = 10;

/// A request as it is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) method: &'static str,
    /// With the query.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

/// Why a request is none: a status and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub sentence: String,
}

impl Request {
    /// The same as [`Carried`], to be read by [`read`].
    pub(super) fn carried(&self) -> Carried {
        let (method, path, body) = match self {
            Self::Containers => ("GET", "/containers".to_owned(), None),
            Self::Run(request) => ("POST", "/containers".to_owned(), json(request)),
            Self::Attach { netns, request } => {
                ("POST", "/namespaces".to_owned(), Some(with("netns", netns, json!(request))))
            }
            Self::Detach { names } => ("DELETE", format!("/namespaces/{}", list(names)), None),
            Self::Inspect { name } => ("GET", format!("/containers/{}", encode(name)), None),
            Self::Stop { name, seconds } => ("POST", format!("/containers/{}/stop?time={seconds}", encode(name)), None),
            Self::Remove { names, force } => {
                ("DELETE", format!("/containers/{}{}", list(names), if *force { "?force=true" } else { "" }), None)
            }
            Self::Ports { name, port } => {
                let port = port.map(|port| format!("?port={}", encode(&port.to_string()))).unwrap_or_default();
                ("GET", format!("/containers/{}/ports{port}", encode(name)), None)
            }
            Self::Publish { name, specs } => ("POST", format!("/containers/{}/ports", encode(name)), texts(specs)),
            Self::Unpublish { name, specs } => ("DELETE", format!("/containers/{}/ports", encode(name)), texts(specs)),
            Self::Networks => ("GET", "/networks".to_owned(), None),
            Self::CreateNetwork(request) => ("POST", "/networks".to_owned(), json(request)),
            Self::InspectNetwork { name } => ("GET", format!("/networks/{}", encode(name)), None),
            Self::RemoveNetworks { names } => ("DELETE", format!("/networks/{}", list(names)), None),
            Self::PruneNetworks => ("POST", "/networks/prune".to_owned(), None),
            Self::Connect { container, request } => {
                let path = format!("/networks/{}/containers", encode(&request.network));
                ("POST", path, Some(connection(container, request)))
            }
            Self::Disconnect { container, network } => {
                ("DELETE", format!("/networks/{}/containers/{}", encode(network), encode(container)), None)
            }
            Self::Stats => ("GET", "/stats".to_owned(), None),
            Self::Flows => ("GET", "/flows".to_owned(), None),
            Self::Status => ("GET", "/status".to_owned(), None),
            Self::Repair { dry_run } => {
                ("POST", format!("/repair{}", if *dry_run { "?dry_run=true" } else { "" }), None)
            }
            Self::Reload => ("POST", "/reload".to_owned(), None),
        };
        Carried { method, path, body }
    }
}

/// The request that these stand for.
pub(super) fn read(method: &str, path: &str, query: Option<&str>, body: &[u8]) -> Result<Request, Refusal> {
    let what = format!("{method} {path}");
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let mut query = Query::parse(query.unwrap_or_default())?;
    let request = match (method, &segments[..]) {
        ("GET", ["containers"]) => Request::Containers,
        ("POST", ["containers"]) => Request::Run(Box::new(parse(&what, body)?)),
        ("POST", ["namespaces"]) => attach(&what, body)?,
        ("DELETE", ["namespaces", names]) => Request::Detach { names: split(names)? },
        ("GET", ["containers", name]) => Request::Inspect { name: decode(name)? },
        ("DELETE", ["containers", names]) => Request::Remove { names: split(names)?, force: query.flag("force")? },
        ("POST", ["containers", name, "stop"]) => {
            Request::Stop { name: decode(name)?, seconds: query.take("time", str::parse)?.unwrap_or(STOP_SECONDS) }
        }
        ("GET", ["containers", name, "ports"]) => {
            Request::Ports { name: decode(name)?, port: query.take("port", spec::port)? }
        }
        ("POST", ["containers", name, "ports"]) => Request::Publish { name: decode(name)?, specs: specs(&what, body)? },
        ("DELETE", ["containers", name, "ports"]) => {
            Request::Unpublish { name: decode(name)?, specs: specs(&what, body)? }
        }
        ("GET", ["networks"]) => Request::Networks,
        ("POST", ["networks"]) => Request::CreateNetwork(Box::new(parse(&what, body)?)),
        ("GET", ["networks", name]) => Request::InspectNetwork { name: decode(name)? },
        ("DELETE", ["networks", names]) => Request::RemoveNetworks { names: split(names)? },
        ("POST", ["networks", "prune"]) => Request::PruneNetworks,
        ("POST", ["networks", network, "containers"]) => connect(&what, decode(network)?, body)?,
        ("DELETE", ["networks", network, "containers", container]) => {
            Request::Disconnect { container: decode(container)?, network: decode(network)? }
        }
        ("GET", ["stats"]) => Request::Stats,
        ("GET", ["flows"]) => Request::Flows,
        ("GET", ["status"]) => Request::Status,
        ("POST", ["repair"]) => Request::Repair { dry_run: query.flag("dry_run")? },
        ("POST", ["reload"]) => Request::Reload,
        _ => {
            let sentence = format!("there is no `{what}`: `portlane daemon --help` lists what there is");
            return Err(Refusal { status: 404, sentence });
        }
    };
    query.is_used_up(&what)?;
    Ok(request)
}

/// What follows a `?`.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(key, value)| Ok((decode(key)?, decode(value)?))).collect::<Result<_, _>>().map(Self)
    }

    fn take<T, E: ToString>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, Refusal> {
        let Some(at) = self.0.iter().position(|(found, _)| found == key) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        parse(&value).map(Some).map_err(|error| bad(format!("`{key}={value}`: {}", error.to_string())))
    }

    fn flag(&mut self, key: &str) -> Result<bool, Refusal> {
        Ok(self.take(key, str::parse)?.unwrap_or(false))
    }

    fn is_used_up(&self, what: &str) -> Result<(), Refusal> {
        match self.0.first() {
            Some((key, _)) => Err(bad(format!("`{what}` takes no `{key}`"))),
            None => Ok(()),
        }
    }
}

fn bad(sentence: String) -> Refusal {
    Refusal { status: 400, sentence }
}

fn parse<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| nonsense(what, &error.to_string()))
}

fn specs(what: &str, body: &[u8]) -> Result<Vec<PublishRequest>, Refusal> {
    let texts: Vec<String> = parse(what, body)?;
    if texts.is_empty() {
        return Err(bad(format!("the body of `{what}` names no port: write a list, as in [\"8080:80\"]")));
    }
    texts.iter().map(|text| spec::publish(text).map_err(|error| bad(error.to_string()))).collect()
}

/// The network is in the path, the container beside what was asked for it.
fn connection(container: &str, request: &ConnectRequest) -> Value {
    let mut body = with("container", container, json!(request));
    if let Some(keys) = body.as_object_mut() {
        keys.remove("network");
    }
    body
}

fn connect(what: &str, network: String, body: &[u8]) -> Result<Request, Refusal> {
    let (container, mut keys) = without("container", "by its name or identifier", what, body)?;
    if keys.insert("network".to_owned(), network.into()).is_some() {
        return Err(nonsense(what, "the network is in the path, leave `network` away"));
    }
    Ok(Request::Connect { container, request: Box::new(value(what, keys)?) })
}

fn attach(what: &str, body: &[u8]) -> Result<Request, Refusal> {
    let (netns, keys) = without("netns", "by its name or path", what, body)?;
    Ok(Request::Attach { netns, request: Box::new(value(what, keys)?) })
}

/// An object with one more key.
fn with(key: &str, text: &str, mut body: Value) -> Value {
    if let Some(keys) = body.as_object_mut() {
        keys.insert(key.to_owned(), text.into());
    }
    body
}

/// What [`with`] added, and the object without it.
fn without(key: &str, how: &str, what: &str, body: &[u8]) -> Result<(String, Map<String, Value>), Refusal> {
    let mut keys: Map<String, Value> = parse(what, body)?;
    match keys.remove(key) {
        Some(Value::String(text)) => Ok((text, keys)),
        _ => Err(nonsense(what, &format!("write which `{key}`, {how}"))),
    }
}

fn value<T: DeserializeOwned>(what: &str, keys: Map<String, Value>) -> Result<T, Refusal> {
    serde_json::from_value(keys.into()).map_err(|error| nonsense(what, &error.to_string()))
}

fn nonsense(what: &str, problem: &str) -> Refusal {
    bad(format!("the body of `{what}` makes no sense: {problem}"))
}

fn json(value: &impl Serialize) -> Option<Value> {
    Some(json!(value))
}

fn texts(specs: &[PublishRequest]) -> Option<Value> {
    Some(specs.iter().map(ToString::to_string).collect())
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| encode(name)).collect::<Vec<_>>().join(",")
}

fn split(names: &str) -> Result<Vec<String>, Refusal> {
    names.split(',').map(decode).collect()
}

/// RFC 3986 §2.1: everything but what is unreserved.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode(text: &str) -> Result<String, Refusal> {
    let wrong = || bad(format!("`{text}` is no part of an address: write % and two digits for what is special"));
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().ok_or_else(wrong)?, rest.next().ok_or_else(wrong)?];
                let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(wrong);
                (digit(digits[0])? * 16 + digit(digits[1])?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerRequest, LinkRequest, NetworkRequest};

    fn carried_and_read(request: &Request) -> Result<Request, Refusal> {
        let Carried { method, path, body } = request.carried();
        let (path, query) = path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
        read(method, path, query, body.map(|body| body.to_string()).unwrap_or_default().as_bytes())
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let name = || "a b/c,d%é".to_owned();
        let specs =
            vec![spec::publish("[::1]:8000-8009:80-89/udp").expect("right"), spec::publish("80").expect("right")];
        let connected = ConnectRequest {
            network: name(),
            addr4: Some([10, 0, 0, 9].into()),
            mac: Some([2, 0, 0, 0, 0, 9]),
            aliases: vec!["db".to_owned()],
            priority: -1,
            ..ConnectRequest::default()
        };
        let container = ContainerRequest {
            name: name(),
            networks: vec![ConnectRequest { network: "n".to_owned(), ..connected.clone() }, connected.clone()],
            extra_hosts: vec![("db".to_owned(), "fd00::6".parse().ok()), ("up".to_owned(), None)],
            links: vec![LinkRequest { target: "db".to_owned(), alias: "database".to_owned() }],
            exposed: vec![spec::port("53/udp").expect("right")],
            publishes: specs.clone(),
            command: vec!["true".to_owned()],
            auto_remove: true,
            ..ContainerRequest::default()
        };
        for request in [
            Request::Containers,
            Request::Run(Box::new(container.clone())),
            Request::Attach { netns: "/proc/7/ns/net".to_owned(), request: Box::new(container) },
            Request::Detach { names: vec![name()] },
            Request::Inspect { name: name() },
            Request::Stop { name: name(), seconds: 3 },
            Request::Remove { names: vec![name(), "web".to_owned()], force: true },
            Request::Remove { names: vec![name()], force: false },
            Request::Ports { name: name(), port: None },
            Request::Ports { name: name(), port: Some(spec::port("80-81/tcp").expect("right")) },
            Request::Publish { name: name(), specs: specs.clone() },
            Request::Unpublish { name: name(), specs },
            Request::Networks,
            Request::CreateNetwork(Box::new(NetworkRequest { icc: false, ..NetworkRequest::named("quiet") })),
            Request::InspectNetwork { name: name() },
            Request::RemoveNetworks { names: vec![name(), name()] },
            Request::PruneNetworks,
            Request::Connect { container: name(), request: Box::new(connected) },
            Request::Disconnect { container: name(), network: name() },
            Request::Stats,
            Request::Flows,
            Request::Status,
            Request::Repair { dry_run: true },
            Request::Repair { dry_run: false },
            Request::Reload,
        ] {
            assert_eq!(carried_and_read(&request).as_ref(), Ok(&request));
        }
    }

    #[test]
    fn what_a_caller_leaves_out_is_as_on_the_command_line() {
        let run = read("POST", "/containers", None, br#"{"command": ["true"], "publishes": ["8080:80"]}"#);
        let Ok(Request::Run(run)) = run else { panic!("{run:?}") };
        assert_eq!((run.networks.len(), run.publishes.len(), run.auto_remove), (0, 1, false));
        let network = read("POST", "/networks", None, br#"{"name": "n"}"#);
        assert_eq!(network, Ok(Request::CreateNetwork(Box::new(NetworkRequest::named("n")))));
        let stop = read("POST", "/containers/web/stop", None, b"");
        assert_eq!(stop, Ok(Request::Stop { name: "web".to_owned(), seconds: STOP_SECONDS }));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_a_sentence() {
        for (method, path, query, body, status, words) in [
            ("GET", "/nothing", None, "", 404, "there is no `GET /nothing`"),
            ("PUT", "/containers", None, "", 404, "there is no `PUT /containers`"),
            ("POST", "/containers", None, "", 400, "makes no sense"),
            ("POST", "/containers", None, r#"{"comand": []}"#, 400, "unknown field `comand`"),
            ("POST", "/containers", None, r#"{"publishes": ["80:0"]}"#, 400, "1 to 65535"),
            ("POST", "/containers", None, r#"{"networks": [{"mac": "01:00:5e:00:00:01"}]}"#, 400, "unicast"),
            ("POST", "/namespaces", None, r#"{"name": "w1"}"#, 400, "which `netns`"),
            ("POST", "/namespaces", None, r#"{"netns": "w1", "nam": "w1"}"#, 400, "unknown field `nam`"),
            ("POST", "/containers/web/ports", None, "[]", 400, "names no port"),
            ("POST", "/containers/web/ports", None, r#"["80/icmp"]"#, 400, "tcp, udp or sctp"),
            ("POST", "/containers/web/stop", Some("time=soon"), "", 400, "`time=soon`"),
            ("DELETE", "/containers/web", Some("frce=true"), "", 400, "takes no `frce`"),
            ("POST", "/networks/n/containers", None, "{}", 400, "which `container`"),
            ("POST", "/networks/n/containers", None, r#"{"container": "c", "network": "m"}"#, 400, "in the path"),
            (
                "POST",
                "/networks/n/containers",
                None,
                r#"{"container": "c", "alias": "a"}"#,
                400,
                "unknown field `alias`",
            ),
            ("GET", "/containers/%zz", None, "", 400, "two digits"),
            ("GET", "/containers/%ff", None, "", 400, "two digits"),
        ] {
            let refusal = read(method, path, query, body.as_bytes()).expect_err(path);
            assert_eq!(refusal.status, status, "{method} {path}: {refusal:?}");
            assert!(refusal.sentence.contains(words), "{method} {path}: {refusal:?}");
        }
    }
}
