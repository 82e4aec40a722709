//! Tests of settings: a file and variables go in, settings or all mistakes come out.

mod connectors;

use std::path::{Path, PathBuf};

use super::*;

const KAFKA: &str = "[kafka]\nbootstrap.servers = 'k:9092'\n";

fn parse(text: &str, environment: &FixedEnvironment, overrides: &Overrides) -> Result<Settings, Mistakes> {
    Settings::parse("tidegate.toml", text, Path::new("flows"), environment, overrides)
}

/// Parses `text` and compares the mistakes, one a line.
#[track_caller]
fn check(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let environment = FixedEnvironment::with_variables(variables.iter().copied());
    let mistakes = parse(text, &environment, &Overrides::default()).err().map(|mistakes| mistakes.to_string());
    let mistakes = mistakes.unwrap_or_default();
    assert_eq!(mistakes, expected.join("\n"), "of {text}");
}

/// Parses `text` in front of the rest of a valid file.
#[track_caller]
fn accepted(text: &str, variables: &[(&str, &str)]) -> Settings {
    let environment = FixedEnvironment::with_variables(variables.iter().copied());
    match parse(&format!("{text}\n{KAFKA}"), &environment, &Overrides::default()) {
        Ok(settings) => settings,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

#[test]
fn defaults_are_those_of_the_default_file() {
    let settings = accepted("", &[]);
    assert_eq!(settings.environment, "dev");
    assert_eq!(settings.topic_prefix, "tidegate.");
    assert_eq!(settings.instance, "host-1");
    assert_eq!(settings.admin.to_string(), "127.0.0.1:7070");
    assert_eq!(settings.lanes.get(), 1);
    assert_eq!(settings.group, "tidegate");
    assert_eq!(settings.group_protocol, GroupProtocol::Classic);
    assert!(settings.leaves_on_stop);
    assert_eq!(settings.data_dir, PathBuf::from("flows/.tidegate"));
    assert_eq!(settings.records, RecordSettings { step_results: StepResults::All, encoding: Encoding::Json });
    assert_eq!(settings.topics, TopicSettings { partitions: 0, journal_partitions: 24, replication: 0 });
    assert_eq!(settings.limits, LimitSettings { waiting_bytes: 64 * 1024 * 1024 });
    assert_eq!(settings.limits.waiting_bytes, crate::engine::owner::WAITING_BYTES);
    assert!(settings.sources.is_empty() && settings.connectors.is_empty() && settings.registry.is_none());
}

#[test]
fn every_example_of_the_default_file_is_valid() {
    let is_example =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first: char| !first.is_whitespace()));
    let uncommented = |line: &str| if is_example(line) { line[1..].to_owned() } else { line.to_owned() };
    let text: Vec<_> = DEFAULT_SETTINGS.lines().map(uncommented).collect();
    let mut environment =
        FixedEnvironment::with_variables([("KAFKA_PASSWORD", "hunter2"), ("BILLING_TOKEN", "hunter2")]);
    environment.files.insert("flows/registry.credentials".into(), "aHVudGVyMg==\n".into());
    let settings = parse(&text.join("\n"), &environment, &Overrides::default()).unwrap();

    assert_eq!(settings.kafka.bootstrap_servers, "127.0.0.1:9092");
    assert_eq!(settings.kafka.properties["sasl.password"].expose(), "hunter2");
    assert_eq!(settings.sources.len(), 2);
    assert_eq!(settings.sources[0].format, SourceFormat::CloudEvents);
    let json = PlaceSettings {
        kind: Locator::Pointer("/event".into()),
        id: Some(Locator::Pointer("/id".into())),
        data: "".into(),
    };
    assert_eq!(settings.sources[1].format, SourceFormat::Json(json));
    let billing = &settings.connectors["billing"];
    assert_eq!(billing.kind, ConnectorKind::Http);
    assert_eq!(billing.headers["authorization"].expose(), "Bearer hunter2");
    assert_eq!(billing.rate, Some(50.0));
    assert_eq!(billing.redirects, 3);
    assert_eq!(billing.breaker.wait_duration_in_open_state_ms, 30_000);
    assert_eq!(settings.registry.unwrap().headers["authorization"].expose(), "Basic aHVudGVyMg==");
}

