//! Definition files: which are read, and what is told about those that are not.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::definition::{Diagnostic, read_files};

use super::{HEAD, STEPS};

/// A project directory with these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn workflow(id: &str) -> String {
    format!("{HEAD}{STEPS}").replace("order-paid", id)
}

/// The ids that are read, or the mistakes, without the directory.
fn outcome(directory: &Path, names: &[&str]) -> Result<Vec<String>, Vec<String>> {
    let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
    let prefix = format!("{}/", directory.display());
    read_files(&paths)
        .map(|definitions| definitions.iter().map(|it| it.workflow.id.as_str().to_owned()).collect())
        .map_err(|diagnostics| diagnostics.iter().map(|it| it.to_string().replace(&prefix, "")).collect())
}

#[test]
fn a_project_stands_for_its_workflows() {
    let json = String::from_utf8(super::accept(&workflow("c")).canonical).unwrap();
    let directory = project(&[
        ("tidegate.toml", "x"),
        ("workflows/b.yml", &workflow("b")),
        ("workflows/a.yaml", &workflow("a")),
        ("workflows/c.json", &json),
        ("workflows/README.md", "x"),
        ("workflows/.d.yaml", "x"),
        ("workflows/old/e.yaml", "x"),
    ]);
    let all = Ok(vec!["a".into(), "b".into(), "c".into()]);
    assert_eq!(outcome(directory.path(), &[""]), all);
    assert_eq!(outcome(directory.path(), &["workflows"]), all);
    assert_eq!(outcome(directory.path(), &["", "workflows/b.yml"]), all);
    assert_eq!(outcome(directory.path(), &["workflows/b.yml"]), Ok(vec!["b".into()]));
}

#[test]
fn every_mistake_of_every_file_is_told() {
    let directory = project(&[
        ("workflows/a.yaml", &workflow("same")),
        ("workflows/b.yaml", &workflow("same")),
        ("workflows/c.yaml", "id: c\n"),
    ]);
    let mistakes = outcome(directory.path(), &[""]).unwrap_err();
    let expected = [
        "workflows/b.yaml:1:5: workflows/a.yaml defines the workflow same too; give one of them another id, or remove its file",
        "workflows/c.yaml:1:1: the workflow has no `steps`; add `steps: [{id: …, type: …, config: …}]`",
    ];
    assert_eq!([&mistakes[0], &mistakes[1]], expected);
    assert_eq!(mistakes.len(), 4);
}

#[test]
fn what_is_no_definition_is_refused_unread() {
    let directory = project(&[("notes.txt", "x"), ("empty/x", "")]);
    let large = fs::File::create(directory.path().join("large.yaml")).unwrap();
    large.set_len(50_000_000).unwrap();
    #[track_caller]
    fn check(directory: &Path, name: &str, expected: &str) {
        let mistakes = outcome(directory, &[name]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{mistakes:?}");
    }
    check(
        directory.path(),
        "large.yaml",
        "large.yaml: the definition has 50000000 bytes; at most 512 KiB are allowed; move",
    );
    check(directory.path(), "notes.txt", "notes.txt: the name of the file does not say what it is; name it *.yaml");
    check(directory.path(), "missing.yaml", "missing.yaml: the file cannot be read: No such file");
    check(directory.path(), "empty", "empty: the directory holds no definitions; put workflows into");
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("zero.yaml")).unwrap();
    let mistakes = outcome(directory.path(), &["zero.yaml"]).unwrap_err();
    assert_eq!(mistakes, ["zero.yaml: this is not a file; name a file or a directory"]);
}

#[test]
fn diagnostics_are_data_too() {
    let diagnostic = Diagnostic {
        path: "a.yaml".into(),
        line: 3,
        column: 7,
        message: "it is wrong".into(),
        remedy: Some("write it right".into()),
    };
    assert_eq!(
        serde_json::to_string(&diagnostic).unwrap(),
        r#"{"path":"a.yaml","line":3,"column":7,"message":"it is wrong","remedy":"write it right"}"#
    );
}
