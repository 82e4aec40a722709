//! The system topics, as the files under `topics/` describe them. The files are part of the binary; they are the one place where
//! settings of system topics are decided.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One system topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TopicFile {
    /// Its name without the prefix.
    pub name: String,
    /// What is in it.
    pub description: String,
    /// What its keys are.
    pub key: String,
    /// The schema of its values.
    pub schema: String,
    /// Partitions, unless the settings say otherwise.
    pub partitions: i32,
    /// Whether the number of partitions is part of what records mean, so that no setting may change it.
    pub fixed_partitions: bool,
    /// Whether its records hold whole events, so that it must take larger records than any source.
    #[serde(default)]
    pub holds_events: bool,
    /// What the topic must be set to.
    #[serde(deserialize_with = "texts")]
    pub settings: BTreeMap<String, String>,
    /// Who reads it.
    pub readers: Vec<String>,
    /// Who writes it.
    pub writers: Vec<String>,
}

/// The files, in the order in which topics are created.
const FILES: [&str; 7] = [
    include_str!("../../topics/workflows.yaml"),
    include_str!("../../topics/control.yaml"),
    include_str!("../../topics/journal.yaml"),
    include_str!("../../topics/step-results.yaml"),
    include_str!("../../topics/executions.yaml"),
    include_str!("../../topics/dead-letters.yaml"),
    include_str!("../../topics/alerts.yaml"),
];

/// All system topics. The files are part of the program and a test reads each: this fails on nobody's machine, or on everybody's.
pub fn topic_files() -> Vec<TopicFile> {
    let read = |text: &&str| serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("topics/*.yaml: {error}"));
    FILES.iter().map(read).collect()
}

fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Number(i64),
        Text(String),
    }
    let read: BTreeMap<String, Scalar> = BTreeMap::deserialize(deserializer)?;
    let text = |scalar| match scalar {
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => text,
    };
    Ok(read.into_iter().map(|(name, scalar)| (name, text(scalar))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_named_after_its_topic() {
        for text in FILES {
            let file: TopicFile = serde_yaml_ng::from_str(text).unwrap();
            assert!(text.starts_with(&format!("name: {}\n", file.name)) && file.partitions > 0);
            assert!(file.settings.contains_key("cleanup.policy"));
        }
        assert_eq!(topic_files().len(), FILES.len());
    }
}
