//! A workflow of GitHub Actions: upkeep of the store once a day, wherever nobody's machine is on.

use super::{ARGUMENTS, Job, signed};

/// Where it is in a repository.
pub const FILE: &str = ".github/workflows/modelkeep-upkeep.yml";
/// The secret that holds a login: what `credentials.json` of a login holds.
pub const SECRET: &str = "MODELKEEP_CREDENTIALS";

/// The file. Every run is a new machine, so it has one name for all of them in the log.
pub fn file(job: &Job) -> String {
    let (hour, minute) = job.start();
    let folder = if job.below.is_empty() {
        String::new()
    } else {
        // A text in single quotes is a text in YAML, whatever is in it.
        format!("        working-directory: '{}'\n", job.below.replace('\'', "''"))
    };
    signed(&format!(
        r#"name: modelkeep upkeep

on:
  schedule:
    - cron: "{minute} {hour} * * *"
  workflow_dispatch:

permissions:
  contents: read

concurrency:
  group: modelkeep-upkeep

jobs:
  upkeep:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install modelkeep
      - name: the login to the store
        env:
          LOGIN: ${{{{ secrets.{SECRET} }}}}
        run: |
          umask 077
          printf '%s' "$LOGIN" >"$RUNNER_TEMP/credentials.json"
      - run: modelkeep {ARGUMENTS}
{folder}        env:
          MODELKEEP_CREDENTIALS: ${{{{ runner.temp }}}}/credentials.json
          HOSTNAME: github-actions
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::job;

    #[test]
    fn a_workflow_runs_where_the_workspace_is() {
        assert!(!file(&job()).contains("working-directory"));
        let below = Job { below: "models of ana's".to_owned(), ..job() };
        assert!(file(&below).contains("\n        working-directory: 'models of ana''s'\n        env:\n"));
        assert!(file(&job()).contains("LOGIN: ${{ secrets.MODELKEEP_CREDENTIALS }}\n"));
    }
}
