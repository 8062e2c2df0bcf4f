//! The feature for development containers: its install script is run into a folder, and what it installs is used.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sealed::Sealed;

#[test]
fn a_container_gets_the_program_its_cache_and_what_its_code_pins() {
    let sealed = Sealed::with_models();
    sealed.ok("use banking-v2@prod");
    sealed.forget_outputs();
    let feature = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integrations/devcontainer/src/modelkeep");
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(feature.join("devcontainer-feature.json")).unwrap()).unwrap();
    assert_eq!(told["options"]["budget"]["default"], "2GB");
    let root = sealed.root.join("container");
    let install = |from: &str| {
        let mut shell = Command::new("sh");
        shell.arg(feature.join("install.sh")).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell.env("ROOT", &root).env("BUDGET", "3GB").env("FROM", from);
        shell.output().unwrap()
    };
    let missing = install("/nowhere/modelkeep");
    assert!(
        !missing.status.success()
            && String::from_utf8_lossy(&missing.stderr).contains("/nowhere/modelkeep is not there")
    );
    // Twice, as when a container is built again.
    for _ in 0..2 {
        let output = install(env!("CARGO_BIN_EXE_modelkeep"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let profile = fs::read_to_string(root.join("etc/profile.d/modelkeep.sh")).unwrap();
    let home = told["containerEnv"]["HF_HOME"].as_str().unwrap();
    assert!(profile.contains(&format!("HF_HOME=\"{home}\"")) && profile.contains("3GB"), "{profile}");
    let hook = root.join(told["postCreateCommand"].as_str().unwrap().trim_start_matches('/'));
    let created = |folder: &Path| {
        let mut shell = Command::new(&hook);
        let path = format!("{}:{}", root.join("usr/local/bin").display(), std::env::var("PATH").unwrap_or_default());
        shell
            .current_dir(folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", sealed.root.join("home"))
            .env("USER", "ana");
        shell.output().unwrap()
    };
    let output = created(&sealed.work());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(sealed.work().join("models/banking-v2/prod/adapter_model.safetensors").is_file());
    assert!(sealed.ok("history").stdout.contains("upkeep on "), "the log was told");
    // Where there is no workspace nothing is done, and nothing fails.
    let nowhere = created(&sealed.root.join("home"));
    assert!(nowhere.status.success() && nowhere.stdout.is_empty());
}
