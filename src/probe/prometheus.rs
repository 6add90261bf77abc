//! A query of Prometheus, or of whatever speaks its API, and the bounds of its value.
//!
//! What each odd answer means: an error, a status that is not 200, no answer in time → it fails, with the server's words. No series,
//! or series without values → what `no_data` says. NaN → fails, because it keeps no bound. Several series without `across` → fails:
//! never just "the first one". A text or a native histogram → fails. Warnings are told beside the value and change nothing.
//! The API is that of prometheus.io/docs/prometheus/latest/querying/api/ : values are texts, times are seconds since the epoch.

use serde_json::Value;

use super::service::{Asking, escaped, get, json, shown};
use crate::plan::{Across, PrometheusProbe, QueryRange, Reduce};

/// Series named one by one in what a probe saw.
const NAMED: usize = 3;

/// Asks once. `wall_ns` is the time now, since the epoch.
pub(super) fn ask(probe: &PrometheusProbe, wall_ns: i128, asking: Asking<'_>) -> Result<String, String> {
    let (status, body) = get(&probe.server, &question(probe, wall_ns, asking), asking)?;
    judge(probe, status, &body)
}

fn question(probe: &PrometheusProbe, wall_ns: i128, asking: Asking<'_>) -> String {
    // A plain number: of durations with a unit it takes whole ones only.
    let (query, limit) = (escaped(&probe.query), asking.timeout.as_secs_f64());
    match &probe.range {
        // Without `time` the server takes its own: no clock of ours has to agree with it.
        None => format!("/api/v1/query?query={query}&timeout={limit}"),
        Some(QueryRange { window, step, .. }) => {
            let end = wall_ns as f64 / 1e9;
            let (start, step) = (end - window.as_secs_f64(), step.as_secs_f64());
            format!("/api/v1/query_range?query={query}&start={start:.3}&end={end:.3}&step={step}&timeout={limit}")
        }
    }
}

/// What an answer means for the probe.
fn judge(probe: &PrometheusProbe, status: u16, body: &[u8]) -> Result<String, String> {
    let answer = json(status, body)?;
    if status != 200 || answer["status"] != "success" {
        let kind = answer["errorType"].as_str().map(|k| format!(" ({})", shown(&k.into()))).unwrap_or_default();
        let why = if answer["error"].is_null() { "it names no error".to_owned() } else { shown(&answer["error"]) };
        return Err(format!("status {status}{kind}: {why}"));
    }
    let told = |text: String| format!("{text}{}", notes(&answer));
    match verdict(probe, &answer["data"]) {
        Ok(seen) => Ok(told(seen)),
        Err(why) => Err(told(why)),
    }
}

fn verdict(probe: &PrometheusProbe, data: &Value) -> Result<String, String> {
    let all = series(data)?;
    let reduce = probe.range.as_ref().map_or(Reduce::Last, |r| r.reduce);
    let values: Vec<(String, f64)> =
        all.into_iter().filter_map(|(name, values)| Some((name, reduced(reduce, &values)?))).collect();
    match (values.as_slice(), probe.across) {
        ([], _) if probe.no_data_passes => Ok("no data, which holds here (no_data = \"pass\")".to_owned()),
        ([], _) => Err("no data: the query gave no values".to_owned()),
        ([(_, value)], _) => within(probe, *value),
        (many, None) => Err(format!(
            "{} series, and nothing says how they become one answer ({}): write `across`, or aggregate in the query",
            many.len(),
            some(many.iter())
        )),
        (many, Some(Across::By(reduce))) => {
            let values: Vec<f64> = many.iter().map(|(_, v)| *v).collect();
            let value = reduced(reduce, &values).unwrap_or(f64::NAN);
            within(probe, value).map(|s| of(&s, many.len())).map_err(|s| of(&s, many.len()))
        }
        (many, Some(Across::Each)) => {
            let broken: Vec<&(String, f64)> = many.iter().filter(|(_, v)| within(probe, *v).is_err()).collect();
            if broken.is_empty() {
                return Ok(format!("each of {} series is {}", many.len(), expected(probe)));
            }
            let (n, all) = (broken.len(), many.len());
            Err(format!("{n} of {all} series are not {}: {}", expected(probe), some(broken.into_iter())))
        }
    }
}

fn of(text: &str, series: usize) -> String {
    format!("{text}, over {series} series")
}

