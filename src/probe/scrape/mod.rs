//! Pages of metrics, read while load runs, on the run's clock: what a service tells of itself.
//!
//! A reading that fails is a gap with its reason, never a zero. Values are kept as they are; rates are made by whoever shows them. Bounds:
//! [`SERIES_MAX`] series and `POINTS_MAX` values a page; what is beyond is counted and told.

pub mod text;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::service::{Asking, get};
use crate::clock::Clock;
use crate::plan::{Plan, ScrapeFrom, ScrapePlan, Service, Url};
use text::Kind;

/// Series kept of one page.
pub const SERIES_MAX: usize = 50;
/// Values kept of one page: 16 MB.
const POINTS_MAX: usize = 1_000_000;
/// Gaps kept with their reasons.
const GAPS_MAX: usize = 200;

/// One series of one page.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// `name{labels}`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// When it was read, seconds since the start of load, and its value.
    pub points: Vec<(f64, f64)>,
}

/// What was read of one page.
#[derive(Clone, Debug, Default)]
pub struct ScrapeLog {
    /// The scrape's name.
    pub name: String,
    /// Between two readings.
    pub every: Duration,
    /// Whose page: `replica 0`, or its URL.
    pub source: String,
    /// In the order in which they were first seen.
    pub series: Vec<Series>,
    /// Readings.
    pub read: u64,
    /// Of those, failed.
    pub failed: u64,
    /// When and why, the first of them.
    pub gaps: Vec<(f64, String)>,
    /// Series beyond [`SERIES_MAX`] that matched.
    pub left_out: usize,
    /// Values beyond `POINTS_MAX`.
    pub lost_points: u64,
    /// Lines that were none, of the page with the most of them, and the first.
    pub bad_lines: (usize, String),
    /// What a reader must know beside.
    pub notes: Vec<String>,
}

/// One page that is read.
struct Source {
    scrape: usize,
    service: Service,
    log: Mutex<ScrapeLog>,
}

/// Reads every page of a run. Shared by threads.
pub struct Scraper<'a> {
    plan: &'a Plan,
    sources: Vec<Source>,
}

impl<'a> Scraper<'a> {
    /// For a target at this URL with replicas that listen on this machine, where they do.
    pub fn new(plan: &'a Plan, target: &Url, replicas: &[(u16, SocketAddr)]) -> Scraper<'a> {
        let mut sources = Vec::new();
        for (scrape, wanted) in plan.scrapes.iter().enumerate() {
            let mut add = |source: String, service: Service| {
                let (name, every) = (wanted.name.clone(), wanted.every);
                let log = Mutex::new(ScrapeLog { name, every, source, ..ScrapeLog::default() });
                sources.push(Source { scrape, service, log });
            };
            match &wanted.from {
                ScrapeFrom::Page(page) => {
                    let shown = Url {
                        path: page.url.path.split('?').next().unwrap_or_default().to_owned(),
                        ..page.url.clone()
                    };
                    add(shown.to_string(), page.clone());
                }
                ScrapeFrom::Path(path) => {
                    let of = |url: Url| Service {
                        url: Url { path: path.clone(), ..url },
                        headers: plan.target.headers.clone(),
                        ca: plan.target.ca.clone(),
                    };
                    for (n, address) in replicas {
                        let url = Url {
                            tls: false,
                            host: address.ip().to_string(),
                            port: address.port(),
                            path: String::new(),
                        };
                        add(format!("replica {n}"), of(url));
                    }
                    if replicas.is_empty() {
                        add("target".to_owned(), of(target.clone()));
                    }
                }
            }
        }
        Scraper { plan, sources }
    }

    /// How many pages.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Between two readings of this page.
    pub fn every(&self, source: usize) -> Duration {
        self.wanted(source).every
    }

    fn wanted(&self, source: usize) -> &ScrapePlan {
        &self.plan.scrapes[self.sources[source].scrape]
    }

    /// Reads a page once. A failure is told when the reading before was none.
    ///
    /// # Errors
    /// Whose page could not be read, and why.
    pub fn read(&self, source: usize, clock: &Clock) -> Result<(), String> {
        let (wanted, from) = (self.wanted(source), &self.sources[source]);
        let at_s = clock.now_signed() as f64 / 1e9;
        let family = self.plan.traffic.address_family;
        let asking = Asking { target: &self.plan.target, timeout: wanted.timeout, family };
        let page = get(&from.service, "", asking).and_then(|(status, body)| match status {
            200 => Ok(body),
            other => Err(format!("status {other}")),
        });
        let mut log = from.log.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut log, wanted, at_s, page)
    }

