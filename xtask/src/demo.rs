//! `cargo xtask demo`: portlane at work, in namespaces of its own, so that the machine's network is untouched.
//!
//! ```text
//!   outside 192.0.2.2 ──── up0 192.0.2.1  the sandbox, as the host ──── portlane0 ──── containers
//!        2001:db8:1::2          2001:db8:1::1
//! ```

use std::{
    env,
    ffi::OsString,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    run::{built, cargo, done, step, this_program, tool},
    sandbox, setup,
};

/// Where [`steps`] finds the program that [`run`] built.
const BINARY: &str = "PORTLANE_BIN";
/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// The host's bpffs, as portlane's default has it.
const MAPS: &str = "/sys/fs/bpf/portlane/maps";

/// Sets the machine up, builds portlane, and shows it inside a sandbox.
///
/// # Errors
/// When set-up, build or sandbox fails; a failed step is the exit status.
pub fn run() -> Result<ExitCode> {
    step("setup", setup::run)?;
    step("build portlane", || done(cargo().args(["build", "--package", "portlane"])))?;
    let binary = assignment(BINARY, built("portlane")?.into_os_string());
    sandbox::run(&["env".into(), binary, this_program()?.into_os_string(), "demo-steps".into()])
}

/// `NAME=value` for env(1).
fn assignment(name: &str, value: OsString) -> OsString {
    let mut text = OsString::from(name);
    text.push("=");
    text.push(value);
    text
}

/// What the demo shows; inside the sandbox.
///
/// # Errors
/// When a step does not show what it should.
pub fn steps() -> Result<()> {
    sandbox::ensure_inside()?;
    let demo = Demo::new()?;
    demo.publish()?;
    demo.masquerade()?;
    demo.isolation()?;
    demo.loopback()?;
    demo.inspect()?;
    demo.no_netfilter()?;
    demo.uninstall()
}

