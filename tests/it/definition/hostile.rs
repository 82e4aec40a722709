//! Files that mean harm: each is refused in bounded time and memory, with a message.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate::definition::Syntax;

use super::{HEAD, mistakes_of};

/// Far more than any of these needs, on a slow machine and without optimisation.
const TIME_MAX: Duration = Duration::from_secs(60);

#[track_caller]
fn check(text: &str, syntax: Syntax, expected: &str) {
    let start = Instant::now();
    let mistakes = mistakes_of(text, syntax);
    let opening: String = text.chars().take(20).collect();
    assert!(start.elapsed() < TIME_MAX, "{opening:?} took {:?}", start.elapsed());
    assert!(mistakes.iter().any(|it| it.contains(expected)), "{opening:?}: {:?}", mistakes.first());
    assert!(mistakes.len() <= 101, "{opening:?}: {} mistakes", mistakes.len());
    assert!(mistakes.iter().all(|it| it.len() < 2_000), "{opening:?}: a very long message");
}

fn yaml(text: &str, expected: &str) {
    check(text, Syntax::Yaml, expected);
}

fn json(text: &str, expected: &str) {
    check(text, Syntax::Json, expected);
}

#[test]
fn nesting_is_bounded() {
    const DEEP: &str = "nested more than 64 levels deep";
    yaml(&"[".repeat(500_000), DEEP);
    yaml(&"{".repeat(500_000), DEEP);
    yaml(&"{a: ".repeat(125_000), DEEP);
    yaml(&"[? ".repeat(170_000), DEEP);
    yaml(&"- ".repeat(250_000), DEEP);
    yaml(&"? ".repeat(250_000), DEEP);
    yaml(&": ".repeat(250_000), DEEP);
    yaml(&(0..700).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>(), DEEP);
    json(&format!("{}{}", "[".repeat(250_000), "]".repeat(250_000)), DEEP);
    json(&format!("{{\"a\":{}", "[".repeat(500_000)), "this is not JSON");
}

#[test]
fn aliases_and_merges_are_refused_before_they_expand() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..60 {
        let inner = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    yaml(&bomb, "1:5: anchors (`&name`) are not known here; leave the anchor out and repeat the value");
    yaml("a: &a\n  b: *a\n", "aliases");
    yaml("a: &a\n  <<: *a\n", "merge keys (`<<`) are not known here; write the fields out");
    yaml(&"- *nowhere\n".repeat(40_000), "aliases (`*name`) are not known here");
    yaml(&"- &a b\n".repeat(70_000), "anchors");
}

#[test]
fn values_are_bounded_in_number() {
    const MANY: &str = "more than 50000 values; split it into several workflows";
    yaml(&format!("[{}]", "1,".repeat(250_000)), MANY);
    yaml(&format!("[{}]", "é,".repeat(170_000)), MANY);
    yaml(&format!("{{{}}}", (0..40_000).map(|n| format!("k{n}: v,")).collect::<String>()), MANY);
    yaml(&format!("{HEAD}steps:\n{}", "- a\n".repeat(100_000)), MANY);
    json(&format!("[{}1]", "1,".repeat(250_000)), MANY);
}

#[test]
fn steps_and_what_hangs_on_them_are_bounded() {
    let step = |number: usize| format!("  - {{id: s{number}, type: log, config: {{message: hi}}}}\n");
    let steps = |count: usize| (0..count).map(step).collect::<String>();
    yaml(&format!("{HEAD}steps:\n{}", steps(5_000)), "5:3: the workflow has 5000 steps; keep at most 256");
    let chain = |number: usize| {
        let before = (number + 1) % 256;
        format!("  - {{id: s{number}, type: log, dependencies: [s{before}], config: {{message: hi}}}}\n")
    };
    let circle: String = (0..256).map(chain).collect();
    yaml(
        &format!("{HEAD}steps:\n{circle}"),
        "these steps wait for each other: s0 → s1 → s2 → s3 → s4 → s5 → s6 → s7 → … → s0; take",
    );
    let many = "say, ".repeat(10_000);
    let fan = format!("{HEAD}steps: [{{id: say, type: log, dependencies: [{many}], config: {{message: hi}}}}]\n");
    yaml(&fan, "the step has 10000 dependencies; keep at most 64");
    let triggers = "{event: a}, ".repeat(5_000);
    yaml(&format!("triggers: [{triggers}]"), "the workflow has 5000 triggers; keep 64");
    let expressions = "\"${{ 1 }}\", ".repeat(20_000);
    let config = format!("{HEAD}steps: [{{id: a, type: transform, config: {{output: [{expressions}]}}}}]");
    yaml(&config, "more than 1000 expressions, or more than 128 KiB of them; split it into several workflows");
    let long = format!("\"${{{{ [{}1] }}}}\", ", "1,".repeat(220)).repeat(900);
    let config = format!("{HEAD}steps: [{{id: a, type: transform, config: {{output: [{long}]}}}}]");
    yaml(&config, "more than 128 KiB of them");
}