#[test]
fn all_mistakes_are_reported_at_once_in_order() {
    check(
        "enviroment = \"dev\"\nadmin = \"7070\"\nlanes = -1\ninstance = \"a b\"\n[kafka]\n\"group.id\" = \"g\"\n",
        &[],
        &[
            "tidegate.toml:1:1: unknown key `enviroment`; did you mean `environment`?",
            "tidegate.toml:2:9: `admin` is `7070`: this is no address to listen on; write IP:PORT, like \"127.0.0.1:7070\", or \"0.0.0.0:7070\" for all interfaces",
            "tidegate.toml:3:9: `lanes` is `-1`; write a whole number from 0 to 256",
            "tidegate.toml:4:12: `instance` is `a b`: it has a character that names cannot have; write 1 to 64 of a-z A-Z 0-9 . _ -",
            "tidegate.toml:5:1: `bootstrap.servers` is missing; write \"bootstrap.servers\" = \"HOST:9092\" under [kafka], or set TIDEGATE_KAFKA__BOOTSTRAP_SERVERS",
            "tidegate.toml:6:14: `group.id` is decided by Tidegate; write `group` at the top of the file",
        ],
    );
}

#[test]
fn a_file_that_is_no_toml_is_reported_with_its_place() {
    let environment = FixedEnvironment::default();
    for text in ["lanes = = 3", "[kafka", "a = 1\na = 2", "\u{0}", "lanes = 99999999999999999999", &"[".repeat(100_000)]
    {
        let mistakes = parse(text, &environment, &Overrides::default()).unwrap_err();
        assert!(matches!(mistakes.0[0].place, Place::File { .. }), "{mistakes}");
        assert!(mistakes.to_string().lines().count() == mistakes.0.len(), "{mistakes}");
    }
    let long = format!("# {}", "x".repeat(SETTINGS_BYTES));
    let mistakes = parse(&long, &environment, &Overrides::default()).unwrap_err();
    assert!(mistakes.to_string().contains("a settings file has at most"), "{mistakes}");
}

#[test]
fn wrong_types_say_what_to_write() {
    let records = "lanes = \"2\"\ngroup = 3\nsources = 1\nrecords = []\n";
    check(
        &format!("{records}{KAFKA}"),
        &[],
        &[
            "tidegate.toml:1:9: `lanes` is a string; write a whole number",
            "tidegate.toml:2:9: `group` is a whole number; write a string",
            "tidegate.toml:3:11: `sources` is a whole number; write a list of tables, each under [[sources]]",
            "tidegate.toml:4:11: `records` is a list; write a table",
        ],
    );
}

#[test]
fn a_start_is_confirmed_by_its_token_alone() {
    let source =
        |it: &str| format!("{KAFKA}[[sources]]\ntopic = \"a\"\nformat = \"cloudevents\"\nconfirm_start = \"{it}\"\n");
    let refused = |it: &str| {
        format!(
            "tidegate.toml:6:17: `confirm_start` is `{it}`: this confirms nothing; copy what the instance's /readyz and log ask for, \
             several separated by commas"
        )
    };
    let id = &"0af".repeat(11)[..32];
    for wrong in ["yes", "", id, &format!("{id}.x"), &format!("{id}0.1"), &format!("{id}.1,")] {
        check(&source(wrong), &[], &[&refused(wrong)]);
    }
    let tokens = format!("{id}.2, {id}.13");
    let parsed = parse(&source(&tokens), &FixedEnvironment::with_variables([]), &Overrides::default()).unwrap();
    assert_eq!(parsed.sources[0].confirm_start, [format!("{id}.2"), format!("{id}.13")]);
}

