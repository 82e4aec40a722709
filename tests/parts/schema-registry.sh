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
# shellcheck source=tests/parts/part.sh
. "$(dirname "$0")/part.sh"

readonly version=${APICURIO_VERSION:-3.0.9} # The newest that Java 17 runs and of which everything is published.
readonly wants="the registry needs java 17 or later and mvn"
readonly wait_seconds=120
readonly content=application/vnd.schemaregistry.v1+json
readonly home=$parts/schema-registry

main() {
  local command=${1:-}
  shift || true
  case $command in
    install) once schema-registry "$version" install ;;
    run) run "$@" ;;
    ready) ready "$@" ;;
    *) usage ;;
  esac
}

install() {
  need java "$wants"
  need mvn "$wants"
  rm -rf "$home"/{fetched,app}
  mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" \
    -DoutputDirectory="$home/fetched" >"$home/log" 2>&1 || fail "the registry cannot be fetched" "$home/log"
  mkdir -p "$home/app"
  tar xzf "$home/fetched/apicurio-registry-app-$version-all.tar.gz" -C "$home/app"
  rm -rf "$home/fetched"
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

main "$@"
