"""Reads Avro records as Confluent's Python client does, and prints each as a line of JSON.

confluent_avro_read.py BOOTSTRAP REGISTRY TOPIC COUNT
"""

import datetime
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

SECONDS = 60


def text(value):
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def main():
    bootstrap, registry, topic, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    deserializer = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False,
                         "isolation.level": "read_committed"})
    partitions = consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    context = SerializationContext(topic, MessageField.VALUE)
    deadline = time.monotonic() + SECONDS
    while count > 0:
        message = consumer.poll(1)
        if message is None:
            if time.monotonic() > deadline:
                sys.exit(f"{count} records are missing")
            continue
        if message.error():
            sys.exit(str(message.error()))
        print(json.dumps(deserializer(message.value(), context), default=text))
        count -= 1


if __name__ == "__main__":
    main()
