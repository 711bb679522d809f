//! The `stayput` binary: runs and operates sessions and the gateway.
//!
//! It only puts the other crates together; whatever another program could want is theirs.

mod cli;
mod config;
mod data_dir;
mod failure;
mod gateway;
mod keyring_file;
mod keys;
mod logging;
mod sample;
mod sessions;
mod store_check;
mod up;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Command, ConfigCommand, StoreCommand};
use self::failure::Failure;

fn main() -> ExitCode {
    logging::start();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => block_on(up::run(args)),
        Command::Gateway(command) => block_on(gateway::run(command)),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Store(StoreCommand::Check { store }) => {
            let url = store.url()?;
            block_on(async move { store_check::run(&url).await })
        }
        Command::SampleServer(args) => block_on(sample::serve(args)),
        Command::Config(ConfigCommand::Default) => config::print_default(),
        Command::Config(ConfigCommand::Check { file }) => config::check(&file),
    }
}

/// Runs `work` on one thread: the gateway's and the stores' work is on threads of their own.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other("cannot start the runtime").because(error))?;
    let done = runtime.block_on(work);
    // Whoever still waits for a file that hangs is left behind; dropping the runtime would wait, too.
    runtime.shutdown_background();
    done
}
