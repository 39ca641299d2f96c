//! The words of the command line.

use crate::model::{error::ModelError, spec};

/// What is understood, written back in full; or a part of the sentence that refuses it.
fn check<T>(
    parse: impl Fn(&str) -> Result<T, ModelError>,
    write: impl Fn(T) -> String,
    rows: &[(&str, Result<&str, &str>)],
) {
    for (text, expected) in rows {
        match (parse(text).map(&write), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, *expected, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error} does not say {part}"),
            (found, _) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn ports_to_publish_are_written_as_for_docker() {
    check(
        spec::publish,
        |request| request.to_string(),
        &[
            ("80", Ok("80/tcp")),
            (":80", Ok("80/tcp")),
            ("80/udp", Ok("80/udp")),
            ("80/UDP", Ok("80/udp")),
            ("8080:80", Ok("8080:80/tcp")),
            ("8000-8009:80-89/udp", Ok("8000-8009:80-89/udp")),
            ("7000-7009", Ok("7000-7009/tcp")),
            ("8000-9000:80", Ok("8000-9000:80/tcp")),
            ("40000-55999:40000-55999/udp", Ok("40000-55999:40000-55999/udp")),
            ("127.0.0.1:8080:80", Ok("127.0.0.1:8080:80/tcp")),
            ("127.0.0.1::80", Ok("127.0.0.1::80/tcp")),
            ("127.0.0.1:0:80", Ok("127.0.0.1::80/tcp")),
            ("0:80-81/udp", Ok("80-81/udp")),
            ("0.0.0.0:8080:80", Ok("0.0.0.0:8080:80/tcp")),
            ("[::1]:8080:80", Ok("[::1]:8080:80/tcp")),
            ("[::]::53/udp", Ok("[::]::53/udp")),
            ("[::ffff:192.0.2.1]:80:80", Ok("192.0.2.1:80:80/tcp")),
            ("80,from=10.0.0.0/8", Ok("80/tcp,from=10.0.0.0/8")),
            ("53:53/udp,from=192.0.2.7,from=10.0.0.0/8", Ok("53:53/udp,from=10.0.0.0/8,from=192.0.2.7")),
            (
                "80:80,from=2001:db8::/32,from=::1,from=0.0.0.0/0",
                Ok("80:80/tcp,from=0.0.0.0/0,from=::1,from=2001:db8::/32"),
            ),
            ("80:80,from=10.0.0.1/32,from=10.0.0.1", Ok("80:80/tcp,from=10.0.0.1")),
            ("80:80,from=::ffff:10.0.0.0/104,from=::ffff:1.2.3.4", Ok("80:80/tcp,from=1.2.3.4,from=10.0.0.0/8")),
            ("80:80,from=10.1.2.3/8", Err("write 10.0.0.0/8 or 10.1.2.3")),
            ("80:80,from=2001:db8::1/32", Err("write 2001:db8::/32 or 2001:db8::1")),
            ("80:80,from=10.0.0.0/33", Err("`10.0.0.0/33` is no prefix: write an address, or as in `10.0.0.0/8`")),
            ("80:80,from=2001:db8::/129", Err("is no prefix")),
            ("80:80,from=example.org", Err("is no prefix")),
            ("80:80,from=", Err("`` is no prefix")),
            ("80:80,", Err("`` is not known: write `,from=` and a prefix")),
            ("80:80,to=10.0.0.0/8", Err("`to=10.0.0.0/8` is not known")),
            ("80:80,from=10.0.0.0/8,", Err("is not known")),
            ("80:80,from=10.0.0.0/8/udp", Err("is no prefix")),
            ("", Err("is no port")),
            ("0-1:80", Err("is no port")),
            ("80:0", Err("is no port")),
            ("65536", Err("from 1 to 65535")),
            ("+80", Err("is no port")),
            ("80:", Err("is no port")),
            ("90-80:90-80", Err("ends before it begins")),
            ("80-82:80-81", Err("equally long")),
            ("80:80-81", Err("equally long")),
            ("80/icmp", Err("use tcp, udp or sctp")),
            ("80/", Err("use tcp, udp or sctp")),
            ("300.0.0.1:80:80", Err("no IPv4 address")),
            ("127.0.0.1:80", Err("is no port")),
            ("::1:8080:80", Err("in brackets")),
            ("[::1]:80", Err("between address and container port")),
            ("[::1]80:80", Err("write `[address]")),
            ("[127.0.0.1]:80:80", Err("no IPv6 address")),
            ("[::1]:1:2:3", Err("too many colons")),
        ],
    );
}

#[test]
fn exposed_ports_links_hosts_and_macs_are_written_as_for_docker() {
    check(
        spec::port,
        |port| port.to_string(),
        &[
            ("80", Ok("80/tcp")),
            ("53/udp", Ok("53/udp")),
            ("7000-7009/tcp", Ok("7000-7009/tcp")),
            ("0", Err("is no port")),
            ("9-8", Err("ends before")),
        ],
    );
    check(
        spec::link,
        |link| format!("{}={}", link.alias, link.target),
        &[
            ("db", Ok("db=db")),
            ("db:store", Ok("store=db")),
            ("db:", Err("container:alias")),
            (":x", Err("container:alias")),
            ("db:a b", Err("container:alias")),
        ],
    );
    check(
        spec::extra_host,
        |(name, address)| format!("{name}={}", address.map_or("the host".to_owned(), |address| address.to_string())),
        &[
            ("host.docker.internal:host-gateway", Ok("host.docker.internal=the host")),
            ("db:10.0.0.5", Ok("db=10.0.0.5")),
            ("db=10.0.0.5", Ok("db=10.0.0.5")),
            ("db:::1", Ok("db=::1")),
            ("db:[fd00::5]", Ok("db=fd00::5")),
            ("db", Err("name:address")),
            ("db:x", Err("name:address")),
            ("d b:10.0.0.5", Err("name:address")),
        ],
    );
    check(
        spec::mac,
        |mac| crate::model::state::Mac(mac).to_string(),
        &[
            ("02:42:AC:11:00:02", Ok("02:42:ac:11:00:02")),
            ("02-42-ac-11-00-02", Ok("02:42:ac:11:00:02")),
            ("02:42:ac:11:00", Err("six pairs")),
            ("02:42:ac:11:00:02:03", Err("six pairs")),
            ("2:42:ac:11:00:02", Err("six pairs")),
            ("01:00:5e:00:00:01", Err("unicast")),
            ("00:00:00:00:00:00", Err("unicast")),
        ],
    );
}
