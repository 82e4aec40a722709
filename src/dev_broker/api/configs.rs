//! Settings of topics; the broker's own are shown as none.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, incremental_alter_configs_response,
};

use super::super::Shared;
use super::super::state::State;
use super::super::topic::{DEFAULTS, check_setting};
use super::{code, text};

/// The kind of resource that is a topic.
const TOPIC: i8 = 2;
/// Where a value comes from: set on the topic, or the default.
const SET: i8 = 1;
const DEFAULT: i8 = 5;
/// What an incremental change does.
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

/// The settings of topics.
pub(super) fn describe(shared: &Shared, ask: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let state = shared.state();
    let results = ask.resources.iter().map(|resource| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        if resource.resource_type != TOPIC {
            return answer;
        }
        match state.topics.get(resource.resource_name.as_str()) {
            None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            Some(topic) => answer.with_configs(described(&topic.settings, resource)),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn described(set: &BTreeMap<String, String>, resource: &DescribeConfigsResource) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| {
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    let all = DEFAULTS.iter().filter(|(name, _)| wanted(name)).map(|(name, default)| {
        let (value, source) = set.get(*name).map_or((*default, DEFAULT), |value| (value.as_str(), SET));
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_config_source(source)
    });
    all.collect()
}

/// Replaces all settings of topics.
pub(super) fn alter(shared: &Shared, ask: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut state = shared.state();
    let mut results = Vec::with_capacity(ask.resources.len());
    for resource in &ask.resources {
        let settings = resource.configs.iter();
        let settings: BTreeMap<String, String> =
            settings.filter_map(|it| Some((it.name.to_string(), it.value.as_ref()?.to_string()))).collect();
        let name = (resource.resource_type == TOPIC).then_some(resource.resource_name.as_str());
        let result = set(&mut state, name, settings, ask.validate_only);
        results.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code(&result))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    AlterConfigsResponse::default().with_responses(results)
}

/// Changes single settings of topics.
pub(super) fn alter_incrementally(
    shared: &Shared,
    ask: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut state = shared.state();
    let mut results = Vec::with_capacity(ask.resources.len());
    for resource in &ask.resources {
        let name = (resource.resource_type == TOPIC).then_some(resource.resource_name.as_str());
        let before = name.and_then(|name| state.topics.get(name)).map(|topic| topic.settings.clone());
        let changed = changed(before.unwrap_or_default(), &resource.configs);
        let result = changed.and_then(|settings| set(&mut state, name, settings, ask.validate_only));
        results.push(
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(code(&result))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(results)
}

fn changed(
    mut settings: BTreeMap<String, String>,
    changes: &[AlterableConfig],
) -> Result<BTreeMap<String, String>, ResponseError> {
    for change in changes {
        match (change.config_operation, &change.value) {
            (OPERATION_SET, Some(value)) => drop(settings.insert(change.name.to_string(), value.to_string())),
            (OPERATION_DELETE, _) => drop(settings.remove(change.name.as_str())),
            _ => return Err(ResponseError::InvalidConfig),
        }
    }
    Ok(settings)
}

/// Sets a topic's settings; those of a broker are accepted and mean nothing.
fn set(
    state: &mut State,
    topic: Option<&str>,
    settings: BTreeMap<String, String>,
    validate_only: bool,
) -> Result<(), ResponseError> {
    let Some(name) = topic else { return Ok(()) };
    settings.iter().try_for_each(|(name, value)| check_setting(name, value))?;
    let known = state.topics.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !validate_only {
        known.settings = settings;
        state.topic_changed(name);
    }
    Ok(())
}
