//! W3C trace context on records and calls (W3C Trace Context, Recommendation 2021).
//!
//! Records pass on what their event says and nothing else: those of an execution have its id, and with it the trace that is made of it, in
//! their key, and whoever reads a produced record is not to be told by us that nobody samples its trace.

use bytes::Bytes;

use crate::engine::event::SourceRecord;
use crate::engine::ids::ExecutionId;

/// The longest `tracestate` that is passed on; the recommendation asks for at least 512.
const TRACE_STATE_BYTES: usize = 4096;

/// A `traceparent` and its `tracestate`.
pub(super) type Context<'a> = (&'a [u8], Option<&'a [u8]>);

/// The trace context of a record: `traceparent`, and `tracestate` if there is one. An invalid `traceparent` is no context. The
/// extensions of CloudEvents count only where the plain header is missing, and the two are never mixed: a state belongs to its
/// parent.
pub(super) fn context(record: &SourceRecord) -> Option<Context<'_>> {
    let [mut plain, mut plain_state, mut extension, mut extension_state] = [None; 4];
    for (name, value) in record.headers() {
        match name {
            b"traceparent" => plain = value,
            b"tracestate" => plain_state = value,
            b"ce_traceparent" => extension = value,
            b"ce_tracestate" => extension_state = value,
            _ => {}
        }
    }
    let (parent, state) = match (plain, extension) {
        (Some(parent), _) => (parent, plain_state),
        (None, Some(parent)) => (parent, extension_state),
        (None, None) => return None,
    };
    if !is_valid(parent) {
        return None;
    }
    let printable = |state: &[u8]| state.iter().all(|byte| (b' '..=b'~').contains(byte));
    let state = state.filter(|it| (1..=TRACE_STATE_BYTES).contains(&it.len()) && printable(it));
    Some((parent, state))
}

/// The headers of a call that a step of an execution makes: the trace context of the event's record is passed on. If it has none, one is
/// made of the execution and the step, so that each attempt says the same, whoever makes it. Its flags say that nobody has recorded anything.
pub fn headers(record: &SourceRecord, execution: ExecutionId, step: &str) -> Vec<(&'static str, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some((parent, state)) = context(record) else {
        let made = format!("00-{}-{}-00", execution.trace_id(), execution.trace_parent_id(step));
        return vec![("traceparent", made)];
    };
    let state = state.map(|state| ("tracestate", text(state)));
    std::iter::once(("traceparent", text(parent))).chain(state).collect()
}

/// The trace id of the event's record, or else that of the execution, 32 hex digits: what its calls carry.
pub(super) fn trace_id(record: &SourceRecord, execution: Option<ExecutionId>) -> Option<Bytes> {
    match (context(record), execution) {
        (Some((parent, _)), _) => Some(Bytes::copy_from_slice(&parent[3..35])),
        (None, Some(execution)) => Some(Bytes::copy_from_slice(execution.trace_id().as_str().as_bytes())),
        (None, None) => None,
    }
}

/// The longest `traceparent` of a later version that is passed on: several times what there is of them.
const PARENT_BYTES: usize = 256;

/// `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero, version not ff; a later version may be longer.
fn is_valid(parent: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        parent.get(range).is_some_and(|it| it.iter().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(it)))
    };
    let zero = |range: std::ops::Range<usize>| parent[range].iter().all(|it| *it == b'0');
    let dash = |at: usize| parent.get(at) == Some(&b'-');
    let shape = hex(0..2) && dash(2) && hex(3..35) && dash(35) && hex(36..52) && dash(52) && hex(53..55);
    let is_text = parent.len() <= PARENT_BYTES && parent.iter().all(|it| (0x20..0x7f).contains(it));
    let end = parent.len() == 55 || (is_text && parent.len() > 55 && !parent.starts_with(b"00") && dash(55));
    shape && end && !parent.starts_with(b"ff") && !zero(3..35) && !zero(36..52)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::event::{Origin, Topic};

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

    fn record(headers: &[(&str, &str)]) -> SourceRecord {
        let topic = Arc::new(Topic { name: "t".into(), id: [0; 16] });
        let origin = Origin { topic, partition: 0, offset: 0 };
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        SourceRecord::new(origin, -1, None, None, headers)
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Option<(&str, Option<&str>)>) {
        let record = record(headers);
        let expected = expected.map(|(parent, state)| (parent.as_bytes(), state.map(str::as_bytes)));
        assert_eq!(context(&record), expected);
    }

    #[test]
    fn plain_headers_win_and_states_stay_with_their_parents() {
        check(&[], None);
        check(&[("tracestate", "a=1")], None);
        check(&[("traceparent", GOOD), ("tracestate", "a=1")], Some((GOOD, Some("a=1"))));
        check(&[("ce_traceparent", GOOD), ("ce_tracestate", "a=1")], Some((GOOD, Some("a=1"))));
        check(&[("traceparent", GOOD), ("ce_traceparent", OTHER), ("ce_tracestate", "a=1")], Some((GOOD, None)));
        check(&[("traceparent", OTHER), ("traceparent", GOOD)], Some((GOOD, None)));
        check(&[("traceparent", "wrong"), ("ce_traceparent", GOOD)], None);
        check(&[("traceparent", GOOD), ("tracestate", "a=1\r\nb: 2")], Some((GOOD, None)));
        check(&[("traceparent", GOOD), ("tracestate", "")], Some((GOOD, None)));
        check(&[("traceparent", GOOD), ("tracestate", &"a".repeat(4097))], Some((GOOD, None)));
    }

    #[test]
    fn a_call_carries_the_events_context_or_one_of_its_execution() {
        let check = |of_event: &[(&str, &str)], step: &str, expected: &[(&str, &str)]| {
            let execution = ExecutionId::parse("0016-a074b0612f0f43d69031c66883d76382").unwrap();
            let carried = headers(&record(of_event), execution, step);
            assert_eq!(carried.iter().map(|(name, value)| (*name, &**value)).collect::<Vec<_>>(), expected);
            assert!(is_valid(carried[0].1.as_bytes()));
            let trace = trace_id(&record(of_event), Some(execution)).unwrap();
            assert_eq!(trace, carried[0].1[3..35]);
        };
        let of_event = [("traceparent", GOOD), ("tracestate", "a=1")];
        check(&of_event, "charge", &of_event);
        check(&[("ce_traceparent", OTHER)], "charge", &[("traceparent", OTHER)]);
        let charge = [("traceparent", "00-a074b0612f0f43d69031c66883d76382-1482beb0969842f5-00")];
        check(&[], "charge", &charge);
        check(&[], "notify", &[("traceparent", "00-a074b0612f0f43d69031c66883d76382-d7908f7f72cb1f3a-00")]);
        // A state belongs to its parent, and what is invalid is none.
        check(&[("traceparent", "wrong"), ("tracestate", "a=1")], "charge", &charge);
        assert_eq!(trace_id(&record(&[]), None), None);
    }

    #[test]
    fn invalid_parents_are_no_context() {
        assert!(is_valid(GOOD.as_bytes()));
        assert!(is_valid(format!("01{}-more", &GOOD[2..]).as_bytes()));
        for bad in [
            "",
            "00-",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-\r\nx: y",
            &format!("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-{}", "a".repeat(300)),
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
