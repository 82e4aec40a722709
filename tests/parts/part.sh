# What the scripts of this directory have in common: where parts go, how one is fetched once, and how a script ends without it. Sourced by them,
# under `set -euo pipefail`.

readonly missing=3 # The exit code that says: this machine cannot have it.
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
readonly script
readonly root=${script%/tests/parts/*}
mkdir -p "${TIDEGATE_PARTS:-$root/target/parts}"
parts=$(cd "${TIDEGATE_PARTS:-$root/target/parts}" && pwd)
readonly parts

# once NAME VERSION FUNCTION: has the function put a part into $parts/NAME, unless that version is there already. Processes that start together
# wait for the first one.
once() {
  local into=$parts/$1 wanted=$2
  mkdir -p "$into"
  exec 9>"$into/lock"
  flock -w 600 9 || fail "another process has been installing for 10 minutes: $into/lock"
  if [ "$(cat "$into/version" 2>/dev/null)" != "$wanted" ]; then
    rm -f "$into/version"
    "$3"
    # Written last: what was interrupted starts again.
    echo "$wanted" >"$into/version"
  fi
  exec 9>&-
}

# unpack_debian DIRECTORY PACKAGE…: unpacks packages of Debian into a directory, without installing anything.
unpack_debian() {
  local into=$1 work
  shift
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || give_up "there is no apt-get to fetch Debian's packages $*"
  work=$(mktemp -d "$parts/debian.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  (
    cd "$work"
    apt-get download -q "$@" >fetch.log 2>&1 ||
      { apt-get update -q >>fetch.log 2>&1 && apt-get download -q "$@" >>fetch.log 2>&1; }
  ) || give_up "Debian's packages $* cannot be fetched" "$work/fetch.log"
  local package
  for package in "$work"/*.deb; do dpkg -x "$package" "$into"; done
  rm -rf "$work"
}

# need TOOL WHY: ends the script where a tool is not installed.
need() { command -v "$1" >/dev/null || give_up "$1 is not installed; $2"; }

# Prints the script's first comment.
usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$script" >&2
  exit 2
}

# fail MESSAGE [LOG]: the part does not work.
fail() { end_with 1 "$@"; }

# give_up MESSAGE [LOG]: this machine cannot have the part.
give_up() { end_with $missing "$@"; }

end_with() {
  echo "$(basename "$script"): $2" >&2
  if [ $# -gt 2 ]; then tail -n 20 "$3" >&2; fi
  exit "$1"
}
