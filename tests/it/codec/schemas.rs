//! Every example, and what the encoder writes, is what its schema says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apache_avro::schema::{RecordField, Schema};
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value as Avro;
use serde_json::Value as Json;
use tidegate::codec::alert::{self, Alert, BreakerTurn, LostRange, Severity};
use tidegate::codec::avro::{SchemaKey, WriterSchema};
use tidegate::codec::breaker_override::BreakerOverride;
use tidegate::codec::readable;
use tidegate::codec::record::{Encoder, Encoding, SchemaIds};
use tidegate::codec::source_start::SourceStart;
use tidegate::definition::{Pointer, Record, VersionRecord};
use tidegate::engine::breaker::Override;
use tidegate::engine::event::Event;
use tidegate::engine::expression::StepStatus;
use tidegate::engine::plan::ErrorClass;
use tidegate::engine::record::{ExecutionStatus, Failure, FinishedStep, Output};
use tidegate::engine::value::Value;
use tidegate::engine::wire::WireRecord;
use tidegate::engine::workflow::{ContentHash, Status, WorkflowId};

use super::samples;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn schema(name: &str) -> Schema {
    version(name, 1).unwrap_or_else(|| panic!("{name} has no v1.avsc"))
}

/// A version of a schema; None if there is none of this number.
fn version(name: &str, number: usize) -> Option<Schema> {
    let text = std::fs::read_to_string(root().join(name).join(format!("v{number}.avsc"))).ok()?;
    Some(Schema::parse_str(&text).unwrap_or_else(|error| panic!("{name} v{number}: {error}")))
}

/// JSON as it is written to Avro by its schema, strictly: what the schema does not name is a mistake.
struct Reader<'s> {
    names: std::collections::HashMap<String, &'s Schema>,
}

impl<'s> Reader<'s> {
    fn new(schema: &'s Schema) -> Self {
        let mut reader = Reader { names: std::collections::HashMap::new() };
        reader.learn(schema);
        reader
    }

    fn learn(&mut self, schema: &'s Schema) {
        match schema {
            Schema::Record(record) => {
                self.names.insert(record.name.to_string(), schema);
                record.fields.iter().for_each(|field| self.learn(&field.schema));
            }
            Schema::Enum(it) => {
                self.names.insert(it.name.to_string(), schema);
            }
            Schema::Array(array) => self.learn(&array.items),
            Schema::Union(union) => union.variants().iter().for_each(|it| self.learn(it)),
            _ => {}
        }
    }

    fn read(&self, schema: &Schema, json: &Json) -> Result<Avro, String> {
        let wrong = || format!("{json} is no {schema:?}");
        match schema {
            Schema::Null => json.is_null().then_some(Avro::Null).ok_or_else(wrong),
            Schema::Boolean => json.as_bool().map(Avro::Boolean).ok_or_else(wrong),
            Schema::Int => json.as_i64().and_then(|it| i32::try_from(it).ok()).map(Avro::Int).ok_or_else(wrong),
            Schema::Long => json.as_i64().map(Avro::Long).ok_or_else(wrong),
            Schema::String => json.as_str().map(|it| Avro::String(it.into())).ok_or_else(wrong),
            Schema::TimestampMillis => {
                let text = json.as_str().filter(|it| it.len() == 24 && it.ends_with('Z')).ok_or_else(wrong)?;
                let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?;
                Ok(Avro::TimestampMillis(time.timestamp_millis()))
            }
            Schema::Enum(it) => {
                let symbol = json.as_str().ok_or_else(wrong)?;
                let at = it.symbols.iter().position(|it| it == symbol).ok_or_else(wrong)?;
                Ok(Avro::Enum(at as u32, symbol.into()))
            }
            Schema::Array(array) => {
                let items = json.as_array().ok_or_else(wrong)?;
                Ok(Avro::Array(items.iter().map(|it| self.read(&array.items, it)).collect::<Result<_, _>>()?))
            }
            Schema::Union(union) => {
                let variants = union.variants().iter().enumerate();
                let mut read = variants.map(|(at, it)| (at, self.read(it, json)));
                let first = read.find_map(|(at, it)| Some(Avro::Union(at as u32, Box::new(it.ok()?))));
                first.ok_or_else(wrong)
            }
            Schema::Record(record) => self.record(&record.fields, json),
            Schema::Ref { name } => self.read(self.names[&name.to_string()], json),
            other => Err(format!("records have no {other:?}")),
        }
    }