fn some<'a>(values: impl ExactSizeIterator<Item = &'a (String, f64)>) -> String {
    let left = values.len().saturating_sub(NAMED);
    let named: Vec<String> = values.take(NAMED).map(|(name, value)| format!("{name} {value}")).collect();
    let more = if left > 0 { format!(", and {left} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// NaN keeps no bound.
fn within(probe: &PrometheusProbe, value: f64) -> Result<String, String> {
    let keeps = probe.below.is_none_or(|below| value < below) && probe.above.is_none_or(|above| value > above);
    match value {
        v if v.is_nan() => Err(format!("NaN, which is not {}", expected(probe))),
        v if keeps => Ok(format!("{v} is {}", expected(probe))),
        v => Err(format!("{v} is not {}", expected(probe))),
    }
}

fn expected(probe: &PrometheusProbe) -> String {
    let below = probe.below.map(|b| format!("below {b}"));
    let above = probe.above.map(|a| format!("above {a}"));
    [above, below].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// Every series with its values in order of time.
fn series(data: &Value) -> Result<Vec<(String, Vec<f64>)>, String> {
    let result = &data["result"];
    let kind = data["resultType"].as_str().unwrap_or_default();
    let list = || result.as_array().ok_or_else(|| format!("a {kind} without a list of results"));
    match kind {
        "scalar" => Ok(vec![("scalar".to_owned(), vec![value(result)?])]),
        "vector" => list()?.iter().map(|s| Ok((named(s)?, vec![value(&s["value"])?]))).collect(),
        "matrix" => list()?
            .iter()
            .map(|s| {
                let name = named(s)?;
                let values = s["values"].as_array().ok_or("a series without values")?;
                Ok((name, values.iter().map(value).collect::<Result<_, String>>()?))
            })
            .collect(),
        "string" => Err("the query gave a text, not a number".to_owned()),
        other => Err(format!("a result of the unknown kind `{}`", other.chars().take(40).collect::<String>())),
    }
}

/// `[1700000000.1, "0.5"]`: the value is a text, `NaN` and `+Inf` among them.
fn value(pair: &Value) -> Result<f64, String> {
    let text = pair[1].as_str().ok_or("a value that is no [time, \"number\"]")?;
    text.parse().map_err(|_| format!("`{}` is no number", text.chars().take(40).collect::<String>()))
}

/// The labels of a series as Prometheus writes them.
fn named(series: &Value) -> Result<String, String> {
    if !series["histogram"].is_null() || !series["histograms"].is_null() {
        return Err(
            "the query gave a native histogram: take histogram_quantile() or histogram_count() of it".to_owned()
        );
    }
    let labels = series["metric"].as_object().ok_or("a series without labels")?;
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let pairs: Vec<String> =
        labels.iter().filter(|(k, _)| *k != "__name__").map(|(k, v)| format!("{k}=\"{}\"", shown(v))).collect();
    Ok(format!("{name}{{{}}}", pairs.join(",")).chars().take(200).collect())
}

/// None of no values. A NaN among them is not passed over: the result is NaN then, except for the newest.
fn reduced(how: Reduce, values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    let folded = |f: fn(f64, f64) -> f64| {
        rest.iter().fold(*first, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { f(a, *b) })
    };
    Some(match how {
        Reduce::Last => *values.last()?,
        Reduce::Sum => folded(|a, b| a + b),
        Reduce::Avg => folded(|a, b| a + b) / values.len() as f64,
        Reduce::Min => folded(f64::min),
        Reduce::Max => folded(f64::max),
    })
}

fn notes(answer: &Value) -> String {
    let all = ["warnings", "infos"].into_iter().filter_map(|key| answer[key].as_array()).flatten();
    let texts: Vec<String> = all.take(2).map(shown).collect();
    if texts.is_empty() { String::new() } else { format!(" (the server warns: {})", texts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{Service, Url, tests_support};

    fn probe(below: Option<f64>, above: Option<f64>) -> PrometheusProbe {
        let url = Url { tls: false, host: "prom".into(), port: 9090, path: "/prefix".into() };
        PrometheusProbe {
            server: Service { url, headers: vec![], ca: None },
            query: "up == 1".into(),
            range: None,
            across: None,
            below,
            above,
            no_data_passes: false,
        }
    }

    fn answers(result_type: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{result_type}","result":{result}}}}}"#)
    }

    fn vector(values: &[&str]) -> String {
        let one = |(i, v): (usize, &&str)| format!(r#"{{"metric":{{"__name__":"x","i":"{i}"}},"value":[1.5,"{v}"]}}"#);
        answers("vector", &format!("[{}]", values.iter().enumerate().map(one).collect::<Vec<_>>().join(",")))
    }

    fn said(p: &PrometheusProbe, body: &str) -> Result<String, String> {
        judge(p, 200, body.as_bytes())
    }

    #[test]
    fn one_value_against_its_bounds() {
        let p = probe(Some(0.01), None);
        assert_eq!(said(&p, &vector(&["0.005"])), Ok("0.005 is below 0.01".into()));
        assert_eq!(said(&p, &vector(&["0.01"])), Err("0.01 is not below 0.01".into()));
        assert_eq!(said(&p, &vector(&["-Inf"])), Ok("-inf is below 0.01".into()));
        assert_eq!(said(&p, &vector(&["NaN"])), Err("NaN, which is not below 0.01".into()));
        let p = probe(Some(3.0), Some(1.0));
        assert_eq!(said(&p, &answers("scalar", r#"[1.5,"2"]"#)), Ok("2 is above 1 and below 3".into()));
        assert_eq!(said(&p, &vector(&["+Inf"])), Err("inf is not above 1 and below 3".into()));
    }

    #[test]
    fn no_data_means_what_the_author_says() {
        let p = probe(Some(1.0), None);
        assert_eq!(said(&p, &vector(&[])), Err("no data: the query gave no values".into()));
        let p = PrometheusProbe { no_data_passes: true, ..p };
        assert!(said(&p, &vector(&[])).unwrap().starts_with("no data, which holds"));
        assert!(said(&p, &answers("matrix", r#"[{"metric":{},"values":[]}]"#)).is_ok());
        // Whatever no data means, an error is none.
        assert!(judge(&p, 503, br#"{"status":"error","errorType":"timeout","error":"query timed out"}"#).is_err());
    }

    #[test]
    fn several_series_are_never_the_first_one() {
        let p = probe(Some(10.0), None);
        let two = vector(&["1", "20"]);
        let why = said(&p, &two).unwrap_err();
        assert!(
            why.contains("2 series") && why.contains("x{i=\"0\"} 1, x{i=\"1\"} 20") && why.contains("across"),
            "{why}"
        );
        for (across, wanted) in [
            (Across::By(Reduce::Min), Ok("1 is below 10, over 2 series".to_owned())),
            (Across::By(Reduce::Max), Err("20 is not below 10, over 2 series".to_owned())),
            (Across::By(Reduce::Avg), Err("10.5 is not below 10, over 2 series".to_owned())),
            (Across::By(Reduce::Sum), Err("21 is not below 10, over 2 series".to_owned())),
            (Across::Each, Err("1 of 2 series are not below 10: x{i=\"1\"} 20".to_owned())),
        ] {
            assert_eq!(said(&PrometheusProbe { across: Some(across), ..p.clone() }, &two), wanted);
        }
        let with_nan = PrometheusProbe { across: Some(Across::By(Reduce::Min)), ..p };
        assert!(said(&with_nan, &vector(&["1", "NaN"])).unwrap_err().starts_with("NaN"), "a NaN is not passed over");
    }

    #[test]
    fn values_over_time_become_one() {
        let matrix = answers("matrix", r#"[{"metric":{"a":"b"},"values":[[1,"4"],[2,"1"],[3,"7"]]}]"#);
        let (window, step) = (Duration::from_secs(30), Duration::from_secs(2));
        for (reduce, wanted) in
            [(Reduce::Last, "7"), (Reduce::Avg, "4"), (Reduce::Min, "1"), (Reduce::Max, "7"), (Reduce::Sum, "12")]
        {
            let range = Some(QueryRange { window, step, reduce });
            let p = PrometheusProbe { range, ..probe(Some(100.0), None) };
            assert_eq!(said(&p, &matrix), Ok(format!("{wanted} is below 100")), "{reduce:?}");
        }
    }

    #[test]
    fn refusals_are_told_in_the_servers_words() {
        let p = probe(Some(1.0), None);
        let body = br#"{"status":"error","errorType":"execution","error":"multiple matches for labels"}"#;
        assert_eq!(judge(&p, 422, body).unwrap_err(), "status 422 (execution): multiple matches for labels");
        assert_eq!(judge(&p, 503, b"no healthy upstream").unwrap_err(), "status 503, and no JSON: no healthy upstream");
        assert_eq!(judge(&p, 200, b"{}").unwrap_err(), "status 200: it names no error");
        let warned =
            r#"{"status":"success","warnings":["one store is down"],"data":{"resultType":"scalar","result":[1,"0"]}}"#;
        assert_eq!(said(&p, warned), Ok("0 is below 1 (the server warns: one store is down)".into()));
    }

    #[test]
    fn what_is_no_number_fails() {
        let p = PrometheusProbe { no_data_passes: true, ..probe(Some(1.0), None) };
        for (body, words) in [
            (answers("string", r#"[1,"text"]"#), "a text, not a number"),
            (answers("vector", r#"[{"metric":{},"histogram":[1,{}]}]"#), "native histogram"),
            (answers("vector", r#"[{"metric":{},"value":[1,"x"]}]"#), "`x` is no number"),
            (answers("vector", r#"[{"metric":{},"value":[1,2]}]"#), "no [time,"),
            (answers("vector", "7"), "without a list"),
            (answers("new-thing", "[]"), "unknown kind `new-thing`"),
        ] {
            let why = said(&p, &body).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn the_question() {
        let target = tests_support::target(crate::plan::Protocol::Http, crate::plan::AnswerPaths::default());
        let asking = Asking { target: &target, timeout: Duration::from_millis(1500), family: None };
        let p = probe(Some(1.0), None);
        assert_eq!(question(&p, 0, asking), "/api/v1/query?query=up%20%3D%3D%201&timeout=1.5");
        let range = QueryRange { window: Duration::from_secs(30), step: Duration::from_secs(2), reduce: Reduce::Avg };
        let p = PrometheusProbe { range: Some(range), ..p };
        assert_eq!(
            question(&p, 1_700_000_000_250_000_000, asking),
            "/api/v1/query_range?query=up%20%3D%3D%201&start=1699999970.250&end=1700000000.250&step=2&timeout=1.5"
        );
    }
}
