//! The authorities whose certificates are believed when another system is called over TLS.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, crypto};

/// Authorities to believe; cheap to clone, and made once for all that are called.
#[derive(Clone)]
pub struct Trust {
    authorities: usize,
    tls: Option<Arc<ClientConfig>>,
}

impl Trust {
    /// The authorities that the machine believes: its own store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Reads files. What cannot be
    /// read is left out, as other programs do: one odd certificate among hundreds is no reason to believe none.
    pub fn of_machine() -> Trust {
        let found = rustls_native_certs::load_native_certs();
        Trust::of(found.certs.into_iter().map(|it| it.to_vec()))
    }

    /// These authorities only, each a certificate in DER; what is none is left out.
    pub fn of(certificates: impl IntoIterator<Item = Vec<u8>>) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.into_iter().map(CertificateDer::from));
        let authorities = roots.len();
        // The provider is named, so that nothing depends on which one a process has set up first.
        let provider = Arc::new(crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = versions.ok().map(|it| Arc::new(it.with_root_certificates(roots).with_no_client_auth()));
        Trust { authorities, tls }
    }

    /// Whether no certificate would ever be believed.
    pub fn is_empty(&self) -> bool {
        self.authorities == 0 || self.tls.is_none()
    }

    /// How to speak TLS; None if this program cannot.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Trust({} authorities)", self.authorities)
    }
}
