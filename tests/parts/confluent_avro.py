"""Writes Avro records as Confluent's Python client does, schemas registered on the way.

confluent_avro.py BOOTSTRAP REGISTRY TOPIC COUNT [NAME]

NAME is that of the record's type, OrderPaid if none is given. The first half of the records has the first version of the schema, the second half the next one.
"""

import datetime
import decimal
import json
import sys
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

CUSTOMER = {"type": "record", "name": "Customer", "fields": [
    {"name": "name", "type": "string"},
    {"name": "tier", "type": {"type": "enum", "name": "Tier", "symbols": ["GOLD", "SILVER"]}},
    {"name": "friends", "type": {"type": "array", "items": "Customer"}}]}

# Types of several names lie in one topic.
CONF = {"subject.name.strategy": record_subject_name_strategy}

FIELDS = [
    {"name": "id", "type": "string"},
    {"name": "customer", "type": CUSTOMER},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "exact", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 3}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "clock", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "token", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "blob", "type": "bytes"},
    {"name": "counts", "type": {"type": "map", "values": "long"}},
    {"name": "ratio", "type": ["null", "double"], "default": None}]


def schema(name, version):
    fields = FIELDS if version == 1 else [{"name": "channel", "type": "string", "default": "web"}] + FIELDS
    return json.dumps({"type": "record", "name": name, "namespace": "com.example", "fields": fields})


def order(number, version):
    friend = {"name": "Bob", "tier": "SILVER", "friends": []}
    value = {
        "id": str(number),
        "customer": {"name": "Zoë", "tier": "GOLD", "friends": [friend]},
        "amount": decimal.Decimal(number) + decimal.Decimal("0.25"),
        "exact": decimal.Decimal("-123456789012345678901234.567"),
        "day": datetime.date(2024, 2, 29),
        "clock": datetime.time(23, 59, 58, 123000),
        "at": datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc),
        "token": uuid.UUID("936da01f-9abd-4d9d-80c7-02af85c822a8"),
        "blob": b"\x00\xff",
        "counts": {"a": 1, "b": -2},
        "ratio": None if number % 2 else 0.5,
    }
    if version == 2:
        value["channel"] = "store"
    return value


def main():
    bootstrap, registry, topic, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    name = sys.argv[5] if len(sys.argv) > 5 else "OrderPaid"
    client = SchemaRegistryClient({"url": registry})
    serializers = {version: AvroSerializer(client, schema(name, version), conf=CONF) for version in (1, 2)}
    producer = Producer({"bootstrap.servers": bootstrap})
    context = SerializationContext(topic, MessageField.VALUE)
    failed = []
    for number in range(count):
        version = 1 if number < count // 2 else 2
        value = serializers[version](order(number, version), context)
        producer.produce(topic, key=str(number), value=value, on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
    if producer.flush(60) or failed:
        sys.exit(f"not everything was written: {failed[:3]}")


if __name__ == "__main__":
    main()
