//! Where the program's own log goes: standard error, or a file while the terminal shows the screen.

use std::{fs::OpenOptions, path::Path, sync::Arc};

use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::error::Error;

/// What is logged unless `RUST_LOG` says otherwise: librdkafka is chatty below warnings.
const DEFAULT: &str = "info,librdkafka=warn,rdkafka=warn,sqlx=warn,hyper=warn,reqwest=warn";

/// Logs to standard error, as text or as JSON lines.
pub fn to_stderr(json: bool) {
    install(json, BoxMakeWriter::new(std::io::stderr));
}

/// Logs to a file, appending.
///
/// # Errors
/// A file that cannot be written.
pub fn to_file(path: &Path, json: bool) -> Result<(), Error> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| Error::DataDir(format!("{}: {e}", path.display())))?;
    install(json, BoxMakeWriter::new(Arc::new(file)));
    Ok(())
}

fn install(json: bool, writer: BoxMakeWriter) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    // A line that cannot be written is lost. Told on standard error, where nobody may read it any more, that would end
    // whatever task had something to say.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    // A second subscriber would be a bug of ours; it does no harm.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}
