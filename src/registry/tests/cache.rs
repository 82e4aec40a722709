//! What is kept, what is asked for, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::server::{Reply, Server, schema, unknown};
use crate::codec::avro::SchemaKey;
use crate::registry::{
    CacheLimits, LOOK_UPS, Look, RegisteredSchema, SchemaCache, UNKNOWN_FOR, UNKNOWN_PER_WINDOW, UNKNOWN_WINDOW,
};

/// A cache that compiles schemas to their texts, and what tells that a look-up has ended.
struct Fixture {
    cache: SchemaCache<String>,
    settled: UnboundedReceiver<()>,
}

fn compile(schema: &RegisteredSchema) -> Result<String, String> {
    match &*schema.text {
        "bad" => Err("it cannot be used".into()),
        "panic" => panic!("a codec with a flaw"),
        text => Ok(text.to_owned()),
    }
}

impl Fixture {
    fn new(server: &Server, limits: CacheLimits) -> Fixture {
        let (sender, settled) = unbounded_channel();
        let on_settled = Arc::new(move || {
            // A test that has ended listens no more.
            let _ = sender.send(());
        });
        let cache =
            SchemaCache::new(Arc::new(server.client()), Handle::current(), limits, Arc::new(compile), on_settled);
        Fixture { cache, settled }
    }

    fn over(server: &Server) -> Fixture {
        Fixture::new(server, CacheLimits { ask_again: Duration::ZERO, ..CacheLimits::default() })
    }

    /// Looks until there is nothing to wait for: an outage is something.
    async fn settled(&mut self, id: u32, now: Instant) -> Look<String> {
        loop {
            match self.cache.look(SchemaKey::Id(id), 0, now) {
                Look::Pending { until: None } => self.settled.recv().await.unwrap(),
                look => return look,
            }
        }
    }

    async fn known(&mut self, id: u32, now: Instant) -> String {
        match self.settled(id, now).await {
            Look::Known(text) => text.to_string(),
            look => panic!("id {id} is known, not {look:?}"),
        }
    }
}

/// A registry in which every schema is its own path.
async fn echo() -> Server {
    Server::start(|asked| schema(&asked.line)).await
}

#[tokio::test]
async fn what_was_found_is_never_asked_for_again() {
    let server = echo().await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    assert_eq!(fixture.known(7, now).await, "GET /schemas/ids/7?deleted=true");
    fixture.known(7, now + Duration::from_secs(1_000_000)).await;
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn many_looks_at_once_make_one_request() {
    let server = echo().await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    // The server runs on the thread of this test, so that nothing settles before all have looked.
    std::thread::scope(|scope| {
        for _ in 0..50 {
            let cache = fixture.cache.clone();
            scope.spawn(move || assert!(matches!(cache.look(SchemaKey::Id(7), 0, now), Look::Pending { until: None })));
        }
    });
    fixture.known(7, now).await;
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_bounded_number_of_look_ups_is_under_way() {
    let server = Server::start(|_| Reply::Hang).await;
    let fixture = Fixture::over(&server);
    let now = Instant::now();
    for id in 0..100 {
        assert!(matches!(fixture.cache.look(SchemaKey::Id(id), 0, now), Look::Pending { until: None }));
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks() - 1, LOOK_UPS, "beside the server");
}

#[tokio::test]
async fn a_schema_that_cannot_be_compiled_is_refused() {
    let server = Server::start(|asked| schema(if asked.line.contains("/1?") { "bad" } else { "good" })).await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    for _ in 0..2 {
        let look = fixture.settled(1, now).await;
        assert!(matches!(&look, Look::Refused(it) if &**it == "it cannot be used"), "{look:?}");
    }
    assert_eq!(fixture.known(2, now).await, "good");
    assert_eq!(server.lines().len(), 2);
    assert_eq!(fixture.cache.seen(), [SchemaKey::Id(2)]);
}

#[tokio::test]
async fn a_look_up_that_panics_does_not_stay_pending() {
    let server = Server::start(|_| schema("panic")).await;
    let mut fixture = Fixture::over(&server);
    let look = fixture.settled(1, Instant::now()).await;
    assert!(matches!(look, Look::Pending { until: Some(_) }), "{look:?}");
    assert!(fixture.cache.outage(Instant::now()).unwrap().message.contains("abandoned"));
}

#[tokio::test]
async fn a_schema_that_is_never_told_starves_no_other() {
    let server = Server::start(|asked| match asked.line.contains("/1?") {
        true => Reply::Answer(503, String::new()),
        false => schema("good"),
    })
    .await;
    let mut fixture = Fixture::over(&server);
    let mut now = Instant::now();
    // The one that fails always looks first, and has no turn if another one waits.
    for _ in 0..8 {
        fixture.settled(1, now).await;
        if let Look::Known(text) = fixture.settled(2, now).await {
            assert_eq!(*text, "good");
            return;
        }
        now += Duration::from_secs(10);
    }
    panic!("the other one never had its turn");
}

#[tokio::test]
async fn an_outage_that_nobody_looks_into_is_found_to_be_over() {
    let is_up = Arc::new(AtomicUsize::new(0));
    let state = is_up.clone();
    let server = Server::start(move |_| match state.load(Ordering::Relaxed) {
        0 => Reply::Answer(503, String::new()),
        _ => unknown(40403),
    })
    .await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    fixture.settled(1, now).await;
    let later = now + Duration::from_secs(10);
    fixture.cache.probe(later).await;
    assert!(fixture.cache.outage(later).is_some(), "it is not over");
    is_up.store(1, Ordering::Relaxed);
    fixture.cache.probe(later).await;
    assert!(fixture.cache.outage(later).is_none());
}

#[tokio::test]
async fn an_outage_is_not_kept_once_it_is_over() {
    let failures = AtomicUsize::new(2);
    let server = Server::start(move |_| {
        let is_failing = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1)).is_ok();
        if is_failing { Reply::Answer(500, String::new()) } else { schema("\"int\"") }
    })
    .await;
    let mut fixture = Fixture::over(&server);
    let mut now = Instant::now();
    let since = now;
    for pause in [250, 500] {
        let look = fixture.settled(1, now).await;
        let Look::Pending { until: Some(until) } = look else { panic!("an outage, not {look:?}") };
        assert_eq!(until, now + Duration::from_millis(pause));
        let outage = fixture.cache.outage(now).unwrap();
        assert_eq!(outage.since, since);
        assert!(outage.message.contains("answered 500"), "{}", outage.message);
        // Other keys wait for the same registry.
        assert!(
            matches!(fixture.cache.look(SchemaKey::Id(2), 0, now), Look::Pending { until: Some(it) } if it == until)
        );
        now = until;
        // They have their turn before it, once, whether they take it or not.
        let look = fixture.cache.look(SchemaKey::Id(1), 0, now);
        assert!(matches!(look, Look::Pending { until: Some(it) } if it == now), "{look:?}");
    }
    assert_eq!(server.lines().len(), 2);
    assert_eq!(fixture.known(1, now).await, "\"int\"");
    assert_eq!(fixture.cache.outage(now), None);
    fixture.known(2, now).await;
}

