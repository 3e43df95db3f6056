//! The seven steps of an apply, as the founding document calls them.

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What is wanted is understood, and every plugin it names is found.
    Parse,
    /// What there is, is read.
    Query,
    /// What differs, and what is to be done about it.
    Diff,
    /// What is going to be done is put into words, and their vectors are asked for; nobody waits for them.
    Vectorize,
    /// It is done.
    Apply,
    /// It is read again, compared with what was wanted, and kept for those who ask for kept answers.
    Cache,
    /// What came of it is appended to the audit trail.
    Append,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Parse, Self::Query, Self::Diff, Self::Vectorize, Self::Apply, Self::Cache, Self::Append];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parse => "Parse Declarative State",
            Self::Query => "Query Current State",
            Self::Diff => "Calculate Diff",
            Self::Vectorize => "ML Vectorization",
            Self::Apply => "Apply Changes",
            Self::Cache => "Cache Update",
            Self::Append => "Blockchain Append",
        }
    }

    /// `2/7 Query Current State`.
    #[must_use]
    pub fn label(self) -> String {
        let position = Self::ALL.iter().position(|step| *step == self).unwrap_or_default() + 1;
        format!("{position}/{} {}", Self::ALL.len(), self.name())
    }
}
