//! A sequence of steps that are timed, that go on after a failure, and that end in one table.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::Result;

/// What ran so far.
#[derive(Default)]
pub struct Steps {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    outcome: Outcome,
    took: Option<Duration>,
}

#[derive(PartialEq)]
enum Outcome {
    Passed,
    Failed(String),
    LeftOut(String),
}

impl Steps {
    /// Run one step, unless one of the steps it `needs` did not pass.
    pub fn run(&mut self, name: &str, needs: &[&str], work: impl FnOnce() -> Result<()>) {
        if let Some(missing) = needs.iter().find(|need| !self.passed(need)) {
            return self.leave_out(name, &format!("needs `{missing}`, which did not pass"));
        }
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("{name} failed: {error}");
                Outcome::Failed(error.to_string())
            }
        };
        self.rows.push(Row { name: name.into(), outcome, took: Some(start.elapsed()) });
    }

    /// Record that a step was not run, and why, so that nothing is skipped silently.
    pub fn leave_out(&mut self, name: &str, why: &str) {
        self.rows.push(Row { name: name.into(), outcome: Outcome::LeftOut(why.into()), took: None });
    }

    /// Print the table; failure if any step failed.
    pub fn finish(self) -> ExitCode {
        print!("\n{self}");
        if self.count_failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn passed(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row.name == name && row.outcome == Outcome::Passed)
    }

    fn count_failed(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_))).count()
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max("step".len());
        writeln!(f, "{:width$}  {:>7}  result", "step", "seconds")?;
        for Row { name, outcome, took } in &self.rows {
            let seconds = took.map_or_else(|| "-".into(), |took| format!("{:.1}", took.as_secs_f64()));
            writeln!(f, "{name:width$}  {seconds:>7}  {outcome}")?;
        }
        let passed = self.rows.iter().filter(|row| row.outcome == Outcome::Passed).count();
        writeln!(f, "{passed} passed, {} failed", self.count_failed())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A table row is one line, whatever the program had to say.
        let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        match self {
            Outcome::Passed => write!(f, "ran: passed"),
            Outcome::Failed(why) => write!(f, "ran: FAILED: {}", first_line(why)),
            Outcome::LeftOut(why) => write!(f, "left out: {}", first_line(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_out_what_needs_it_and_nothing_else() {
        let mut steps = Steps::default();
        steps.run("build", &[], || Err("exit status: 1\nmore".into()));
        steps.run("demo", &["build"], || panic!("must not run"));
        steps.run("doc", &[], || Ok(()));
        for row in &mut steps.rows {
            row.took = row.took.map(|_| Duration::from_millis(1500));
        }
        assert_eq!(
            steps.to_string(),
            "\
step   seconds  result
build      1.5  ran: FAILED: exit status: 1
demo         -  left out: needs `build`, which did not pass
doc        1.5  ran: passed
1 passed, 1 failed
"
        );
        assert_eq!(steps.finish(), ExitCode::FAILURE);
    }
}