#[tokio::test]
async fn look_ups_that_fail_together_are_one_attempt_and_one_tries_again() {
    let server = Server::saying(503, "").await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    for id in 0..5 {
        fixture.cache.look(SchemaKey::Id(id), 0, now);
    }
    for _ in 0..5 {
        fixture.settled.recv().await.unwrap();
    }
    let look = fixture.cache.look(SchemaKey::Id(0), 0, now);
    let Look::Pending { until: Some(until) } = look else { panic!("an outage, not {look:?}") };
    assert_eq!(until, now + Duration::from_millis(250));
    for id in 0..5 {
        assert!(matches!(fixture.cache.look(SchemaKey::Id(id), 0, until), Look::Pending { until: None }));
    }
    fixture.settled.recv().await.unwrap();
    assert_eq!(server.lines().len(), 6);
}

#[tokio::test]
async fn what_is_known_is_told_in_an_outage() {
    let server = Server::start(|asked| match asked.line.contains("/1?") {
        true => schema("\"int\""),
        false => Reply::Answer(503, String::new()),
    })
    .await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    fixture.known(1, now).await;
    assert!(matches!(fixture.settled(2, now).await, Look::Pending { until: Some(_) }));
    assert_eq!(fixture.known(1, now).await, "\"int\"");
    assert!(fixture.cache.outage(now).is_some());
}

#[tokio::test]
async fn what_is_unknown_is_asked_for_again_after_a_while() {
    let server = Server::start(|_| unknown(40403)).await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    let later = now + UNKNOWN_FOR - Duration::from_millis(1);
    for time in [now, now, later] {
        let look = fixture.settled(1, time).await;
        assert!(matches!(&look, Look::Unknown(it) if it.contains("schema id 1 is not")), "{look:?}");
    }
    assert_eq!(server.lines().len(), 2, "once more at once");
    assert!(matches!(fixture.settled(1, now + UNKNOWN_FOR).await, Look::Unknown(_)));
    assert_eq!(server.lines().len(), 4);
    assert_eq!(fixture.cache.outage(now), None);
}

#[tokio::test]
async fn a_schema_that_is_registered_a_moment_late_is_found() {
    let asked = AtomicUsize::new(0);
    let late = move |_: &_| if asked.fetch_add(1, Ordering::Relaxed) == 0 { unknown(40403) } else { schema("late") };
    let server = Server::start(late).await;
    assert_eq!(Fixture::over(&server).known(1, Instant::now()).await, "late");
}

