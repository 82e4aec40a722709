//! `tidegate schemas`: the schemas of the records that are written as Avro, against what the registry has.

use anyhow::bail;
use serde_json::{Value, json};

use super::args::{Common, Schemas};
use super::output::{rows, talk};
use super::{DONE, FAILED, setup};
use crate::app::record_schemas::{self, RecordSchema, Registration, SchemaError};
use crate::app::schemas;

pub(super) fn run(common: &Common, args: &Schemas) -> anyhow::Result<u8> {
    let settings = setup::settings(common)?;
    let Some(registry) = &settings.registry else {
        bail!("there is no schema registry in the settings; add [registry] with its url")
    };
    let client = schemas::client(registry)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args {
        Schemas::Check => {
            let looked = runtime.block_on(record_schemas::look(&client, &settings))?;
            let told: Vec<Value> = looked.into_iter().map(|(schema, it)| row(&schema, it)).collect();
            rows(common.output, &["subject", "state", "id", "remedy"], &told);
            let is_well = told.iter().all(|it| it["state"] == "registered");
            if is_well {
                talk("all schemas are registered");
            }
            Ok(if is_well { DONE } else { FAILED })
        }
        Schemas::Register => {
            let wanted = record_schemas::all(&settings);
            let mut registered = Vec::new();
            for schema in &wanted {
                let id = runtime.block_on(record_schemas::settled(&client, schema, true)).map_err(|error| {
                    let done = registered.len();
                    anyhow::Error::new(error).context(format!("{done} of {} schemas are registered", wanted.len()))
                })?;
                registered.push(json!({ "subject": schema.subject, "id": id }));
            }
            rows(common.output, &["subject", "id"], &registered);
            Ok(DONE)
        }
    }
}

fn row(schema: &RecordSchema, registration: Registration) -> Value {
    let subject = &schema.subject;
    let (state, id, remedy) = match registration {
        Registration::There(id) => ("registered", Some(id), String::new()),
        Registration::Missing => ("missing", None, "run `tidegate schemas register`".to_owned()),
        Registration::Incompatible(reasons) => {
            let error = SchemaError::Incompatible { subject: subject.clone(), reasons };
            ("incompatible", None, error.to_string())
        }
    };
    json!({ "subject": subject, "state": state, "id": id, "remedy": remedy })
}
