//! Logs on standard error: warnings, or what `STAYPUT_LOG` asks for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging. Who changes a running gateway is always told. A filter that can't be read falls back to warnings.
pub(crate) fn start() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .with_env_var("STAYPUT_LOG")
        .from_env_lossy()
        .add_directive("stayput::audit=info".parse().expect("a directive that stands here"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
