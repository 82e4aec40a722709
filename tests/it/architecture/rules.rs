//! The rules. Each takes a file and says what in it breaks the rule.

use super::source::Source;

/// Who may name whom: a module at the top of `src/` and the others that it may use. The engine is below everything, edges do not know
/// each other, and only what composes may name all.
const LAYERS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("net", &[]),
    ("settings", &["engine", "net"]),
    ("telemetry", &["engine"]),
    ("expression", &["engine"]),
    ("breaker_store", &[]),
    ("codec", &["engine"]),
    ("connector", &["engine", "net"]),
    ("kafka", &["engine"]),
    ("dev_broker", &[]),
    ("registry", &["engine", "codec", "net"]),
    ("definition", &["engine", "expression"]),
    ("lane", &["engine", "kafka", "codec", "telemetry"]),
    ("dead_letter", &["engine", "codec", "kafka", "definition"]),
    ("app", ANY),
    ("bench", ANY),
    ("cli", ANY),
];
const ANY: &[&str] = &["*"];

/// What the engine never names: clocks, randomness, threads, tasks, files, sockets, the environment, Kafka, and promises about bytes.
const IMPURE: &[&str] = &[
    "Instant",
    "SystemTime",
    "Utc::now",
    "Local::now",
    "rand",
    "RandomState",
    "Uuid::new_v4",
    "tokio",
    "rdkafka",
    "async",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "println",
    "eprintln",
    "Serialize",
    "Deserialize",
];

/// Names that stand in for work, hide it, or wait by luck.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore", "thread::sleep"];

/// Where one of them may stand, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "tests/it/support/wait.rs",
        "thread::sleep",
        "pauses between two looks at a condition, and is the one place where time passes",
    ),
    ("tests/it/support/late_proxy.rs", "thread::sleep", "makes a request late, which is what the proxy is for"),
];

/// The longest file, and the longest function, in lines.
pub const FILE_LINES: usize = 500;
pub const FUNCTION_LINES: usize = 70;

/// The layers.
pub fn layers(source: &Source) -> Vec<String> {
    let Some(inside) = source.path.strip_prefix("src/") else { return Vec::new() };
    let Some((module, _)) = inside.split_once('/').or_else(|| inside.split_once('.')) else { return Vec::new() };
    if matches!(inside, "lib.rs" | "main.rs") {
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: module `{module}` has no layer; give it one in this table", source.path)];
    };
    let is_allowed = |named: &str| named == module || *allowed == ANY || allowed.contains(&named);
    let is_module = |named: &str| LAYERS.iter().any(|(name, _)| *name == named);
    let named = modules_named(source.product_code(), inside);
    let forbidden = named.iter().filter(|(_, named)| is_module(named) && !is_allowed(named));
    forbidden
        .map(|(at, named)| format!("{}:{}: `{module}` may not name `{named}`", source.path, source.line_of(*at)))
        .collect()
}

/// The engine's purity.
pub fn purity(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/engine") {
        return Vec::new();
    }
    let found = IMPURE.iter().flat_map(|name| words(source.product_code(), name).map(move |at| (at, name)));
    found
        .map(|(at, name)| format!("{}:{}: the engine may not name `{name}`", source.path, source.line_of(at)))
        .collect()
}

/// The size of files and functions.
pub fn size(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let mut breaches = Vec::new();
    if lines > FILE_LINES {
        breaches.push(format!("{}: {lines} lines; split it into nouns of at most {FILE_LINES}", source.path));
    }
    for (name, at, lines) in functions(source) {
        if lines > FUNCTION_LINES {
            breaches.push(format!(
                "{}:{at}: `{name}` has {lines} lines; at most {FUNCTION_LINES} fit a screen",
                source.path
            ));
        }
    }
    breaches
}

/// Metric names stand in one file, and nobody counts past it.
pub fn metric_names(source: &Source) -> Vec<String> {
    let at_home = matches!(source.path.as_str(), "src/telemetry/metrics.rs");
    if at_home || source.product_code().is_empty() {
        return Vec::new();
    }
    let named = source.text.match_indices(concat!("\"", "tidegate_")).map(|(at, _)| at);
    let macros = ["counter!", "gauge!", "histogram!", "describe_counter!", "describe_gauge!", "describe_histogram!"];
    let counted = macros.iter().flat_map(|name| words(&source.code, name));
    let places = named.chain(counted);
    places
        .map(|at| format!("{}:{}: metrics are defined in src/telemetry/metrics.rs", source.path, source.line_of(at)))
        .collect()
}

