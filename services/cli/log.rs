//! The log: to standard error, never from the data path.

use tidegate_config::LogLevel;
use tracing::level_filters::LevelFilter;

/// Sends the log to standard error from `level` on. `RUST_LOG` refines it, as everywhere in Rust.
/// A second call changes nothing.
pub fn to_stderr(level: LogLevel) {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(filter(level).into())
        .from_env_lossy();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init();
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
