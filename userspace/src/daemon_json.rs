//! `daemon.json`: Docker's file, read for the keys that are about networking; what is portlane's own is under
//! `"portlane"`.

mod network;
mod own;

use std::{fs, io, path::Path};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    http::{Address, TlsFiles},
    model::{
        DefaultNetwork,
        state::{FlowSettings, Pool, ResolverSettings, Xdp},
    },
};

/// Docker's networking keys that this version does not serve: to ignore one would surprise its user.
const NOT_SERVED: [&str; 4] = ["default-network-opts", "cluster-store", "cluster-advertise", "cluster-store-opts"];

/// Docker's keys that are not about what portlane does; the last five are about what it does without.
const OTHERS: [&str; 68] = [
    "allow-direct-routing",
    "allow-nondistributable-artifacts",
    "api-cors-header",
    "authorization-plugins",
    "bridge",
    "bridge-accept-fwmark",
    "builder",
    "cdi-spec-dirs",
    "cgroup-parent",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "data-root",
    "debug",
    "default-cgroupns-mode",
    "default-ipc-mode",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "exec-opts",
    "exec-root",
    "experimental",
    "features",
    "firewall-backend",
    "group",
    "host-gateway-ip",
    "host-gateway-ips",
    "http-proxy",
    "https-proxy",
    "init",
    "init-path",
    "insecure-registries",
    "ip-forward-no-drop",
    "labels",
    "live-restore",
    "log-driver",
    "log-format",
    "log-level",
    "log-opts",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "metrics-addr",
    "min-api-version",
    "network-diagnostic-port",
    "no-new-privileges",
    "no-proxy",
    "node-generic-resources",
    "oom-score-adjust",
    "pidfile",
    "proxies",
    "raw-logs",
    "registry-mirrors",
    "runtimes",
    "seccomp-profile",
    "selinux-enabled",
    "shutdown-timeout",
    "storage-driver",
    "storage-opts",
    "swarm-default-advertise-addr",
    "userns-remap",
    "ip-forward",
    "ip6tables",
    "iptables",
    "userland-proxy",
    "userland-proxy-path",
];

/// Why the file cannot be used. Each sentence begins with the file.
#[derive(Debug, Error)]
pub enum DaemonJsonError {
    /// Not readable.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No JSON object.
    #[error("{path}: {problem}")]
    NotJson {
        /// The file.
        path: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A key or its value.
    #[error("{path}, line {line}: `{key}` {problem}")]
    Key {
        /// The file.
        path: String,
        /// Where the key is.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonJson {
    /// How the default network is made.
    pub default_network: DefaultNetwork,
    /// What containers are told of names outside.
    pub resolver: ResolverSettings,
    /// Where subnets come from that nobody chose.
    pub pools: Vec<Pool>,
    /// Where XDP programs go.
    pub xdp: Xdp,
    /// Whether the kernel's grace periods are expedited while programs are put on interfaces.
    pub expedited_rcu: bool,
    /// How long conversations live, and how many a container may hold.
    pub flows: FlowSettings,
    /// Where `portlane daemon` listens, besides its own socket.
    pub hosts: Vec<Address>,
    /// Whether callers over TCP must show a certificate, without which there is no listening there.
    pub tls_verify: bool,
    /// With what it does.
    pub tls: TlsFiles,
    /// Keys that mean nothing here.
    pub ignored: Vec<String>,
}

/// What holds without a file: Docker's defaults, and IPv6.
impl Default for DaemonJson {
    fn default() -> Self {
        Self {
            default_network: DefaultNetwork { ipv6: true, ..DefaultNetwork::default() },
            resolver: ResolverSettings::default(),
            pools: Vec::new(),
            xdp: Xdp::default(),
            expedited_rcu: true,
            flows: FlowSettings::default(),
            hosts: Vec::new(),
            tls_verify: false,
            tls: TlsFiles::default(),
            ignored: Vec::new(),
        }
    }
}

impl DaemonJson {
    /// Reads the file; without one, what Docker does without one.
    ///
    /// # Errors
    /// [`DaemonJsonError`]; also for a missing file if `required`.
    pub fn read(path: &Path, required: bool) -> Result<Self, DaemonJsonError> {
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Ok(Self::default()),
            Err(source) => Err(DaemonJsonError::Unreadable { path: path.display().to_string(), source }),
            Ok(text) => Self::parse(&path.display().to_string(), &text),
        }
    }

    fn parse(path: &str, text: &str) -> Result<Self, DaemonJsonError> {
        let keys: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| DaemonJsonError::NotJson { path: path.to_owned(), problem: error.to_string() })?;
        let mut read = Self::default();
        for (key, value) in keys {
            let fail = |problem: String| DaemonJsonError::Key {
                path: path.to_owned(),
                line: line_of(text, &key),
                key: key.clone(),
                problem,
            };
            read.take(&key, value).map_err(fail)?;
        }
        match network::unusable(&read.default_network) {
            Some((key, problem)) => {
                let (path, line, key) = (path.to_owned(), line_of(text, key), key.to_owned());
                Err(DaemonJsonError::Key { path, line, key, problem })
            }
            None => Ok(read),
        }
    }

