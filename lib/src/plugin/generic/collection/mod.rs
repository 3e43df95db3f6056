//! Collections: objects of items, read from wherever the service keeps them, and made, changed and deleted by whatever
//! calls the mapping says.

mod changes;
mod items;
mod join;
mod named;
mod protection;
mod shape;
mod whole;
mod words;

pub use items::{read, rows};
pub use shape::to_state;
