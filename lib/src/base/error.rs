//! Errors that name the attempt, the subject and the way out; their kind decides the exit code, here and nowhere else.

use serde_json::{Value, json};
use std::fmt;

/// `Result` of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is. One kind, one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename_all = "snake_case"))]
pub enum Kind {
    /// Failed; nothing changed, or everything was undone (1).
    Failed,
    /// Part of the answer is missing (3).
    Partial,
    /// Failed and not fully undone; the residue is listed (4).
    Residue,
    /// Refused by a person or by policy: not confirmed, read-only, protected, a pre-check (5).
    Refused,
    /// The plan's base is no longer what the machine has (6).
    Stale,
    /// The service's interface is not the one the mapping was written for (6).
    InterfaceChanged,
    /// Signature, digest or content check failed (7).
    Untrusted,
    /// Wrong use of the command line (64).
    Usage,
    /// Unreadable or ill-typed input (65).
    BadInput,
    /// The bus or the service is not there (69).
    Unavailable,
    /// The service did not answer in time (69).
    Timeout,
    /// Another run holds the lock (75).
    Locked,
    /// Permission denied (77).
    Denied,
}

impl Kind {
    /// The process exit code of this kind.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Partial => 3,
            Self::Residue => 4,
            Self::Refused => 5,
            Self::Stale | Self::InterfaceChanged => 6,
            Self::Untrusted => 7,
            Self::Usage => 64,
            Self::BadInput => 65,
            Self::Unavailable | Self::Timeout => 69,
            Self::Locked => 75,
            Self::Denied => 77,
        }
    }

    /// The word for this kind in the error document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::Residue => "residue",
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::InterfaceChanged => "interface_changed",
            Self::Untrusted => "untrusted",
            Self::Usage => "usage",
            Self::BadInput => "bad_input",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Locked => "locked",
            Self::Denied => "denied",
        }
    }
}

/// A failure: what was attempted and why it failed (`message`), on what (`subject`), and the way out (`hint`).
///
/// `also` holds further failures of the same run, so that every mismatch is reported and not only the first.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Failure"))]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// The attempt and the cause, in one sentence without a final full stop.
    pub message: String,
    /// What it happened to: a file and line, a plugin's key, a service, a call.
    pub subject: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The D-Bus error name, when a service gave one.
    pub dbus_error: Option<String>,
    /// Further failures of the same run.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub also: Vec<Error>,
}

/// The failure of a program that prints JSON: one document on stderr.
#[cfg(feature = "schema")]
#[derive(Debug, schemars::JsonSchema)]
pub struct ErrorDocument {
    /// The failure.
    pub error: Error,
}

impl Error {
    /// A failure of `kind` with its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), subject: None, hint: None, dbus_error: None, also: Vec::new() }
    }

    /// [`Kind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// [`Kind::BadInput`].
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Kind::BadInput, message)
    }

    /// [`Kind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// [`Kind::Untrusted`].
    pub fn untrusted(message: impl Into<String>) -> Self {
        Self::new(Kind::Untrusted, message)
    }

    /// [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A failed file operation: `attempt` reads like "read the plugin's manifest".
    pub fn io(attempt: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
            _ => Kind::Failed,
        };
        let failure = Self::new(kind, format!("could not {attempt}: {error}")).on(path.display().to_string());
        match error.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => {
                failure.hint("it is mounted read-only: mount it for writing, or choose another place")
            }
            _ => failure,
        }
    }

    /// Says what it happened to.
    #[must_use]
    pub fn on(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says what it happened to unless that is known already.
    #[must_use]
    pub fn or_on(mut self, subject: impl Into<String>) -> Self {
        self.subject.get_or_insert_with(|| subject.into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the D-Bus error name the service gave.
    #[must_use]
    pub fn dbus(mut self, name: impl Into<String>) -> Self {
        self.dbus_error = Some(name.into());
        self
    }

    /// Folds several failures into one, whose `also` is flat; `None` when there are none.
    #[must_use]
    pub fn all(errors: Vec<Error>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for mut other in errors {
            let more = std::mem::take(&mut other.also);
            first.also.push(other);
            first.also.extend(more);
        }
        Some(first)
    }

    /// The error document: `{"error":{"kind","message",...}}`; absent fields are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "error": self.fields() })
    }

    fn fields(&self) -> Value {
        let mut map = serde_json::Map::new();
        map.insert("kind".into(), self.kind.as_str().into());
        map.insert("message".into(), self.message.clone().into());
        for (key, value) in [("subject", &self.subject), ("hint", &self.hint), ("dbus_error", &self.dbus_error)] {
            if let Some(value) = value {
                map.insert(key.into(), value.clone().into());
            }
        }
        if !self.also.is_empty() {
            let also = self.also.iter().map(Self::fields).collect();
            map.insert("also".into(), Value::Array(also));
        }
        Value::Object(map)
    }
}

impl fmt::Display for Error {
    /// Several lines for people: the failure, then its hint, then the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "{subject}: {}", self.message)?,
            None => write!(f, "{}", self.message)?,
        }
        if let Some(name) = &self.dbus_error {
            write!(f, " ({name})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        for other in &self.also {
            write!(f, "\n{other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
