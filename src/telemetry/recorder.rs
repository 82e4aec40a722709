//! Where numbers are kept: a recorder of Prometheus's exporter for each instance, so that several in one process stay apart. What is
//! here is what the exporter leaves to its user: handles by our own table, series that several lanes share, and a bound on samples.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use rustc_hash::FxHashMap;

use super::exposition::{ABSENT, Exposition};
use super::metrics::{Kind, Metric};

/// The label that stands for everything past a bound on series.
pub(super) const OTHER: &str = "other";
/// Samples of histograms that may wait to be put into buckets: the exporter keeps each with its time, so this is a mebibyte. Whoever
/// records more does the upkeep itself.
const SAMPLES_WAITING: usize = 64 * 1024;
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// All series of an instance.
pub(super) struct Recorder {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    samples_waiting: AtomicUsize,
    /// Shared by those who record samples, held alone while samples are put into buckets: the exporter's queue of samples loses those
    /// that come in while it is emptied.
    samples: RwLock<()>,
    /// As many as there are series that are shared; those are bounded where their labels are.
    sums: Mutex<FxHashMap<(Metric, Labels), SharedSum>>,
}

/// The values of a series' labels.
type Labels = Vec<String>;
type SharedSum = Arc<Mutex<Sum>>;

/// What all holders of a gauge add up to.
#[derive(Default)]
struct Sum {
    holders: usize,
    value: f64,
}

impl Recorder {
    /// No series yet; every metric of the table is described.
    pub(super) fn new() -> Recorder {
        let mut builder = PrometheusBuilder::new();
        for metric in Metric::ALL {
            let definition = metric.definition();
            if let Kind::Histogram(bounds) = definition.kind {
                let whole_name = Matcher::Full(definition.name.to_owned());
                builder = builder.set_buckets_for_metric(whole_name, bounds).expect("the table gives buckets");
            }
        }
        let recorder = builder.build_recorder();
        for metric in Metric::ALL {
            let definition = metric.definition();
            match definition.kind {
                Kind::Counter => recorder.describe_counter(definition.name.into(), None, definition.help.into()),
                Kind::Gauge => recorder.describe_gauge(definition.name.into(), None, definition.help.into()),
                Kind::Histogram(_) => recorder.describe_histogram(definition.name.into(), None, definition.help.into()),
            }
        }
        let handle = recorder.handle();
        Recorder {
            recorder,
            handle,
            samples_waiting: AtomicUsize::new(0),
            samples: RwLock::default(),
            sums: Mutex::default(),
        }
    }

    /// The counter of these label values; shown from now on.
    pub(super) fn counter(&self, metric: Metric, labels: &[&str]) -> Counter {
        debug_assert_eq!(metric.definition().kind, Kind::Counter, "{metric:?}");
        self.recorder.register_counter(&key(metric, labels), &METADATA)
    }

    /// The gauge of these label values; shown from now on.
    pub(super) fn gauge(&self, metric: Metric, labels: &[&str]) -> Gauge {
        debug_assert_eq!(metric.definition().kind, Kind::Gauge, "{metric:?}");
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    /// The histogram of these label values; shown from now on. Samples go through [`Recorder::record`].
    pub(super) fn histogram(&self, metric: Metric, labels: &[&str]) -> Histogram {
        debug_assert!(matches!(metric.definition().kind, Kind::Histogram(_)), "{metric:?}");
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }

    /// A share in the gauge of these label values, zero for now.
    pub(super) fn share(&self, metric: Metric, labels: &[&str]) -> Share {
        let values = labels.iter().map(|label| (*label).to_owned()).collect();
        let sum = lock(&self.sums).entry((metric, values)).or_default().clone();
        let gauge = self.gauge(metric, labels);
        let unheld = if metric.definition().held { ABSENT } else { 0.0 };
        {
            let mut sum = lock(&sum);
            sum.holders += 1;
            gauge.set(sum.value);
        }
        Share { gauge, sum, value: 0.0, unheld }
    }

    /// Adds `count` samples of one value to a histogram.
    pub(super) fn record(&self, histogram: &Histogram, value: f64, count: u64) {
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        while left > 0 {
            let part = left.min(SAMPLES_WAITING);
            {
                let _shared = self.samples.read().unwrap_or_else(PoisonError::into_inner);
                histogram.record_many(value, part);
            }
            // Counted after they are there, so that none is left out of the count of those that wait.
            if self.samples_waiting.fetch_add(part, Ordering::Relaxed) + part >= SAMPLES_WAITING {
                self.upkeep();
            }
            left -= part;
        }
    }

    /// Puts samples that wait into their buckets.
    pub(super) fn upkeep(&self) {
        let _alone = self.samples.write().unwrap_or_else(PoisonError::into_inner);
        self.samples_waiting.store(0, Ordering::Relaxed);
        self.handle.run_upkeep();
    }

    /// Every series as text. A family without series is left out.
    pub(super) fn render(&self, exposition: Exposition) -> String {
        let _alone = self.samples.write().unwrap_or_else(PoisonError::into_inner);
        exposition.text_of(&self.handle.render())
    }
}

/// What one holder adds to a gauge that several share. Taken back when it is dropped.
pub(super) struct Share {
    gauge: Gauge,
    sum: SharedSum,
    value: f64,
    /// What the gauge is when nobody has a share in it.
    unheld: f64,
}

impl Share {
    pub(super) fn set(&mut self, value: f64) {
        let mut sum = lock(&self.sum);
        sum.value += value - std::mem::replace(&mut self.value, value);
        // Set under the lock, so that the last one to change the sum is the last one to show it.
        self.gauge.set(sum.value);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut sum = lock(&self.sum);
        sum.holders -= 1;
        sum.value = if sum.holders == 0 { 0.0 } else { sum.value - self.value };
        self.gauge.set(if sum.holders == 0 { self.unheld } else { sum.value });
    }
}

fn key(metric: Metric, values: &[&str]) -> Key {
    let definition = metric.definition();
    debug_assert_eq!(definition.labels.len(), values.len(), "{metric:?} has other labels");
    let labels = definition.labels.iter().zip(values).map(|(name, value)| {
        // The exporter takes a backslash for the start of an escape; two are always one.
        Label::new(*name, value.replace('\\', r"\\"))
    });
    Key::from_parts(definition.name, labels.collect::<Vec<_>>())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers are never half written, so a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
