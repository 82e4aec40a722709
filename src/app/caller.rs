//! Makes the calls of an instance's lanes: each is a task of its own, bounded by the time that the call may take.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::codec::trace;
use crate::connector::{ConnectorError, HttpConnector, Target};
use crate::engine::call::Answer;
use crate::engine::owner::Call;
use crate::engine::retry::FailedCall;
use crate::lane::{Caller, OnAnswer, Running};
use crate::net::Trust;
use crate::settings::{ConnectorKind, Settings};

/// The connectors of an instance, and where their calls run.
pub struct Connectors {
    runtime: Handle,
    by_name: BTreeMap<Arc<str>, Arc<HttpConnector>>,
}

impl Connectors {
    /// Those of the settings. A connector that can never work is refused.
    pub fn of(runtime: Handle, settings: &Settings) -> Result<Connectors, ConnectorError> {
        // Reading the machine's authorities takes files; without a connector nobody needs them.
        let trust = if settings.connectors.is_empty() { None } else { Some(Trust::of_machine()) };
        let mut by_name = BTreeMap::new();
        for (name, connector) in settings.connectors.iter().filter(|(_, it)| it.kind == ConnectorKind::Http) {
            let target = Target {
                name: name.clone(),
                url: connector.url.expose().to_owned(),
                headers: connector.headers.iter().map(|(name, it)| (name.clone(), it.expose().to_owned())).collect(),
                concurrency: connector.concurrency,
                redirects: connector.redirects,
                trust: trust.clone().unwrap_or_else(|| Trust::of([])),
            };
            by_name.insert(Arc::from(name.as_str()), Arc::new(HttpConnector::new(target)?));
        }
        Ok(Connectors { runtime, by_name })
    }
}

impl Caller for Connectors {
    fn call(&self, call: Call, done: OnAnswer) -> Box<dyn Running> {
        let Some(connector) = self.by_name.get(&call.connector).cloned() else {
            let message =
                format!("this instance has no http connector of that name; add [connectors.{}]", call.connector);
            done(Answer::Failed { failed: FailedCall::Unknown, message });
            return Box::new(Ended);
        };
        let mut promise = Promise(Some(done));
        let task = self.runtime.spawn(async move {
            let trace = trace::headers(&call.record, call.execution, &call.step);
            let answer = connector.call(&call, &trace).await;
            promise.keep(answer);
        });
        Box::new(Task(task.abort_handle()))
    }
}

/// Hands an answer over, whatever becomes of its task.
struct Promise(Option<OnAnswer>);

impl Promise {
    fn keep(&mut self, answer: Answer) {
        if let Some(done) = self.0.take() {
            done(answer);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let message = "the call was given up before it had an answer".to_owned();
        self.keep(Answer::Failed { failed: FailedCall::Connection, message });
    }
}

struct Task(AbortHandle);

impl Running for Task {
    fn abort(&self) {
        self.0.abort();
    }
}

struct Ended;

impl Running for Ended {
    fn abort(&self) {}
}