#[tokio::test]
async fn a_flood_of_unknown_schemas_does_not_reach_the_registry() {
    let server = Server::start(|asked| if asked.line.contains("/5?") { schema("five") } else { unknown(40403) }).await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    fixture.known(5, now).await;
    // All at once first, and then each until it is settled.
    for id in 1_000..2_000 {
        fixture.cache.look(SchemaKey::Id(id), 0, now);
    }
    let mut flooded = 0;
    for id in 1_000..2_000 {
        match fixture.settled(id, now).await {
            Look::Unknown(_) => {}
            Look::Flooded { until, message } => {
                assert_eq!(until, now + UNKNOWN_WINDOW);
                assert!(message.contains("10 schemas were unknown"), "{message}");
                flooded += 1;
            }
            look => panic!("id {id} is {look:?}"),
        }
    }
    assert_eq!(flooded, 1_000 - UNKNOWN_PER_WINDOW);
    assert_eq!(server.lines().len(), 1 + 2 * UNKNOWN_PER_WINDOW);
    assert_eq!(fixture.known(5, now).await, "five", "what is known is not held up");
    assert!(matches!(fixture.settled(1_999, now + UNKNOWN_WINDOW).await, Look::Unknown(_)));
    assert_eq!(server.lines().len(), 3 + 2 * UNKNOWN_PER_WINDOW);
}

#[tokio::test]
async fn the_flood_of_one_keeps_no_other_from_asking() {
    let server = Server::start(|asked| if asked.line.contains("/5?") { schema("five") } else { unknown(40403) }).await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    for id in 1_000..1_050 {
        fixture.settled(id, now).await;
    }
    assert!(matches!(fixture.settled(5, now).await, Look::Flooded { .. }));
    assert!(matches!(fixture.cache.look(SchemaKey::Id(5), 1, now), Look::Pending { until: None }));
    fixture.settled.recv().await.unwrap();
    assert!(matches!(fixture.cache.look(SchemaKey::Id(5), 1, now), Look::Known(_)));
    assert_eq!(fixture.known(5, now).await, "five", "what is known is known to all");
    // What one has found unknown, the other knows without asking.
    assert!(matches!(fixture.cache.look(SchemaKey::Id(1_000), 1, now), Look::Unknown(_)));
    assert_eq!(server.lines().len(), 1 + 2 * UNKNOWN_PER_WINDOW);
}

#[tokio::test]
async fn those_used_least_recently_are_let_go() {
    let server = echo().await;
    let mut fixture = Fixture::new(&server, CacheLimits { schemas: 2, ..CacheLimits::default() });
    let now = Instant::now();
    for id in [1, 2, 1, 3] {
        fixture.known(id, now).await;
    }
    assert_eq!(fixture.cache.seen(), [SchemaKey::Id(3), SchemaKey::Id(1)]);
    fixture.known(2, now).await;
    assert_eq!(server.lines().len(), 4);
    assert_eq!(fixture.cache.seen(), [SchemaKey::Id(2), SchemaKey::Id(3)]);
}

#[tokio::test]
async fn schemas_are_bounded_by_their_bytes_too() {
    let server = Server::start(|_| schema(&" ".repeat(10_000))).await;
    let mut fixture = Fixture::new(&server, CacheLimits { bytes: 25_000, ..CacheLimits::default() });
    let now = Instant::now();
    for id in [1, 2, 3] {
        fixture.known(id, now).await;
    }
    assert_eq!(fixture.cache.seen(), [SchemaKey::Id(3), SchemaKey::Id(2)]);
}

#[tokio::test]
async fn a_cache_is_warmed_by_what_was_seen() {
    let server = echo().await;
    let mut fixture = Fixture::over(&server);
    let now = Instant::now();
    fixture.known(2, now).await;
    fixture.cache.warm([1, 2, 3].map(SchemaKey::Id).to_vec());
    for _ in 0..2 {
        fixture.settled.recv().await.unwrap();
    }
    for id in [1, 2, 3] {
        assert!(matches!(fixture.cache.look(SchemaKey::Id(id), 0, now), Look::Known(_)));
    }
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn a_warm_start_ends_with_an_outage_and_with_what_is_unknown() {
    let away = Server::saying(503, "").await;
    let mut fixture = Fixture::over(&away);
    fixture.cache.warm((0..100).map(SchemaKey::Id).collect());
    fixture.settled.recv().await.unwrap();
    assert!(matches!(fixture.settled(50, Instant::now()).await, Look::Pending { until: Some(_) }));
    assert_eq!(away.lines().len(), 1);

    let empty = Server::start(|_| unknown(40403)).await;
    let mut fixture = Fixture::over(&empty);
    fixture.cache.warm((0..100).map(SchemaKey::Id).collect());
    fixture.settled.recv().await.unwrap();
    // It is nobody's flood: what records name is asked for all the same.
    assert!(matches!(fixture.settled(50, Instant::now()).await, Look::Unknown(_)));
    assert_eq!(empty.lines().len(), 4);
}
