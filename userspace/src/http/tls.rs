//! Mutual TLS: whoever speaks to a daemon over TCP shows a certificate, and so does the daemon.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use thiserror::Error;

/// Files in PEM: Docker's `tlscacert`, `tlscert`, `tlskey`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate of the authority that the other side's must be signed by.
    pub ca: Option<PathBuf>,
    /// The own certificate, and those that lead from it to the authority.
    pub cert: Option<PathBuf>,
    /// The own private key.
    pub key: Option<PathBuf>,
}

/// Why there can be no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that was not named.
    #[error("tcp:// needs mutual TLS: set tlscacert, tlscert and tlskey ({missing} is missing)")]
    Missing {
        /// Its key.
        missing: &'static str,
    },
    /// A file that holds something else.
    #[error("{path} cannot be used for TLS: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The files do not belong together.
    #[error("the certificates cannot be used for TLS: {0}")]
    Unusable(String),
}

type Result<T, E = TlsError> = std::result::Result<T, E>;

impl TlsFiles {
    /// A daemon's side, which refuses whoever shows no certificate of the authority.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.authority()?), provider.clone());
        let verifier = verifier.build().map_err(unusable)?;
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let (chain, key) = self.identity()?;
        let config = config.map_err(unusable)?.with_client_cert_verifier(verifier).with_single_cert(chain, key);
        Ok(Arc::new(config.map_err(unusable)?))
    }

    /// A caller's side, which believes a daemon only with a certificate of the authority.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(unusable)?.with_root_certificates(self.authority()?);
        let (chain, key) = self.identity()?;
        Ok(Arc::new(config.with_client_auth_cert(chain, key).map_err(unusable)?))
    }

    fn authority(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let path = named(&self.ca, "tlscacert")?;
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| file(path, error))?;
        }
        Ok(roots)
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = certificates(named(&self.cert, "tlscert")?)?;
        let path = named(&self.key, "tlskey")?;
        Ok((chain, PrivateKeyDer::from_pem_file(path).map_err(|error| file(path, error))?))
    }
}

fn named<'a>(path: &'a Option<PathBuf>, missing: &'static str) -> Result<&'a Path> {
    path.as_deref().ok_or(TlsError::Missing { missing })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(none) if none.is_empty() => Err(file(path, "there is no certificate in it")),
        read => read.map_err(|error| file(path, error)),
    }
}

fn file(path: &Path, problem: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), problem: problem.to_string() }
}

fn unusable(error: impl ToString) -> TlsError {
    TlsError::Unusable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_no_certificate_is_named() {
        let error = |files: &TlsFiles| files.server().expect_err("it cannot work").to_string();
        assert!(error(&TlsFiles::default()).contains("tlscacert is missing"));
        let files = TlsFiles { ca: Some("/dev/null".into()), cert: None, key: None };
        assert_eq!(error(&files), "/dev/null cannot be used for TLS: there is no certificate in it");
        let files = TlsFiles { ca: Some("/nowhere/ca.pem".into()), ..files };
        assert!(error(&files).starts_with("/nowhere/ca.pem cannot be used for TLS"));
    }
}
