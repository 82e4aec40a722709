//! The two texts in which metrics are scraped. The exporter writes the classic one; what it cannot say is done here, on its text:
//! series without a value are left out, and OpenMetrics is made of it.

/// What a gauge is set to while there is nothing to say, since the exporter cannot take a series back: such a series is not shown.
pub(super) const ABSENT: f64 = f64::NAN;

/// The two texts that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// The classic text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// The format that an `Accept` header asks for: OpenMetrics only where it is named and wanted at least as much.
    pub fn negotiate(accept: &str) -> Exposition {
        let mut text_weight = 0.0_f64;
        let mut open_weight = 0.0_f64;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            match media_type.as_str() {
                "application/openmetrics-text" => open_weight = open_weight.max(weight),
                "text/plain" | "text/*" | "*/*" => text_weight = text_weight.max(weight),
                _ => {}
            }
        }
        if open_weight > 0.0 && open_weight >= text_weight { Exposition::OpenMetrics } else { Exposition::Text }
    }

    /// The value of the `Content-Type` header; Prometheus 3 refuses an answer without it.
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What is served, of what the exporter wrote: families in the order of their names, those without a series left out.
    pub(super) fn text_of(self, exported: &str) -> String {
        // The exporter ends each family with an empty line, and no label or help text has a raw line feed.
        let mut families: Vec<&str> = exported.split("\n\n").filter(|family| !family.is_empty()).collect();
        families.sort_unstable();
        let mut text = String::with_capacity(exported.len() + exported.len() / 8);
        for family in families {
            self.push_family(&mut text, family);
        }
        match self {
            Exposition::Text => {}
            Exposition::OpenMetrics => text.push_str("# EOF\n"),
        }
        text
    }

    fn push_family(self, text: &mut String, family: &str) {
        let (heads, samples): (Vec<&str>, Vec<&str>) = family.lines().partition(|line| line.starts_with('#'));
        let is_kind = |kind: &str| heads.iter().any(|head| head.starts_with("# TYPE ") && head.ends_with(kind));
        let (is_counter, is_gauge, is_histogram) = (is_kind(" counter"), is_kind(" gauge"), is_kind(" histogram"));
        let is_shown = |sample: &&str| !(is_gauge && sample.ends_with(" NaN"));
        let mut samples = samples.into_iter().filter(is_shown).peekable();
        if samples.peek().is_none() {
            return;
        }
        for head in heads {
            match self {
                Exposition::OpenMetrics if is_counter => push_counter_head(text, head),
                Exposition::OpenMetrics | Exposition::Text => push_line(text, &[head]),
            }
        }
        for sample in samples {
            match self {
                Exposition::OpenMetrics if is_histogram => push_histogram_sample(text, sample),
                Exposition::OpenMetrics | Exposition::Text => push_line(text, &[sample]),
            }
        }
    }
}

/// OpenMetrics names a counter's family without the `_total` that its samples end with.
fn push_counter_head(text: &mut String, head: &str) {
    let mut words = head.splitn(4, ' ');
    let [hash, keyword, name, rest] = std::array::from_fn(|_| words.next().unwrap_or_default());
    push_line(text, &[hash, " ", keyword, " ", name.strip_suffix("_total").unwrap_or(name), " ", rest]);
}

/// OpenMetrics wants a fraction in the bound of a bucket: `le="1.0"`.
fn push_histogram_sample(text: &mut String, sample: &str) {
    const BOUND: &str = "le=\"";
    // The bound is the last label, so that no other label's value can look like it.
    let bound = sample.rfind(BOUND).map(|at| sample.split_at(at + BOUND.len()));
    let parts = bound.and_then(|(before, rest)| Some((before, rest.split_once('"')?)));
    match parts {
        Some((before, (bound, after))) if bound.bytes().all(|byte| byte.is_ascii_digit()) => {
            push_line(text, &[before, bound, ".0\"", after]);
        }
        Some(_) | None => push_line(text, &[sample]),
    }
}

fn push_line(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exported: &str, text: &str, open_metrics: &str) {
        assert_eq!(Exposition::Text.text_of(exported), text);
        assert_eq!(Exposition::OpenMetrics.text_of(exported), format!("{open_metrics}# EOF\n"));
    }

    #[test]
    fn nothing_exported_is_nothing_served() {
        check("", "", "");
    }

    #[test]
    fn a_counter_is_named_without_total_in_open_metrics_alone() {
        check(
            "# HELP a_total Some _total of a.\n# TYPE a_total counter\na_total{b=\"c_total\"} 1\n\n",
            "# HELP a_total Some _total of a.\n# TYPE a_total counter\na_total{b=\"c_total\"} 1\n",
            "# HELP a Some _total of a.\n# TYPE a counter\na_total{b=\"c_total\"} 1\n",
        );
    }

    #[test]
    fn families_come_by_name_and_without_empty_lines() {
        check(
            "# TYPE b gauge\nb 1\n\n# TYPE a gauge\na 2\n\n",
            "# TYPE a gauge\na 2\n# TYPE b gauge\nb 1\n",
            "# TYPE a gauge\na 2\n# TYPE b gauge\nb 1\n",
        );
    }

    #[test]
    fn a_gauge_without_a_value_is_left_out_and_its_family_if_nothing_is_left() {
        check(
            "# TYPE a gauge\na{x=\"1\"} NaN\na{x=\" NaN\"} 3\n\n# HELP b B.\n# TYPE b gauge\nb NaN\n\n",
            "# TYPE a gauge\na{x=\" NaN\"} 3\n",
            "# TYPE a gauge\na{x=\" NaN\"} 3\n",
        );
    }

    #[test]
    fn bounds_of_buckets_have_a_fraction_in_open_metrics_alone() {
        check(
            "# TYPE h histogram\nh_bucket{x=\"le=\\\"7\",le=\"0.5\"} 1\nh_bucket{x=\"le=\\\"7\",le=\"10\"} 1\n\
             h_bucket{le=\"+Inf\"} 2\nh_sum{x=\"le=\\\"7\"} 3\nh_count 2\n\n",
            "# TYPE h histogram\nh_bucket{x=\"le=\\\"7\",le=\"0.5\"} 1\nh_bucket{x=\"le=\\\"7\",le=\"10\"} 1\n\
             h_bucket{le=\"+Inf\"} 2\nh_sum{x=\"le=\\\"7\"} 3\nh_count 2\n",
            "# TYPE h histogram\nh_bucket{x=\"le=\\\"7\",le=\"0.5\"} 1\nh_bucket{x=\"le=\\\"7\",le=\"10.0\"} 1\n\
             h_bucket{le=\"+Inf\"} 2\nh_sum{x=\"le=\\\"7\"} 3\nh_count 2\n",
        );
    }
}
