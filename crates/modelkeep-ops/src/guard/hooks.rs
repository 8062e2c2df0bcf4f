//! Hooks that ask the guard before a commit and before a push, beside whatever hooks are there already.
//!
//! Ours is a block between markers in a shell script, so it lives with hooks that people, husky or pre-commit wrote. It
//! does nothing where modelkeep is not installed, and stops nothing but what the guard found.

use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stood_in;
use crate::context::Context;
use crate::git::Git;
use crate::gitignore;
use crate::pins::replace_file;
use crate::report::Step;

/// Whether to put the hooks there, or to take them away.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Install {
    /// Take them away.
    pub remove: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Installed {
    /// The folder that git, or what manages the hooks, takes them from.
    pub hooks_dir: String,
    /// Who manages the hooks there.
    pub managed_by: Manager,
    /// What was done, or would be; nothing when all was as it should be.
    pub steps: Vec<Step>,
    /// Whether anything was changed.
    pub changed: bool,
}

/// Who manages a repository's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// Nobody but git.
    Git,
    /// husky.
    Husky,
    /// pre-commit.
    PreCommit,
}

const BEGIN: &str = "# >>> modelkeep guard";
const END: &str = "# <<< modelkeep guard";

/// Ends the name of a hook that is no shell script, and is run after ours.
const CHAINED: &str = ".modelkeep-chained";

const PRE_COMMIT: &str = "\
# >>> modelkeep guard (modelkeep guard install --remove takes this block out)
if command -v modelkeep >/dev/null 2>&1; then
  modelkeep guard check || { [ $? -ne 9 ] || exit 1; }
fi
# <<< modelkeep guard
";

/// What stands below it in the same hook reads the same lines.
const PRE_PUSH: &str = "\
# >>> modelkeep guard (modelkeep guard install --remove takes this block out)
if command -v modelkeep >/dev/null 2>&1; then
  modelkeep_refs=$(cat)
  printf '%s\\n' \"$modelkeep_refs\" | modelkeep guard check --pre-push \"$1\" || { [ $? -ne 9 ] || exit 1; }
  if [ -n \"$modelkeep_refs\" ]; then
    exec <<MODELKEEP_REFS
$modelkeep_refs
MODELKEEP_REFS
  else
    exec </dev/null
  fi
fi
# <<< modelkeep guard
";

const HOOKS: [(&str, &str); 2] = [("pre-commit", PRE_COMMIT), ("pre-push", PRE_PUSH)];

/// What becomes of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// The script gets this text.
    Write(String),
    /// What is there is moved aside, to be run after ours.
    Chain(String),
    /// Nothing but ours was in it.
    Delete,
    /// What was moved aside comes back.
    Unchain,
}

/// Puts the hooks there, or takes them away. Safe to run again.
pub fn install(ctx: &Context, request: Install) -> Result<Installed> {
    let git = Git::open(&ctx.env, &stood_in(ctx))?;
    let (folder, managed_by) = hooks_dir(ctx, &git)?;
    let mut steps = Vec::new();
    let mut plan = Vec::new();
    for (name, block) in HOOKS {
        let hook = folder.join(name);
        let before = read(&hook)?;
        let change =
            if request.remove { taken_out(before.as_ref(), &hook) } else { put_in(before.as_ref(), &hook, block)? };
        if let Some(change) = change {
            steps.push(step(&change, &hook, before.is_some(), request.remove));
            plan.push((hook, change));
        }
    }
    let root = ctx.workspace.as_ref().map(|workspace| workspace.root.clone()).or_else(|| git.root());
    let ignored = root.filter(|_| !request.remove);
    if let Some(root) = &ignored
        && gitignore::is_behind(root)?
    {
        let file = root.join(gitignore::FILE).display().to_string();
        steps.push(Step::new("write", file, "the block that keeps models out of git"));
    }
    let changed = !request.dry_run && !steps.is_empty();
    if changed {
        for (hook, change) in plan {
            apply(&hook, change)?;
        }
        if let Some(root) = &ignored {
            gitignore::keep_block(root)?;
        }
    }
    Ok(Installed { hooks_dir: folder.display().to_string(), managed_by, steps, changed })
}

