//! A timer of the user's systemd, and the service that it starts.

use std::fmt::Write as _;

use super::{ARGUMENTS, EVERY, Job, signed};

/// The name of its timer.
pub fn timer_name(job: &Job) -> String {
    format!("{}.timer", job.slug())
}

/// The files of a job, name and text: the service, then the timer.
pub fn units(job: &Job) -> [(String, String); 2] {
    [(format!("{}.service", job.slug()), service(job)), (timer_name(job), timer(job))]
}

/// systemd.exec(5), systemd.service(5).
fn service(job: &Job) -> String {
    let mut environment = String::new();
    for (name, value) in &job.variables {
        let _ = writeln!(environment, "Environment={}", quoted(&format!("{name}={value}")));
    }
    signed(&format!(
        "[Unit]\nDescription=Upkeep of the models in {workspace}\nConditionPathIsDirectory={workspace}\n\n\
         [Service]\nType=oneshot\nWorkingDirectory={workspace}\n{environment}ExecStart={program} {ARGUMENTS}\n\
         Nice=10\nIOSchedulingClass=idle\n",
        workspace = plain(&job.workspace),
        program = quoted(&job.program),
    ))
}

/// systemd.timer(5). `Persistent`: what was missed while the machine was off is made up for.
fn timer(job: &Job) -> String {
    let (hour, minute) = job.start();
    signed(&format!(
        "[Unit]\nDescription=Upkeep of the models in {}\n\n\
         [Timer]\nOnCalendar=*-*-* {hour:02}/{EVERY}:{minute:02}:00\nPersistent=true\nRandomizedDelaySec=5min\n\n\
         [Install]\nWantedBy=timers.target\n",
        plain(&job.workspace),
    ))
}

/// A value that is the rest of its line. A percent sign begins a specifier (systemd.unit(5)).
fn plain(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', "%%")
}

/// One word, whatever is in it (systemd.syntax(7)).
fn quoted(text: &str) -> String {
    let plain = plain(text);
    if plain.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=:%".contains(c)) {
        return plain;
    }
    format!("\"{}\"", plain.replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::job;

    #[test]
    fn units_say_what_runs_when_and_where() {
        let [(service_name, service), (timer_name, timer)] = units(&job());
        assert_eq!(service_name.strip_suffix(".service"), timer_name.strip_suffix(".timer"));
        for line in [
            "WorkingDirectory=/home/ana/100%% banking's",
            "Environment=\"HF_HOME=/data/hf cache\"",
            "ExecStart=/usr/local/bin/modelkeep maintain due --yes",
        ] {
            assert!(service.lines().any(|found| found == line), "{line}\n{service}");
        }
        assert!(timer.contains("/4:") && timer.contains("Persistent=true"));
        let other = Job { workspace: "/elsewhere".to_owned(), ..job() };
        assert_ne!(super::timer_name(&other), timer_name, "two workspaces of one name");
        let spaced = Job { program: "/opt/my \"tools\"/modelkeep".to_owned(), ..job() };
        assert!(super::service(&spaced).contains("ExecStart=\"/opt/my \\\"tools\\\"/modelkeep\" maintain"));
    }
}
