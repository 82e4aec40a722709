#!/usr/bin/env bash
# Runs kcat with the arguments it is given; `kcat.sh install` only makes sure that it is there. Takes the one of the
# system; else unpacks Debian's package, and the shared libraries that this machine lacks, into
# ${TIDEGATE_PARTS:-target/parts}/kcat, once, without installing anything. Exits with 3 where it cannot be had.
set -euo pipefail
# shellcheck source=tests/parts/part.sh
. "$(dirname "$0")/part.sh"

readonly home=$parts/kcat
# kcat and what nobody else brings; what other packages usually have brought already is fetched only if it is not there.
readonly packages=(kcat librdkafka1 libyajl2)
readonly usual=(libsasl2-2 libssl3 liblz4-1 libzstd1 zlib1g)

main() {
  local kcat
  if ! kcat=$(command -v kcat); then
    once kcat debian fetch
    kcat=$home/unpacked/usr/bin/kcat
    LD_LIBRARY_PATH=$(library_path)
    export LD_LIBRARY_PATH
  fi
  if [ "${1:-}" = install ]; then return; fi
  exec "$kcat" "$@"
}

fetch() {
  rm -rf "$home/unpacked"
  unpack_debian "$home/unpacked" "${packages[@]}"
  if lacks_libraries; then unpack_debian "$home/unpacked" "${usual[@]}"; fi
  if lacks_libraries; then give_up "kcat lacks libraries: $(missing_libraries)"; fi
}

lacks_libraries() { [ -n "$(missing_libraries)" ]; }

missing_libraries() {
  LD_LIBRARY_PATH=$(library_path) ldd "$home/unpacked/usr/bin/kcat" | sed -n 's/^[[:space:]]*\(.*\) => not found.*/\1/p' | tr '\n' ' '
}

# Debian keeps libraries in a directory of the machine's architecture.
library_path() { find "$home/unpacked" -name '*.so*' -printf '%h\n' | sort -u | paste -sd: -; }

main "$@"