    fn take(&mut self, key: &str, value: Value) -> Result<(), String> {
        let network = &mut self.default_network;
        match key {
            "bip" => {
                network.bip = Some(typed::<Ipv4Net>(value, "an address with a prefix length, as \"172.20.0.1/16\"")?);
            }
            "fixed-cidr-v6" => {
                network.subnet6 = Some(typed::<Ipv6Net>(value, "an IPv6 subnet, as \"fd00:1::/64\"")?);
            }
            "fixed-cidr" => {
                network.range4 = Some(typed::<Ipv4Net>(value, "a part of bip's subnet, as \"172.20.5.0/24\"")?);
            }
            "default-gateway" => network.router4 = Some(typed(value, "an IPv4 address")?),
            "default-gateway-v6" => network.router6 = Some(typed(value, "an IPv6 address")?),
            "ip" => network.host_binding = Some(typed(value, "an address of the host")?),
            "default-address-pools" => self.pools = pools(value)?,
            "ipv6" => network.ipv6 = typed(value, "true or false")?,
            "icc" => network.icc = typed(value, "true or false")?,
            "ip-masq" => network.masquerade = typed(value, "true or false")?,
            "mtu" => network.mtu = Some(typed(value, "a number of bytes")?),
            "dns" => self.resolver.servers = typed(value, "a list of addresses")?,
            "dns-opts" => self.resolver.options = typed(value, "a list of options of resolv.conf, as \"ndots:2\"")?,
            "dns-search" => self.resolver.search = typed(value, "a list of domains")?,
            "hosts" => {
                let hosts: Vec<String> = typed(value, "a list of addresses, as [\"tcp://0.0.0.0:2376\"]")?;
                let hosts = hosts.iter().map(|host| host.parse::<Address>()).collect::<Result<_, _>>();
                self.hosts = hosts.map_err(|error| format!("is wrong: {error}"))?;
            }
            // TLS that lets everybody in is no TLS here: what counts is `tlsverify`.
            "tls" => drop(typed::<bool>(value, "true or false")?),
            "tlsverify" => self.tls_verify = typed(value, "true or false")?,
            "tlscacert" => self.tls.ca = Some(typed(value, "a file")?),
            "tlscert" => self.tls.cert = Some(typed(value, "a file")?),
            "tlskey" => self.tls.key = Some(typed(value, "a file")?),
            "portlane" => self.take_own(value)?,
            other if NOT_SERVED.contains(&other) => return Err("is not served by this version: leave it out".into()),
            other if OTHERS.contains(&other) => self.ignored.push(other.to_owned()),
            _ => return Err("is no key that Docker or portlane knows: leave it out, or mend its spelling".into()),
        }
        Ok(())
    }
}

