//! Which crate may depend on which. `ARCHITECTURE.md` says why; this is the list that holds.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Finding;
use crate::Result;
use crate::workspace::Workspace;

/// Every crate of the workspace, and the crates of the workspace that it may use in what it ships.
const ALLOWED: &[(&str, &[&str])] = &[
    ("modelkeep-core", &[]),
    ("modelkeep-http", &["modelkeep-core"]),
    ("modelkeep-remote", &["modelkeep-core", "modelkeep-http"]),
    ("modelkeep-hub", &["modelkeep-core", "modelkeep-http"]),
    ("modelkeep-ops", &["modelkeep-core", "modelkeep-remote", "modelkeep-hub"]),
    ("modelkeep-server", &["modelkeep-ops", "modelkeep-core", "modelkeep-remote", "modelkeep-hub"]),
    ("modelkeep", &["modelkeep-ops", "modelkeep-server", "modelkeep-core"]),
    ("modelkeep-python", &["modelkeep-ops", "modelkeep-core"]),
    // Fakes and faults: others may name it as a dev-dependency, which this rule does not see.
    ("modelkeep-testkit", &["modelkeep-core"]),
    ("xtask", &[]),
];

pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let text = fs::read_to_string(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
        let path = manifest.strip_prefix(&workspace.root).unwrap_or(manifest);
        findings.extend(wrong_arrows(package).into_iter().map(|(needle, what, fix)| Finding {
            path: path.to_string_lossy().replace('\\', "/"),
            line: text.lines().position(|line| line.contains(&needle)).map_or(1, |index| index + 1),
            what,
            fix,
        }));
    }
    Ok(findings)
}

/// For one package of `cargo metadata`: the text to look for in its manifest, what is wrong, how to fix it.
fn wrong_arrows(package: &Value) -> Vec<(String, String, &'static str)> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ALLOWED.iter().find(|(from, _)| *from == name) else {
        return vec![(
            format!("name = \"{name}\""),
            format!("the crate {name} has no place in the order of crates"),
            "say what it may depend on in xtask/src/tidy/arrows.rs and in ARCHITECTURE.md",
        )];
    };
    let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|to| ALLOWED.iter().any(|(ours, _)| ours == to) && !allowed.contains(to))
        .map(|to| {
            (
                to.to_owned(),
                format!("{name} may not depend on {to}"),
                "move what you need to a crate both may use, or pass it in from above (ARCHITECTURE.md has the order)",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(name: &str, dependencies: &Value) -> Vec<String> {
        let package = json!({ "name": name, "dependencies": dependencies });
        wrong_arrows(&package).into_iter().map(|(_, what, _)| what).collect()
    }

    #[test]
    fn arrows_point_one_way() {
        let on_core = json!([{ "name": "modelkeep-core", "kind": null }, { "name": "serde", "kind": null }]);
        assert_eq!(wrong("modelkeep-remote", &on_core), [""; 0]);
        let on_ops = json!([{ "name": "modelkeep-ops", "kind": null }]);
        assert_eq!(wrong("modelkeep-core", &on_ops), ["modelkeep-core may not depend on modelkeep-ops"]);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        let kit = |kind: Value| json!([{ "name": "modelkeep-testkit", "kind": kind }]);
        assert_eq!(wrong("modelkeep-ops", &kit(json!("dev"))), [""; 0]);
        assert_eq!(wrong("modelkeep-ops", &kit(json!(null))), ["modelkeep-ops may not depend on modelkeep-testkit"]);
    }

    #[test]
    fn a_new_crate_has_to_be_placed() {
        assert_eq!(wrong("modelkeep-new", &json!([])), ["the crate modelkeep-new has no place in the order of crates"]);
    }
}
