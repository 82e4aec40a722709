//! One URL of a registry, and the questions that are put to it.
//!
//! Each URL has a client of its own, although `schema_registry_converter` takes several: it goes on to the next one whatever the first one
//! says, also that it does not know a schema, and tells only of the last.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest_middleware::ClientWithMiddleware;
use schema_registry_converter::async_impl::schema_registry as client;
use schema_registry_converter::schema_registry_common as common;
use serde::Deserialize;
use serde_json::{Value, json};

use super::compatibility::{self, Compatibility};
use super::failure::Failure;
use super::key;
use crate::codec::avro::SchemaKey;

/// The type of what is sent.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A question.
#[derive(Clone, Copy)]
pub(super) enum Question<'a> {
    /// A schema by its key.
    Schema(SchemaKey),
    /// The latest version of a subject, encoded for a path.
    Latest { subject: &'a str },
    /// An Avro schema to be registered under a subject, encoded for a path.
    Register { subject: &'a str, text: &'a str },
}

/// A schema that another one refers to, as a registry tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Referred {
    /// Its text.
    pub schema: String,
    /// What it refers to itself.
    #[serde(default)]
    pub references: Vec<common::RegisteredReference>,
}

/// One URL of a registry.
pub(super) struct Endpoint {
    /// Without a slash at its end, without credentials and without a query, so that it can be shown.
    pub url: String,
    settings: client::SrSettings,
    timeout_ms: u128,
}

impl Endpoint {
    pub fn new(url: String, settings: client::SrSettings, timeout_ms: u128) -> Endpoint {
        Endpoint { url, settings, timeout_ms }
    }

    /// Puts a question.
    pub async fn ask(&self, question: Question<'_>) -> Result<common::RegisteredSchema, Failure> {
        let settings = &self.settings;
        let asked = match question {
            Question::Schema(SchemaKey::Id(id)) => client::get_schema_by_id(id, settings).await,
            Question::Schema(key @ SchemaKey::Guid(_)) => {
                client::get_schema_by_guid(&key::guid(key).unwrap_or_default(), settings).await
            }
            Question::Latest { subject } => client::get_schema_by_subject_and_version(settings, subject, None).await,
            Question::Register { subject, text } => {
                let supplied = common::SuppliedSchema::new(None, common::SchemaType::Avro, text.to_owned());
                client::post_schema(settings, subject.to_owned(), supplied).await
            }
        };
        asked.map_err(|error| Failure::of_client(&error, self.timeout_ms))
    }

    /// Asks whether a schema may follow the latest version of a subject, encoded for a path. Of this the client of the registry tells a
    /// verdict without its reasons, and against all versions only; so it is asked with the HTTP client that the other one brings.
    pub async fn is_compatible(
        &self,
        plain: &ClientWithMiddleware,
        subject: &str,
        text: &str,
    ) -> Result<Compatibility, Failure> {
        let path = format!("compatibility/subjects/{subject}/versions/latest?verbose=true");
        let body = self.post(plain, &path, text).await?;
        compatibility::understood(&body).ok_or_else(Failure::of_no_registry)
    }

    /// The id under which a subject, encoded for a path, has an Avro schema. The client of the registry cannot ask that.
    pub async fn registered(&self, plain: &ClientWithMiddleware, subject: &str, text: &str) -> Result<u32, Failure> {
        let body = self.post(plain, &format!("subjects/{subject}"), text).await?;
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        let id = answer.and_then(|it| it.get("id")?.as_u64()?.try_into().ok());
        id.ok_or_else(Failure::of_no_registry)
    }

    /// A version of a subject, encoded for a path, also if it was deleted. The client of the registry asks for those that were not.
    pub async fn version(
        &self,
        plain: &ClientWithMiddleware,
        subject: &str,
        version: u32,
    ) -> Result<Referred, Failure> {
        let path = format!("subjects/{subject}/versions/{version}?deleted=true");
        serde_json::from_slice(&self.get(plain, &path).await?).map_err(|_| Failure::of_no_registry())
    }

    /// The subjects that have the schema of an id, also if it was deleted there. The client of the registry cannot ask that.
    pub async fn subjects(&self, plain: &ClientWithMiddleware, id: u32) -> Result<Vec<String>, Failure> {
        let body = self.get(plain, &format!("schemas/ids/{id}/subjects?deleted=true")).await?;
        serde_json::from_slice(&body).map_err(|_| Failure::of_no_registry())
    }

    async fn get(&self, plain: &ClientWithMiddleware, path: &str) -> Result<Bytes, Failure> {
        let failed = |error| Failure::of_call(&error, self.timeout_ms);
        let answer = plain.get(format!("{}/{path}", self.url)).send().await.map_err(failed)?;
        answer.bytes().await.map_err(|error| failed(error.into()))
    }

    /// Posts an Avro schema.
    async fn post(&self, plain: &ClientWithMiddleware, path: &str, text: &str) -> Result<Bytes, Failure> {
        let body = json!({ "schema": text, "schemaType": "AVRO" });
        let request =
            plain.post(format!("{}/{path}", self.url)).header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        let failed = |error| Failure::of_call(&error, self.timeout_ms);
        let answer = request.send().await.map_err(failed)?;
        answer.bytes().await.map_err(|error| failed(error.into()))
    }

    /// Whether what answers here is a registry: it says of an id that is surely not given that it does not know it.
    pub async fn is_registry(&self) -> bool {
        let never_given = SchemaKey::Id(i32::MAX as u32);
        match self.ask(Question::Schema(never_given)).await {
            Ok(_) => true,
            Err(failure) => failure.is_no_schema(),
        }
    }
}