#[test]
fn sources_are_refused_with_their_place() {
    let source = |lines: &str| format!("{KAFKA}[[sources]]\n{lines}\n");
    let format = "format = \"cloudevents\"";
    check(
        &source(format),
        &[],
        &["tidegate.toml:3:1: `topic` is missing; name a topic, or write a pattern that starts with ^"],
    );
    check(
        &source("topic = \"a\""),
        &[],
        &["tidegate.toml:3:1: `format` is missing; write cloudevents, json or avro; formats are never guessed"],
    );
    check(
        &source("topic = \"a\"\nformat = \"avro\""),
        &[],
        &["tidegate.toml:3:1: format `avro` needs a schema registry; add [registry] with its url"],
    );
    check(
        &source(&format!("topic = \"tidegate.journal\"\n{format}")),
        &[],
        &[
            "tidegate.toml:4:9: `topic` is `tidegate.journal`: these are Tidegate's own topics; consume topics that don't start with `tidegate.`",
        ],
    );
    check(
        &source(&format!("topic = \"^tidegate\\\\..*\"\n{format}")),
        &[],
        &[
            "tidegate.toml:4:9: `topic` is `^tidegate\\..*`: these are Tidegate's own topics; consume topics that don't start with `tidegate.`",
        ],
    );
    check(
        &source(&format!("topic = \"^a(\"\n{format}")),
        &[],
        &["tidegate.toml:4:9: `topic` is `^a(`: this is no regular expression; mend it: unclosed group"],
    );
    check(
        &source(&format!("topic = \"a\"\n{format}\n[[sources]]\ntopic = \"a\"\n{format}")),
        &[],
        &["tidegate.toml:6:1: topic `a` is already a source at tidegate.toml:3:1; keep one of the two"],
    );
    check(
        &source(&format!("topic = \"a b\"\n{format}\nstart = \"lastest\"\ntype = \"/a\"")),
        &[],
        &[
            "tidegate.toml:4:9: `topic` is `a b`: it has a character that topics cannot have; write 1 to 249 of a-z A-Z 0-9 . _ -, or a pattern that starts with ^",
            "tidegate.toml:6:9: `start` is `lastest`; did you mean `latest`? It is one of latest, earliest",
            "tidegate.toml:7:8: `type` is for formats `json` and `avro`; remove `type`, or write format = \"json\"",
        ],
    );
}

#[test]
fn places_in_plain_json_are_checked() {
    let source = |lines: &str| format!("{KAFKA}[[sources]]\ntopic = \"a\"\nformat = \"json\"\n{lines}\n");
    check(
        &source(""),
        &[],
        &[
            "tidegate.toml:3:1: `type` is missing; say where the event's type is: a JSON pointer like \"/event\", header:NAME or const:NAME",
        ],
    );
    check(
        &source("type = \"$.event.name\"\nid = \"/a~2\"\ndata = \"payload\""),
        &[],
        &[
            "tidegate.toml:6:8: `type` is `$.event.name`: a JSON pointer starts with /; write \"/event/name\"",
            "tidegate.toml:7:6: `id` is `/a~2`: a ~ in a JSON pointer is an escape; write ~0 for ~ and ~1 for /",
            "tidegate.toml:8:8: `data` is `payload`: a JSON pointer starts with /; write \"/payload\"",
        ],
    );
    check(
        &source("type = \"header:\"\nid = \"\""),
        &[],
        &[
            "tidegate.toml:6:8: `type` is `header:`: the header has no usable name; write a JSON pointer like \"/event\", header:NAME or const:NAME",
            "tidegate.toml:7:6: `id` is ``: the whole document cannot be a name; write a JSON pointer like \"/event\", header:NAME or const:NAME",
        ],
    );
    let settings = accepted(
        "[[sources]]\ntopic = \"a\"\nformat = \"json\"\ntype = \"header:X-Type\"\nid = \"const:one\"\ndata = \"/a/b~1c\"",
        &[],
    );
    let kind = Locator::Header("X-Type".into());
    let json = PlaceSettings { kind, id: Some(Locator::Constant("one".into())), data: "/a/b~1c".into() };
    assert_eq!(settings.sources[0].format, SourceFormat::Json(json));
    assert_eq!(settings.sources[0].start, Start::Latest);
}

