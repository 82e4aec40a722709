#!/usr/bin/env bash
# Prints the path of a promtool. Takes the one of the system; else unpacks Debian's prometheus package into
# ${TIDEGATE_PARTS:-target/parts}, once, without installing anything. Exits with 3 where it cannot be had.
set -euo pipefail

if command -v promtool; then exit 0; fi
root=$(cd "$(dirname "$0")/../.." && pwd)
parts=${TIDEGATE_PARTS:-$root/target/parts}
mkdir -p "$parts"
parts=$(cd "$parts" && pwd)
promtool=$parts/prometheus/usr/bin/promtool

# Tests that run at the same time wait for the one that fetches.
exec 9>"$parts/promtool.lock"
flock -w 300 9

if [ ! -x "$promtool" ]; then
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "promtool is not installed, and there is no apt-get to fetch it" >&2; exit 3; }
  work=$(mktemp -d "$parts/promtool.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  apt-get download -q prometheus >fetch.log 2>&1 ||
    { apt-get update -q >>fetch.log 2>&1 && apt-get download -q prometheus >>fetch.log 2>&1; } ||
    { echo "Debian's prometheus package cannot be fetched:" >&2; tail -n 3 fetch.log >&2; exit 3; }
  dpkg -x prometheus_*.deb unpacked
  rm -rf "$parts/prometheus"
  mv unpacked "$parts/prometheus"
fi
echo "$promtool"
