//! Upkeep that runs by itself: where it can live, which place fits a machine, and what is written there.
//!
//! Texts from texts: a crontab with our lines, units of systemd, a devcontainer's settings, a workflow of GitHub's. What a
//! person wrote beside them stays as it is, byte for byte.

pub mod cron;
pub mod devcontainer;
pub mod systemd;
pub mod workflow;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::error::{Error, Result};

/// Where something can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The user's crontab.
    Cron,
    /// A timer of the user's systemd.
    Systemd,
    /// `postStartCommand` of a development container, as Codespaces starts it.
    Codespaces,
    /// A workflow of GitHub Actions.
    Github,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cron, Self::Systemd, Self::Codespaces, Self::Github];

    /// As in JSON, and as a flag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Systemd => "systemd",
            Self::Codespaces => "codespaces",
            Self::Github => "github",
        }
    }
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The program: a path, or a name that is found where it runs.
    pub program: String,
    /// The workspace's folder, absolute.
    pub workspace: String,
    /// The workspace below its git repository, for what runs in a checkout; empty when it is the repository itself.
    pub below: String,
    /// The workspace's name, as a word.
    pub name: String,
    /// Variables that the program is to be run with. None of them is a secret.
    pub variables: BTreeMap<String, String>,
}

/// What is run of it, everywhere: what is not due is a look at the log.
pub const ARGUMENTS: &str = "maintain due --yes";

/// Upkeep is asked for every so many hours, not once a day: a machine that sleeps at noon gets its upkeep in the evening.
const EVERY: u8 = 4;

impl Job {
    /// A job whose paths can be written into one line.
    pub fn check(&self) -> Result<()> {
        let texts = [&self.program, &self.workspace].into_iter().chain(self.variables.values());
        match texts.into_iter().find(|text| text.chars().any(char::is_control)) {
            None => Ok(()),
            Some(text) => Err(Error::usage(format!("{text:?} cannot be written into a schedule"))
                .hint("give it a name without line ends")),
        }
    }

    /// The hour, below [`EVERY`], and the minute at which it begins: not the same for everybody, always the same here.
    fn start(&self) -> (u8, u8) {
        let digest = Sha256::of(self.workspace.as_bytes());
        let [hour, minute, ..] = *digest.as_bytes();
        (hour % EVERY, minute % 60)
    }

    /// Tells this workspace's units from those of another one of the same name.
    fn slug(&self) -> String {
        let digest = Sha256::of(self.workspace.as_bytes()).to_string();
        format!("modelkeep-{}-{}", self.name, &digest[..8])
    }
}

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// It is a Codespace.
    pub codespace: bool,
    /// The user's systemd answers.
    pub systemd: bool,
    /// There is a `crontab`.
    pub crontab: bool,
    /// The repository has a development container.
    pub devcontainer: bool,
    /// Where it is scheduled already.
    pub scheduled: BTreeSet<Place>,
}

/// Where it should live on such a machine, and why; `None`: nothing here runs things by itself.
pub fn choose(seen: &Seen) -> Option<(Place, &'static str)> {
    if let Some(place) = seen.scheduled.first() {
        return Some((*place, "it is there already"));
    }
    let fits = [
        (seen.codespace, Place::Codespaces, "this is a Codespace, which stops and starts"),
        (seen.systemd, Place::Systemd, "systemd runs for this user"),
        (seen.crontab, Place::Cron, "there is a crontab, and no systemd for this user"),
        (seen.devcontainer, Place::Codespaces, "the repository has a development container"),
    ];
    fits.into_iter().find_map(|(fits, place, why)| fits.then_some((place, why)))
}

/// What a text is that we write whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As we wrote it, now or in an earlier version.
    Ours,
    /// Ours, and changed by hand.
    Edited,
    /// Somebody else's.
    Foreign,
}

const SIGNED: &str = "# Written by modelkeep maintain schedule, which takes it out with --remove. Unchanged: ";

/// A text with a first line by which we know it again, and whether somebody changed it.
fn signed(body: &str) -> String {
    format!("{SIGNED}{}\n{body}", &Sha256::of(body.as_bytes()).to_string()[..16])
}

/// Whose a text is.
pub fn standing(text: &str) -> Standing {
    let Some((first, body)) = text.split_once('\n') else { return Standing::Foreign };
    match first.strip_prefix(SIGNED) {
        None => Standing::Foreign,
        Some(digest) if Sha256::of(body.as_bytes()).to_string().starts_with(digest) && digest.len() == 16 => {
            Standing::Ours
        }
        Some(_) => Standing::Edited,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn job() -> Job {
        Job {
            program: "/usr/local/bin/modelkeep".to_owned(),
            workspace: "/home/ana/100% banking's".to_owned(),
            below: String::new(),
            name: "banking".to_owned(),
            variables: [("HF_HOME".to_owned(), "/data/hf cache".to_owned())].into(),
        }
    }

    #[test]
    fn a_machine_gets_what_fits_it_and_keeps_what_it_has() {
        let all = Seen { codespace: true, systemd: true, crontab: true, devcontainer: true, scheduled: [].into() };
        let place = |seen: &Seen| choose(seen).map(|(place, _)| place);
        assert_eq!(place(&all), Some(Place::Codespaces));
        let desk = Seen { codespace: false, ..all.clone() };
        assert_eq!(place(&desk), Some(Place::Systemd));
        assert_eq!(place(&Seen { systemd: false, ..desk.clone() }), Some(Place::Cron));
        assert_eq!(place(&Seen { systemd: false, crontab: false, ..desk.clone() }), Some(Place::Codespaces));
        assert_eq!(place(&Seen { scheduled: [Place::Cron, Place::Github].into(), ..desk }), Some(Place::Cron));
        assert_eq!(place(&Seen::default()), None);
    }

    #[test]
    fn what_somebody_changed_is_told_from_what_we_wrote() {
        let text = signed("a\nb\n");
        assert_eq!(standing(&text), Standing::Ours);
        assert_eq!(standing(&text.replace("b\n", "c\n")), Standing::Edited);
        assert_eq!(standing(&format!("{SIGNED}\na\n")), Standing::Edited);
        assert_eq!(standing("a\nb\n"), Standing::Foreign);
        assert_eq!(standing(""), Standing::Foreign);
    }

    #[test]
    fn a_path_with_a_line_end_goes_into_no_schedule() {
        assert!(job().check().is_ok());
        assert!(Job { workspace: "/a\nrm -rf".to_owned(), ..job() }.check().is_err());
        assert!(Job { variables: [("A".to_owned(), "b\n".to_owned())].into(), ..job() }.check().is_err());
    }
}