#[test]
fn records_in_avro_need_a_registry() {
    let with = |more: &str| format!("[registry]\nurl = \"http://r:8081\"\n{more}\n[records]\nencoding = \"avro\"");
    let settings = accepted(&with(""), &[]);
    assert_eq!(settings.records.encoding, Encoding::Avro);
    assert!(settings.registry.unwrap().auto_register, "unless it says otherwise");
    assert!(!accepted(&with("auto_register = false"), &[]).registry.unwrap().auto_register);
    let what = "tidegate.toml:3:17: `auto_register` is a whole number; write true or false";
    check(&format!("{}\n{KAFKA}", with("auto_register = 1")), &[], &[what]);
    let what = "tidegate.toml:2:12: encoding `avro` needs a schema registry; add [registry] with its url";
    check(&format!("[records]\nencoding = \"avro\"\n{KAFKA}"), &[], &[what]);
}

#[test]
fn the_type_of_an_avro_record_is_its_schemas_name_if_nothing_else_is_said() {
    const REGISTRY: &str = "\n[registry]\nurl = \"http://registry:8081\"";
    let format = |more: &str| {
        let text = format!("[[sources]]\ntopic = \"a\"\nformat = \"avro\"\n{more}{REGISTRY}");
        accepted(&text, &[]).sources[0].format.clone()
    };
    let places = |kind, id, data: &str| {
        let places = PlaceSettings { kind, id, data: data.into() };
        SourceFormat::Avro(AvroSettings { places, has_keys: false })
    };
    assert_eq!(format(""), places(Locator::SchemaName, None, ""));
    assert_eq!(format("type = \"schema:subject\""), places(Locator::SchemaSubject, None, ""));
    assert!(matches!(format("key = \"avro\""), SourceFormat::Avro(AvroSettings { has_keys: true, .. })));
    let pointer = |text: &str| Locator::Pointer(text.into());
    assert_eq!(
        format("type = \"/kind\"\nid = \"/id\"\ndata = \"/body\""),
        places(pointer("/kind"), Some(pointer("/id")), "/body")
    );
    check(
        &format!("{KAFKA}[[sources]]\ntopic = \"a\"\nformat = \"avro\"\ntype = \"kind\"{REGISTRY}"),
        &[],
        &[
            "tidegate.toml:6:8: `type` is `kind`: a JSON pointer starts with /; write \"/kind\", or schema:name or schema:subject for the full name or the subject of the record's schema",
        ],
    );
}