/// Where the hooks are, and who looks after them.
fn hooks_dir(ctx: &Context, git: &Git) -> Result<(PathBuf, Manager)> {
    let Some(root) = git.root() else {
        return Err(Error::usage("a bare repository runs no hooks before a commit")
            .hint("modelkeep guard check --range OLD..NEW, in its pre-receive hook"));
    };
    let common = git.common_dir();
    let manager = if root.join(".pre-commit-config.yaml").is_file() { Manager::PreCommit } else { Manager::Git };
    let Some((path, own)) = git.setting("core.hooksPath").filter(|(path, _)| !path.is_empty()) else {
        return Ok((common.join("hooks"), manager));
    };
    let path = match path.strip_prefix("~/") {
        Some(below) => ctx.env.home().unwrap_or_default().join(below),
        None => root.join(path),
    };
    // husky writes what git calls, and calls what is a folder above.
    if path.ends_with(".husky/_") {
        return Ok((path.parent().map_or_else(|| path.clone(), Path::to_owned), Manager::Husky));
    }
    if !own && !path.starts_with(&root) && !path.starts_with(&common) {
        return Err(Error::conflict(format!(
            "the hooks of this repository are those of every repository: core.hooksPath is {}",
            path.display()
        ))
        .hint("git config core.hooksPath .git/hooks, then modelkeep guard install"));
    }
    let husky = path.ends_with(".husky");
    Ok((path, if husky { Manager::Husky } else { manager }))
}

/// A hook that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    /// Its text, when it is a shell script.
    script: Option<String>,
    executable: bool,
}

fn read(hook: &Path) -> Result<Option<Hook>> {
    let metadata = match fs::symlink_metadata(hook) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("looking at", hook, error)),
    };
    // A link may lead to a file of the project: it is left as it is.
    let text = if metadata.is_symlink() { None } else { fs::read(hook).ok() };
    let script = text.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| is_shell(text));
    let executable = fs::metadata(hook).is_ok_and(|metadata| is_executable(&metadata));
    Ok(Some(Hook { script, executable }))
}

/// Whether a script is for a shell; husky's have no first line that says so.
fn is_shell(text: &str) -> bool {
    let Some(interpreter) = text.lines().next().and_then(|line| line.strip_prefix("#!")) else { return true };
    interpreter.split(['/', ' ']).any(|word| ["sh", "bash", "dash", "zsh", "ksh"].contains(&word))
}

fn put_in(before: Option<&Hook>, hook: &Path, block: &str) -> Result<Option<Change>> {
    let Some(there) = before else { return Ok(Some(Change::Write(format!("#!/bin/sh\n{block}")))) };
    let husky = hook.parent().is_some_and(|folder| folder.ends_with(".husky"));
    if !there.executable && !husky {
        return Err(Error::conflict(format!("{} is there, and not executable: git does not run it", hook.display()))
            .hint(format!("chmod +x {0}, or mv {0} {0}.off", hook.display())));
    }
    let Some(text) = &there.script else {
        let aside = chained(hook);
        if aside.exists() {
            let (hook, aside) = (hook.display(), aside.display());
            return Err(Error::conflict(format!("{hook} and {aside} are both there: two hooks to run after ours"))
                .hint(format!("put both into one, or let one go: mv {aside} {aside}.off")));
        }
        let name = hook.file_name().unwrap_or_default().to_string_lossy();
        let after = format!("exec \"$(dirname \"$0\")/{name}{CHAINED}\" \"$@\"\n");
        return Ok(Some(Change::Chain(format!("#!/bin/sh\n{block}{after}"))));
    };
    let after = if let Some((head, tail)) = cut(text) {
        format!("{head}{block}{tail}")
    } else {
        let first = if text.starts_with("#!") { text.find('\n').map_or(text.len(), |at| at + 1) } else { 0 };
        let gap = if first > 0 && !text[..first].ends_with('\n') { "\n" } else { "" };
        format!("{}{gap}{block}{}", &text[..first], &text[first..])
    };
    Ok((after != *text).then_some(Change::Write(after)))
}

