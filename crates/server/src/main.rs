//! The binary: reads the command line and the configuration, runs, and says by its exit code
//! how that went: 0 done, 1 failed while running, 2 wrong configuration or usage.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use server::args::{self, Command, Source};
use server::bucket_cli::{self, BucketCommand, Outcome};
use server::config::{self, Config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => return refuse(&message),
    };
    match command {
        Command::Help => print(args::HELP),
        Command::Version => print(&format!("{}\n", server::version::line())),
        Command::PrintDefaults => print(&config::print_defaults()),
        Command::BenchBlock(bench) => match server::bench::block::run(&bench) {
            Ok(report) => print(&report),
            Err(error) => fail(&format!("{error:#}")),
        },
        Command::Bucket(command, source) => match configure(&source) {
            Ok(config) => look(&command, &config),
            Err(message) => refuse(&message),
        },
        Command::Check(source) => match configure(&source) {
            Ok(_) => print("the configuration is good\n"),
            Err(message) => refuse(&message),
        },
        Command::Run(source) => match configure(&source) {
            Ok(config) => run(&config),
            Err(message) => refuse(&message),
        },
    }
}

fn configure(source: &Source) -> Result<Config, String> {
    let env = |name: &str| std::env::var(name).ok();
    config::load(source.file.as_deref(), &source.overrides, &env).map_err(|e| e.to_string())
}

/// Looks into the bucket. Warnings go to standard error, away from what was asked for.
fn look(command: &BucketCommand, config: &Config) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = bucket_cli::run(command, config, &mut out);
    let flushed = out.flush();
    match done {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Damaged) => ExitCode::from(FAILED),
        // A reader that went away (`| head`) is no failure.
        Err(_) if flushed.is_err_and(|e| e.kind() == ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn run(config: &Config) -> ExitCode {
    server::logging::init(&config.log);
    match server::run::until_signal(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("stopped: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Prints what was asked for. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "tidemark: {message}");
    ExitCode::from(FAILED)
}

fn refuse(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "tidemark: {message}");
    ExitCode::from(WRONG_USAGE)
}