#[test]
fn variables_override_the_file() {
    let variables = [
        ("TIDEGATE_ADMIN", "0.0.0.0:0"),
        ("TIDEGATE_DATA_DIR", "data"),
        ("TIDEGATE_INSTANCE", "pod-7"),
        ("TIDEGATE_GROUP", "other"),
        ("TIDEGATE_LANES", "3"),
        ("TIDEGATE_ENVIRONMENT", "prod"),
        ("TIDEGATE_TOPIC_PREFIX", "prod."),
        ("TIDEGATE_KAFKA__BOOTSTRAP_SERVERS", "one:1,two:2"),
        ("TIDEGATE_KAFKA__SASL_PASSWORD", "hunter2"),
        ("TIDEGATE_PORT", "tcp://10.0.0.1:7070"),
    ];
    let settings = accepted("lanes = 1\nadmin = \"nonsense\"", &variables);
    assert_eq!(settings.admin.to_string(), "0.0.0.0:0");
    assert_eq!(settings.data_dir, PathBuf::from("data"));
    assert_eq!((settings.instance.as_str(), settings.group.as_str(), settings.lanes.get()), ("pod-7", "other", 3));
    assert_eq!((settings.environment.as_str(), settings.topic_prefix.as_str()), ("prod", "prod."));
    assert_eq!(settings.kafka.bootstrap_servers, "one:1,two:2");
    assert_eq!(settings.kafka.properties["sasl.password"].expose(), "hunter2");
    assert_eq!(accepted("", &[("TIDEGATE_GROUP", "")]).group, "tidegate");
    let remedy = "write HOST:PORT, several separated by commas";
    check(
        "",
        &[("TIDEGATE_LANES", "many"), ("TIDEGATE_KAFKA__BOOTSTRAP_SERVERS", "a b")],
        &[
            "TIDEGATE_LANES: `lanes` is `many`; write a whole number from 0 to 256",
            &format!("TIDEGATE_KAFKA__BOOTSTRAP_SERVERS: `bootstrap.servers` is `a b`; {remedy}"),
        ],
    );
}

#[test]
fn references_are_resolved_once_and_never_shown() {
    let text = format!("group = \"${{env:GROUP}}\"\n{KAFKA}\"sasl.password\" = \"a$${{b}}${{env:PASSWORD}}\"\n");
    let environment = FixedEnvironment::with_variables([("GROUP", "g"), ("PASSWORD", "${env:GROUP}")]);
    let settings = parse(&text, &environment, &Overrides::default()).unwrap();
    assert_eq!(settings.group, "g");
    assert_eq!(settings.kafka.properties["sasl.password"].expose(), "a${b}${env:GROUP}");

    check(
        &text,
        &[("GROUP", "hunter2\n")],
        &[
            "tidegate.toml:1:9: `group` is ***: it has a control character; write 1 to 255 bytes without control characters",
            "tidegate.toml:4:19: `sasl.password`: the environment variable PASSWORD is not set; set PASSWORD before the start, or remove the reference",
        ],
    );
    check(
        &format!("environment = \"${{vault:x}}\"\ngroup = \"${{env:X\"\ninstance = \"${{file:secret}}\"\n{KAFKA}"),
        &[],
        &[
            "tidegate.toml:1:15: `environment`: `${vault:x}` is no reference; write ${env:NAME} or ${file:PATH}",
            "tidegate.toml:2:9: `group`: the `${` is never closed; write ${env:NAME} or ${file:PATH}; a literal ${ is written $${",
            "tidegate.toml:3:12: `instance`: flows/secret cannot be read: entity not found; name a text file that this user can read, relative to the settings file",
        ],
    );
}

#[test]
fn references_can_be_left_for_later() {
    let text = "admin = \"${env:ADMIN}\"\ninstance = \"${env:POD}\"\n[kafka]\nbootstrap.servers = \"${env:KAFKA}\"\n\
                [connectors.crm]\nkind = \"http\"\nurl = \"${env:URL}\"\nheaders = { a = \"${file:gone}\" }\n";
    let overrides = Overrides { references: References::CheckForm, ..Overrides::default() };
    let settings = parse(text, &FixedEnvironment::default(), &overrides).unwrap();
    assert_eq!(settings.admin.to_string(), "127.0.0.1:7070");
    assert!(settings.connectors.contains_key("crm"));
    assert!(parse(&text.replace("env:URL", "URL"), &FixedEnvironment::default(), &overrides).is_err());
}

#[test]
fn the_embedded_broker_replaces_all_kafka_settings() {
    let text = "[kafka]\n\"sasl.password\" = \"${env:PASSWORD}\"\n";
    let overrides = Overrides {
        embedded_broker: Some("127.0.0.1:1".into()),
        admin: Some("127.0.0.1:2".into()),
        ..Default::default()
    };
    let settings = parse(text, &FixedEnvironment::default(), &overrides).unwrap();
    assert_eq!(settings.kafka, KafkaSettings::plain("127.0.0.1:1"));
    assert_eq!(settings.admin.port(), 2);
}

