//! `souk completions` and `souk man`: files that a package installs beside the program. They are generated from the
//! command line's own description, so they always match it.

use super::{Cli, output};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `souk completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "souk", &mut script);
        output::text(&String::from_utf8_lossy(&script));
        ExitCode::SUCCESS
    }
}

/// The arguments of `souk man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder for the pages, one per command: souk.1, souk-up.1, ...
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.folder)?;
        clap_mangen::generate_to(Cli::command(), &self.folder)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_the_table_of_the_readme() {
        const README: &str = include_str!("../../../../README.md");
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let is_listed = [' ', '`'].iter().any(|end| README.contains(&format!("`souk {name}{end}")));
            assert!(is_listed, "README.md does not have `souk {name}` in its table of commands");
        }
    }
}
