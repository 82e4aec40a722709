#!/usr/bin/env bash
# Runs a Python script with Confluent's client for Kafka and schema registries, which others use: confluent-python.sh SCRIPT [ARGUMENT…];
# `confluent-python.sh install` only makes sure that it is there. It is put into ${TIDEGATE_PARTS:-target/parts}/confluent-python, once, from
# PyPI. Exits with 3 where it cannot be had.
set -euo pipefail
# shellcheck source=tests/parts/part.sh
. "$(dirname "$0")/part.sh"

readonly version=2.16.1
readonly home=$parts/confluent-python

install() {
  need python3 "the client is one for Python"
  rm -rf "$home/venv"
  python3 -m venv "$home/venv" >"$home/log" 2>&1 || give_up "python3 makes no virtual environment" "$home/log"
  "$home/venv/bin/pip" install -q --only-binary :all: "confluent-kafka[avro,schemaregistry]==$version" >"$home/log" 2>&1 ||
    give_up "the client cannot be fetched" "$home/log"
}

once confluent-python "$version" install
if [ "${1:-}" = install ]; then exit; fi
program=$1
shift
exec "$home/venv/bin/python" "$(dirname "$script")/$program" "$@"
