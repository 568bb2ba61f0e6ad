//! The command `athena-workflow`: runs jobs on a laptop, with the binaries and the state machine
//! that run on AWS.
//!
//! `main.rs` reads the arguments and hands them to [`execute`]; what is written goes through the
//! [`Terminal`] that it passes in.

pub mod args;
pub mod error;
pub mod interrupt;
pub mod local_stack;
pub mod progress;
pub mod queries;
pub mod report;
pub mod run;
pub mod sample;
pub mod schedules;
mod terminal;

use std::{env, path::PathBuf};

use crate::args::{Args, Command};
pub use crate::{
    error::{Error, Exit},
    terminal::Terminal,
};

/// What the command takes from the process that it runs in.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory of the Lambda binaries unless `--functions` names another.
    pub functions_dir: PathBuf,
}

impl Place {
    /// The binaries stand beside the one that runs.
    ///
    /// # Errors
    ///
    /// When the system does not tell where that is.
    pub fn of_this_process() -> Result<Self, Error> {
        let mut functions_dir = env::current_exe().map_err(Error::Executable)?;
        functions_dir.pop();
        Ok(Self { functions_dir })
    }
}

/// Does what `args` ask for until it is done or `interrupted` comes; says on the terminal what
/// went wrong.
pub async fn execute(
    args: &Args,
    place: &Place,
    terminal: &mut Terminal<'_>,
    interrupted: impl Future<Output = ()>,
) -> Exit {
    let done = match &args.command {
        Command::Run(args) => run::run(args, place, terminal, interrupted).await,
        Command::Local(args) => local_stack::serve(args, place, terminal, interrupted).await,
        Command::Sample(args) => sample::sample(args, terminal).await.map(|()| Exit::Success),
    };
    done.unwrap_or_else(|error| terminal.fail(&error))
}
