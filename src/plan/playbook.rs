//! What is to happen when a fault strikes: steps, and what would show that they happened.

/// The playbook of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playbook {
    /// Index into `Plan::faults`. A playbook of a fault that repeats stands here once for each time.
    pub fault: usize,
    /// In the order in which they are written: automatic, manual, escalation. Never empty.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who does it.
    pub by: StepBy,
    /// What is done.
    pub text: String,
    /// What shows that it happened; none where only a person can say so.
    pub seen_by: Option<Sign>,
}

/// Who does a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepBy {
    /// The service and its platform by themselves.
    Automatic,
    /// A person.
    Manual,
    /// Whoever is called when that does not help.
    Escalation,
}

impl StepBy {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            StepBy::Automatic => "automatic",
            StepBy::Manual => "manual",
            StepBy::Escalation => "escalation",
        }
    }
}

/// What a run can see of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The platform took a replica that was hit out of rotation.
    OutOfRotation,
    /// The replicas that were hit are ready again.
    ReplicaBack,
    /// The requests are as good as before.
    Recovered,
    /// An answer came from a fallback.
    Fallback,
    /// A probe changes its answer.
    Probe {
        /// Its name.
        probe: String,
        /// True for `becomes = "failing"`.
        becomes_failing: bool,
    },
}

impl Sign {
    /// In the words of the language: `replica-back`, `probe paged becomes passing`.
    pub fn words(&self) -> String {
        match self {
            Sign::OutOfRotation => "out-of-rotation".into(),
            Sign::ReplicaBack => "replica-back".into(),
            Sign::Recovered => "recovered".into(),
            Sign::Fallback => "fallback".into(),
            Sign::Probe { probe, becomes_failing } => {
                format!("probe {probe} becomes {}", if *becomes_failing { "failing" } else { "passing" })
            }
        }
    }
}
