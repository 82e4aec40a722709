//! One look-up, from its start to what it brings. It always brings something, also when it is abandoned or what it calls panics: a key
//! whose look-up never ended would be pending for ever.

use std::sync::Arc;

use super::Shared;
use super::state::{Arrival, Brought, Start};
use crate::registry::failure::FetchError;

/// A look-up under way.
pub(super) struct Flight<T> {
    shared: Arc<Shared<T>>,
    start: Start,
    brought: Option<Brought<T>>,
}

impl<T: Send + Sync + 'static> Flight<T> {
    pub fn new(shared: Arc<Shared<T>>, start: Start) -> Flight<T> {
        Flight { shared, start, brought: None }
    }

    /// Asks, compiles, and brings in what has come of it.
    pub async fn made(mut self) {
        let mut fetched = self.shared.client.fetch(self.start.key).await;
        if matches!(fetched, Err(FetchError::Unknown(_))) {
            tokio::time::sleep(self.shared.ask_again).await;
            fetched = self.shared.client.fetch(self.start.key).await;
        }
        self.brought = Some(match fetched {
            Ok(schema) => {
                let compiled = (self.shared.compile)(&schema);
                let bytes = schema.bytes();
                match compiled {
                    Ok(compiled) => Brought::Known(Arc::new(compiled), bytes),
                    Err(problem) => Brought::Refused(problem.into()),
                }
            }
            Err(FetchError::Refused(message)) => Brought::Refused(message.into()),
            Err(FetchError::Unknown(message)) => Brought::Unknown(message.into()),
            Err(FetchError::Outage(message)) => Brought::Outage(message.into()),
        });
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        let abandoned = || Brought::Outage(format!("the look-up of schema {} was abandoned", self.start.key).into());
        let brought = self.brought.take().unwrap_or_else(abandoned);
        self.shared.lock().arrive(Arrival { start: self.start, brought });
        (self.shared.on_settled)();
    }
}
