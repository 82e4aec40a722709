#!/usr/bin/env bash
# A real Apache Kafka for tests: one node, KRaft, on loopback, from its jars.
#
#   kafka.sh install                        fetch and prepare it, once; later calls return at once
#   kafka.sh run    DIR PORT [KEY=VALUE…]   run it in this process until it is killed; the controller takes PORT + 1
#   kafka.sh start  DIR PORT [KEY=VALUE…]   run it in the background; returns when PORT answers
#   kafka.sh stop   DIR                     end it in order, and wait
#   kafka.sh kill   DIR                     end it at once (SIGKILL), and wait
#   kafka.sh create PORT TOPIC PARTITIONS [KEY=VALUE…]
#   kafka.sh protect PORT TOPIC             let nobody write to a topic; needs a broker with an authorizer
#   kafka.sh classpath                      print the class path of its jars, clients included
#
# DIR holds the data, server.properties, the log `kafka.log` and the process id. KEY=VALUE overrides broker settings.
# Needs java 17 and mvn; says so and exits with 3 without them. KAFKA_VERSION chooses another version.
# What is fetched goes to ${TIDEGATE_PARTS:-target/parts}/kafka.
set -euo pipefail
# shellcheck source=tests/parts/part.sh
. "$(dirname "$0")/part.sh"

readonly version=${KAFKA_VERSION:-4.4.0}
readonly wants="Kafka needs java 17 or later and mvn"
# A class archive is only used with flags of the collector and a class path equal to those it was made with.
readonly jvm=(-Xms128m -Xmx1g -XX:+UseSerialGC -XX:-UsePerfData -Djava.awt.headless=true)
# Tools live for a second: the first compiler is quicker than the best one.
readonly tool_jvm=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error)

readonly home=$parts/kafka

main() {
  local command=${1:-}
  shift || true
  case $command in
    install) once kafka "$version" install ;;
    run) run "$@" ;;
    start) start "$@" ;;
    stop) end TERM "$@" ;;
    kill) end KILL "$@" ;;
    create) create_topic "$@" ;;
    protect) protect_topic "$@" ;;
    classpath) class_path; echo ;;
    *) usage ;;
  esac
}

install() {
  need java "$wants"
  need mvn "$wants"
  rm -rf "$home"/{libs,template,warm,format,classes.jsa}
  fetch_jars
  format_template
  warm_up
}

fetch_jars() {
  mkdir -p "$home/maven"
  cat >"$home/maven/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
  mvn -q -B -f "$home/maven/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$home/libs" >"$home/maven/log" 2>&1 || fail "Kafka's jars cannot be fetched" "$home/maven/log"
}

# Formats the storage. With static voters nothing in it depends on the port, so that one template serves every broker.
format_template() {
  mkdir -p "$home/format"
  properties "$home/format" 1 >"$home/format/server.properties"
  java "${tool_jvm[@]}" -cp "$(class_path)" kafka.tools.StorageTool format -t "$(cluster_id)" \
    -c "$home/format/server.properties" >"$home/format/log" 2>&1 || fail "the storage cannot be formatted" "$home/format/log"
  mv "$home/format/data" "$home/template"
}

cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '='; }

# One first run makes the internal topics, which cost a fresh broker three seconds at its first group, and writes the
# archive of loaded classes, which halves the time to start.
warm_up() {
  local port
  port=$(free_port)
  EXTRA_JVM="-XX:ArchiveClassesAtExit=$home/classes.jsa -Xlog:cds=off -Xlog:cds+dynamic=off" "$script" start "$home/warm" "$port" 9>&-
  if ! java "${tool_jvm[@]}" -cp "$(class_path)" "$(admin_tool)" "$port" warm-up >"$home/warm/tool.log" 2>&1; then
    "$script" kill "$home/warm"
    fail "the internal topics cannot be made" "$home/warm/tool.log"
  fi
  "$script" stop "$home/warm"
  rm -rf "$home/template"
  mv "$home/warm/data" "$home/template"
  rm -rf "$home/warm" "$home/format"
}

# Two ports in a row that nobody listens on, below the range that the system gives to clients.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 10000))
    if ! answers "$port" && ! answers $((port + 1)); then echo "$port"; return; fi
  done
  fail "no free port"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

