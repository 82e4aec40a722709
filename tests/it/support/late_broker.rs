//! A broker that can be told to be late with some requests: the embedded one by its own faults, a real Kafka behind a proxy.

use std::ops::Deref;
use std::time::Duration;

use tidegate::dev_broker::{ApiKey, DevBroker, Fault};

use super::broker::{Kind, TestBroker};
use super::late_proxy::{LateProxy, Part};
use super::{skip, wait};

/// A broker for one test alone.
pub struct LateBroker {
    broker: TestBroker,
    /// None where the broker itself can be late.
    proxy: Option<LateProxy>,
}

impl LateBroker {
    /// Starts the kind of broker that was chosen. None if this machine cannot have it: the test is then skipped.
    #[track_caller]
    pub fn start() -> Option<LateBroker> {
        match Kind::chosen() {
            Kind::Embedded => Some(LateBroker { broker: TestBroker::embedded(|_| ()), proxy: None }),
            Kind::Kafka => LateBroker::behind_a_proxy().map_err(|why| skip::skipped(&why)).ok(),
        }
    }

    /// The same, always behind a proxy, which can lose what some clients send.
    #[track_caller]
    pub fn behind() -> Option<LateBroker> {
        let started = match Kind::chosen() {
            Kind::Embedded => {
                let proxy = LateProxy::listen();
                let broker = TestBroker::embedded(|options| options.advertised = Some(proxy.address()));
                proxy.forward_to(broker.bootstrap().parse().expect("HOST:PORT"));
                Ok(LateBroker { broker, proxy: Some(proxy) })
            }
            Kind::Kafka => LateBroker::behind_a_proxy(),
        };
        started.map_err(|why| skip::skipped(&why)).ok()
    }

    /// Loses, from now on, what clients of this id send on connections that play this part.
    pub fn lose(&self, client_id: &str, part: Part) {
        self.proxy.as_ref().expect("a broker behind a proxy").lose(client_id, part);
    }

    /// Answers the next end of a transaction with the error code that `answer` gives, instead of the broker.
    pub fn answer_next_end(&self, answer: impl FnOnce() -> i16 + Send + 'static) {
        self.proxy.as_ref().expect("a broker behind a proxy").answer_next_end(answer);
    }

    /// Clients ask the broker where it is, and are told the address of the proxy.
    fn behind_a_proxy() -> Result<LateBroker, String> {
        let proxy = LateProxy::listen();
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let broker = TestBroker::kafka(&[("advertised.listeners", &advertised)])?;
        proxy.forward_to(broker.bootstrap().parse().expect("HOST:PORT"));
        Ok(LateBroker { broker, proxy: Some(proxy) })
    }

    /// The next request of a kind, whoever makes it, is handled so much later, and with it what follows on its connection.
    pub fn delay_next(&self, api: ApiKey, delay: Duration) {
        match &self.proxy {
            Some(proxy) => proxy.delay_next(api, delay),
            None => self
                .broker
                .with_embedded(|broker| broker.inject(api, Fault::Delay(delay)))
                .expect("an embedded broker in this process"),
        }
    }

    /// How many delays have not hit a request yet.
    pub fn late_left(&self) -> usize {
        match &self.proxy {
            Some(proxy) => proxy.delays_left(),
            None => self.broker.with_embedded(DevBroker::faults_left).expect("an embedded broker in this process"),
        }
    }

    /// Waits until every delay has hit a request.
    #[track_caller]
    pub fn wait_until_late(&self) {
        wait::until("the requests that are to be late", || (self.late_left() == 0).then_some(()));
    }

    /// Forgets the delays that have not hit a request yet.
    pub fn heal(&self) {
        match &self.proxy {
            Some(proxy) => proxy.heal(),
            None => self.broker.with_embedded(DevBroker::heal).expect("an embedded broker in this process"),
        }
    }
}

impl Deref for LateBroker {
    type Target = TestBroker;

    fn deref(&self) -> &TestBroker {
        &self.broker
    }
}