#[test]
fn long_scalars_are_read_once() {
    const UNKNOWN: &str = "the workflow has no field \"a\"";
    yaml(&format!("a: {}", "b ".repeat(250_000)), UNKNOWN);
    yaml(&format!("a: {}", "b\n ".repeat(160_000)), UNKNOWN);
    yaml(&format!("a: \"{}\"", "b\n ".repeat(160_000)), UNKNOWN);
    yaml(&format!("a: |\n{}", " b\n".repeat(160_000)), UNKNOWN);
    yaml(&format!("a: >\n{}", " b\n".repeat(160_000)), UNKNOWN);
    yaml(&format!("\"{}", "\\".repeat(500_000)), "this is not YAML");
    yaml(&"\n".repeat(500_000), "the file is empty");
    yaml(&"#\n".repeat(250_000), "the file is empty");
    yaml(&"a: b\n".repeat(100_000), "the field \"a\" is written twice; keep one of them; the first is in line 1");
    yaml(&"...\n".repeat(120_000), "the file is empty");
    json(&format!("{{\"a\":1{}}}", "0".repeat(500_000)), "does not fit 64 bits");
    json(&format!("{{{}\"a\":1}}", "\"a\":1,".repeat(70_000)), "the field \"a\" is written twice");
}

#[test]
fn what_is_too_large_is_not_read() {
    yaml(&" ".repeat(512 * 1024 + 1), "the definition has 524289 bytes; at most 512 KiB are allowed");
    yaml(&"a".repeat(50_000_000), "the definition has 50000000 bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a file holds, reading ends with a definition or with mistakes that lie in it.
    #[test]
    fn any_mixture_of_tokens_is_read_or_refused(tokens in prop::collection::vec(token(), 0..60)) {
        let text = tokens.concat();
        for syntax in [Syntax::Yaml, Syntax::Json] {
            let lines = text.split(['\n', '\r']).count();
            for mistake in mistakes_of(&text, syntax) {
                let line: usize = mistake.split(':').next().unwrap().parse().unwrap();
                prop_assert!((1..=lines).contains(&line), "{mistake}");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for syntax in [Syntax::Yaml, Syntax::Json] {
            let _ = tidegate::definition::parse(std::path::Path::new("a"), &bytes, syntax);
        }
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "id: a\n",
        "version: 1\n",
        "steps:\n",
        "triggers:\n",
        "config:\n",
        "\n",
        "\r\n",
        "\r",
        "\t",
        " ",
        "  ",
        "    ",
        "- ",
        "? ",
        ": ",
        ":",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "#",
        "&a ",
        "*a",
        "!!str ",
        "!",
        "|",
        ">",
        "|2-\n",
        ">+\n",
        "'",
        "\"",
        "\\",
        "\\u00",
        "%YAML 1.2\n",
        "%TAG ! a\n",
        "---\n",
        "...\n",
        "<<",
        "@",
        "`",
        "é",
        "漢",
        "\u{2028}",
        "\u{feff}",
        "\0",
        "\u{7f}",
        "1e999",
        "0x",
        "-",
        "~",
        "null",
        "${{ ",
        " }}",
        "event.data",
        "a",
        "\"a\"",
        "type: log",
        "{\"id\":1}",
        "true",
        ".inf",
        "99999999999999999999",
    ])
}
