//! `tidegate topics`: what Tidegate needs, against what is there.

use serde_json::json;

use super::args::{Common, Topics};
use super::output::{rows, talk};
use super::{DONE, FAILED, setup};
use crate::app::cluster;
use crate::kafka::admin::Admin;
use crate::kafka::topics;

pub(super) fn run(common: &Common, args: &Topics) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let admin = Admin::new(&clients)?;
    match args {
        Topics::Check => {
            let (findings, _) = cluster::check_topics(&settings, &admin)?;
            let told = findings.iter();
            let told = told.map(|it| json!({ "topic": it.topic, "finding": it.what, "remedy": it.remedy }));
            rows(common.output, &["topic", "finding", "remedy"], &told.collect::<Vec<_>>());
            if findings.is_empty() {
                talk("all topics are as they must be");
            }
            Ok(if findings.is_empty() { DONE } else { FAILED })
        }
        Topics::Create => {
            let created = topics::create_missing(&admin, &cluster::topic_plan(&settings))?;
            let told = created.iter().map(|name| json!({ "topic": name, "created": true }));
            rows(common.output, &["topic", "created"], &told.collect::<Vec<_>>());
            if created.is_empty() {
                talk("all topics are there");
            }
            Ok(DONE)
        }
    }
}
