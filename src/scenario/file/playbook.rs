//! The mirror of `[[playbook]]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Becomes;

/// What is to happen when a fault strikes. Reports say which of the steps were seen to happen, and when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::scenario) struct Playbook {
    /// The fault that it is for; of one that repeats, its name without number.
    pub(in crate::scenario) fault: String,
    /// What the service and its platform do by themselves.
    #[schemars(length(min = 1, max = 20))]
    pub(in crate::scenario) automatic: Option<Vec<Step>>,
    /// What a person does.
    #[schemars(length(min = 1, max = 20))]
    pub(in crate::scenario) manual: Option<Vec<Step>>,
    /// Who is called when that does not help.
    #[schemars(length(min = 1, max = 20))]
    pub(in crate::scenario) escalation: Option<Vec<Step>>,
}

/// A step: its text, or `{ step = "…", seen_by = { event = "recovered" } }`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::scenario) enum Step {
    /// What is done; no run can see it.
    Text(String),
    /// What is done, and what shows it.
    Seen(SeenStep),
}

/// A step that a run can see.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::scenario) struct SeenStep {
    /// What is done.
    pub(in crate::scenario) step: String,
    /// What shows that it happened: `{ event = "replica-back" }`, or `{ probe = "paged", becomes = "passing" }`.
    pub(in crate::scenario) seen_by: Option<SeenBy>,
}

/// What shows that a step happened: an event, or a probe that changes its answer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::scenario) struct SeenBy {
    /// Something that the run itself sees.
    pub(in crate::scenario) event: Option<EventWord>,
    /// Name of a probe that is asked during or after the load; an alert that fires is a probe of kind alert that passes.
    pub(in crate::scenario) probe: Option<String>,
    /// What the probe turns to.
    pub(in crate::scenario) becomes: Option<Becomes>,
}

/// Something that the run itself sees.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::scenario) enum EventWord {
    /// The platform took a replica that was hit out of rotation.
    OutOfRotation,
    /// The replicas that were hit are ready again.
    ReplicaBack,
    /// The requests are as good as before.
    Recovered,
    /// An answer came from a fallback.
    Fallback,
}
