//! To come.
pub(super) async fn run(_how: &str) {}
