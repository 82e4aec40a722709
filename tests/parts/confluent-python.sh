#!/usr/bin/env bash
# Runs a Python script with Confluent's client for Kafka and schema registries, which others use: confluent-python.sh SCRIPT [ARGUMENT…];
# `confluent-python.sh install` only makes sure that it is there. It is put into ${TIDEGATE_PARTS:-target/parts}/confluent-python, once, from
# PyPI. Exits with 3 where it cannot be had.
set -euo pipefail

readonly version=2.16.1
readonly missing=3 # The exit code that says: this machine cannot have it.

here=$(cd "$(dirname "$0")" && pwd)
readonly here
root=${here%/tests/parts}
readonly root
mkdir -p "${TIDEGATE_PARTS:-$root/target/parts}/confluent-python"
home=$(cd "${TIDEGATE_PARTS:-$root/target/parts}/confluent-python" && pwd)
readonly home

install() {
  # Test processes that start together wait for the first one.
  exec 9>"$home/lock"
  flock -w 600 9 || give_up "another process has been installing for 10 minutes: $home/lock"
  if [ "$(cat "$home/version" 2>/dev/null)" = "$version" ]; then return; fi
  command -v python3 >/dev/null || give_up "python3 is not installed"
  rm -rf "$home"/{venv,version}
  python3 -m venv "$home/venv" >"$home/log" 2>&1 || give_up "python3 makes no virtual environment: $(tail -n 1 "$home/log")"
  "$home/venv/bin/pip" install -q --only-binary :all: "confluent-kafka[avro,schemaregistry]==$version" >"$home/log" 2>&1 ||
    give_up "the client cannot be fetched: $(tail -n 1 "$home/log")"
  # Written last: what was interrupted starts again.
  echo "$version" >"$home/version"
}

give_up() {
  echo "confluent-python.sh: $1" >&2
  exit $missing
}

install
exec 9>&-
if [ "${1:-}" = install ]; then exit; fi
script=$1
shift
exec "$home/venv/bin/python" "$here/$script" "$@"
