//! `replay`: decides everything in the log again and says how many decisions are identical.

use std::process::ExitCode;

use replay::{Options, Report};

use crate::{error::Error, stages::Shared};

/// Replays the whole log. The exit code says whether all of it is identical.
///
/// # Errors
/// A log that cannot be read.
pub async fn run(shared: &Shared, show: usize) -> Result<ExitCode, Error> {
    let options = Options { describe: show, ..Options::default() };
    let report = replay::audit(&*shared.log, &shared.codec, &options).await.map_err(Error::said)?;
    print(&report);
    Ok(if report.is_identical() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) {
    println!("{report}");
    // Rounded down: 100 % means every one.
    let percent = (report.identical * 100).checked_div(report.decisions).unwrap_or(100);
    println!("replay: {percent} % identical");
}
