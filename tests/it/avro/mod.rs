//! Avro events with a schema registry, and records of ours in Avro, through a whole instance.

mod corpus;
mod keys;
mod mutated;
mod outages;
mod produced;
mod real;
mod records;
mod written;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord};

use crate::exactly_once::records::wait_for_delivery;
use crate::exactly_once::world::PARTITIONS;

/// What the source says.
const FORMAT: &str = "format = \"avro\"\nid = \"/id\"";

/// The first version of an event.
const PAID: &str = r#"{"type":"record","name":"OrderPaid","namespace":"com.example","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

/// The next one: it has a field more.
const PAID_2: &str = r#"{"type":"record","name":"OrderPaid","namespace":"com.example","fields":[
    {"name":"id","type":"string"},
    {"name":"tier","type":["null",{"type":"enum","name":"Tier","symbols":["GOLD","SILVER"]}],"default":null},
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

/// An order of so many cents.
fn order(id: usize, cents: i16, tier: Option<Option<u32>>) -> Value {
    let mut fields = vec![("id".to_owned(), Value::String(id.to_string()))];
    if let Some(tier) = tier {
        let symbol = |number: u32| Value::Enum(number, ["GOLD", "SILVER"][number as usize].into());
        let tier = tier.map_or(Value::Union(0, Box::new(Value::Null)), |it| Value::Union(1, Box::new(symbol(it))));
        fields.push(("tier".into(), tier));
    }
    fields.push(("amount".into(), Value::Decimal(cents.to_be_bytes().into())));
    fields.push(("at".into(), Value::TimestampMillis(1_700_000_000_000)));
    Value::Record(fields)
}

fn datum(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

/// A datum behind the id of its schema.
fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

/// Sends records, each to the partition that its number chooses.
fn send(producer: &BaseProducer, topic: &str, records: &[(usize, Vec<u8>)], header: Option<&[u8]>) {
    for (number, value) in records {
        let key = number.to_string();
        let record = BaseRecord::to(topic).partition(*number as i32 % PARTITIONS).key(&key).payload(value);
        let headers = OwnedHeaders::new();
        let headers = match header {
            Some(_) => headers.insert(Header { key: "__value_schema_id", value: header }),
            None => headers,
        };
        producer.send(record.headers(headers)).map_err(|(error, _)| error).unwrap();
    }
    wait_for_delivery(producer);
}
