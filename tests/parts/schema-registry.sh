#!/usr/bin/env bash
# A real schema registry for tests, with the API that Confluent's has: Apicurio Registry, from Maven, on loopback and in memory.
#
#   schema-registry.sh install        fetch it, once; later calls return at once
#   schema-registry.sh run DIR PORT   run it in this process until it is killed
#   schema-registry.sh ready PORT     wait until it answers, and make new versions of a subject be read by those who know the one before
#
# Clients use http://127.0.0.1:PORT/apis/ccompat/v7. Needs java 17 and mvn; says so and exits with 3 without them.
# What is fetched goes to ${TIDEGATE_PARTS:-target/parts}/schema-registry. APICURIO_VERSION chooses another version.
set -euo pipefail

readonly version=${APICURIO_VERSION:-3.0.9} # The newest that Java 17 runs and of which everything is published.
readonly missing=3 # The exit code that says: this machine cannot have it.
readonly wait_seconds=120
readonly content=application/vnd.schemaregistry.v1+json

root=$(cd "$(dirname "$0")/../.." && pwd)
readonly root
mkdir -p "${TIDEGATE_PARTS:-$root/target/parts}/schema-registry"
home=$(cd "${TIDEGATE_PARTS:-$root/target/parts}/schema-registry" && pwd)
readonly home

main() {
  local command=${1:-}
  shift || true
  case $command in
    install) install ;;
    run) run "$@" ;;
    ready) ready "$@" ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
  esac
}

install() {
  # Test processes that start together wait for the first one.
  exec 9>"$home/lock"
  flock -w 600 9 || fail "another process has been installing for 10 minutes: $home/lock"
  if [ "$(cat "$home/version" 2>/dev/null)" = "$version" ]; then return; fi
  need java
  need mvn
  rm -rf "$home"/{fetched,app,version}
  mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" \
    -DoutputDirectory="$home/fetched" >"$home/log" 2>&1 || fail "the registry cannot be fetched: $(tail -n 3 "$home/log")"
  mkdir -p "$home/app"
  tar xzf "$home/fetched/apicurio-registry-app-$version-all.tar.gz" -C "$home/app"
  rm -rf "$home/fetched"
  # Written last: what was interrupted starts again.
  echo "$version" >"$home/version"
}

need() {
  command -v "$1" >/dev/null || { echo "schema-registry.sh: $1 is not installed; the registry needs java 17 or later and mvn" >&2; exit $missing; }
}

run() {
  local directory=$1 port=$2
  mkdir -p "$directory"
  directory=$(cd "$directory" && pwd)
  cd "$home/app"
  exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Dquarkus.http.host=127.0.0.1 \
    -Dquarkus.http.port="$port" -Dquarkus.log.level=WARN -Dquarkus.analytics.disabled=true \
    -Dquarkus.vertx.cache-directory="$directory/vertx" -jar "apicurio-registry-app-$version-runner.jar" >"$directory/registry.log" 2>&1
}

ready() {
  local port=$1 until=$((SECONDS + wait_seconds))
  until [ "$(ask "$port" GET /health/ready)" = 200 ]; do
    [ $SECONDS -lt $until ] || fail "the registry does not answer within $wait_seconds seconds"
    sleep 0.1
  done
  # Its own default is that anything goes, which Confluent's is not.
  [ "$(ask "$port" PUT /apis/ccompat/v7/config '{"compatibility":"BACKWARD"}')" = 200 ] || fail "its compatibility cannot be set"
}

# The status of an answer; nothing if there is none.
ask() {
  local port=$1 method=$2 path=$3 body=${4:-} status
  {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 0
    printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s' \
      "$method" "$path" "$content" "${#body}" "$body" >&3
    read -r -t 5 _ status _ <&3 || true
    exec 3>&-
  } 2>/dev/null
  echo "${status:-}"
}

fail() {
  echo "schema-registry.sh: $1" >&2
  exit 1
}

main "$@"
