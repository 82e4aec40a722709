//! Calls over TLS: only to whom an authority vouches for.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tidegate::connector::{HttpConnector, Target};
use tidegate::net::Trust;

use super::server::{Act, Server};
use super::{request, run, shown, target};

/// A server's certificate for a name, as its own authority: DER, and the server's side.
fn certificate(name: &str) -> (Vec<u8>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (made.cert.der().to_vec(), Arc::new(config))
}

fn connector(server: &Server, trust: Trust) -> HttpConnector {
    let url = format!("https://{}/", server.address);
    HttpConnector::new(Target { trust, ..target(url, &[]) }).unwrap()
}

#[test]
fn who_is_vouched_for_is_called() {
    let (authority, config) = certificate("127.0.0.1");
    let ok = || Act::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let server = Server::start_with([ok(), ok()], Some(config));
    let answers = run(&connector(&server, Trust::of([authority])), (0..2).map(|_| request("GET", "/a")));
    assert_eq!(answers.iter().map(shown).collect::<Vec<_>>(), [r#"200 "ok""#; 2]);
    assert!(server.seen().iter().all(|it| it.line == "GET /a HTTP/1.1"), "{:?}", server.seen());
}

#[test]
fn who_is_not_is_told_nothing() {
    let (authority, config) = certificate("127.0.0.1");
    let (other, of_other_name) = certificate("other.example.com");
    let check = |acts: Vec<Act>, config: Option<Arc<ServerConfig>>, authority: &[u8], expected: &str| {
        let server = Server::start_with(acts, config);
        let answer = shown(&run(&connector(&server, Trust::of([authority.to_vec()])), [request("GET", "/")])[0]);
        assert!(answer.starts_with(&format!("connection: no connection: {expected}")), "{answer}");
        assert!(server.seen().is_empty());
    };
    check(vec![], Some(config), &other, "invalid peer certificate: ");
    let of_another = "invalid peer certificate: certificate not valid for name \"127.0.0.1\"";
    check(vec![], Some(of_other_name), &other, of_another);
    check(vec![Act::Reset], None, &authority, "Connection reset by peer");
}

#[test]
fn a_machine_has_authorities_or_says_that_it_has_none() {
    let target = Target { trust: Trust::of_machine(), ..target("https://example.com", &[]) };
    let made = HttpConnector::new(target);
    assert!(made.is_ok() || made.is_err_and(|error| error.to_string().contains("SSL_CERT_FILE")));
}
