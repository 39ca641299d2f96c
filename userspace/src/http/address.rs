//! Where a daemon is: `unix:///PATH` or `tcp://HOST:PORT`.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// TLS over TCP.
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// No such address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address of a daemon: write unix:///PATH or tcp://HOST:PORT")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(wrong()) };
        }
        let (host, port) = text.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let host = match bare {
            Some(six) if six.parse::<std::net::Ipv6Addr>().is_ok() => six,
            None if !host.is_empty() && host.bytes().all(fits) => host,
            _ => return Err(wrong()),
        };
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self::Tcp { host: host.to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_docker_writes_them() {
        for text in ["unix:///run/portlane.sock", "tcp://0.0.0.0:2376", "tcp://[::1]:2376", "tcp://host.example:2376"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["", "/run/x", "unix://run/x", "tcp://h", "tcp://h:0", "tcp://:1", "tcp://::1:1", "tcp://a/b:1", "fd://"]
        {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("unix:///PATH"), "{error}");
        }
    }
}
