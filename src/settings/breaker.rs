//! `[connectors.NAME.breaker]`: when calls to a connector stop for a while. Two numbers for most, or all that
//! [resilience4j](https://resilience4j.readme.io/docs/circuitbreaker) knows, with its names and defaults.

use super::document::Section;
use crate::engine::breaker::{BreakerPolicy, SLIDING_WINDOW_CALLS, SLIDING_WINDOW_SECONDS, SlidingWindow};

const FAILURE_THRESHOLD_DEFAULT: i64 = 5;
const OPEN_DEFAULT_MS: i64 = 30_000;
const OPEN_MOST_MS: i64 = 24 * 3_600_000;
const RATE_DEFAULT: i64 = 50;
const WINDOW_DEFAULT: i64 = 100;
const MINIMUM_DEFAULT: i64 = 100;
const WAIT_DEFAULT_MS: i64 = 60_000;
const HALF_OPEN_DEFAULT: i64 = 10;

/// The simple form, unless a key of the other one is there.
const SIMPLE: [&str; 2] = ["failureThreshold", "recoveryTimeoutMs"];
const RATE: [&str; 6] = [
    "failureRateThreshold",
    "slidingWindowType",
    "slidingWindowSize",
    "minimumNumberOfCalls",
    "waitDurationInOpenStateMs",
    "permittedNumberOfCallsInHalfOpenState",
];

