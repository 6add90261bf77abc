//! The noise of a machine, as a calibration found it: whether it speaks of tonight's gate, and whether a `min_effect` lies below it.
//!
//! A number of one kind is never held against one of another: noise is a share where `min_effect` was one when it was calibrated, else in the
//! metric's unit. And a calibration speaks of the scenario that it ran. Of one that has changed since nothing is refused by it: longer phases
//! are the cure for noise, and the old numbers would still forbid what they make possible.
//!
//! Leaves alone where calibrations are kept (`report/history.rs`).

use sha2::{Digest, Sha256};

use super::Asked;
use crate::report::history::{Calibration, NoiseScale};
use crate::statistics::decision::Scale;

/// Tables that change nothing about how much runs differ: they judge them, or are for other commands.
const APART: [&str; 2] = ["gate", "capacity"];

/// What is run, as far as its noise goes: SHA-256 over a scenario's values and the `--set`s, without `[gate]`, `[capacity]` and the variants
/// that are not calibrated. None where the text is no TOML.
pub fn workload(scenario: &str, sets: &[String]) -> Option<String> {
    let mut values: toml::Table = toml::from_str(scenario).ok()?;
    for table in APART {
        values.remove(table);
    }
    // The first is held against itself.
    if let Some(toml::Value::Array(variants)) = values.get_mut("variant") {
        variants.truncate(1);
    }
    let mut hash = Sha256::new();
    hash.update(toml::to_string(&values).ok()?.as_bytes());
    let first = |set: &String| set.split(['.', '=']).next().unwrap_or_default().trim().to_owned();
    for set in sets.iter().filter(|set| !APART.contains(&first(set).as_str())) {
        hash.update([0]);
        hash.update(set.as_bytes());
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// In what the changes of a metric are given.
pub fn scale(asked: &Asked) -> NoiseScale {
    NoiseScale { relative: asked.question.scale == Scale::Ratio, unit: asked.unit.to_owned() }
}

/// What a calibration says of the metrics that decide tonight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noise {
    /// The noise of each, in the order asked; none where it is not known.
    pub floors: Vec<Option<f64>>,
    /// Why a calibration that is there does not speak of them, and the cure.
    pub mind: Vec<String>,
}

/// Takes from a calibration what holds for this workload and these metrics.
pub fn known(calibration: &Calibration, asked: &[Asked], workload: &str) -> Noise {
    let at = &calibration.started_at;
    let nothing = |why: &str| Noise {
        floors: vec![None; asked.len()],
        mind: vec![format!("the calibration of {at} is ignored: {why}; calibrate anew with --calibrate")],
    };
    if calibration.workload.is_empty() {
        return nothing("an earlier version kept it, and it does not say what it ran and in what its noise is given");
    }
    if calibration.workload != workload {
        return nothing("it is stale, since the scenario has changed in more than [gate]");
    }
    let mut noise = Noise::default();
    for asked in asked {
        let kept = calibration.noise_floor.get(&asked.text).copied().flatten();
        let alike = calibration.scales.get(&asked.text) == Some(&scale(asked));
        noise.floors.push(kept.filter(|_| alike));
        if kept.is_some() && !alike {
            noise.mind.push(format!(
                "{}: the calibration of {at} is ignored: its noise is not given as min_effect is (a share, or in the unit); calibrate anew \
                 with --calibrate",
                asked.text
            ));
        }
    }
    noise
}

/// Why a gate is refused: a change that matters less than this machine's noise cannot be told from it.
pub fn refusal(calibration: &Calibration, asked: &[Asked], noise: &Noise) -> Option<String> {
    asked.iter().zip(&noise.floors).find_map(|(asked, noise)| {
        let (floor, noise) = (asked.question.floor, (*noise)?);
        let shown = |x: f64| match (asked.question.scale, asked.unit) {
            (Scale::Ratio, _) => format!("{:.1} %", x * 100.0),
            (_, "ratio") => format!("{x:.4}"),
            (_, unit) => format!("{x:.4} {unit}"),
        };
        (floor < noise).then(|| {
            format!(
                "{}: min_effect {} is below the noise of this machine, {} (calibrated {} over {} pairs): write at least that, or make phases \
                 longer and calibrate anew with --calibrate",
                asked.text,
                shown(floor),
                shown(noise),
                calibration.started_at,
                calibration.pairs
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Metric;
    use crate::units::Quantile;

    fn asked(scale: Scale, floor: f64) -> Vec<Asked> {
        vec![Asked::new(&Metric::Latency(Quantile::P99), "baseline".into(), scale, floor)]
    }

    fn calibrated(asked: &[Asked], noise: f64) -> Calibration {
        let text = asked[0].text.clone();
        Calibration {
            started_at: "2026-01-01T00:00:00Z".into(),
            workload: "w".into(),
            noise_floor: [(text.clone(), Some(noise))].into(),
            scales: [(text, scale(&asked[0]))].into(),
            ..Calibration::default()
        }
    }

    #[test]
    fn noise_of_one_kind_is_not_held_against_an_effect_of_another() {
        let (share, seconds) = (asked(Scale::Ratio, 0.05), asked(Scale::Difference, 0.005));
        // 3 % of a latency is not 3 % of a second; 4 ms are not 0.4 %.
        for (then, noise, now) in [(&share, 0.03, &seconds), (&seconds, 0.004, &share)] {
            let calibration = calibrated(then, noise);
            let found = known(&calibration, now, "w");
            assert_eq!(found.floors, [None::<f64>]);
            assert!(found.mind[0].contains("calibrate anew"), "{:?}", found.mind);
            assert_eq!(refusal(&calibration, now, &found), None);
            let found = known(&calibration, then, "w");
            assert_eq!((found.floors.as_slice(), found.mind.len()), (&[Some(noise)][..], 0));
        }
        let calibration = calibrated(&share, 0.08);
        let words = refusal(&calibration, &share, &known(&calibration, &share, "w")).unwrap();
        assert!(words.contains("min_effect 5.0 % is below the noise of this machine, 8.0 %"), "{words}");
    }

    #[test]
    fn a_calibration_of_another_scenario_or_without_its_scale_refuses_nothing() {
        let share = asked(Scale::Ratio, 0.05);
        let good = calibrated(&share, 0.08);
        let old = Calibration { workload: String::new(), scales: [].into(), ..good.clone() };
        for (calibration, workload, words) in [(&good, "longer phases", "stale"), (&old, "w", "earlier version")] {
            let found = known(calibration, &share, workload);
            assert_eq!(refusal(calibration, &share, &found), None, "{words}");
            assert!(found.mind[0].contains(words) && found.mind[0].contains("--calibrate"), "{:?}", found.mind);
        }
    }

    #[test]
    fn a_workload_is_what_runs_and_not_what_judges() {
        const BASE: &str = "name = 'x'\n[[phase]]\nname = 'all'\nduration = '1s'\n[[variant]]\nname = 'a'\n";
        let of = |text: &str, sets: &[&str]| {
            workload(text, &sets.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap()
        };
        let base = of(BASE, &[]);
        let judged =
            format!("# Another comment.\n{BASE}[[variant]]\nname = 'b'\n[gate]\npairs = 9\n[capacity]\nfrom = 1\n");
        assert_eq!(of(&judged, &["gate.pairs=5", "capacity.from = 2"]), base);
        assert_ne!(of(&BASE.replace("1s", "9s"), &[]), base);
        assert_ne!(of(&BASE.replace("'a'", "'c'"), &[]), base);
        assert_ne!(of(BASE, &["phase.all.duration=9s"]), base);
        assert_eq!(workload("name = ", &[]), None);
    }
}
