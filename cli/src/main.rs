//! The command `athena-workflow`.

use std::io;

use athena_workflow::{Place, Terminal, args::Args, execute, interrupt::interrupted};
use clap::Parser as _;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();

    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut terminal =
        Terminal::new(&mut out, &mut err, io::IsTerminal::is_terminal(&io::stderr()));
    let exit = match Place::of_this_process() {
        Ok(place) => execute(&args, &place, &mut terminal, interrupted()).await,
        Err(error) => terminal.fail(&error),
    };
    exit.into()
}
