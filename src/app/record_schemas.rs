//! The schemas of the records that are written as Avro, in the registry: under which subjects they are, whether they may be there, and
//! their ids once they are.

use std::time::Duration;

use tokio::runtime::Handle;

use super::{cluster, schemas};
use crate::codec::record::{Encoding, SchemaIds};
use crate::lane::StopSignal;
use crate::registry::{Compatibility, FetchError, RegistryClient, RegistryError};
use crate::settings::{self, Settings};

/// The pause before a registry is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How often it is looked whether a start that waits is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The records that are written as Avro: their topics without prefix, and their schemas as they are now.
const RECORDS: [(&str, &str); 3] = [
    ("step-results", include_str!("../../schemas/step-result/v1.avsc")),
    ("executions", include_str!("../../schemas/execution/v1.avsc")),
    ("alerts", include_str!("../../schemas/alert/v1.avsc")),
];

/// A schema and the subject that it belongs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSchema {
    /// The subject: the topic's name and `-value`, as TopicNameStrategy says.
    pub subject: String,
    /// The schema.
    pub text: &'static str,
}

/// What a registry says of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is there, under this id.
    There(u32),
    /// It is not there, and may be registered.
    Missing,
    /// It is not there, and may not be registered; why, in the registry's words.
    Incompatible(Vec<String>),
}

/// Why records cannot be written as Avro.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The registry gives no answer, or refuses.
    #[error(transparent)]
    Registry(#[from] FetchError),
    /// The registry says that readers of older records could not read new ones, or what the subject asks for.
    #[error(
        "the schema of {subject} is not compatible with what is registered there{}; change the subject's compatibility, or write records as \
         JSON", told(.reasons)
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// Why, in the registry's words.
        reasons: Vec<String>,
    },
    /// Nobody has registered it, and instances may not.
    #[error("the schema of {subject} is not registered, and `auto_register` is false; run `tidegate schemas register`")]
    Missing {
        /// The subject.
        subject: String,
    },
}

fn told(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

/// All of them, in the order of their topics' names here.
pub fn all(settings: &Settings) -> [RecordSchema; 3] {
    RECORDS.map(|(topic, text)| RecordSchema { subject: format!("{}-value", cluster::topic(settings, topic)), text })
}

/// What the registry says of a schema.
///
/// # Errors
///
/// The registry gives no answer, or refuses the schema or its subject.
pub async fn registration(client: &RegistryClient, schema: &RecordSchema) -> Result<Registration, FetchError> {
    if let Some(id) = client.registered(&schema.subject, schema.text).await? {
        return Ok(Registration::There(id));
    }
    match client.is_compatible(&schema.subject, schema.text).await? {
        Compatibility::Compatible | Compatibility::Unregistered => Ok(Registration::Missing),
        Compatibility::Incompatible(reasons) => Ok(Registration::Incompatible(reasons)),
    }
}

/// What the registry says of all of them.
///
/// # Errors
///
/// The registry gives no answer, or refuses a schema or its subject.
pub async fn look(
    client: &RegistryClient,
    settings: &Settings,
) -> Result<Vec<(RecordSchema, Registration)>, FetchError> {
    let mut looked = Vec::with_capacity(RECORDS.len());
    for schema in all(settings) {
        let registration = registration(client, &schema).await?;
        looked.push((schema, registration));
    }
    Ok(looked)
}

/// The id of a schema, which is registered if it is not and may be.
///
/// # Errors
///
/// It is not there and cannot be registered, or may not be.
pub async fn settled(client: &RegistryClient, schema: &RecordSchema, may_register: bool) -> Result<u32, SchemaError> {
    let subject = || schema.subject.clone();
    match registration(client, schema).await? {
        Registration::There(id) => Ok(id),
        Registration::Missing if may_register => Ok(client.register(&schema.subject, schema.text).await?),
        Registration::Missing => Err(SchemaError::Missing { subject: subject() }),
        Registration::Incompatible(reasons) => Err(SchemaError::Incompatible { subject: subject(), reasons }),
    }
}

/// How records are written, as the settings say: with Avro, once the registry has all schemas. A registry that is away may come back, and
/// a schema may be registered, so it is asked until then; None if it was stopped meanwhile. What is wrong is told each time it changes.
///
/// # Errors
///
/// The registry's settings can never work.
pub fn wait_for(
    settings: &Settings,
    runtime: &Handle,
    stop: &StopSignal,
    mut told: impl FnMut(&SchemaError),
) -> Result<Option<Encoding>, RegistryError> {
    let is_avro = settings.records.encoding == settings::Encoding::Avro;
    let Some(registry) = settings.registry.as_ref().filter(|_| is_avro) else { return Ok(Some(Encoding::Json)) };
    let client = schemas::client(registry)?;
    let mut last = String::new();
    loop {
        let asked = runtime.block_on(async {
            tokio::select! {
                asked = ids(&client, settings, registry.auto_register) => Some(asked),
                () = stopped(stop) => None,
            }
        });
        match asked {
            None => return Ok(None),
            Some(Ok(ids)) => return Ok(Some(Encoding::Avro(ids))),
            Some(Err(error)) => {
                let message = error.to_string();
                if message != last {
                    told(&error);
                    last = message;
                }
            }
        }
        if stop.wait(RETRY_PAUSE) {
            return Ok(None);
        }
    }
}

/// Returns when the signal is set.
async fn stopped(stop: &StopSignal) {
    while !stop.is_set() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn ids(client: &RegistryClient, settings: &Settings, may_register: bool) -> Result<SchemaIds, SchemaError> {
    let [step_results, executions, alerts] = all(settings);
    Ok(SchemaIds {
        step_results: settled(client, &step_results, may_register).await?,
        executions: settled(client, &executions, may_register).await?,
        alerts: settled(client, &alerts, may_register).await?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_newest_version_of_each_schema_is_registered() {
        let folders = [("step-results", "step-result"), ("executions", "execution"), ("alerts", "alert")];
        assert_eq!(RECORDS.map(|(topic, _)| topic), folders.map(|(topic, _)| topic));
        for ((topic, text), (_, folder)) in RECORDS.into_iter().zip(folders) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(folder);
            let version = |number: usize| std::fs::read_to_string(folder.join(format!("v{number}.avsc"))).ok();
            let newest = (1..).map_while(version).last().unwrap();
            assert_eq!(text, newest, "{topic}");
        }
    }
}
