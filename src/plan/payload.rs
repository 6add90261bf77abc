//! What a payload fault does to requests: types only, valid by construction.

use super::Dataset;
use crate::units::Ratio;

/// A fault that the load itself does: a share of the requests is sent with another body.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// How bodies are changed.
    pub alter: Alter,
    /// Share of the arrivals due while it is in force that are altered: above 0, at most 1.
    pub share: Ratio,
    /// What is the good end of an altered request.
    pub expect: Expect,
    /// Share of the altered requests that must end like that: above 0, at most 1.
    pub expect_share: Ratio,
    /// Altered requests count in the metrics of phases and spans, too.
    pub include: bool,
}

/// How a body is changed. Features are columns of the dataset, by index, ascending; never none.
#[derive(Clone, Debug, PartialEq)]
pub enum Alter {
    /// Numbers are shifted.
    Drift {
        /// Numeric columns that differ from row to row.
        features: Vec<usize>,
        /// By how many standard deviations of the column; not zero. Whole numbers stay whole.
        shift: f64,
    },
    /// Columns are left out.
    Drop {
        /// Never all of them.
        features: Vec<usize>,
    },
    /// Values are replaced by garbage, drawn from the seed.
    Corrupt {
        /// Which.
        features: Vec<usize>,
        /// By what.
        garbage: Garbage,
    },
    /// The body is no JSON any more: cut short, or with a byte that does not belong there.
    Malformed,
    /// Many rows in one body.
    Oversize {
        /// How many, at least 2.
        batch: usize,
    },
    /// Values that were never sent before, so that no cache of predictions can help.
    CacheBust {
        /// Which.
        features: Vec<usize>,
        /// Bodies made beforehand, at most: later requests begin with the first again.
        distinct: usize,
    },
}

/// What a corrupted value becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// Words where numbers belong, `"NaN"` among them: another type.
    Text,
    /// `null`.
    Null,
    /// Numbers far beyond anything that the feature has ever been.
    Huge,
    /// Values of the right type, drawn without regard to what the feature means.
    Noise,
}

/// The good end of an altered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A 4xx: the service says no.
    Rejected,
    /// A good answer, by the protocol.
    Answered,
    /// One of the two: the service neither breaks nor hangs.
    Either,
}

impl Alter {
    /// The word of the language.
    pub fn word(&self) -> &'static str {
        match self {
            Alter::Drift { .. } => "payload-drift",
            Alter::Drop { .. } => "payload-drop",
            Alter::Corrupt { .. } => "payload-corrupt",
            Alter::Malformed => "payload-malformed",
            Alter::Oversize { .. } => "payload-oversize",
            Alter::CacheBust { .. } => "payload-cache-bust",
        }
    }

    /// The columns that it touches; none where it touches no single ones.
    pub fn features(&self) -> &[usize] {
        match self {
            Alter::Drift { features, .. }
            | Alter::Drop { features }
            | Alter::Corrupt { features, .. }
            | Alter::CacheBust { features, .. } => features,
            Alter::Malformed | Alter::Oversize { .. } => &[],
        }
    }
}

impl Dataset {
    /// Every cell of this column that is not empty is a whole number, written as one: such columns are keys more often than not,
    /// and a gap makes them none the less so.
    pub fn whole_or_empty(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().map(|r| r[column].trim()).filter(|cell| !cell.is_empty());
        self.numeric[column] && cells.all(|cell| cell.parse::<i64>().is_ok())
    }
}

impl Garbage {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            Garbage::Text => "text",
            Garbage::Null => "null",
            Garbage::Huge => "huge",
            Garbage::Noise => "noise",
        }
    }
}

impl Expect {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            Expect::Rejected => "rejected",
            Expect::Answered => "answered",
            Expect::Either => "either",
        }
    }
}
