//! `[[scrape]]`: pages of metrics that are read while load runs.

use std::time::Duration;

use super::{Context, target, url};
use crate::plan::{ScrapeFrom, ScrapePlan, Service};
use crate::scenario::file;
use crate::scenario::tree::Path;

/// All of them; none when one is broken.
pub(super) fn compile(cx: &mut Context) -> Option<Vec<ScrapePlan>> {
    let at = Path::root().key("scrape");
    cx.unique(&at, "scrape");
    let all: Vec<Option<ScrapePlan>> = (0..cx.count("scrape")).map(|i| scrape(cx, &at.index(i))).collect();
    all.into_iter().collect()
}

fn scrape(cx: &mut Context, at: &Path) -> Option<ScrapePlan> {
    let s: file::Scrape = cx.section(at)?;
    let every = s.every.map_or(Duration::from_secs(1), |d| d.0);
    cx.within(&at.key("every"), every, Duration::from_millis(200), Duration::from_secs(3600));
    let timeout = s.timeout.map_or(every.min(Duration::from_secs(1)), |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, Duration::from_secs(60));
    for (i, pattern) in s.series.iter().enumerate().filter(|(_, p)| p.trim().is_empty()) {
        cx.wrong(
            &at.key("series").index(i),
            format!("`{pattern}` is no name"),
            "write the name of a metric; `*` and `?` stand for others",
        );
    }
    let from = match (&s.path, &s.url) {
        (path, None) => {
            let path = path.clone().unwrap_or_else(|| "/metrics".to_owned());
            cx.good(&at.key("path"), url::check_path(&path));
            for key in [("headers", s.headers.is_some()), ("ca", s.ca.is_some())].into_iter().filter(|(_, set)| *set) {
                let help = "remove it: a path is asked as predictions are; or write `url`";
                cx.clash(at, key.0, format!("`{}` goes with `url`", key.0), help);
            }
            ScrapeFrom::Path(path)
        }
        (Some(_), Some(_)) => {
            cx.clash(at, "path", "`path` and `url` exclude each other", "keep one of them");
            return None;
        }
        (None, Some(text)) => {
            let url = cx.good(&at.key("url"), url::parse(text))?;
            ScrapeFrom::Page(Service {
                headers: target::headers(cx, at, s.headers.clone().unwrap_or_default()),
                ca: s.ca.as_deref().and_then(|ca| target::certificates(cx, at, ca, url.tls)),
                url,
            })
        }
    };
    Some(ScrapePlan { name: s.name.0.clone(), from, series: s.series.clone(), every, timeout })
}
