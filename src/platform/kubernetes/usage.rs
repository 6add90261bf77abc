//! What pods use of CPU and memory, where the cluster measures it (`metrics.k8s.io`, what `kubectl top` reads).
//!
//! Read on a thread of its own, every [`EVERY`]: a cluster measures each pod over 15 to 60 s and says so, so that these values
//! are means over that window, too coarse for phases below a minute. Where nothing measures, nothing is read and nothing
//! is said. Leaves alone what a limit or a request of a pod is.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::super::{Usage, UsageSeries};
use super::cluster::{ApiError, Cluster, query};
use crate::clock::{Clock, monotonic_nanos};
use crate::units::Offset;

/// Between two readings: a third of the shortest window that a cluster measures over.
const EVERY: Duration = Duration::from_secs(5);
/// Pods whose usage is kept.
const PODS_MAX: usize = 100;
/// Gaps kept with their reasons.
const GAPS_MAX: usize = 50;

/// A reader that runs; dropped, it ends with its next reading.
pub(super) struct UsageReader {
    read: Arc<Mutex<Readings>>,
    _alive: Sender<()>,
}

/// What was read so far. Moments are of the machine's monotonic clock, nanoseconds.
#[derive(Default)]
struct Readings {
    /// When, and why it failed where it did.
    looks: Vec<(u64, Option<String>)>,
    pods: Vec<OfPod>,
    left_out: bool,
    windows: Vec<String>,
}

struct OfPod {
    name: String,
    /// The cluster's own time of its last value: one that was read before is no new one.
    stamp: String,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    at: u64,
    cores: f64,
    bytes: f64,
}

