#!/usr/bin/env bash
# Runs kcat with the arguments it is given; `kcat.sh install` only makes sure that it is there. Takes the one of the
# system; else unpacks Debian's package, and the shared libraries that this machine lacks, into
# ${TIDEGATE_PARTS:-target/parts}/kcat, once, without installing anything. Exits with 3 where it cannot be had.
set -euo pipefail

readonly missing=3 # The exit code that says: this machine cannot have it.
# kcat and what nobody else brings; what other packages usually have brought already is fetched only if it is not there.
readonly packages=(kcat librdkafka1 libyajl2)
readonly usual=(libsasl2-2 libssl3 liblz4-1 libzstd1 zlib1g)

root=$(cd "$(dirname "$0")/../.." && pwd)
readonly root
mkdir -p "${TIDEGATE_PARTS:-$root/target/parts}"
parts=$(cd "${TIDEGATE_PARTS:-$root/target/parts}" && pwd)
readonly parts

main() {
  local kcat
  if ! kcat=$(command -v kcat); then
    fetch
    kcat=$parts/kcat/usr/bin/kcat
    LD_LIBRARY_PATH=$(library_path "$parts/kcat")
    export LD_LIBRARY_PATH
  fi
  if [ "${1:-}" = install ]; then return; fi
  exec "$kcat" "$@"
}

fetch() {
  # Tests that run at the same time wait for the one that fetches.
  exec 9>"$parts/kcat.lock"
  flock -w 300 9 || give_up "another process has been fetching it for 5 minutes"
  if [ -x "$parts/kcat/usr/bin/kcat" ]; then return; fi
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || give_up "kcat is not installed, and there is no apt-get to fetch it"
  work=$(mktemp -d "$parts/kcat.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  unpack "${packages[@]}"
  if lacks_libraries; then unpack "${usual[@]}"; fi
  if lacks_libraries; then give_up "kcat lacks libraries: $(missing_libraries)"; fi
  rm -rf "$parts/kcat"
  mv "$work/unpacked" "$parts/kcat"
}

unpack() {
  (
    cd "$work"
    apt-get download -q "$@" >fetch.log 2>&1 ||
      { apt-get update -q >>fetch.log 2>&1 && apt-get download -q "$@" >>fetch.log 2>&1; }
  ) || give_up "Debian's packages $* cannot be fetched: $(tail -n 3 "$work/fetch.log")"
  local package
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/unpacked"; done
  rm "$work"/*.deb
}

lacks_libraries() { [ -n "$(missing_libraries)" ]; }

missing_libraries() {
  LD_LIBRARY_PATH=$(library_path "$work/unpacked") ldd "$work/unpacked/usr/bin/kcat" | sed -n 's/^[[:space:]]*\(.*\) => not found.*/\1/p' | tr '\n' ' '
}

# Debian keeps libraries in a directory of the machine's architecture.
library_path() { find "$1" -name '*.so*' -printf '%h\n' | sort -u | paste -sd: -; }

give_up() {
  echo "kcat.sh: $1" >&2
  exit $missing
}

main "$@"
