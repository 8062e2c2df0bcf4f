//! Where the workspace is, what is in it, and how programs are started in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;

/// The workspace that `cargo xtask` was called in.
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    /// The `packages` of `cargo metadata`: the workspace's own crates.
    pub packages: Vec<Value>,
}

impl Workspace {
    pub fn find() -> Result<Self> {
        let json = output(Command::new(cargo()).args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&json)?;
        let text = |key: &str| metadata[key].as_str().ok_or(format!("cargo metadata has no {key}"));
        Ok(Self {
            root: text("workspace_root")?.into(),
            target: text("target_directory")?.into(),
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// A command that runs at the root of the workspace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.root);
        command
    }

    /// `cargo` with these arguments, separated by spaces.
    pub fn cargo(&self, args: &str) -> Command {
        let mut command = self.command(cargo());
        command.args(args.split(' '));
        command
    }

    /// The files that are in git or would be with the next `git add`, as paths from the root with `/`.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut git = self.command("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let mut files: Vec<String> = output(&mut git)?
            .split_terminator('\0')
            // A file removed but not yet committed is still listed.
            .filter(|path| self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Build what users get, and say where it is.
    pub fn build_release(&self) -> Result<()> {
        run(&mut self.cargo("build --release --locked -p modelkeep"))
    }

    /// The program that [`Workspace::build_release`] makes.
    pub fn release_binary(&self) -> PathBuf {
        self.target.join("release").join(format!("modelkeep{}", std::env::consts::EXE_SUFFIX))
    }

    /// A program as `cargo build` makes it.
    pub fn debug_binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }
}

/// The Python that is asked for by name; everything else happens in the virtualenv made from it.
pub const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };

/// The cargo that runs us, so that a chosen toolchain stays chosen.
fn cargo() -> PathBuf {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into()
}

/// Run a command with its output on the terminal; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}").into()) }
}

/// Run a command and return what it prints; an error unless it succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// The command as a person would type it; the full path of a program is noise.
fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