    /// What was read.
    pub fn logs(&self) -> Vec<ScrapeLog> {
        self.sources.iter().map(|s| s.log.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

/// A pattern with labels is held against the whole series, another one against its name.
fn is_wanted(patterns: &[String], name: &str, series: &str) -> bool {
    patterns.iter().any(|p| text::matches(p, if p.contains('{') { series } else { name }))
}

fn note(log: &mut ScrapeLog, wanted: &ScrapePlan, at_s: f64, page: Result<Vec<u8>, String>) -> Result<(), String> {
    log.read += 1;
    let page = page.and_then(|body| {
        let page = text::parse(&String::from_utf8_lossy(&body), |name, series| is_wanted(&wanted.series, name, series));
        match &page.first_bad {
            Some(bad) if page.samples.is_empty() => {
                Err(format!("no metrics, {} lines that are none, first {bad}", page.bad))
            }
            _ => Ok(page),
        }
    });
    let page = page.map_err(|why| {
        log.failed += 1;
        if log.gaps.len() < GAPS_MAX {
            log.gaps.push((at_s, why.chars().take(300).collect()));
        }
        format!("{} of {}: {why}", wanted.name, log.source)
    })?;
    if page.bad > log.bad_lines.0 {
        log.bad_lines = (page.bad, page.first_bad.unwrap_or_default());
    }
    let mut kept: usize = log.series.iter().map(|s| s.points.len()).sum();
    let mut left_out = 0;
    for sample in page.samples {
        let series = match log.series.iter().position(|s| s.name == sample.series) {
            Some(known) => &mut log.series[known],
            None if log.series.len() < SERIES_MAX => {
                log.series.push(Series { name: sample.series, kind: sample.kind, points: Vec::new() });
                log.series.last_mut().expect("it was pushed just now")
            }
            None => {
                left_out += 1;
                continue;
            }
        };
        // A page that says a series twice says nothing more by the second.
        if series.points.last().is_some_and(|(at, _)| *at == at_s) {
            continue;
        }
        if kept < POINTS_MAX {
            series.points.push((at_s, sample.value));
            kept += 1;
        } else {
            log.lost_points += 1;
        }
    }
    log.left_out = log.left_out.max(left_out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(series: &[&str]) -> ScrapePlan {
        ScrapePlan {
            name: "m".into(),
            from: ScrapeFrom::Path("/metrics".into()),
            series: series.iter().map(|s| (*s).to_owned()).collect(),
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_failed_reading_is_a_gap_and_never_a_zero() {
        let (mut log, wanted) = (ScrapeLog { source: "replica 0".into(), ..ScrapeLog::default() }, wanted(&["x*"]));
        let page = |text: &str| Ok(text.as_bytes().to_vec());
        note(&mut log, &wanted, 1.0, page("# TYPE x_total counter\nx_total 5\nother 1\n")).unwrap();
        let why = note(&mut log, &wanted, 2.0, Err("refused".into())).unwrap_err();
        assert_eq!(why, "m of replica 0: refused");
        assert!(note(&mut log, &wanted, 3.0, page("<html>\n")).unwrap_err().contains("no metrics"));
        note(&mut log, &wanted, 4.0, page("x_total 2\nx_total 3\nbroken\n")).unwrap();
        assert_eq!((log.read, log.failed, log.gaps.len(), log.bad_lines.0), (4, 2, 2, 1));
        let [series] = log.series.as_slice() else { panic!("{log:?}") };
        assert_eq!((series.kind, series.points.as_slice()), (Kind::Counter, &[(1.0, 5.0), (4.0, 2.0)][..]));
    }

    #[test]
    fn a_page_beyond_bounds_is_cut_and_told() {
        let (mut log, wanted) = (ScrapeLog::default(), wanted(&["x{*"]));
        let page: String = (0..SERIES_MAX + 7).map(|i| format!("x{{i=\"{i}\"}} {i}\n")).collect();
        for at in 0..3 {
            note(&mut log, &wanted, f64::from(at), Ok(page.clone().into_bytes())).unwrap();
        }
        assert_eq!((log.series.len(), log.left_out, log.series[0].points.len()), (SERIES_MAX, 7, 3));
    }

    #[test]
    fn names_and_whole_series() {
        let is = |p: &str, series: &str| is_wanted(&[p.to_owned()], series.split('{').next().unwrap(), series);
        assert!(is("req_total", "req_total{code=\"200\"}") && is("req_*", "req_total"));
        assert!(
            is("req_total{code=\"5*\"}", "req_total{code=\"503\"}")
                && !is("req_total{code=\"5*\"}", "req_total{code=\"200\"}")
        );
    }
}
