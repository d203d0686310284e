//! `up`: everything in one process, and what flows on the screen.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use pgcluster::Status;
use project::Connections;
use runtime::Stop;
use simulator::{Options, Prints, Simulator};
use tokio::task::JoinSet;

use crate::{
    cli::UpArgs,
    demo,
    drain::then_stop,
    error::Error,
    installation::{Database, Installation},
    recall,
    screen::{self, Header},
    simulate,
    stages::{self, DECIDE, EXECUTE, PROJECT, Shared},
};

/// How often the screen is drawn anew.
const FRAME: Duration = Duration::from_millis(500);
/// How often a line is printed where there is no screen.
const LINE: Duration = Duration::from_secs(5);

/// The stages, each with a stop of its own: they are drained one after another.
struct Running {
    tasks: JoinSet<(&'static str, Result<(), Error>)>,
    ingest: Stop,
    decide: Stop,
    execute: Stop,
    project: Stop,
    api: Stop,
}

/// Whether the terminal shows a screen, or lines.
fn has_screen(args: &UpArgs) -> bool {
    !args.plain && std::io::stdout().is_terminal()
}

/// Runs everything until it is asked to stop, or until a stage ends by itself.
///
/// # Errors
/// Whatever ended it.
pub async fn run(installation: Installation, args: UpArgs, stop: Stop) -> Result<ExitCode, Error> {
    let simulator = start_simulator(&installation, &args).await?;
    let venue = match &simulator {
        Some(simulator) => simulator.base_url.clone(),
        None => installation.simulator_url()?.to_owned(),
    };
    let shared = Shared::open(&installation).await?;
    let database = installation.database_to_set_up().await?;
    installation.migrate(&database).await?;
    if let Some(simulator) = simulator.as_ref().filter(|_| !args.no_demo) {
        demo::set_up(&installation, &database, &simulator.handle().leaders()).await?;
    }
    recall::totals(&installation, &database.connections).await;
    let mut running = start_stages(&shared, &database.connections, &venue);
    let header = header(&installation, &database, &venue);
    let show = tokio::spawn(show(installation.clone(), header, has_screen(&args)));

    let ended = wait(&installation, &args, &database, &mut running, &stop).await;
    let drained = drain(&shared, running).await;
    show.abort();
    if let Some(simulator) = simulator {
        simulator.stop().await;
    }
    println!("{}", screen::line(&installation.board.figures(), installation.clock.monotonic()));
    let closed = database.close().await;
    ended.and(drained).and(closed).map(|()| ExitCode::SUCCESS)
}

async fn start_simulator(installation: &Installation, args: &UpArgs) -> Result<Option<Simulator>, Error> {
    if !installation.config.venue.simulator_url.is_empty() {
        return Ok(None);
    }
    let config = &installation.config.simulator;
    let prints = match simulate::tape(&args.tape)? {
        Some(tape) => Prints::Tape(tape),
        None => Prints::Seeded(simulate::seeded(config, None, args.fills_per_second)),
    };
    let options = Options {
        prints,
        port: config.port,
        state: Some(installation.home.simulator()),
        ..Options::default()
    };
    let clock = installation.clock.clone();
    let simulator = Simulator::builder().options(options).clock(clock).start().await.map_err(Error::said)?;
    simulate::report(simulator.handle().tape_report());
    Ok(Some(simulator))
}

fn start_stages(shared: &Shared, database: &Connections, venue: &str) -> Running {
    let stops: [Stop; 5] = std::array::from_fn(|_| Stop::new());
    let [ingest, decide, execute, project, api] = stops;
    let mut tasks: JoinSet<(&'static str, Result<(), Error>)> = JoinSet::new();
    let own = || (shared.clone(), database.clone(), venue.to_owned());
    let ((s, _, url), stop) = (own(), ingest.clone());
    tasks.spawn(async move { ("ingest", stages::ingest(&s, &url, stop).await) });
    let ((s, ..), stop) = (own(), decide.clone());
    tasks.spawn(async move { ("decide", stages::decide(&s, stop).await) });
    let ((s, db, url), stop) = (own(), execute.clone());
    tasks.spawn(async move { ("execute", stages::execute(&s, &db, &url, stop).await) });
    let ((s, db, _), stop) = (own(), project.clone());
    tasks.spawn(async move { ("project", stages::project(&s, &db, stop).await) });
    let ((s, db, _), stop) = (own(), api.clone());
    tasks.spawn(async move { ("api", stages::api(&s, &db, stop).await) });
    Running { tasks, ingest, decide, execute, project, api }
}

/// Waits for a reason to stop: asked to, the time given is over, a stage or the database ended.
async fn wait(
    installation: &Installation,
    args: &UpArgs,
    database: &Database,
    running: &mut Running,
    stop: &Stop,
) -> Result<(), Error> {
    let mut cluster = database.cluster.as_ref().map(pgcluster::Cluster::status);
    let died = async {
        match &mut cluster {
            Some(status) => {
                let ended = status.wait_for(|s| *s != Status::Running).await;
                ended.map_or_else(|_| "it is gone".to_owned(), |s| format!("{s:?}"))
            }
            None => std::future::pending().await,
        }
    };
    let time_is_over = async {
        match args.stop_after {
            Some(seconds) => installation.clock.sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = stop.requested() => Ok(()),
        () = time_is_over => Ok(()),
        how = died => Err(Error::Database(format!("the private Postgres ended: {how}. Start again; if it ends again, \
                                                   read {}", installation.home.postgres().join("postgres.log").display()))),
        ended = running.tasks.join_next() => Err(match ended {
            Some(Ok((stage, Err(error)))) => Error::Said(format!("{error} ({stage} stopped)")),
            Some(Ok((stage, Ok(())))) => Error::Said(format!("stage_ended: {stage} ended without being asked")),
            Some(Err(panic)) => Error::Said(format!("stage_ended: a stage died: {panic}. Report this")),
            None => Error::Said("stage_ended: no stage runs".to_owned()),
        }),
    }
}

/// Stops the stages in the order in which a trade passes them, each once it has finished what lies before it.
async fn drain(shared: &Shared, mut running: Running) -> Result<(), Error> {
    let (log, clock) = (&*shared.log, &*shared.installation.clock);
    running.ingest.request();
    then_stop(log, clock, DECIDE, &running.decide).await;
    then_stop(log, clock, EXECUTE, &running.execute).await;
    then_stop(log, clock, PROJECT, &running.project).await;
    running.api.request();
    let mut outcome = Ok(());
    while let Some(ended) = running.tasks.join_next().await {
        if let Ok((stage, Err(error))) = ended {
            outcome = Err(Error::Said(format!("{error} ({stage} stopped)")));
        }
    }
    outcome
}

fn header(installation: &Installation, database: &Database, venue: &str) -> Header {
    let postgres = match &database.cluster {
        Some(cluster) => format!("private, 127.0.0.1:{}", cluster.port()),
        None => "as configured".to_owned(),
    };
    Header {
        lines: vec![
            format!("log       {}", installation.log_place()),
            format!("database  {postgres}"),
            format!("venue     simulator, {venue}"),
            format!("api       http://{}", installation.config.api.listen),
            format!(
                "data      {} (program log: {})",
                installation.home.dir().display(),
                installation.home.program_log().display()
            ),
        ],
    }
}

/// Draws until it is aborted.
async fn show(installation: Installation, header: Header, on_screen: bool) {
    let begun = installation.clock.monotonic();
    if !on_screen {
        for line in &header.lines {
            println!("{line}");
        }
    }
    loop {
        installation.clock.sleep(if on_screen { FRAME } else { LINE }).await;
        let up_for = installation.clock.monotonic().saturating_sub(begun);
        let figures = installation.board.figures();
        if on_screen {
            // A terminal that is gone is no reason to stop trading.
            let _ = screen::draw(&screen::full(&header, &figures, up_for));
        } else {
            println!("{}", screen::line(&figures, up_for));
        }
    }
}
