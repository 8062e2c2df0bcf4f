//! Lines of a crontab, between markers that name the workspace.

use std::fmt::Write as _;

use super::{ARGUMENTS, EVERY, Job};
use crate::error::{Error, Result};
use crate::placement::quote;

/// The longest command that Vixie's cron takes (`MAX_COMMAND` in its `cron.h`).
const LONGEST: usize = 999;

fn marker(arrow: &str, job: &Job) -> String {
    format!("# {arrow} modelkeep maintain: {}", job.workspace)
}

/// The lines of a job, markers and all. What it says is kept beside the workspace's state, the last run's alone: few machines
/// still bring cron's mail to anybody.
pub fn block(job: &Job) -> Result<String> {
    let (hour, minute) = job.start();
    let mut variables = String::new();
    for (name, value) in &job.variables {
        let _ = write!(variables, "{name}={} ", quote(value));
    }
    let command = format!(
        "cd {} && mkdir -p .modelkeep && {variables}{} {ARGUMENTS} >.modelkeep/upkeep.log 2>&1",
        quote(&job.workspace),
        quote(&job.program)
    );
    // A percent sign would be a line end to cron, even in quotes (crontab(5)).
    let command = command.replace('%', r"\%");
    if command.len() > LONGEST {
        return Err(Error::usage(format!("the command is too long for cron, which takes {LONGEST} bytes: {command}"))
            .hint("modelkeep maintain schedule --systemd"));
    }
    let (begin, end) = (marker(">>>", job), marker("<<<", job));
    Ok(format!("{begin}\n{minute} {hour}-23/{EVERY} * * * {command}\n{end}\n"))
}

/// A crontab with the job, in the place where it was, else at the end.
pub fn put(crontab: &str, job: &Job) -> Result<String> {
    let block = block(job)?;
    if let Some((begin, end)) = range(crontab, job)? {
        return Ok(format!("{}{block}{}", &crontab[..begin], &crontab[end..]));
    }
    let gap = if crontab.is_empty() || crontab.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{crontab}{gap}{block}"))
}

/// A crontab without it; `None`: it is not there.
pub fn take(crontab: &str, job: &Job) -> Result<Option<String>> {
    Ok(range(crontab, job)?.map(|(begin, end)| format!("{}{}", &crontab[..begin], &crontab[end..])))
}

/// Where its lines are.
fn range(crontab: &str, job: &Job) -> Result<Option<(usize, usize)>> {
    let (begin, end) = (marker(">>>", job), marker("<<<", job));
    let (mut at, mut from) = (0, None);
    for line in crontab.split_inclusive('\n') {
        let text = line.trim_end_matches(['\n', '\r']);
        if text == begin {
            from.get_or_insert(at);
        }
        at += line.len();
        if text == end
            && let Some(from) = from
        {
            return Ok(Some((from, at)));
        }
    }
    match from {
        None => Ok(None),
        Some(_) => Err(Error::conflict(format!("the crontab has `{begin}` and not the line that ends it"))
            .hint("crontab -e, and take the lines of modelkeep out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::job;

    #[test]
    fn lines_go_in_once_and_come_out_whole() {
        let theirs = "MAILTO=ana\n0 5 * * * backup\n";
        for before in ["", theirs, "0 5 * * * backup"] {
            let with = put(before, &job()).unwrap();
            assert_eq!(put(&with, &job()).unwrap(), with);
            assert!(with.starts_with(before) && with.ends_with('\n'));
            let without = take(&with, &job()).unwrap().unwrap();
            assert_eq!(without.trim_end(), before.trim_end());
            assert_eq!(take(&without, &job()).unwrap(), None);
            // What came after ours stays behind it, also when ours gives way to a newer one.
            let newer = Job { program: "/opt/modelkeep".to_owned(), ..job() };
            let after = put(&format!("{with}@daily other\n"), &newer).unwrap();
            assert!(after.contains("/opt/modelkeep") && after.ends_with("@daily other\n"));
            assert_eq!(after.matches("maintain due").count(), 1);
        }
        // Another workspace, even one whose path begins alike, is another job.
        let other = Job { workspace: format!("{} 2", job().workspace), ..job() };
        let both = put(&put(theirs, &other).unwrap(), &job()).unwrap();
        assert_eq!(take(&both, &job()).unwrap().unwrap(), put(theirs, &other).unwrap());
    }

    #[test]
    fn a_line_means_to_cron_and_the_shell_what_it_means_to_us() {
        let block = block(&job()).unwrap();
        let line = block.lines().nth(1).unwrap();
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        assert!(fields[0].parse::<u8>().unwrap() < 60 && fields[1].ends_with("-23/4") && fields[2..5] == ["*"; 3]);
        assert_eq!(
            fields[5],
            r"cd '/home/ana/100\% banking'\''s' && mkdir -p .modelkeep && HF_HOME='/data/hf cache' /usr/local/bin/modelkeep maintain due --yes >.modelkeep/upkeep.log 2>&1"
        );
        let long = Job { variables: [("HF_HOME".to_owned(), "x".repeat(1000))].into(), ..job() };
        assert!(super::block(&long).is_err());
        let broken = format!("{}\n0 5 * * * backup\n", marker(">>>", &job()));
        assert!(put(&broken, &job()).is_err() && take(&broken, &job()).is_err(), "nothing is guessed");
    }
}