/// Nothing unfinished, nothing ignored, nobody sleeps.
pub fn unfinished(source: &Source) -> Vec<String> {
    let is_allowed =
        |name: &str| ALLOWED.iter().any(|(path, allowed, _)| source.path.starts_with(path) && *allowed == name);
    // A park may be over at once: what must last goes through the one place where tests let time pass.
    let in_tests = source.path.starts_with("tests/").then_some(&"park_timeout");
    let names = UNFINISHED.iter().chain(in_tests).filter(|name| !is_allowed(name));
    let found = names.flat_map(|name| words(&source.code, name).map(move |at| (at, name)));
    found.map(|(at, name)| format!("{}:{}: `{name}` has no place here", source.path, source.line_of(at))).collect()
}

/// Where the product's code may be `unsafe`, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("src/kafka/native.rs", "calls librdkafka"),
    ("src/engine/value/document.rs", "takes spans of a text that were checked when they were made"),
    ("src/main.rs", "sets an option of the allocator"),
    ("src/telemetry/process.rs", "asks for the size of a page"),
    ("src/settings/environment.rs", "asks for the name of the host"),
    ("src/bench/cpu.rs", "asks for the time that a process has used"),
];

/// What the compiler does not check is in few files, and every such file is named here.
pub fn unchecked(source: &Source) -> Vec<String> {
    let is_allowed = UNSAFE.iter().any(|(path, _)| source.path == *path);
    if is_allowed || source.product_code().is_empty() {
        return Vec::new();
    }
    let found = words(source.product_code(), "unsafe");
    found.map(|at| format!("{}:{}: `unsafe` has no place here", source.path, source.line_of(at))).collect()
}

/// A file says first what it is and why.
pub fn introduction(source: &Source) -> Vec<String> {
    let introduced =
        source.text.lines().next().is_some_and(|line| line.len() > "//! ".len() && line.starts_with("//! "));
    if introduced { Vec::new() } else { vec![format!("{}: starts without `//!` and what it is", source.path)] }
}

/// Words that say where a text was made instead of what it says. Written in pieces, so that this file is free of them too.
pub fn foreign_words(source: &Source) -> Vec<String> {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("issue ", "#"),
        concat!("proto", "type"),
        concat!("FIX", "ME"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("pypi", ".org"),
        concat!("registry.npmjs", ".org"),
        concat!("proxy.golang", ".org"),
    ];
    let text = source.text.to_ascii_lowercase();
    let found = words
        .iter()
        .flat_map(|word| text.match_indices(&word.to_ascii_lowercase()).map(|(at, _)| at).collect::<Vec<_>>());
    found
        .map(|at| format!("{}:{}: a word that does not belong to the product", source.path, source.line_of(at)))
        .collect()
}

/// Modules at the top that a file names, as `crate::x`, in a group of `crate::{…}`, or as `super::…::x` that climbs to the top.
fn modules_named(code: &str, inside: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for at in words(code, "crate::") {
        named.extend(first_names(&code[at + "crate::".len()..]).into_iter().map(|name| (at, name)));
    }
    let depth = inside.trim_end_matches("/mod.rs").split('/').count();
    let climb = format!("use {}", "super::".repeat(depth));
    // Only at the margin: within an inner module the same climb does not reach the top.
    for (at, _) in code.match_indices(&climb).filter(|(at, _)| *at == 0 || code.as_bytes()[at - 1] == b'\n') {
        named.extend(first_names(&code[at + climb.len()..]).into_iter().map(|name| (at, name)));
    }
    named
}

/// The first name of a path, or those of each path in a group.
fn first_names(path: &str) -> Vec<String> {
    let name_at =
        |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name_at(path)] };
    let mut depth = 0_usize;
    let mut names = vec![name_at(group.trim_start())];
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

/// Where a word stands that is no part of a longer one.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let ends_in_letter = is_part(word.chars().last());
        let starts_with_letter = is_part(word.chars().next());
        let joined_before = starts_with_letter && is_part(code[..*at].chars().last());
        let joined_after = ends_in_letter && is_part(code[at + word.len()..].chars().next());
        !joined_before && !joined_after
    })
}

/// Every function with a body: its name, its first line and how many lines it has.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut functions = Vec::new();
    for at in words(&source.code, "fn") {
        let signature = &source.code[at + "fn".len()..];
        let name = first_names(signature.trim_start()).remove(0);
        if name.is_empty() {
            // The type of a pointer.
            continue;
        }
        let mut depth = 0_i32;
        let mut body_depth = None;
        for (offset, letter) in signature.char_indices() {
            match letter {
                // What is declared without a body.
                ';' if depth == 0 && body_depth.is_none() => break,
                '{' if depth == 0 && body_depth.is_none() => {
                    body_depth = Some(depth);
                    depth += 1;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            if letter == '}' && body_depth == Some(depth) {
                let first = source.line_of(at);
                let last = source.line_of(at + "fn".len() + offset);
                functions.push((name, first, last - first + 1));
                break;
            }
            if depth < 0 {
                break;
            }
        }
    }
    functions
}
