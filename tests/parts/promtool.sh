#!/usr/bin/env bash
# Prints the path of a promtool. Takes the one of the system; else unpacks Debian's prometheus package into
# ${TIDEGATE_PARTS:-target/parts}/prometheus, once, without installing anything. Exits with 3 where it cannot be had.
set -euo pipefail
# shellcheck source=tests/parts/part.sh
. "$(dirname "$0")/part.sh"

readonly home=$parts/prometheus

fetch() {
  rm -rf "$home/unpacked"
  unpack_debian "$home/unpacked" prometheus
}

if command -v promtool; then exit 0; fi
once prometheus debian fetch
echo "$home/unpacked/usr/bin/promtool"
