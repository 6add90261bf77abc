//! Counters of the server and their Prometheus text.
//!
//! Owns: what is counted. Leaves alone: when; the callers know. Counts are relaxed atomics: each is exact,
//! and a scrape is not a snapshot of one instant.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::model::Model;

/// The status codes that `/invocations` and `/v1/chat/completions` answer with.
const CODES: [u16; 7] = [200, 400, 405, 413, 415, 500, 503];

/// Upper bounds of the service time histogram: seconds for the text, nanoseconds to compare.
const BUCKETS: [(&str, u64); 14] = [
    ("0.0001", 100_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("10", 10_000_000_000),
];

/// All counters of one server.
#[derive(Default)]
pub(super) struct Metrics {
    requests: [AtomicU64; CODES.len()],
    in_flight: AtomicU64,
    feature_read_errors: AtomicU64,
    output_tokens: AtomicU64,
    predictions: AtomicU64,
    positive: AtomicU64,
    service: [AtomicU64; BUCKETS.len() + 1],
    service_nanos: AtomicU64,
}

/// A request that is being answered, for as long as this value lives.
pub(super) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts a request in; it is counted out when the value is dropped, which also happens when the client
    /// goes away before the answer.
    pub(super) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(&self.in_flight)
    }

    /// As [`Metrics::enter`], for a stream, which outlives the call that began it; [`Metrics::stream_left`] must follow.
    pub(super) fn stream_entered(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// The stream is over, or its client has left.
    pub(super) fn stream_left(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Counts tokens that were handed to a client's connection.
    pub(super) fn tokens_sent(&self, count: u64) {
        self.output_tokens.fetch_add(count, Relaxed);
    }

    /// Counts an answer.
    pub(super) fn answered(&self, code: u16) {
        let index = CODES.iter().position(|c| *c == code);
        debug_assert!(index.is_some(), "{code} is missing among the codes");
        if let Some(index) = index {
            self.requests[index].fetch_add(1, Relaxed);
        }
    }

    /// Counts the time that one request was worked on.
    pub(super) fn served(&self, time: Duration) {
        let nanos = time.as_nanos() as u64;
        self.service[BUCKETS.partition_point(|(_, bound)| *bound < nanos)].fetch_add(1, Relaxed);
        self.service_nanos.fetch_add(nanos, Relaxed);
    }

    /// Counts predictions that were answered, and those of them that said yes: their mean is what a drift alert looks at.
    pub(super) fn predicted(&self, predictions: &[bool]) {
        self.predictions.fetch_add(predictions.len() as u64, Relaxed);
        self.positive.fetch_add(predictions.iter().map(|p| u64::from(*p)).sum(), Relaxed);
    }

    /// Counts a failed read of stored features.
    pub(super) fn feature_read_failed(&self) {
        self.feature_read_errors.fetch_add(1, Relaxed);
    }

    /// The counters in Prometheus' text format 0.0.4.
    pub(super) fn render(&self, model: &Model, queue_depth: usize) -> String {
        let mut text = String::with_capacity(2048);
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, model, queue_depth);
        text
    }

    fn write(&self, out: &mut String, model: &Model, queue_depth: usize) -> std::fmt::Result {
        head(out, "requests_total", "counter", "Answers of /invocations and /v1/chat/completions by status code.")?;
        for (code, count) in CODES.iter().zip(&self.requests) {
            writeln!(out, "model_server_requests_total{{code=\"{code}\"}} {}", count.load(Relaxed))?;
        }
        head(out, "in_flight_requests", "gauge", "Requests of /invocations and /v1/chat/completions being answered.")?;
        writeln!(out, "model_server_in_flight_requests {}", self.in_flight.load(Relaxed))?;
        head(out, "queue_depth", "gauge", "Requests waiting for a worker.")?;
        writeln!(out, "model_server_queue_depth {queue_depth}")?;
        head(out, "feature_read_errors_total", "counter", "Failed reads of stored features.")?;
        writeln!(out, "model_server_feature_read_errors_total {}", self.feature_read_errors.load(Relaxed))?;
        head(out, "output_tokens_total", "counter", "Tokens of chat answers that were handed to a connection.")?;
        writeln!(out, "model_server_output_tokens_total {}", self.output_tokens.load(Relaxed))?;
        head(out, "prediction", "summary", "Predictions that were answered, 1 for yes; sum by count is their mean.")?;
        writeln!(out, "model_server_prediction_sum {}", self.positive.load(Relaxed))?;
        writeln!(out, "model_server_prediction_count {}", self.predictions.load(Relaxed))?;
        head(out, "model_info", "gauge", "The model that answers.")?;
        let (name, version) = (label(&model.name), label(&model.version));
        writeln!(out, "model_server_model_info{{name=\"{name}\",version=\"{version}\"}} 1")?;
        self.write_service(out)
    }

    fn write_service(&self, out: &mut String) -> std::fmt::Result {
        head(out, "service_seconds", "histogram", "Time a request was worked on, without its wait in the queue.")?;
        let mut total = 0;
        let bounds = BUCKETS.iter().map(|(text, _)| *text).chain(["+Inf"]);
        for (bound, count) in bounds.zip(&self.service) {
            total += count.load(Relaxed);
            writeln!(out, "model_server_service_seconds_bucket{{le=\"{bound}\"}} {total}")?;
        }
        let seconds = self.service_nanos.load(Relaxed) as f64 / 1e9;
        writeln!(out, "model_server_service_seconds_sum {seconds}")?;
        writeln!(out, "model_server_service_seconds_count {total}")
    }
}

