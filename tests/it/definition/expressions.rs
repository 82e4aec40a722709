//! Expressions in definitions: their mistakes are told at the character, and they see the steps that come before.

use tidegate::definition::Syntax;

use super::{HEAD, STEPS, accept, mistakes_of};

/// Checks that the only mistake of a document is at the word `nowhere`.
#[track_caller]
fn check_place(text: &str, syntax: Syntax) {
    let before = &text[..text.find("nowhere").unwrap()];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mistakes = mistakes_of(text, syntax);
    assert!(mistakes.len() == 1, "{mistakes:?}\n{text}");
    assert!(mistakes[0].starts_with(&format!("{line}:{column}: ")), "not at {line}:{column}: {}\n{text}", mistakes[0]);
}

/// Checks the place in a step of type `log` with this field beside its config.
#[track_caller]
fn check_when(when: &str) {
    let step = format!("{HEAD}steps:\n  - id: say\n    type: log\n    when: {when}\n    config: {{message: hi}}\n");
    check_place(&step, Syntax::Yaml);
    check_place(&step.replace('\n', "\r\n"), Syntax::Yaml);
}

#[test]
fn mistakes_are_told_at_the_character() {
    check_when("nowhere > 1");
    check_when("event.id == \"é\" && nowhere > 1");
    check_when("'event.id != null && nowhere > 1'");
    check_when("\"event.id != null && nowhere > 1\"");
    check_when("event.id != null\n      && nowhere > 1");
    check_when("|\n      event.id != null &&\n\n        nowhere > 1\n      || true");
    check_when(">-  # folded\n      event.id != null &&\n      nowhere > 1\n      || true");
    check_place(
        &format!(
            "{HEAD}steps: [{{id: say, type: log, config: {{message: \"é ${{{{ event.id }}}} and ${{{{ nowhere }}}}\"}}}}]\n"
        ),
        Syntax::Yaml,
    );
    check_place(&format!("id: a\nversion: a\ntriggers:\n  - event: a\n    where: nowhere\n{STEPS}"), Syntax::Yaml);
    let json = "{\"id\": \"a\", \"version\": \"1\", \"triggers\": [{\"event\": \"a\",\n \"where\": \"event.id == 'é' && nowhere\"}], ";
    let steps = "\"steps\": [{\"id\": \"a\", \"type\": \"log\", \"config\": {\"message\": \"hi\"}}]}";
    check_place(&format!("{json}{steps}"), Syntax::Json);
}

#[test]
fn behind_an_escape_the_place_is_that_of_the_text() {
    let step = "steps: [{id: say, type: log, when: \"event.id != '\\u00e9' && nowhere\", config: {message: hi}}]\n";
    let mistakes = mistakes_of(&format!("{HEAD}{step}"), Syntax::Yaml);
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("4:36: "), "{mistakes:?}");
}

#[test]
fn bare_expressions_stand_without_braces() {
    let step = "steps: [{id: say, type: log, when: \"${{ event.id != '' }}\", config: {message: hi}}]\n";
    let expected = "4:36: `when` is an expression as it is, without `${{ }}`; write `when: event.id != ''`";
    assert_eq!(mistakes_of(&format!("{HEAD}{step}"), Syntax::Yaml), [expected]);
    accept(&format!("{HEAD}{}", step.replace("\"${{ event.id != '' }}\"", "true")));
}

/// A step of type `log` that says the output of another.
fn says(id: &str, before: &str, of: &str) -> String {
    format!(
        "  - {{id: {id}, type: log, dependencies: [{before}], config: {{message: \"${{{{ steps.{of}.output }}}}\"}}}}\n"
    )
}

/// Checks the only mistake of some steps: its place and the step that it is about.
#[track_caller]
fn check_reference(steps: &[String], place: &str, step: &str) {
    let mistakes = mistakes_of(&format!("{HEAD}steps:\n{}", steps.concat()), Syntax::Yaml);
    assert!(mistakes.len() == 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with(place) && mistakes[0].contains(step), "{}", mistakes[0]);
}

#[test]
fn steps_are_seen_only_if_they_come_before() {
    let first = "  - {id: first, type: transform, config: {output: 1}}\n".to_owned();
    let chain = [first.clone(), says("second", "first", "first"), says("third", "second", "first")];
    accept(&format!("{HEAD}steps:\n{}", chain.concat()));
    check_reference(&[first.clone(), says("other", "", "first")], "6:", "first");
    check_reference(&[first.clone(), says("other", "first", "other")], "6:", "other");
    check_reference(&[first.clone(), says("other", "first", "frist")], "6:", "frist");
    // It comes earlier in the file, and not before.
    check_reference(&[first.clone(), says("a", "first", "first"), says("b", "first", "a")], "7:", "`a`");
}

#[test]
fn one_mistake_in_a_dependency_is_told_once() {
    let first = "  - {id: first, type: transform, config: {output: 1}}\n".to_owned();
    check_reference(&[first, says("second", "frist", "first"), says("third", "second", "first")], "6:44: ", "frist");
}

#[test]
fn names_of_fields_are_no_expressions() {
    let step = "steps: [{id: a, type: transform, config: {output: {\"${{ event.id }}\": 1}}}]\n";
    let expected = "4:52: the name of a field cannot be an expression; write the name, or build the object with CEL";
    assert_eq!(mistakes_of(&format!("{HEAD}{step}"), Syntax::Yaml), [expected]);
}
