//! The sockets that a daemon listens on.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::{Result, ServiceError};
use crate::{daemon_json::DaemonJson, http::Address};

/// Who may speak to the daemon: root and its group.
const MODE: u32 = 0o660;

/// A socket that is listened on.
pub(super) enum Socket {
    Unix { listener: UnixListener, _file: SocketFile },
    Tls(TcpListener, TlsAcceptor),
}

/// The file of a socket, removed with this value unless somebody else's is there by then.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens on these addresses and those that daemon.json names.
pub(super) async fn open(addresses: &[Address], daemon: &DaemonJson) -> Result<Vec<Socket>> {
    let mut all = addresses.to_vec();
    all.extend(daemon.hosts.iter().filter(|host| !addresses.contains(host)).cloned());
    let tcp = |address: &&Address| matches!(address, Address::Tcp { .. });
    let tls = match all.iter().find(tcp) {
        Some(address) if !daemon.tls_verify => return Err(ServiceError::OpenToAll { address: address.clone() }),
        Some(_) => Some(TlsAcceptor::from(daemon.tls.server()?)),
        None => None,
    };
    let mut sockets = Vec::new();
    for address in &all {
        sockets.push(match (address, &tls) {
            (Address::Unix(path), _) => unix(address, path).await?,
            (Address::Tcp { host, port }, Some(tls)) => {
                let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(failed(address))?;
                Socket::Tls(listener, tls.clone())
            }
            (Address::Tcp { .. }, None) => return Err(ServiceError::OpenToAll { address: address.clone() }),
        });
    }
    Ok(sockets)
}

async fn unix(address: &Address, path: &Path) -> Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServiceError::NotASocket { path: path.to_owned() });
        }
        // Of a daemon that was killed, unless somebody answers.
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed(address))?;
            }
            _ => return Err(ServiceError::Served { address: address.clone() }),
        },
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed(address))?;
    let inode = inode(path).map_err(failed(address))?;
    let file = SocketFile { path: path.to_owned(), inode };
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed(address))?;
    Ok(Socket::Unix { listener, _file: file })
}

fn failed(address: &Address) -> impl FnOnce(io::Error) -> ServiceError {
    let address = address.clone();
    move |source| ServiceError::Listen { address, source }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            // It may be on a file system that has become read-only: nothing can be done about that.
            drop(fs::remove_file(&self.path));
        }
    }
}
