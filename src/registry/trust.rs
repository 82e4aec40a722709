//! TLS of the registry: whose certificates are believed.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, crypto};

/// TLS that believes whom the machine believes: its own store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Reads files. What cannot be
/// read is left out, as other programs do. The number of authorities is told beside it: with none, no certificate is believed.
pub(super) fn of_machine() -> Result<(ClientConfig, usize), rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    of(found.certs)
}

/// TLS that believes these authorities.
pub(super) fn of(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<(ClientConfig, usize), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let authorities = roots.len();
    // The provider is named, so that nothing depends on which one a process has set up first.
    let provider = Arc::new(crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok((versions.with_root_certificates(roots).with_no_client_auth(), authorities))
}