run() {
  local dir=$1 port=$2
  shift 2
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  properties "$dir" "$port" "$@" >"$dir/server.properties"
  if [ ! -f "$dir/data/meta.properties" ]; then
    rm -rf "$dir/data"
    cp -r "$home/template" "$dir/data"
  fi
  local flags=("${jvm[@]}")
  if [ -n "${EXTRA_JVM:-}" ]; then
    read -ra extra <<<"$EXTRA_JVM"
    flags+=("${extra[@]}")
  elif [ -f "$home/classes.jsa" ]; then
    flags+=("-XX:SharedArchiveFile=$home/classes.jsa" -Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off)
  fi
  echo $$ >"$dir/pid" # The process id stays the same through exec.
  exec java "${flags[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG:-warn}" \
    -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$(class_path)" kafka.Kafka "$dir/server.properties" \
    >>"$dir/kafka.log" 2>&1 </dev/null
}

start() {
  local dir=$1 port=$2
  if alive "$dir"; then fail "a broker runs in $dir already"; fi
  mkdir -p "$dir"
  rm -f "$dir/pid"
  setsid "$script" run "$@" >/dev/null 2>>"$dir/kafka.log" </dev/null &
  local child=$!
  for _ in $(seq 1200); do
    if answers "$port"; then return; fi
    kill -0 $child 2>/dev/null || fail "Kafka ended at once" "$dir/kafka.log"
    sleep 0.05
  done
  fail "Kafka does not answer on port $port after a minute" "$dir/kafka.log"
}

alive() { [ -f "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

end() {
  local signal=$1 dir=$2
  if ! alive "$dir"; then return; fi
  kill -s "$signal" "$(cat "$dir/pid")" 2>/dev/null || true
  for _ in $(seq 600); do
    alive "$dir" || break
    sleep 0.05
  done
  if alive "$dir"; then kill -s KILL "$(cat "$dir/pid")" || true; fi
  rm -f "$dir/pid"
}

create_topic() {
  need java "$wants"
  java "${tool_jvm[@]}" -cp "$(class_path)" "$(admin_tool)" "$@"
}

protect_topic() {
  need java "$wants"
  java "${tool_jvm[@]}" -cp "$(class_path)" "$(admin_tool)" "$1" protect "$2"
}

# Kafka's own command line tools are in no published jar: this is what tests need of them.
admin_tool() {
  local source=$home/AdminTool.java
  cat >"$source.$$" <<'JAVA'
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

public class AdminTool {
    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", "127.0.0.1:" + arguments[0]))) {
            if (arguments[1].equals("warm-up")) {
                // Who asks for a coordinator makes its internal topic; that nobody is known there is the expected answer.
                settle(admin.describeClassicGroups(List.of("warm-up")).all());
                settle(admin.describeTransactions(List.of("warm-up")).all());
                return;
            }
            if (arguments[1].equals("protect")) {
                // Who is named by one rule of a topic needs a rule for everything else too.
                List<AclBinding> rules = List.of(
                    rule(arguments[2], AclOperation.WRITE, AclPermissionType.DENY),
                    rule(arguments[2], AclOperation.READ, AclPermissionType.ALLOW),
                    rule(arguments[2], AclOperation.DESCRIBE, AclPermissionType.ALLOW),
                    rule(arguments[2], AclOperation.CREATE, AclPermissionType.ALLOW));
                admin.createAcls(rules).all().get();
                return;
            }
            Map<String, String> settings = new HashMap<>();
            for (int i = 3; i < arguments.length; i++) {
                String[] setting = arguments[i].split("=", 2);
                settings.put(setting[0], setting[1]);
            }
            NewTopic topic = new NewTopic(arguments[1], Integer.parseInt(arguments[2]), (short) 1).configs(settings);
            admin.createTopics(List.of(topic)).all().get();
        }
    }

    private static AclBinding rule(String topic, AclOperation operation, AclPermissionType permission) {
        return new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
            new AccessControlEntry("User:*", "*", operation, permission));
    }

    private static void settle(KafkaFuture<?> future) throws InterruptedException {
        try {
            future.get();
        } catch (ExecutionException expected) {
            return;
        }
    }
}
JAVA
  mv "$source.$$" "$source"
  echo "$source"
}

# A list in order: the class archive is refused with any other class path.
class_path() {
  local jars=("$home"/libs/*.jar)
  local IFS=:
  printf %s "${jars[*]}"
}

# What differs from Kafka's defaults does so that one node suffices and that tests do not wait. What users' clients
# could notice, such as the least session time-out or the largest message, stays as it is.
properties() {
  local dir=$1 port=$2
  shift 2
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
# The first member of a group need not wait for others.
group.initial.rebalance.delay.ms=0
# A killed broker is taken back after 1.5 s instead of 9 s.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=250
# Looks for transactions that are over time, and for what can be compacted, every second instead of every 10 and 15.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.backoff.ms=1000
PROPERTIES
  printf '%s\n' "$@"
}

main "$@"
