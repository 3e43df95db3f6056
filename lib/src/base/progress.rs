//! How long work says how far it is, without knowing whether anyone looks.

/// Hears how far work is. Implemented by `cli` for terminals, by [`Silent`] for everyone else.
pub trait Progress {
    /// What is being done, and how much of it in percent when that is known.
    fn say(&mut self, text: &str, percent: Option<u8>);

    /// One of the great steps of the work begins.
    fn step(&mut self, _label: &str) {}
}

/// Nobody looks.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn say(&mut self, _text: &str, _percent: Option<u8>) {}
}