    fn record(&self, fields: &[RecordField], json: &Json) -> Result<Avro, String> {
        let object = json.as_object().ok_or_else(|| format!("{json} is no object"))?;
        if let Some(unknown) = object.keys().find(|name| !fields.iter().any(|it| it.name == **name)) {
            return Err(format!("the schema has no field {unknown}"));
        }
        let read = |field: &RecordField| {
            let any = field.custom_attributes.contains_key("json");
            let value = match (object.get(&field.name), &field.default) {
                (Some(value), _) if any && !value.is_null() => {
                    self.read(&field.schema, &Json::String(value.to_string()))
                }
                (Some(value), _) => self.read(&field.schema, value),
                (None, Some(default)) => self.read(&field.schema, default),
                (None, None) => Err("it is missing".into()),
            };
            Ok((field.name.clone(), value.map_err(|error| format!("{}: {error}", field.name))?))
        };
        Ok(Avro::Record(fields.iter().map(read).collect::<Result<_, String>>()?))
    }
}

/// Reads JSON by the schema, writes it as Avro and reads that back.
fn conforms(name: &str, json: &[u8]) -> Result<(), String> {
    as_avro(&schema(name), json).map(drop)
}

/// What JSON is by a schema, and its datum.
fn as_avro(schema: &Schema, json: &[u8]) -> Result<(Avro, Vec<u8>), String> {
    let json: Json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let value = Reader::new(schema).read(schema, &json)?;
    if !value.validate(schema) {
        return Err("it does not validate".into());
    }
    let writer =
        apache_avro::writer::datum::GenericDatumWriter::builder(schema).build().map_err(|it| it.to_string())?;
    let bytes = writer.write_value_to_vec(value.clone()).map_err(|it| it.to_string())?;
    let back = read(schema, schema, &bytes)?;
    if back == value { Ok((value, bytes)) } else { Err("it comes back as something else".into()) }
}

