//! A caller's side: one request, one answer.

use std::{io, sync::Arc};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::{Address, MAX_ANSWER, TlsError, TlsFiles, route::Carried};
use crate::request::Request;

/// Speaks to a daemon.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    tls: TlsFiles,
}

/// Why there is no answer, or which one a daemon gave.
#[derive(Debug, Error)]
pub enum ClientError {
    /// What the daemon says.
    #[error("{0}")]
    Refused(String),
    /// Nobody there.
    #[error("no daemon answers at {address}: {source}")]
    Unreachable {
        /// Where it should be.
        address: Address,
        /// What the kernel, or TLS, said.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Somebody else is there.
    #[error("what answers at {address} is no portlane daemon: {problem}")]
    Stranger {
        /// Where it is.
        address: Address,
        /// What is wrong with its answer.
        problem: String,
    },
}

impl Client {
    /// To the daemon at an address; `tls` counts over TCP.
    pub const fn new(address: Address, tls: TlsFiles) -> Self {
        Self { address, tls }
    }

    /// Has a request done there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, request: &Request) -> Result<Value, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address.clone(), source };
        match &self.address {
            Address::Unix(path) => self.exchange(UnixStream::connect(path).await.map_err(unreachable)?, request).await,
            Address::Tcp { host, port } => {
                let connector = TlsConnector::from(Arc::clone(&self.tls.client()?));
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                self.exchange(connector.connect(name, stream).await.map_err(unreachable)?, request).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: &Request,
    ) -> Result<Value, ClientError> {
        let broken = |error: hyper::Error| {
            let told = std::error::Error::source(&error).map(ToString::to_string);
            let source = io::Error::other(told.unwrap_or_else(|| error.to_string()));
            ClientError::Unreachable { address: self.address.clone(), source }
        };
        let stranger = |problem: String| ClientError::Stranger { address: self.address.clone(), problem };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the sender; what goes wrong there is told to the request that waits.
        tokio::spawn(async move { drop(connection.await) });
        let Carried { method, path, body } = request.carried();
        let http = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "portlane")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.map(|body| body.to_string()).unwrap_or_default())))
            .map_err(|error| stranger(error.to_string()))?;
        let response = sender.send_request(http).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| stranger(error.to_string()))?.to_bytes();
        let value: Value = serde_json::from_slice(&body).map_err(|_| stranger(format!("{status}, and no JSON")))?;
        match value["error"].as_str() {
            _ if status.is_success() => Ok(value),
            Some(sentence) => Err(ClientError::Refused(sentence.to_owned())),
            None => Err(stranger(status.to_string())),
        }
    }
}
