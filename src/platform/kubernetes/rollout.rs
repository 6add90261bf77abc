//! The rollout restart of a Deployment: whether it takes one pod away at a time, and how it is asked for.
//!
//! A fault that goes from one replica to the next counts as one against the safety limits. Where the Deployment's own rules
//! take more than one away, or nothing happens while the run looks, a rollout is no such fault, and pods are deleted in turn.

use serde_json::{Value, json};

use super::MARK;
use super::change::{Outcome, Trouble, change, settle};
use super::cluster::Cluster;
use crate::clock::Clock;
use crate::units::{Offset, show_duration};

/// Where `kubectl rollout restart` writes too.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// Has the Deployment at `path` replace all of its pods. Returns when it was told to.
///
/// # Errors
/// Why it was not, or should not be.
pub(super) fn restart(cluster: &Cluster, path: &str, run: &str, clock: Clock) -> Result<Offset, String> {
    let (mut at, mut when) = (clock.now(), String::new());
    // Looked at once more: somebody may have paused it, or changed its strategy, since the fault was planned.
    let asked = change(cluster, path, |deployment| {
        one_at_a_time(deployment)?;
        at = clock.now();
        // The controller compares, and reads no time in it: the run's id tells whose it was.
        when = format!("{run}+{}", show_duration(at.as_duration()));
        let annotations = json!({RESTARTED: when, MARK: run});
        Ok(Some(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})))
    });
    match asked {
        Ok(true) => Ok(at),
        Ok(false) => Err("it is gone".to_owned()),
        Err(Trouble { why, outcome: Outcome::Known }) => Err(why),
        Err(Trouble { why, outcome: Outcome::Unknown }) => {
            let has_begun = |d: &Value| d["spec"]["template"]["metadata"]["annotations"][RESTARTED] == when.as_str();
            match settle(cluster, path, has_begun) {
                Ok(true) => Err(why),
                Ok(false) => Ok(at),
                Err(still) => Err(format!("{why}; whether it rolls out is not known: {still}")),
            }
        }
    }
}

/// A rollout of this Deployment begins at once and has at most one of its pods away at a time.
///
/// # Errors
/// What it would do instead, and the cure.
pub(super) fn one_at_a_time(deployment: &Value) -> Result<(), String> {
    let (spec, strategy) = (&deployment["spec"], &deployment["spec"]["strategy"]);
    if spec["paused"] == true {
        let cure = "`kubectl rollout resume` first";
        return Err(format!("it is paused, and would roll out only once somebody resumes it, after the run: {cure}"));
    }
    if strategy["type"] == "Recreate" {
        let cure = "RollingUpdate with maxUnavailable 1 goes one by one";
        return Err(format!("its strategy is Recreate, which ends all of its pods at once: {cure}"));
    }
    let (replicas, most) = (spec["replicas"].as_u64().unwrap_or(1), &strategy["rollingUpdate"]["maxUnavailable"]);
    let away = away_at_once(most, replicas);
    if away > 1 {
        return Err(format!(
            "its strategy lets {away} of its {replicas} pods be away at once (maxUnavailable {}): 1 goes one by one",
            most.as_str().map_or_else(|| most.to_string(), str::to_owned)
        ));
    }
    Ok(())
}

/// `maxUnavailable` in pods, as the Deployment controller reads it: a percentage is rounded down, and 25 % where nothing
/// is written. Where there is room for none to be missing and none to be more, it takes one away all the same.
fn away_at_once(most: &Value, replicas: u64) -> u64 {
    let percent = |p: u64| replicas.saturating_mul(p) / 100;
    let away = match most {
        Value::Null => Some(percent(25)),
        Value::String(text) => text.strip_suffix('%').and_then(|p| p.parse().ok()).map(percent),
        other => other.as_u64(),
    };
    // What cannot be read may be everything.
    away.unwrap_or(replicas).min(replicas)
}

#[cfg(test)]
mod tests {
    use super::super::cluster::tests_support::{LOST, scripted};
    use super::*;
    use std::time::Duration;

    fn deployment(replicas: u64, strategy: Value) -> Value {
        json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": replicas, "strategy": strategy}})
    }

    fn rolling(replicas: u64, most: Value) -> Value {
        deployment(replicas, json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": most, "maxSurge": 1}}))
    }

    #[test]
    fn only_a_rollout_that_goes_one_by_one_counts_as_one() {
        for (replicas, most, away) in [
            (3, json!("25%"), 0),
            (7, json!("25%"), 1),
            (8, json!("25%"), 2),
            (8, Value::Null, 2),
            (3, json!("100%"), 3),
            (10, json!(1), 1),
            (10, json!(4), 4),
            (1, json!(4), 1),
            (3, json!("what"), 3),
        ] {
            assert_eq!(away_at_once(&most, replicas), away, "{most} of {replicas}");
            assert_eq!(one_at_a_time(&rolling(replicas, most.clone())).is_ok(), away <= 1, "{most} of {replicas}");
        }
        assert_eq!(one_at_a_time(&deployment(7, Value::Null)), Ok(()), "the API's default");
        let told = one_at_a_time(&rolling(4, json!("100%"))).unwrap_err();
        assert!(told.contains("4 of its 4 pods be away at once (maxUnavailable 100%)"), "{told}");
        let told = one_at_a_time(&deployment(3, json!({"type": "Recreate"}))).unwrap_err();
        assert!(told.contains("ends all of its pods at once"), "{told}");
        let mut paused = rolling(3, json!(1));
        paused["spec"]["paused"] = json!(true);
        let told = one_at_a_time(&paused).unwrap_err();
        assert!(told.contains("after the run") && told.contains("kubectl rollout resume"), "{told}");
    }

    fn restarted(answers: Vec<(u16, Value)>) -> (Result<Offset, String>, Vec<String>) {
        let (cluster, asked) = scripted(answers);
        let done = restart(&cluster, "/web", "r1", Clock::starting_in(Duration::ZERO));
        let asked = asked.lock().unwrap().clone();
        (done, asked)
    }

    #[test]
    fn a_deployment_that_was_paused_meanwhile_is_not_changed() {
        let mut paused = rolling(3, json!(1));
        let (done, asked) = restarted(vec![(200, paused.clone()), (200, json!({}))]);
        assert!(
            done.is_ok() && asked[1].contains("restartedAt") && asked[1].contains(r#""resourceVersion":"7""#),
            "{asked:?}"
        );
        paused["spec"]["paused"] = json!(true);
        let (done, asked) = restarted(vec![(200, paused)]);
        assert!(done.unwrap_err().contains("paused") && asked.len() == 1, "{asked:?}");
    }

    #[test]
    fn a_rollout_whose_answer_is_lost_has_begun_or_never_will() {
        let before = || (200, rolling(3, json!(1)));
        let good = || (200, json!({}));
        let (done, asked) = restarted(vec![before(), (LOST, json!({})), before(), good(), good()]);
        assert!(done.is_err() && asked[3].contains("resbench.io/seen"), "{asked:?}");
        let (done, _) = restarted(vec![before(), (LOST, json!({})), before(), (LOST, json!({}))]);
        assert!(done.unwrap_err().contains("whether it rolls out is not known"));
    }
}