/// A datum as whoever knows another version of the schema reads it.
fn read(writer: &Schema, reader: &Schema, datum: &[u8]) -> Result<Avro, String> {
    let built = apache_avro::reader::datum::GenericDatumReader::builder(writer).reader_schema(reader).build();
    let mut rest = datum;
    let value = built.map_err(|it| it.to_string())?.read_value(&mut rest).map_err(|it| it.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes are left", rest.len())) }
}

#[track_caller]
fn check(name: &str, json: &[u8]) {
    if let Err(error) = conforms(name, json) {
        panic!("{name}: {error}: {}", String::from_utf8_lossy(json));
    }
}

#[test]
fn every_schema_has_examples_and_they_conform() {
    for folder in std::fs::read_dir(root()).unwrap().map(|it| it.unwrap()) {
        if !folder.file_type().unwrap().is_dir() {
            continue;
        }
        let name = folder.file_name().into_string().unwrap();
        let examples: Vec<_> = std::fs::read_dir(folder.path().join("examples")).unwrap().collect();
        assert!(!examples.is_empty(), "{name} has no examples");
        for example in examples {
            check(&name, &std::fs::read(example.unwrap().path()).unwrap());
        }
    }
}

/// Whether whoever knows the later version reads what was written with the earlier one, and these records.
fn evolves(earlier: &Schema, later: &Schema, examples: &[Vec<u8>]) -> Result<(), String> {
    SchemaCompatibility::can_read(earlier, later).map_err(|error| error.to_string())?;
    for example in examples {
        let (_, datum) = as_avro(earlier, example)?;
        read(earlier, later, &datum)?;
    }
    Ok(())
}

#[test]
fn every_version_of_a_schema_reads_what_was_written_before_it() {
    for folder in std::fs::read_dir(root()).unwrap().map(|it| it.unwrap()).filter(|it| it.path().is_dir()) {
        let name = folder.file_name().into_string().unwrap();
        let examples = std::fs::read_dir(folder.path().join("examples")).unwrap();
        let examples: Vec<Vec<u8>> = examples.map(|it| std::fs::read(it.unwrap().path()).unwrap()).collect();
        let versions: Vec<Schema> = (1..).map_while(|number| version(&name, number)).collect();
        let files = std::fs::read_dir(folder.path()).unwrap().filter(|it| it.as_ref().unwrap().path().is_file());
        assert_eq!(versions.len(), files.count(), "{name}: versions are v1.avsc and on, without a gap");
        for (number, earlier) in versions.iter().enumerate() {
            // Examples are records of the first version; later ones have what that has, or a default.
            for later in &versions[number..] {
                evolves(earlier, later, &examples).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}

#[test]
fn a_version_that_misreads_an_earlier_one_is_noticed() {
    let text = std::fs::read_to_string(root().join("alert/v1.avsc")).unwrap();
    let example = std::fs::read(root().join("alert/examples/lost-records.json")).unwrap();
    let evolved = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let later = Schema::parse_str(&text.replacen(from, to, 1)).unwrap();
        evolves(&schema("alert"), &later, std::slice::from_ref(&example))
    };
    let added = |default: &str| {
        let field = format!(r#"{{"name": "team", "type": "string"{default}}}, {{"name": "subject""#);
        evolved(
            r#"{
      "name": "subject""#,
            &field,
        )
    };
    assert_eq!(added(r#", "default": "none""#), Ok(()));
    added("").expect_err("a field without a default");
    evolved(r#""name": "message", "type": "string""#, r#""name": "message", "type": "int""#).expect_err("another type");
    evolved(r#""symbols": ["info", "warning", "critical"]"#, r#""symbols": ["info", "warning"]"#)
        .expect_err("a symbol that is gone");
}

#[test]
fn every_schema_that_a_topic_names_is_there() {
    for topic in std::fs::read_dir(root().join("../topics")).unwrap().map(|it| it.unwrap()) {
        let text = std::fs::read_to_string(topic.path()).unwrap();
        let named = text.lines().find_map(|line| line.strip_prefix("schema: ")).unwrap_or("none");
        let there = named.starts_with("none") || root().join("..").join(named).is_file();
        assert!(there, "{}: {named} is not there", topic.path().display());
    }
}

/// Steps, executions in every state, records that had to be cut.
fn outputs() -> (Arc<Event>, Vec<Output>) {
    let event = Arc::new(samples::event(Some(b"\xff\0"), Some(b"{\"n\":1}"), &[]));
    let steps = || vec![samples::step("shape", event.data.clone()), samples::failed_step("charge", "no")];
    let mut whole = samples::execution(&event, ExecutionStatus::Failed);
    whole.results = steps();
    whole.errors = vec![samples::failure("charge", "no")];
    let mut running = samples::execution(&event, ExecutionStatus::Running);
    running.ended_ms = None;
    let mut brief = whole.clone();
    brief.errors = vec![samples::failure("charge", &"\u{1}".repeat(1000)); 200];
    let large = samples::step("report", Value::text("x".repeat(100_000)));
    let mut outputs: Vec<Output> = steps().into_iter().map(|step| samples::step_result(&event, step)).collect();
    outputs.push(samples::step_result(&event, large));
    outputs.extend([whole, running, brief].map(|it| Output::Execution(Box::new(it))));
    outputs.push(Output::DeadLetter(Box::new(samples::dead_letter(event.record.clone(), steps()))));
    (event, outputs)
}

#[test]
fn what_is_written_conforms() {
    let (event, outputs) = outputs();
    for record in samples::encode(&samples::encoder(64 * 1024), &event, outputs) {
        match &*record.topic {
            "tidegate.step-results" => check("step-result", record.value.as_deref().unwrap()),
            "tidegate.executions" => check("execution", record.value.as_deref().unwrap()),
            _ => check("dead-letter-state", samples::header(&record, "tidegate-dlq-state").unwrap()),
        }
    }
}

const IDS: SchemaIds = SchemaIds { step_results: 7, executions: 0x0102_0304, alerts: 9 };

/// The same record in Avro and in JSON.
#[track_caller]
fn same(name: &str, id: u32, avro: &WireRecord, json: &WireRecord) {
    let (value, json_text) = (avro.value.as_deref().unwrap(), json.value.as_deref().unwrap());
    assert_eq!(value[..5], [&[0][..], &id.to_be_bytes()].concat(), "{name}: its schema's id");
    let schema = schema(name);
    let (expected, _) = as_avro(&schema, json_text).unwrap();
    assert_eq!(read(&schema, &schema, &value[5..]), Ok(expected), "{name}");
    assert_eq!(samples::header(avro, "content-type"), Some(&b"application/avro"[..]));
    assert_eq!(samples::header(json, "content-type"), Some(&b"application/json"[..]));
    assert_eq!((&avro.key, avro.partition, avro.headers.len()), (&json.key, json.partition, json.headers.len()));
    // What reads records of ours makes the JSON of it that it would have been.
    let (key, datum) = readable::schema_of(avro.headers.iter(), Some(value)).unwrap();
    assert_eq!(key, SchemaKey::Id(id));
    let text = std::fs::read_to_string(root().join(name).join("v1.avsc")).unwrap();
    let back = readable::as_json(&WriterSchema::parse(&text, &[]).unwrap(), &datum).unwrap();
    let parsed = |text: &[u8]| serde_json::from_slice::<Json>(text).unwrap();
    assert_eq!(parsed(&back), parsed(json_text), "{name}");
}

#[test]
fn avro_says_what_json_says() {
    let json = samples::encoder(64 * 1024);
    let avro = Encoder { encoding: Encoding::Avro(IDS), ..json.clone() };
    let written = |encoder| {
        let (event, outputs) = outputs();
        samples::encode(encoder, &event, outputs)
    };
    let (avro, json) = (written(&avro), written(&json));
    assert_eq!(avro.len(), json.len());
    let mut letters = 0;
    for (avro, json) in avro.iter().zip(&json) {
        match &*avro.topic {
            "tidegate.step-results" => same("step-result", IDS.step_results, avro, json),
            "tidegate.executions" => same("execution", IDS.executions, avro, json),
            _ => {
                assert_eq!(format!("{avro:?}"), format!("{json:?}"), "a dead letter is the event's own record");
                letters += 1;
            }
        }
    }
    assert_eq!(letters, 1);
}

#[test]
fn every_status_and_class_is_the_same_in_avro() {
    let json = samples::encoder(1024 * 1024);
    let avro = Encoder { encoding: Encoding::Avro(IDS), ..json.clone() };
    let event = Arc::new(samples::event(Some(b"k"), None, &[]));
    let statuses = [StepStatus::Pending, StepStatus::Completed, StepStatus::Failed, StepStatus::Skipped];
    let classes = [ErrorClass::Permanent, ErrorClass::Retryable, ErrorClass::Config];
    let written = |encoder: &Encoder| {
        let steps = statuses.iter().zip(classes.iter().cycle()).map(|(status, class)| FinishedStep {
            status: *status,
            failure: Some(Failure { class: *class, ..samples::failure("a", "b") }),
            ..samples::step("a", Value::Null)
        });
        let mut outputs: Vec<Output> = steps.map(|step| samples::step_result(&event, step)).collect();
        let executions = ExecutionStatus::ALL.map(|status| samples::execution(&event, status));
        outputs.extend(executions.map(|it| Output::Execution(Box::new(it))));
        samples::encode(encoder, &event, outputs)
    };
    for (avro, json) in written(&avro).iter().zip(&written(&json)) {
        match &*avro.topic {
            "tidegate.step-results" => same("step-result", IDS.step_results, avro, json),
            _ => same("execution", IDS.executions, avro, json),
        }
    }
}

#[test]
fn alerts_and_starts_conform() {
    let lost = LostRange { topic: "webhooks".into(), partition: 3, first_offset: 5, last_offset: 11 };
    let alert = Alert {
        subject: "source/webhooks/3".into(),
        name: "lost-records",
        raised: true,
        severity: Severity::Critical,
        message: "é".repeat(1000),
        instance: "host-1".into(),
        time_ms: 1,
        lost: Some(lost),
        breaker: None,
    };
    let topic = Arc::from("tidegate.alerts");
    let turns =
        ["closed", "open", "half-open", "forced-open", "disabled"].map(|to| Some(BreakerTurn { from: "closed", to }));
    let cases = [(true, alert.lost.clone(), None), (false, None, None)];
    for (raised, lost, breaker) in cases.into_iter().chain(turns.map(|turn| (true, None, turn))) {
        // Milliseconds are there also where they are none.
        let alert = Alert { raised, lost, breaker, time_ms: i64::from(raised), ..alert.clone() };
        let record = alert::encode(&alert, "dev", &topic, Encoding::Json);
        same("alert", IDS.alerts, &alert::encode(&alert, "dev", &topic, Encoding::Avro(IDS)), &record);
        let value = record.value.as_deref().unwrap();
        check("alert", value);
        let value: Json = serde_json::from_slice(value).unwrap();
        assert!(value["message"].as_str().unwrap().len() <= 1024);
        assert_eq!(record.key.as_deref(), Some(&b"source/webhooks/3@host-1"[..]));
        let kind = if raised { "tidegate.alert.raised" } else { "tidegate.alert.cleared" };
        assert_eq!(samples::header(&record, "ce_type"), Some(kind.as_bytes()));
    }
    let (group, topic) = ("tidegate".to_owned(), "webhooks".to_owned());
    let start = SourceStart { group, topic, topic_id: [7; 16], starts: 2, positions: vec![0, 17], settled: false };
    check("source-start", start.encode(&"tidegate.control".into(), 0).value.as_deref().unwrap());
}

#[test]
fn overrides_conform() {
    let example = std::fs::read(root().join("control/examples/breaker-open.json")).unwrap();
    let open = BreakerOverride::decode(&example).unwrap();
    assert_eq!((open.wish, open.by.as_str(), open.expires_ms.is_some()), (Override::Open, "ada", true));
    let topic = "tidegate.control".into();
    for (wish, expires_ms) in [(Override::Open, open.expires_ms), (Override::Close, None)] {
        let record =
            BreakerOverride { wish, expires_ms, reason: "\u{1}\"".into(), ..open.clone() }.encode("billing", &topic);
        check("control", record.value.as_deref().unwrap());
        assert_eq!((record.key.as_deref(), record.partition), (Some(&b"breaker/billing"[..]), Some(0)));
    }
}

#[test]
fn definitions_on_their_topic_conform() {
    let (id, version) = (WorkflowId::new("a").unwrap(), Arc::from("1"));
    let content_hash = ContentHash([7; 32]);
    let document = Arc::from(&br#"{"id":"a","version":"1"}"#[..]);
    let installed = Record::Version(VersionRecord { id: id.clone(), version, document, content_hash });
    check("workflow", &installed.value().unwrap());
    for status in Status::ALL {
        let pointer = Record::Pointer(id.clone(), Pointer { version: "1".into(), status, content_hash });
        check("workflow", &pointer.value().unwrap());
    }
}

#[test]
fn what_a_schema_does_not_say_is_noticed() {
    let example = std::fs::read_to_string(root().join("step-result/examples/completed.json")).unwrap();
    let broken = |from: &str, to: &str| conforms("step-result", example.replace(from, to).as_bytes()).unwrap_err();
    assert!(broken("\"run\"", "\"rum\"").contains("no field rum"));
    assert!(broken("\"completed\"", "\"done\"").contains("status"));
    assert!(broken("08:00:00.125Z", "08:00:00Z").contains("startTime"));
    assert!(broken("\"duration\": 3,", "").contains("duration: it is missing"));
}