/// The stage: a folder for files, and the server outside.
struct Demo {
    portlane: String,
    folder: PathBuf,
    outside: Child,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The sandbox ends every process anyway; the files are outside it.
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Demo {
    fn new() -> Result<Self> {
        let portlane = env::var(BINARY).with_context(|| format!("{BINARY} is not set: use `cargo xtask demo`"))?;
        let folder = env::temp_dir().join(format!("portlane-demo-{}", std::process::id()));
        fs::create_dir_all(folder.join("www"))?;
        fs::write(folder.join("www/index.html"), "hello from a container\n")?;
        chapter("A host with one uplink, and a machine outside");
        for line in [
            "ip netns add outside",
            "ip link add up0 type veth peer name eth0 netns outside",
            "ip addr add 192.0.2.1/24 dev up0",
            "ip addr add 2001:db8:1::1/64 dev up0 nodad",
            "ip link set up0 up",
            "ip -n outside addr add 192.0.2.2/24 dev eth0",
            "ip -n outside addr add 2001:db8:1::2/64 dev eth0 nodad",
            "ip -n outside link set eth0 up",
            "ip -n outside link set lo up",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            println!("$ {line}");
            done(tool(words[0]).args(&words[1..]))?;
        }
        let log = fs::File::create(folder.join("outside.log"))?;
        let outside = tool("ip")
            .args(["netns", "exec", "outside", "python3", "-u", "-m", "http.server", "9000", "--bind", "::"])
            .args(["--directory", &folder.join("www").to_string_lossy()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the server outside")?;
        let demo = Self { portlane, folder, outside };
        listening("192.0.2.2:9000")?;
        Ok(demo)
    }

    /// Starts a web server in a container.
    fn serve(&self, name: &str, options: &[&str]) -> Result<()> {
        let www = self.folder.join("www");
        let www = www.to_string_lossy();
        let server = ["--", "python3", "-u", "-m", "http.server", "80", "--bind", "::", "--directory", &www];
        self.show(&[&["run", "-d", "--name", name], options, &server].concat()).map(drop)
    }

    /// Runs and shows a portlane command.
    fn show(&self, arguments: &[&str]) -> Result<String> {
        self.shown(arguments, true)
    }

    /// The same for one that must be refused, or whose program must fail.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        self.shown(arguments, false)
    }

    fn shown(&self, arguments: &[&str], expected: bool) -> Result<String> {
        println!("$ portlane {}", arguments.join(" "));
        finish(tool(&self.portlane).args(arguments), expected)
    }

    fn publish(&self) -> Result<()> {
        chapter("A container publishes a port; the server sees who really called");
        self.serve("web", &["-p", "8080:80"])?;
        listening("127.0.0.1:8080")?;
        for url in ["http://192.0.2.1:8080/", "http://[2001:db8:1::1]:8080/"] {
            let page = outside(&["curl", "-sS", "--max-time", "5", url], true)?;
            ensure!(page.contains("hello"), "the published port did not answer outside");
        }
        let log = self.log_of("web")?;
        print_lines("what the server in the container logged:", &log);
        ensure!(log.contains("192.0.2.2"), "the server did not see the client's IPv4 address");
        ensure!(log.contains("2001:db8:1::2"), "the server did not see the client's IPv6 address");
        Ok(())
    }

    fn masquerade(&self) -> Result<()> {
        chapter("A container reaches out; the server outside sees the host");
        for url in ["http://192.0.2.2:9000/", "http://[2001:db8:1::2]:9000/"] {
            let page = self.show(&["run", "--rm", "--", "curl", "-sS", "--max-time", "5", url])?;
            ensure!(page.contains("hello"), "the server outside did not answer a container");
        }
        let log = fs::read_to_string(self.folder.join("outside.log"))?;
        print_lines("what the server outside logged:", &log);
        ensure!(log.contains("192.0.2.1 ") && log.contains("2001:db8:1::1 "), "the host's address was not used");
        ensure!(!log.contains("172.17."), "a container's own address was seen outside");
        Ok(())
    }

    fn isolation(&self) -> Result<()> {
        chapter("Two containers talk; with icc=false they don't; with --link they do");
        let curl = ["--", "curl", "-sS", "--max-time", "2"];
        let web = self.address_of("web")?;
        self.show(&[&["run", "--rm"][..], &curl, &[&format!("http://{web}/")]].concat())?;
        self.show(&["network", "create", "-o", "icc=false", "quiet"])?;
        self.serve("db", &["--network", "quiet", "--expose", "80"])?;
        let db = format!("http://{}/", self.address_of("db")?);
        // The host may always reach its containers, which tells that the server listens.
        listening(&format!("{}:80", self.address_of("db")?))?;
        self.refused(&[&["run", "--rm", "--network", "quiet"][..], &curl, &[&db]].concat())?;
        let linked = [&["run", "--rm", "--network", "quiet", "--link", "db:db"][..], &curl, &["http://db/"]].concat();
        let page = self.show(&linked)?;
        ensure!(page.contains("hello"), "--link did not open the exposed port");
        println!("# and another network does not reach its address at all");
        self.refused(&[&["run", "--rm"][..], &curl, &[&db]].concat()).map(drop)
    }

    fn loopback(&self) -> Result<()> {
        chapter("A process of the host reaches the published port on loopback");
        for url in ["http://127.0.0.1:8080/", "http://[::1]:8080/"] {
            println!("$ curl -sS {url}");
            let page = finish(tool("curl").args(["-sS", "--max-time", "5", url]), true)?;
            ensure!(page.contains("hello"), "the published port did not answer on loopback");
        }
        println!("# and nobody else gets it");
        let taken = self.refused(&["run", "--name", "b2", "-p", "8080:80", "--", "true"])?;
        ensure!(taken.contains("8080"), "the refusal does not name the port");
        Ok(())
    }

    fn inspect(&self) -> Result<()> {
        chapter("What there is to see");
        self.show(&["port", "web"])?;
        self.show(&["ps"])?;
        self.show(&["stats"])?;
        // Conversations that are over leave pl_flow4 for pl_new4.
        for map in ["pl_publish4", "pl_new4"] {
            println!("$ bpftool map dump pinned {MAPS}/{map}");
            let dump = finish(tool("bpftool").args(["map", "dump", "pinned", &format!("{MAPS}/{map}")]), true)?;
            ensure!(dump.contains("\"addr\"") || dump.contains("\"src\""), "{map} is empty or has no field names");
        }
        Ok(())
    }

    fn no_netfilter(&self) -> Result<()> {
        chapter("None of it is in netfilter");
        for line in ["iptables-save", "ip6tables-save", "nft list ruleset"] {
            let words: Vec<&str> = line.split(' ').collect();
            println!("$ {line}");
            let rules = finish(tool(words[0]).args(&words[1..]), true)?;
            ensure!(rules.lines().all(|rule| rule.starts_with('#')), "`{line}` is not empty");
        }
        println!("$ cat /proc/net/nf_conntrack");
        match fs::read_to_string("/proc/net/nf_conntrack") {
            Ok(entries) => {
                print!("{entries}");
                ensure!(!entries.contains("dport=8080"), "nf_conntrack tracked a published port");
            }
            Err(error) => println!("({error}: this kernel has no such table)"),
        }
        Ok(())
    }

    fn uninstall(&self) -> Result<()> {
        chapter("And away again");
        self.show(&["rm", "-f", "web", "db"])?;
        self.show(&["network", "rm", "quiet"])?;
        self.show(&["uninstall"])?;
        println!("$ ip -br link show type bridge");
        let left = finish(tool("ip").args(["-br", "link", "show", "type", "bridge"]), true)?;
        let pins = PathBuf::from("/sys/fs/bpf/portlane").exists();
        ensure!(left.is_empty() && !pins, "something was left behind");
        println!("\nThat was portlane; the machine's own network saw none of it.");
        Ok(())
    }

    /// What a container's server wrote.
    fn log_of(&self, name: &str) -> Result<String> {
        let path = self.field(name, &["log"])?;
        fs::read_to_string(&path).with_context(|| format!("cannot read the container's log {path}"))
    }

    fn address_of(&self, name: &str) -> Result<String> {
        self.field(name, &["addr4", "ip"])
    }

    /// A text field of `portlane inspect`.
    fn field(&self, name: &str, keys: &[&str]) -> Result<String> {
        let output = tool(&self.portlane).args(["inspect", name]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once(": ") else { continue };
            if keys.iter().any(|wanted| key.trim_matches('"') == *wanted) {
                return Ok(value.trim_matches(|c| c == '"' || c == ',').to_owned());
            }
        }
        bail!("`portlane inspect {name}` shows no {}:\n{text}", keys[0])
    }
}

fn chapter(title: &str) {
    println!("\n━━ {title}");
}

fn print_lines(title: &str, text: &str) {
    println!("# {title}");
    for line in text.lines().filter(|line| line.contains("GET")) {
        println!("  {line}");
    }
}

/// Runs and shows a command in the namespace outside.
fn outside(command: &[&str], expected: bool) -> Result<String> {
    println!("outside$ {}", command.join(" "));
    finish(tool("ip").args(["netns", "exec", "outside"]).args(command), expected)
}

/// Runs a command, prints what it printed, and checks whether it succeeded.
fn finish(command: &mut Command, expected: bool) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("cannot start it")?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    if !expected {
        println!("({})", output.status);
    }
    std::io::stdout().flush()?;
    if output.status.success() != expected {
        bail!("that should have {}: {}", if expected { "succeeded" } else { "failed" }, output.status);
    }
    Ok(text)
}

/// Waits until something listens.
fn listening(address: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("nothing listens on {address} after {} s", PATIENCE.as_secs())
}