fn pools(value: Value) -> Result<Vec<Pool>, String> {
    let pools: Vec<Pool> = typed(value, "a list of pools, as {\"base\": \"10.32.0.0/16\", \"size\": 24}")?;
    match pools.iter().find(|pool| pool.size < pool.base.prefix_len() || pool.size > 30) {
        Some(pool) => Err(format!("cuts no subnets of size {} from {}", pool.size, pool.base)),
        None => Ok(pools),
    }
}

fn typed<T: DeserializeOwned>(value: Value, wanted: &str) -> Result<T, String> {
    let shown = value.to_string();
    serde_json::from_value(value).map_err(|_| format!("is {shown} and must be {wanted}"))
}

/// The line on which a key of the outermost object is; 1 if it is written in some escaped way.
fn line_of(text: &str, key: &str) -> usize {
    let quoted = format!("\"{key}\"");
    let is_key = |at: usize| text[at + quoted.len()..].trim_start().starts_with(':');
    let at = text.match_indices(&quoted).map(|(at, _)| at).find(|at| is_key(*at));
    at.map_or(1, |at| text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkSettings;

    fn parse(text: &str) -> Result<DaemonJson, String> {
        DaemonJson::parse("daemon.json", text).map_err(|error| error.to_string())
    }

    #[test]
    fn dockers_keys_mean_what_they_mean_there() {
        let read = parse(
            r#"{"bip": "10.9.0.1/24", "fixed-cidr-v6": "fd00:9::/64", "icc": false, "mtu": 1400, "ip-masq": false,
                "ipv6": true, "dns": ["1.1.1.1", "2606:4700::1111"], "dns-search": ["example.org"],
                "log-driver": "json-file", "iptables": true, "portlane": {"xdp": "off"}}"#,
        )
        .expect("it is Docker's");
        assert_eq!(read.default_network.bip, Some("10.9.0.1/24".parse().expect("a net")));
        assert!(!read.default_network.icc && !read.default_network.masquerade && read.default_network.ipv6);
        assert_eq!((read.default_network.mtu, read.resolver.servers.len(), read.xdp), (Some(1400), 2, Xdp::Off));
        assert_eq!(read.ignored, ["iptables", "log-driver"]);
    }

    #[test]
    fn the_sample_that_contradicts_itself_is_told_so_and_a_corrected_one_is_taken() {
        let sample = |fixed: &str, gateway: &str, gateway6: &str| {
            format!(
                r#"{{ "bip": "192.168.1.5/24", "fixed-cidr": "{fixed}", "fixed-cidr-v6": "2001:db8::/64", "mtu": 1500,
  "default-gateway": "{gateway}", "default-gateway-v6": "{gateway6}", "dns": ["10.20.1.2","10.20.1.3"] }}"#
            )
        };
        let refused = |text: String| parse(&text).expect_err("it contradicts itself");
        let problem = "is 10.20.0.0/16, outside 192.168.1.0/24, the subnet of `bip`";
        let said = refused(sample("10.20.0.0/16", "10.20.1.1", "2001:db8:abcd::89"));
        assert_eq!(said, format!("daemon.json, line 1: `fixed-cidr` {problem}"));
        let said = refused(sample("192.168.1.128/25", "10.20.1.1", "2001:db8:abcd::89"));
        assert!(said.contains("line 2: `default-gateway` is 10.20.1.1"), "{said}");
        let said = refused(sample("192.168.1.128/25", "192.168.1.254", "2001:db8:abcd::89"));
        assert!(said.contains("`default-gateway-v6`") && said.contains("`fixed-cidr-v6`"), "{said}");
        let read =
            parse(&sample("192.168.1.128/25", "192.168.1.254", "2001:db8::89")).expect("nothing is wrong any more");
        assert_eq!(read.default_network.router4, "192.168.1.254".parse().ok());
        assert_eq!(read.default_network.range4, "192.168.1.128/25".parse().ok());
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_line() {
        let unknown = "{\n  \"icc\": true,\n  \"ipv66\": true\n}";
        assert_eq!(
            parse(unknown).expect_err("unknown"),
            "daemon.json, line 3: `ipv66` is no key that Docker or portlane knows: leave it out, or mend its spelling"
        );
        assert_eq!(
            parse("{\"mtu\":\n\"big\"}").expect_err("no number"),
            "daemon.json, line 1: `mtu` is \"big\" and must be a number of bytes"
        );
        for wrong in ["{\"portlane\": {\"xpd\": \"off\"}}", "{\"bip\": \"10.0.0.1\"}", "[]", "{", "{\"ip\": \"x\"}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flows_have_a_table_a_share_and_timeouts() {
        let read = parse(r#"{"portlane": {"flows": 1000, "timeouts": {"udp": 60, "tcp-transitory": 5}}}"#);
        let flows = read.expect("it is right").flows;
        assert_eq!((flows.table, flows.share), (1000, 250));
        assert_eq!((flows.timeouts.udp, flows.timeouts.tcp_transitory, flows.timeouts.tcp), (60, 5, 7440));
        let wrong = |own: &str| parse(&format!("{{\"portlane\": {own}}}")).expect_err("it is wrong");
        assert_eq!(
            wrong(r#"{"timeouts": {"udp": 1}}"#),
            "daemon.json, line 1: `portlane` has 1 for `udp`, which must be a number from 2 to 604800"
        );
        assert_eq!(
            wrong(r#"{"timeouts": {"sctp": 60}}"#),
            "daemon.json, line 1: `portlane` has no timeout `sctp`: there are icmp, tcp, tcp-transitory, udp, \
             udp-unanswered"
        );
        assert!(wrong(r#"{"flows": 1000, "flow-share": 1001}"#).contains("`flow-share`"));
        assert!(wrong(r#"{"flows": "many"}"#).contains("from 64 to"));
    }

    #[test]
    fn links_have_an_mtu_gro_and_big_tcp() {
        let own = |own: &str| parse(&format!("{{\"portlane\": {own}}}"));
        let read = own(r#"{"link-mtu": 65535, "gro": true, "big-tcp": true}"#).expect("it is right");
        let links = LinkSettings { mtu: Some(65_535), gro: true, big_tcp: true };
        assert_eq!(read.default_network.links, links);
        assert_eq!(
            own(r#"{"link-mtu": 65536}"#).expect_err("no link carries it"),
            "daemon.json, line 1: `portlane` has 65536 for `link-mtu`, which must be a number from 68 to 65535"
        );
        assert_eq!(
            own(r#"{"big-tcp": 1}"#).expect_err("it is wrong"),
            "daemon.json, line 1: `portlane` is 1 and must be `big-tcp`: true or false"
        );
    }

    #[test]
    fn hosts_and_certificates_are_those_of_dockers_daemon() {
        let read = parse(
            r#"{"hosts": ["tcp://0.0.0.0:2376", "unix:///var/run/p.sock"], "tlsverify": true, "tlscacert": "/etc/ca.pem",
                "tlscert": "/etc/cert.pem", "tlskey": "/etc/key.pem"}"#,
        )
        .expect("it is Docker's");
        let hosts: Vec<String> = read.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["tcp://0.0.0.0:2376", "unix:///var/run/p.sock"]);
        assert!(read.tls_verify && read.tls.ca == Some("/etc/ca.pem".into()) && read.tls.key.is_some());
        assert_eq!(
            parse(r#"{"hosts": ["fd://"]}"#).expect_err("systemd's"),
            "daemon.json, line 1: `hosts` is wrong: `fd://` is no address of a daemon: write unix:///PATH or tcp://HOST:PORT"
        );
    }

    #[test]
    fn an_empty_object_is_no_file() {
        assert_eq!(parse("{}"), Ok(DaemonJson::default()));
    }
}