/// One more counter, for what is counted elsewhere.
pub(super) fn counter(name: &str, help: &str, value: u64) -> String {
    format!("# HELP model_server_{name} {help}\n# TYPE model_server_{name} counter\nmodel_server_{name} {value}\n")
}

/// The two lines that stand before a metric's values.
pub(super) fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP model_server_{name} {help}\n# TYPE model_server_{name} {kind}")
}

/// A value between the quotes of a label.
pub(super) fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_renders() {
        let metrics = Metrics::default();
        let inside = metrics.enter();
        metrics.answered(200);
        metrics.answered(503);
        metrics.feature_read_failed();
        metrics.predicted(&[true, false, false]);
        metrics.served(Duration::from_millis(5));
        metrics.served(Duration::from_secs(11));
        let text = metrics.render(&Model::constant(), 3);
        for line in [
            "model_server_requests_total{code=\"200\"} 1",
            "model_server_requests_total{code=\"500\"} 0",
            "model_server_requests_total{code=\"503\"} 1",
            "model_server_in_flight_requests 1",
            "model_server_queue_depth 3",
            "model_server_feature_read_errors_total 1",
            "# TYPE model_server_prediction summary",
            "model_server_prediction_sum 1",
            "model_server_prediction_count 3",
            "model_server_model_info{name=\"constant\",version=\"0\"} 1",
            "model_server_service_seconds_bucket{le=\"0.0025\"} 0",
            "model_server_service_seconds_bucket{le=\"0.005\"} 1",
            "model_server_service_seconds_bucket{le=\"10\"} 1",
            "model_server_service_seconds_bucket{le=\"+Inf\"} 2",
            "model_server_service_seconds_sum 11.005",
            "model_server_service_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        drop(inside);
        assert!(metrics.render(&Model::constant(), 0).contains("model_server_in_flight_requests 0\n"));
    }

    #[test]
    fn bucket_bounds_are_what_they_say() {
        for (text, nanos) in BUCKETS {
            assert_eq!((text.parse::<f64>().unwrap() * 1e9).round() as u64, nanos);
        }
        assert!(BUCKETS.is_sorted_by_key(|(_, nanos)| *nanos));
    }
}
