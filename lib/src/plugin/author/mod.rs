//! The tools of a mapping's author: checking a mapping against what a service says of itself, drafting one from it, and
//! learning one by watching. Pure: introspection and texts in, findings and texts out.
//!
//! They guess, by names and types, and say so. They know words, such as "Add" and "interactive", and no service.

pub mod check;
pub mod draft;
pub mod finding;
pub mod learn;
pub mod lint;
pub mod places;
pub mod surface;
pub mod words;

pub use check::{DraftDocument, LearnedCommand, LearnedService, Lessons, RoundTrip};
pub use draft::Draft;
pub use finding::{Finding, Level, LintReport};
pub use surface::Surface;