pub(super) fn read(connector: &mut Section<'_, '_>) -> BreakerPolicy {
    let simple = BreakerPolicy::simple(FAILURE_THRESHOLD_DEFAULT as u32, OPEN_DEFAULT_MS as u64);
    let Some(mut section) = connector.section("breaker") else { return simple };
    let first = |keys: &[&'static str], section: &Section<'_, '_>| keys.iter().copied().find(|key| section.has(key));
    let (of_simple, of_rate) = (first(&SIMPLE, &section), first(&RATE, &section));
    if let (Some(one), Some(other)) = (of_simple, of_rate) {
        let what = format!("`{one}` and `{other}` do not go together");
        section.mistake(section.place(), what, format!("write {}, or {}", SIMPLE.join(" and "), RATE.join(", ")));
    }
    // All are read, so that what is wrong with any of them is said, and none is unknown.
    let simple = read_simple(&mut section);
    let by_rate = read_rate(&mut section);
    section.finish();
    if of_rate.is_some() { by_rate.unwrap_or(simple) } else { simple }
}

fn read_simple(section: &mut Section<'_, '_>) -> BreakerPolicy {
    let threshold = section.integer("failureThreshold", 1..=i64::from(SLIDING_WINDOW_CALLS));
    let open_ms = section.integer("recoveryTimeoutMs", 1..=OPEN_MOST_MS);
    let (threshold, open_ms) = (threshold.unwrap_or(FAILURE_THRESHOLD_DEFAULT), open_ms.unwrap_or(OPEN_DEFAULT_MS));
    BreakerPolicy::simple(threshold as u32, open_ms as u64)
}

fn read_rate(section: &mut Section<'_, '_>) -> Option<BreakerPolicy> {
    const TYPES: [(&str, bool); 2] = [("COUNT_BASED", false), ("TIME_BASED", true)];
    let rate = section.integer("failureRateThreshold", 1..=100).unwrap_or(RATE_DEFAULT);
    let is_timed =
        section.has("slidingWindowType") && section.choice("slidingWindowType", &TYPES).is_some_and(|it| it.0);
    let size_most = i64::from(if is_timed { SLIDING_WINDOW_SECONDS } else { SLIDING_WINDOW_CALLS });
    let size = section.integer("slidingWindowSize", 1..=size_most).unwrap_or(WINDOW_DEFAULT);
    let minimum_most = if is_timed { i64::from(u32::MAX) } else { size };
    let minimum = section.integer("minimumNumberOfCalls", 1..=minimum_most);
    let wait_ms = section.integer("waitDurationInOpenStateMs", 1..=OPEN_MOST_MS).unwrap_or(WAIT_DEFAULT_MS);
    let half_open = section.integer("permittedNumberOfCallsInHalfOpenState", 1..=i64::from(SLIDING_WINDOW_CALLS));
    let size = u32::try_from(size).ok()?;
    let policy = BreakerPolicy {
        failure_rate_threshold: u8::try_from(rate).ok()?,
        sliding_window: if is_timed { SlidingWindow::Seconds(size) } else { SlidingWindow::Count(size) },
        minimum_number_of_calls: u32::try_from(minimum.unwrap_or(MINIMUM_DEFAULT.min(minimum_most))).ok()?,
        wait_duration_in_open_state_ms: u64::try_from(wait_ms).ok()?,
        permitted_number_of_calls_in_half_open_state: u32::try_from(half_open.unwrap_or(HALF_OPEN_DEFAULT)).ok()?,
    };
    policy.checked().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{FixedEnvironment, Overrides, Settings};
    use super::*;

    fn parse(breaker: &str) -> Result<BreakerPolicy, String> {
        let text = format!(
            "[kafka]\nbootstrap.servers = 'k:9092'\n[connectors.crm]\nkind = \"http\"\nurl = \"https://crm\"\nbreaker = {{ {breaker} }}\n"
        );
        let environment = FixedEnvironment::with_variables([]);
        let settings = Settings::parse("t.toml", &text, Path::new("."), &environment, &Overrides::default());
        settings.map(|settings| settings.connectors["crm"].breaker).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_breaker_is_two_numbers_or_what_resilience4j_knows() {
        assert_eq!(parse("").unwrap(), BreakerPolicy::simple(5, 30_000));
        assert_eq!(parse("failureThreshold = 3").unwrap(), BreakerPolicy::simple(3, 30_000));
        let defaults = BreakerPolicy {
            failure_rate_threshold: 50,
            sliding_window: SlidingWindow::Count(100),
            minimum_number_of_calls: 100,
            wait_duration_in_open_state_ms: 60_000,
            permitted_number_of_calls_in_half_open_state: 10,
        };
        assert_eq!(parse("failureRateThreshold = 50").unwrap(), defaults);
        let small = BreakerPolicy { sliding_window: SlidingWindow::Count(20), minimum_number_of_calls: 20, ..defaults };
        assert_eq!(parse("slidingWindowSize = 20").unwrap(), small);
        let timed = BreakerPolicy {
            failure_rate_threshold: 30,
            sliding_window: SlidingWindow::Seconds(60),
            minimum_number_of_calls: 500,
            wait_duration_in_open_state_ms: 5_000,
            permitted_number_of_calls_in_half_open_state: 3,
        };
        let all = "failureRateThreshold = 30, slidingWindowType = \"TIME_BASED\", slidingWindowSize = 60, minimumNumberOfCalls = 500, \
                   waitDurationInOpenStateMs = 5000, permittedNumberOfCallsInHalfOpenState = 3";
        assert_eq!(parse(all).unwrap(), timed);
    }

    #[test]
    fn what_no_breaker_can_be_is_refused() {
        let check = |breaker: &str, part: &str| {
            let mistakes = parse(breaker).unwrap_err();
            assert!(mistakes.contains(part) && mistakes.lines().count() == 1, "{mistakes}");
        };
        check("failureRateThreshold = 0", "write a whole number from 1 to 100");
        check("failureRateThreshold = 101", "write a whole number from 1 to 100");
        check("slidingWindowSize = 20, minimumNumberOfCalls = 21", "write a whole number from 1 to 20");
        check("slidingWindowType = \"TIME_BASED\", slidingWindowSize = 3601", "write a whole number from 1 to 3600");
        check("slidingWindowType = \"time\"", "write one of COUNT_BASED, TIME_BASED");
        check("permittedNumberOfCallsInHalfOpenState = 0", "write a whole number from 1 to 10000");
        check(
            "failureThreshold = 5, slidingWindowSize = 20",
            "`failureThreshold` and `slidingWindowSize` do not go together",
        );
        check("minimumNumberOfCals = 5", "did you mean `minimumNumberOfCalls`?");
    }
}
