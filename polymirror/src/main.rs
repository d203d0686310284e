//! The polymirror binary.
fn main() {}
