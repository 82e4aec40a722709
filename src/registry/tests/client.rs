//! Questions and their answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::server::{Asked, Reply, Server, client, nowhere, registry, schema, unknown};
use crate::codec::avro::SchemaKey;
use crate::net::Trust;
use crate::registry::{
    ANSWER_BYTES, Compatibility, FetchError, Latest, REFERENCE_DEPTH, REFERENCES, Registry, RegistryClient,
    RegistryError, SchemaKind,
};

const GUID: SchemaKey = SchemaKey::Guid(0x8979_1a2b_0001_4002_8003_aabb_ccdd_eeff);
const GUID_TEXT: &str = "89791a2b-0001-4002-8003-aabbccddeeff";

#[track_caller]
fn outage<T: std::fmt::Debug>(result: Result<T, FetchError>, parts: &[&str]) {
    match result {
        Err(FetchError::Outage(message)) => {
            for part in parts {
                assert!(message.contains(part), "{part} in: {message}");
            }
            assert!(!message.contains('?'), "no query in: {message}");
        }
        other => panic!("an outage with {parts:?}, not {other:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, FetchError>, part: &str) {
    match result {
        Err(FetchError::Refused(message)) => assert!(message.contains(part), "{part} in: {message}"),
        other => panic!("a refusal with {part}, not {other:?}"),
    }
}

#[tokio::test]
async fn a_schema_is_found_by_its_id() {
    let body = json!({ "schema": "\"string\"", "subject": "orders-value", "version": 3, "guid": GUID_TEXT });
    let server = Server::saying(200, body.to_string()).await;
    let found = server.client().fetch(SchemaKey::Id(17)).await.unwrap();
    assert_eq!(&*found.text, "\"string\"");
    assert_eq!(found.kind, SchemaKind::Avro, "which is what no type means");
    assert_eq!(found.subject.as_deref(), Some("orders-value"));
    assert!(found.references.is_empty());
    assert_eq!(server.lines(), ["GET /schemas/ids/17?deleted=true"]);
}

#[tokio::test]
async fn a_schema_is_found_by_its_guid() {
    let server = Server::saying(200, json!({ "schema": "{}", "schemaType": "JSON" }).to_string()).await;
    let found = server.client().fetch(GUID).await.unwrap();
    assert_eq!(found.kind, SchemaKind::Json);
    assert_eq!(server.lines(), [format!("GET /schemas/guids/{GUID_TEXT}?deleted=true")]);
    assert_eq!(GUID.to_string(), format!("guid {GUID_TEXT}"));
    assert_eq!(SchemaKey::Id(17).to_string(), "id 17");
}

fn reference(name: &str) -> serde_json::Value {
    json!({ "name": name, "subject": format!("{name}/s"), "version": 1 })
}

/// A registry with schemas that refer to each other: by name, what it refers to.
async fn referring(edges: Vec<(String, Vec<String>)>) -> Server {
    Server::start(move |asked| {
        let path = asked.line.trim_start_matches("GET ");
        let name = match path.strip_prefix("/subjects/").and_then(|it| it.strip_suffix("%2Fs/versions/1?deleted=true"))
        {
            Some(name) => name,
            None if path == "/schemas/ids/1?deleted=true" => "root",
            None => return unknown(40401),
        };
        let Some((_, to)) = edges.iter().find(|(from, _)| from == name) else { return unknown(40402) };
        let references: Vec<_> = to.iter().map(|it| reference(it)).collect();
        let schema = json!({ "id": 5, "version": 1, "schema": format!("text of {name}"), "references": references });
        Reply::Answer(200, schema.to_string())
    })
    .await
}

fn edges(text: &str) -> Vec<(String, Vec<String>)> {
    let edge = |line: &str| {
        let (from, to) = line.split_once(':').unwrap();
        (from.to_owned(), to.split_whitespace().map(str::to_owned).collect())
    };
    text.split(';').map(|it| edge(it.trim())).collect()
}

#[tokio::test]
async fn references_come_once_each_behind_those_they_need() {
    let server = referring(edges("root: a b; a: c; b: c d; c: ; d: a")).await;
    let found = server.client().fetch(SchemaKey::Id(1)).await.unwrap();
    let names: Vec<_> = found.references.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["c", "a", "d", "b"]);
    assert_eq!(&*found.references[0].text, "text of c");
    assert_eq!(server.lines().len(), 5, "each is asked for once");
}

#[tokio::test]
async fn references_are_bounded() {
    let many: Vec<_> = (0..=REFERENCES).map(|it| format!("n{it}")).collect();
    let mut wide = vec![("root".to_owned(), many.clone())];
    wide.extend(many.iter().map(|it| (it.clone(), Vec::new())));
    refused(referring(wide).await.client().fetch(SchemaKey::Id(1)).await, "more than 64 schemas");

    let chain = |deep: usize| {
        let mut edges = vec![("root".to_owned(), vec!["n1".to_owned()])];
        edges.extend((1..deep).map(|it| (format!("n{it}"), vec![format!("n{}", it + 1)])));
        edges.push((format!("n{deep}"), Vec::new()));
        edges
    };
    let found = referring(chain(REFERENCE_DEPTH)).await.client().fetch(SchemaKey::Id(1)).await.unwrap();
    assert_eq!(found.references.len(), REFERENCE_DEPTH);
    refused(referring(chain(REFERENCE_DEPTH + 1)).await.client().fetch(SchemaKey::Id(1)).await, "16 deep");

    let circle = referring(edges("root: a; a: b; b: a")).await;
    refused(circle.client().fetch(SchemaKey::Id(1)).await, "in a circle");

    let half = " ".repeat(ANSWER_BYTES / 2 - 1024);
    let large = Server::start(move |asked| {
        let references: Vec<_> =
            ["a", "b"].map(reference).into_iter().filter(|_| asked.line.contains("/ids/")).collect();
        Reply::Answer(200, json!({ "id": 1, "schema": half, "references": references }).to_string())
    });
    refused(large.await.client().fetch(SchemaKey::Id(1)).await, "bytes");
}

#[tokio::test]
async fn a_reference_that_is_missing_makes_its_schema_unknown() {
    let server = referring(edges("root: a")).await;
    let found = server.client().fetch(SchemaKey::Id(1)).await;
    let Err(FetchError::Unknown(message)) = found else { panic!("unknown, not {found:?}") };
    for part in ["id 1", "version 1", "a/s", "register it again"] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_schema_that_nobody_reads_is_refused() {
    let server = Server::saying(200, json!({ "schema": "x", "schemaType": "THRIFT" }).to_string()).await;
    refused(server.client().fetch(SchemaKey::Id(1)).await, "THRIFT");
}

#[tokio::test]
async fn only_the_registry_says_that_it_does_not_know_a_schema() {
    let server = Server::start(|_| unknown(40403)).await;
    let result = server.client().fetch(SchemaKey::Id(9)).await;
    let Err(FetchError::Unknown(message)) = result else { panic!("unknown, not {result:?}") };
    assert!(message.contains("schema id 9 is not in the registry at http://127.0.0.1:"), "{message}");

    let result = server.client().fetch(GUID).await;
    assert!(matches!(result, Err(FetchError::Unknown(_))), "{result:?}");

    for body in ["<html>", "", r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, r#"{"error_code":40401}"#] {
        let elsewhere = Server::saying(404, body).await;
        outage(elsewhere.client().fetch(SchemaKey::Id(9)).await, &["answered 404", "URL is that of the registry"]);
        outage(elsewhere.client().fetch(GUID).await, &["answered 404"]);
    }
}

#[tokio::test]
async fn a_registry_that_is_too_old_for_guids_does_not_know_them() {
    let server = Server::start(|asked| match asked.line.contains("/ids/") {
        true => unknown(40403),
        false => Reply::Answer(404, "<html>".into()),
    });
    let result = server.await.client().fetch(GUID).await;
    assert!(matches!(&result, Err(FetchError::Unknown(it)) if it.contains("does not know GUIDs")), "{result:?}");
}

#[tokio::test]
async fn what_a_registry_says_of_one_schema_alone_is_no_outage() {
    let answers: [fn() -> Reply; 6] = [
        || Reply::Answer(403, r#"{"error_code":40301,"message":"not yours"}"#.into()),
        || Reply::Answer(400, String::new()),
        || Reply::Answer(410, String::new()),
        || Reply::Answer(422, r#"{"error_code":42201,"message":"odd"}"#.into()),
        || Reply::Chunked(5 * 1024 * 1024),
        || Reply::Answer(200, "<html>".into()),
    ];
    for answer in answers {
        let of_one = move |asked: &Asked| if asked.line.contains("/7?") { answer() } else { unknown(40403) };
        let server = Server::start(of_one).await;
        let found = server.client().fetch(SchemaKey::Id(7)).await;
        assert!(matches!(&found, Err(FetchError::Unknown(it)) if it.contains("schema id 7 is not told")), "{found:?}");
    }
}

#[tokio::test]
async fn whatever_else_a_registry_answers_is_an_outage() {
    let json = r#"{"error_code":50001,"message":"the store is away"}"#;
    for status in [400, 401, 403, 405, 408, 409, 422, 425, 429, 500, 501, 502, 503, 504, 302, 307] {
        for body in [json, "<html>", ""] {
            let server = Server::saying(status, body).await;
            let said = format!("answered {status}");
            outage(server.client().fetch(SchemaKey::Id(9)).await, &["schema id 9", &server.url, &said]);
            assert!(server.lines().len() <= 2, "once, and whether it is a registry at all");
        }
    }
    let server = Server::saying(500, json).await;
    outage(server.client().fetch(SchemaKey::Id(9)).await, &["the store is away"]);
    let server = Server::saying(401, json).await;
    outage(server.client().fetch(SchemaKey::Id(9)).await, &["write headers with credentials"]);
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_outage() {
    for body in ["", "<html>", "{", "[]", "{}", "7", r#"{"schema":7}"#, r#"{"schema":"x","references":7}"#] {
        let server = Server::saying(200, body).await;
        outage(server.client().fetch(SchemaKey::Id(9)).await, &["none that a registry gives"]);
    }
    let large = " ".repeat(10 * 1024 * 1024);
    for status in [200, 404, 500] {
        let server = Server::saying(status, large.clone()).await;
        outage(server.client().fetch(SchemaKey::Id(9)).await, &["larger than 4194304 bytes"]);
    }
    let server = Server::start(|_| Reply::Chunked(10 * 1024 * 1024)).await;
    outage(server.client().fetch(SchemaKey::Id(9)).await, &["larger than 4194304 bytes"]);
}

#[tokio::test]
async fn no_answer_is_an_outage() {
    let hanging = Server::start(|_| Reply::Hang).await;
    let settings = Registry { timeout: Duration::from_millis(50), ..registry(&[&hanging.url], &[]) };
    let client = RegistryClient::new(&settings).unwrap();
    outage(client.fetch(SchemaKey::Id(9)).await, &["no whole answer within 50 ms"]);
    outage(client.is_compatible("s", "\"int\"").await, &["no whole answer within 50 ms"]);

    let closing = Server::start(|_| Reply::Close).await;
    outage(closing.client().fetch(SchemaKey::Id(9)).await, &["broke off"]);

    let nowhere = nowhere().await;
    outage(super::server::client(&[&nowhere], &[]).fetch(SchemaKey::Id(9)).await, &["no connection", &nowhere]);
}

#[tokio::test]
async fn tls_that_fails_is_an_outage() {
    let plain = Server::saying(200, "{}").await;
    let url = plain.url.replace("http:", "https:");
    let client = RegistryClient::with_trust(&registry(&[&url], &[]), &Trust::of([])).unwrap();
    outage(client.fetch(SchemaKey::Id(9)).await, &["no connection", &url]);
}

#[tokio::test]
async fn the_next_url_is_asked_in_an_outage_and_then_first() {
    let good = Server::start(|asked| match asked.line.contains("/ids/1?") {
        true => schema("\"int\""),
        false => unknown(40403),
    })
    .await;
    let failing = Server::saying(503, "").await;
    let nowhere = nowhere().await;
    let three = client(&[&nowhere, &failing.url, &good.url], &[]);
    assert_eq!(&*three.fetch(SchemaKey::Id(1)).await.unwrap().text, "\"int\"");
    assert!(matches!(three.fetch(SchemaKey::Id(2)).await, Err(FetchError::Unknown(_))));
    assert_eq!(failing.lines().len(), 1, "the one that answered is asked first");

    let down = client(&[&nowhere, &failing.url], &[]);
    outage(down.fetch(SchemaKey::Id(1)).await, &[&nowhere, "no connection", &failing.url, "answered 503"]);

    let first = client(&[&good.url, &failing.url], &[]);
    assert!(matches!(first.fetch(SchemaKey::Id(2)).await, Err(FetchError::Unknown(_))));
    assert_eq!(failing.lines().len(), 2, "what one does not know is not asked of the next");
}

#[tokio::test]
async fn a_schema_is_registered() {
    let server = Server::saying(200, r#"{"id":42}"#).await;
    assert_eq!(server.client().register("a/b c?", "\"int\"").await, Ok(42));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /subjects/a%2Fb%20c%3F/versions");
    let body: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(body, json!({ "schema": "\"int\"", "schemaType": "AVRO" }));

    let conflict = Server::saying(409, r#"{"error_code":409,"message":"it lacks a default"}"#).await;
    refused(conflict.client().register("s", "\"int\"").await, "it lacks a default");
    let invalid = Server::saying(422, r#"{"error_code":42201,"message":"no schema"}"#).await;
    refused(invalid.client().register("s", "x").await, "no schema");
    refused(invalid.client().register("..", "x").await, "another name");
    refused(invalid.client().register("", "x").await, "1 to 1024");
    outage(Server::saying(500, "").await.client().register("s", "x").await, &["subject s", "answered 500"]);
    outage(Server::saying(200, "{}").await.client().register("s", "x").await, &["none that a registry gives"]);
}

#[tokio::test]
async fn compatibility_is_told_with_its_reasons() {
    let body = r#"{"is_compatible":false,"messages":["it lacks\na default"]}"#;
    let server = Server::saying(200, body).await;
    let told = server.client().is_compatible("s-value", "\"int\"").await;
    assert_eq!(told, Ok(Compatibility::Incompatible(vec!["it lacks a default".into()])));
    assert_eq!(server.lines(), ["POST /compatibility/subjects/s-value/versions/latest?verbose=true"]);

    let compatible = Server::saying(200, r#"{"is_compatible":true}"#).await;
    assert_eq!(compatible.client().is_compatible("s", "\"int\"").await, Ok(Compatibility::Compatible));
    let none = Server::start(|_| unknown(40401)).await;
    assert_eq!(none.client().is_compatible("s", "\"int\"").await, Ok(Compatibility::Unregistered));
    let invalid = Server::saying(422, r#"{"error_code":42201,"message":"no schema"}"#).await;
    refused(invalid.client().is_compatible("s", "x").await, "no schema");
    outage(Server::saying(200, "[1]").await.client().is_compatible("s", "x").await, &["none that a registry gives"]);
    outage(Server::saying(404, "").await.client().is_compatible("s", "x").await, &["answered 404"]);
}

#[tokio::test]
async fn whether_a_subject_has_a_schema_is_told() {
    let server = Server::saying(200, r#"{"subject":"s-value","version":1,"id":42,"schema":"\"int\""}"#).await;
    assert_eq!(server.client().registered("s-value", "\"int\"").await, Ok(Some(42)));
    assert_eq!(server.lines(), ["POST /subjects/s-value"]);
    for code in [40401, 40402, 40403] {
        let none = Server::start(move |_| unknown(code)).await;
        assert_eq!(none.client().registered("s", "\"int\"").await, Ok(None), "{code}");
    }
    let invalid = Server::saying(422, r#"{"error_code":42201,"message":"no schema"}"#).await;
    refused(invalid.client().registered("s", "x").await, "no schema");
    outage(Server::saying(200, "[1]").await.client().registered("s", "x").await, &["none that a registry gives"]);
    outage(Server::saying(404, "").await.client().registered("s", "x").await, &["answered 404"]);
    let (down, up) = (Server::saying(503, "").await, Server::saying(200, r#"{"id":7}"#).await);
    assert_eq!(client(&[&down.url, &up.url], &[]).registered("s", "x").await, Ok(Some(7)), "the next one is asked");
}

#[tokio::test]
async fn a_subject_that_is_kept_from_us_is_no_outage() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "GET /subjects/secret/versions/latest" => {
            Reply::Answer(403, r#"{"error_code":40301,"message":"not for you"}"#.to_owned())
        }
        _ => unknown(40403),
    })
    .await;
    let told = server.client().latest("secret").await;
    let Err(FetchError::Unknown(message)) = told else { panic!("{told:?}") };
    assert!(message.contains("not for you") && message.contains("credentials"), "{message}");
    outage(Server::saying(403, "").await.client().latest("secret").await, &["answered 403"]);
}

#[tokio::test]
async fn a_schema_is_told_with_a_subject_that_has_it_where_that_is_wanted() {
    let subjects = r#"["orders-value","com.example.Order"]"#.to_owned();
    let server = Server::start(move |asked| match asked.line.as_str() {
        "GET /schemas/ids/1/subjects?deleted=true" => Reply::Answer(200, subjects.clone()),
        "GET /schemas/ids/2/subjects?deleted=true" => unknown(40403),
        "GET /schemas/ids/3/subjects?deleted=true" => Reply::Answer(503, String::new()),
        _ => schema("\"int\""),
    })
    .await;
    let wanted = Registry { tells_subjects: true, ..registry(&[&server.url], &[]) };
    let client = RegistryClient::new(&wanted).unwrap();
    let subject = async |key| client.fetch(key).await.map(|it| it.subject.map(|it| it.to_string()));
    assert_eq!(subject(SchemaKey::Id(1)).await, Ok(Some("com.example.Order".to_owned())));
    assert_eq!(subject(SchemaKey::Id(2)).await, Ok(None));
    outage(subject(SchemaKey::Id(3)).await, &["the subjects of schema id 3", "answered 503"]);
    assert_eq!(subject(SchemaKey::Guid(7)).await, Ok(None), "no registry tells that");
    assert_eq!(server.lines().len(), 7);
    assert_eq!(server.client().fetch(SchemaKey::Id(1)).await.unwrap().subject, None);
    assert_eq!(server.lines().len(), 8, "nobody asks who does not want to know");
}

#[tokio::test]
async fn the_latest_version_is_told() {
    let server = Server::saying(200, r#"{"subject":"s","version":3,"id":42,"schema":"\"int\""}"#).await;
    let latest = Latest { id: 42, version: 3, text: Arc::from("\"int\"") };
    assert_eq!(server.client().latest("s").await, Ok(Some(latest)));
    assert_eq!(server.lines(), ["GET /subjects/s/versions/latest"]);
    assert_eq!(Server::start(|_| unknown(40401)).await.client().latest("s").await, Ok(None));
    outage(Server::saying(503, "").await.client().latest("s").await, &["latest version of subject s"]);
}

#[tokio::test]
async fn credentials_arrive_and_are_never_shown() {
    for credentials in ["Basic YWxpY2U6czNjcmV0", "Bearer s3cret"] {
        let server = Server::saying(401, "").await;
        let settings = registry(&[&server.url], &[("Authorization", credentials), ("x-tenant", "s3cret")]);
        let client = RegistryClient::new(&settings).unwrap();
        let fetched = client.fetch(SchemaKey::Id(1)).await;
        let compatible = client.is_compatible("s", "x").await;
        let shown = format!("{settings:?} {client:?} {fetched:?} {compatible:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("YWxpY2U6czNjcmV0"), "{shown}");
        let asked = server.asked();
        assert_eq!(asked.len(), 2);
        for one in asked {
            assert_eq!(one.headers["authorization"], credentials);
            assert_eq!(one.headers["x-tenant"], "s3cret");
            assert!(one.headers["accept"].to_str().unwrap().contains("application/vnd.schemaregistry.v1+json"));
        }
    }
}

#[test]
fn what_can_never_work_is_refused_without_being_shown() {
    let new = |urls: &[&str], headers: &[(&str, &str)]| RegistryClient::new(&registry(urls, headers)).unwrap_err();
    let urls = ["", "x", "ftp://x", "http://", "http://alice:s3cret@x", "http://x?key=s3cret", "http://x#s3cret"];
    for url in urls {
        let error = new(&["http://127.0.0.1", url], &[]);
        assert!(matches!(error, RegistryError::Url { position: 2, .. }), "{url}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }
    assert_eq!(new(&[], &[]), RegistryError::Urls { count: 0, most: 8 });
    for header in [("a b", "s3cret"), ("a", "s3cret\n")] {
        let error = new(&["http://127.0.0.1"], &[header]);
        assert_eq!(error, RegistryError::Header { position: 1 });
    }
}