#[test]
fn a_topic_belongs_to_the_source_that_names_it() {
    let settings = accepted(
        "[[sources]]\ntopic = \"^.*\"\nformat = \"cloudevents\"\n[[sources]]\ntopic = \"^b.*\"\nformat = \"cloudevents\"\n\
         [[sources]]\ntopic = \"billing\"\nformat = \"cloudevents\"",
        &[],
    );
    let source = |topic: &str| settings.source_of(topic).map(|source| source.topic.as_str().to_owned());
    assert_eq!(source("billing").as_deref(), Some("billing"));
    assert_eq!(source("bananas").as_deref(), Some("^.*"));
    assert_eq!(source("tidegate.journal"), None);
}

#[test]
fn secrets_show_in_no_format() {
    let text = format!(
        "{KAFKA}\"sasl.password\" = \"hunter2\"\n[connectors.c]\nkind = \"http\"\nurl = \"http://h\"\nheaders = {{ a = \"hunter2\" }}"
    );
    let settings = parse(&text, &FixedEnvironment::default(), &Overrides::default()).unwrap();
    let shown = format!("{settings:?} {settings:#?} {}", settings.kafka.properties["sasl.password"]);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn later_checks_of_kafka_properties_know_their_place() {
    let settings = accepted("", &[("TIDEGATE_KAFKA__SESSION_TIMEOUT_MS", "10")]);
    let mistake = settings.kafka.mistake("session.timeout.ms", "it is too short", "write at least 6000");
    assert_eq!(mistake.to_string(), "TIDEGATE_KAFKA__SESSION_TIMEOUT_MS: it is too short; write at least 6000");
    let mistake = settings.kafka.mistake("bootstrap.servers", "nobody answers", "start Kafka");
    assert_eq!(mistake.to_string(), "tidegate.toml:3:21: nobody answers; start Kafka");
}

#[test]
fn files_are_read_with_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    let load = || Settings::load(&path, &FixedEnvironment::default(), &Overrides::default());
    assert!(matches!(load(), Err(SettingsError::Unreadable { .. })));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(load(), Err(SettingsError::Unreadable { .. })));
    std::fs::write(&path, "ü".repeat(SETTINGS_BYTES)).unwrap();
    assert!(matches!(load(), Err(SettingsError::Mistakes(mistakes)) if mistakes.0.len() <= 2));
    std::fs::write(&path, format!("\u{feff}{KAFKA}")).unwrap();
    assert_eq!(load().unwrap().data_dir, folder.path().join(".tidegate"));
    let bare = Settings::load(Path::new("no-such-file.toml"), &ProcessEnvironment, &Overrides::default());
    assert!(matches!(bare, Err(SettingsError::Unreadable { .. })));
}

#[test]
fn the_process_has_a_host_name_and_reads_bounded_files() {
    let environment = ProcessEnvironment;
    assert!(environment.host_name().is_some_and(|name| !name.is_empty()));
    assert!(environment.variables().contains_key("PATH"));
    assert!(environment.read_file(Path::new("/dev/zero")).is_err());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    assert_eq!(environment.read_file(file.path()).unwrap(), "secret");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}", key in "[a-z_]{1,12}", value in "\\PC{0,40}") {
        let environment = FixedEnvironment::default();
        let _ = parse(&text, &environment, &Overrides::default());
        let quoted = serde_json::to_string(&value).unwrap_or_default();
        let _ = parse(&format!("{key} = {quoted}\n[kafka]\nx = {quoted}\n[[sources]]\ntopic = {quoted}\nformat = 'json'\ntype = {quoted}"), &environment, &Overrides::default());
    }
}
