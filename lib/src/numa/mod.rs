//! Where memory and processors are.