impl UsageReader {
    /// Looks once, and goes on where something is measured; none where nothing is.
    ///
    /// # Errors
    /// When it is measured and may not be read.
    pub(super) fn start(cluster: &Cluster, namespace: &str, selector: &str) -> Result<Option<UsageReader>, ApiError> {
        const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";
        // RBAC comes before what there is: who may not read it would be told so where nothing is measured at all. Discovery is open to all.
        if cluster.get(GROUP).is_err() {
            return Ok(None);
        }
        let path = format!("{GROUP}/namespaces/{namespace}/pods");
        let path = format!("{path}{}", query(&[("labelSelector", selector)]));
        match cluster.get(&path) {
            Ok(_) => {}
            // Not there, or there and down (503): what nobody measures is no trouble of the run.
            Err(error) if error.code == 403 => return Err(error),
            Err(_) => return Ok(None),
        }
        let read = Arc::new(Mutex::new(Readings::default()));
        let (alive, ended) = channel::<()>();
        let (cluster, into) = (cluster.clone(), read.clone());
        let run = move || {
            loop {
                let answer = cluster.get(&path);
                into.lock().unwrap_or_else(PoisonError::into_inner).take(monotonic_nanos(), answer);
                if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("kubernetes-usage".into()).spawn(run);
        Ok(started.is_ok().then_some(UsageReader { read, _alive: alive }))
    }

    /// What was read since the load began, on the run's clock.
    pub(super) fn usage(&self, clock: &Clock) -> Usage {
        let begin = clock.absolute(Offset::ZERO);
        self.read.lock().unwrap_or_else(PoisonError::into_inner).usage(begin)
    }
}

impl Readings {
    fn take(&mut self, at: u64, answer: Result<Value, ApiError>) {
        self.looks.push((at, answer.as_ref().err().map(ToString::to_string)));
        let Ok(list) = answer else { return };
        for item in list["items"].as_array().into_iter().flatten() {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let (name, stamp, window) =
                (text(&item["metadata"]["name"]), text(&item["timestamp"]), text(&item["window"]));
            let total = |of: &str| -> Option<f64> {
                let containers = item["containers"].as_array()?;
                containers.iter().map(|c| quantity(c["usage"][of].as_str()?)).sum()
            };
            let (Some(cores), Some(bytes)) = (total("cpu"), total("memory")) else { continue };
            if !window.is_empty() && !self.windows.contains(&window) && self.windows.len() < 3 {
                self.windows.push(window);
            }
            let known = self.pods.iter().position(|p| p.name == name);
            let pod = match known {
                Some(known) => &mut self.pods[known],
                None if self.pods.len() >= PODS_MAX => {
                    self.left_out = true;
                    continue;
                }
                None => {
                    self.pods.push(OfPod { name, stamp: String::new(), points: Vec::new() });
                    self.pods.last_mut().expect("it was pushed just now")
                }
            };
            if pod.stamp.is_empty() || pod.stamp != stamp {
                pod.stamp = stamp;
                pod.points.push(Point { at, cores, bytes });
            }
        }
    }

    /// `begin`: when the load began. What was read before it is about pods that had nothing to do.
    fn usage(&self, begin: u64) -> Usage {
        let at_s = |at: u64| (at - begin) as f64 / 1e9;
        let looks = || self.looks.iter().filter(|(at, _)| *at >= begin);
        let failed = || looks().filter_map(|(at, why)| Some((at_s(*at), why.clone()?)));
        let series = |metric: &str, value: fn(&Point) -> f64| {
            let one = |p: &OfPod| UsageSeries {
                name: format!("{metric}{{pod=\"{}\"}}", p.name),
                points: p.points.iter().filter(|x| x.at >= begin).map(|x| (at_s(x.at), value(x))).collect(),
            };
            self.pods.iter().map(one).filter(|s| !s.points.is_empty()).collect::<Vec<_>>()
        };
        let mut notes = Vec::new();
        if !self.windows.is_empty() {
            let windows = self.windows.join(", ");
            notes.push(format!("each value is a mean over the {windows} before the cluster took it, not a moment"));
        }
        if self.left_out {
            notes.push(format!("more than {PODS_MAX} pods: the usage of the others was not kept"));
        }
        let mut all = series("cpu_cores", |p| p.cores);
        all.extend(series("memory_bytes", |p| p.bytes));
        Usage {
            every: self.apart(),
            read: looks().count() as u64,
            failed: failed().count() as u64,
            gaps: failed().take(GAPS_MAX).collect(),
            series: all,
            notes,
        }
    }
}

impl Readings {
    /// How far apart the cluster's own values usually are: the median over all pods, no less than we look.
    fn apart(&self) -> Duration {
        let mut apart: Vec<u64> =
            self.pods.iter().flat_map(|p| p.points.windows(2).map(|w| w[1].at - w[0].at)).collect();
        apart.sort_unstable();
        apart.get(apart.len() / 2).map_or(EVERY, |ns| Duration::from_nanos(*ns).max(EVERY))
    }
}

/// A quantity as the API writes it (`12m`, `2145873n`, `14520Ki`, `1e3`), as a number of its unit. Source of the suffixes:
/// the Kubernetes API reference, "Quantity".
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 16] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let (number, factor) = SUFFIXES.iter().find_map(|(s, factor)| Some((text.strip_suffix(s)?, factor)))?;
    let value = number.parse::<f64>().ok()? * factor;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_of_every_kind() {
        for (text, value) in [("1", 1.0), ("12m", 0.012), ("2145873n", 0.002_145_873), ("500u", 5e-4), ("0", 0.0)] {
            assert!((quantity(text).unwrap() - value).abs() < 1e-12, "{text}");
        }
        for (text, value) in
            [("14520Ki", 14_868_480.0), ("3Gi", 3_221_225_472.0), ("129M", 129e6), ("1e3", 1000.0), ("2E", 2e18)]
        {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        for text in ["", "m", "-1", "1Zi", "one", "nan", "inf"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    fn page(stamp: &str, pods: &[(&str, &str, &str)]) -> Value {
        let item = |(name, cpu, memory): &(&str, &str, &str)| {
            json!({"metadata": {"name": name}, "timestamp": stamp, "window": "15.3s", "containers": [
                {"name": "model-server", "usage": {"cpu": cpu, "memory": memory}},
                {"name": "sidecar", "usage": {"cpu": "1m", "memory": "1Ki"}}]})
        };
        json!({"items": pods.iter().map(item).collect::<Vec<_>>()})
    }

    #[test]
    fn containers_are_summed_and_a_value_that_was_read_before_is_none() {
        let mut readings = Readings::default();
        readings.take(1_000_000_000, Ok(page("a", &[("p", "250m", "10Mi")])));
        readings.take(2_000_000_000, Ok(page("a", &[("p", "250m", "10Mi")])));
        readings.take(
            3_000_000_000,
            Err(ApiError { code: 503, reason: "ServiceUnavailable".into(), message: "down".into() }),
        );
        readings.take(17_000_000_000, Ok(page("b", &[("p", "500m", "11Mi"), ("q", "what", "1Mi")])));
        const S: u64 = 1_000_000_000;
        let late = readings.usage(5 * S);
        assert_eq!((late.read, late.failed), (1, 0), "what was before the load is not of the run");
        assert_eq!(late.series[0].points, [(12.0, 0.501)]);
        assert!(readings.usage(20 * S).series.is_empty());
        let usage = readings.usage(0);
        assert_eq!((usage.read, usage.failed, usage.gaps.len()), (4, 1, 1));
        let names: Vec<&str> = usage.series.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["cpu_cores{pod=\"p\"}", "memory_bytes{pod=\"p\"}"], "what cannot be read is no zero");
        assert_eq!(usage.series[0].points, [(1.0, 0.251), (17.0, 0.501)]);
        assert_eq!(usage.every, Duration::from_secs(16), "as far apart as the cluster measures, not as we look");
        assert_eq!(usage.series[1].points[0], (1.0, 10.0 * 1_048_576.0 + 1024.0));
        assert!(usage.notes[0].contains("15.3s"), "{:?}", usage.notes);
    }
}