fn taken_out(before: Option<&Hook>, hook: &Path) -> Option<Change> {
    let (head, tail) = cut(before?.script.as_ref()?)?;
    let rest = format!("{head}{tail}");
    if chained(hook).exists() && tail.trim_start().starts_with("exec ") {
        return Some(Change::Unchain);
    }
    let empty = rest.lines().all(|line| line.trim().is_empty() || line.starts_with("#!"));
    Some(if empty { Change::Delete } else { Change::Write(rest) })
}

/// What stands before and after our block.
fn cut(text: &str) -> Option<(&str, &str)> {
    let begin = text.find(BEGIN)?;
    let end = begin + text[begin..].find(END)?;
    let end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    Some((&text[..begin], &text[end..]))
}

fn chained(hook: &Path) -> PathBuf {
    let name = hook.file_name().unwrap_or_default().to_string_lossy();
    hook.with_file_name(format!("{name}{CHAINED}"))
}

fn step(change: &Change, hook: &Path, existed: bool, remove: bool) -> Step {
    let place = hook.display().to_string();
    match change {
        Change::Write(_) if remove => Step::new("take out", place, "the rest of the hook stays"),
        Change::Write(_) if existed => Step::new("add", place, "before what the hook does already"),
        Change::Write(_) => Step::new("create", place, "asks modelkeep guard check"),
        Change::Chain(_) => Step::new("chain", place, "the hook that is there runs after ours"),
        Change::Delete => Step::new("delete", place, "nothing else was in it"),
        Change::Unchain => Step::new("restore", place, "the hook that ran after ours"),
    }
}

fn apply(hook: &Path, change: Change) -> Result<()> {
    let moving = |error| failed("moving", hook, error);
    match change {
        Change::Write(text) => write(hook, &text),
        Change::Chain(text) => {
            fs::rename(hook, chained(hook)).map_err(moving)?;
            write(hook, &text)
        }
        Change::Delete => fs::remove_file(hook).map_err(|error| failed("removing", hook, error)),
        Change::Unchain => fs::rename(chained(hook), hook).map_err(moving),
    }
}

fn write(hook: &Path, text: &str) -> Result<()> {
    if let Some(folder) = hook.parent() {
        fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
    }
    let permissions = fs::metadata(hook).ok().map(|metadata| metadata.permissions());
    replace_file(hook, text.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = permissions.unwrap_or_else(|| fs::Permissions::from_mode(0o755));
        fs::set_permissions(hook, permissions).map_err(|error| failed("writing", hook, error))?;
    }
    #[cfg(not(unix))]
    drop(permissions);
    Ok(())
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(text: &str) -> Hook {
        Hook { script: Some(text.to_owned()), executable: true }
    }

    #[test]
    fn a_block_goes_in_once_and_comes_out_whole() {
        let path = Path::new(".git/hooks/pre-commit");
        for text in ["#!/bin/sh\nnpm test\n", "npm test\n", "#!/usr/bin/env bash\n\nset -e\nexec x \"$@\"\n"] {
            let Some(Change::Write(with)) = put_in(Some(&hook(text)), path, PRE_COMMIT).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(with.matches(BEGIN).count(), 1);
            assert_eq!(put_in(Some(&hook(&with)), path, PRE_COMMIT).unwrap(), None);
            assert_eq!(taken_out(Some(&hook(&with)), path), Some(Change::Write(text.to_owned())));
            // An older block gives way.
            let old = with.replace("modelkeep guard check", "modelkeep guard look");
            assert_eq!(put_in(Some(&hook(&old)), path, PRE_COMMIT).unwrap(), Some(Change::Write(with)));
        }
        assert_eq!(taken_out(Some(&hook("#!/bin/sh\n")), path), None);
        let Some(Change::Write(new)) = put_in(None, path, PRE_PUSH).unwrap() else { panic!() };
        assert_eq!(taken_out(Some(&hook(&new)), path), Some(Change::Delete));
        assert!(!is_shell("#!/usr/bin/env python3\n") && is_shell("#!/usr/bin/env bash\n"));
    }
}
