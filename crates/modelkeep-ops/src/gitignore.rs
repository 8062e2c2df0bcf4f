//! Our blocks in `.gitignore`: between markers, and nothing outside of them is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use modelkeep_core::Result;
use modelkeep_remote::folder::failed;

use crate::pins::replace_file;

/// The file.
pub const FILE: &str = ".gitignore";

/// Lines between two markers.
struct Block {
    begin: &'static str,
    end: &'static str,
}

const MODELS: Block = Block { begin: "# >>> modelkeep:", end: "# <<< modelkeep" };
const PLACED: Block = Block { begin: "# >>> placed by modelkeep", end: "# <<< placed by modelkeep" };

/// What git must not see; everything outside the markers is the user's.
const IGNORE: &str = "\
# >>> modelkeep: models stay out of git (modelkeep keeps this block up to date)
/models/*
!/models/.gitkeep
!/models/base/
/models/base/*
!/models/base/.gitkeep
/.modelkeep/
*.safetensors
*.gguf
*.ckpt
*.pt
*.pth
pytorch_model*.bin
adapter_model.bin
# <<< modelkeep
";

/// Keeps the block of models up to date; whether the file was changed.
pub fn keep_block(root: &Path) -> Result<bool> {
    change(root, |before| MODELS.set(before, IGNORE))
}

/// Whether [`keep_block`] would change the file.
pub fn is_behind(root: &Path) -> Result<bool> {
    let before = read(root)?;
    Ok(MODELS.set(&before, IGNORE) != before)
}

/// Adds paths below `root` that were placed elsewhere; whether the file was changed.
pub fn add_placed(root: &Path, paths: &[String]) -> Result<bool> {
    change(root, |before| {
        let mut lines: BTreeSet<String> = PLACED.lines(before).map(str::to_owned).collect();
        lines.extend(paths.iter().map(|path| pattern(path)));
        let lines = lines.into_iter().map(|line| line + "\n").collect::<String>();
        PLACED.set(before, &format!("{} (they live on the store)\n{lines}{}\n", PLACED.begin, PLACED.end))
    })
}

/// A path as a pattern that means it alone.
fn pattern(path: &str) -> String {
    let mut text = String::from("/");
    for c in path.chars() {
        if "*?[\\".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    // Spaces at the end would be left out.
    if let Some(stem) = text.strip_suffix(' ') { format!("{stem}\\ ") } else { text }
}

fn read(root: &Path) -> Result<String> {
    let file = root.join(FILE);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| failed("reading", &file, error)),
    }
}

fn change(root: &Path, change: impl FnOnce(&str) -> String) -> Result<bool> {
    let before = read(root)?;
    let after = change(&before);
    if after == before {
        return Ok(false);
    }
    replace_file(&root.join(FILE), after.as_bytes())?;
    Ok(true)
}

impl Block {
    /// Where it begins, and where it ends.
    fn range(&self, text: &str) -> Option<(usize, usize)> {
        let begin = text.find(self.begin)?;
        let end = begin + text[begin..].find(self.end)?;
        Some((begin, text[end..].find('\n').map_or(text.len(), |at| end + at + 1)))
    }

    /// The lines between its markers.
    fn lines<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let inside = self.range(text).map_or("", |(begin, end)| &text[begin..end]);
        inside.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
    }

    /// The text with this block, where it was, else at the end.
    fn set(&self, before: &str, block: &str) -> String {
        if let Some((begin, end)) = self.range(before) {
            return format!("{}{block}{}", &before[..begin], &before[end..]);
        }
        let gap = match before {
            "" => "",
            text if text.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        format!("{before}{gap}{block}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_never_disturbs_the_rest() {
        let with_block = |before: &str| MODELS.set(before, IGNORE);
        let first = with_block("node_modules/\n");
        assert!(first.starts_with("node_modules/\n\n# >>> modelkeep"));
        assert_eq!(with_block(&first), first);
        let edited = first.replace("*.ckpt\n", "") + "dist/\n";
        let again = with_block(&edited);
        assert!(again.contains("*.ckpt\n") && again.ends_with("dist/\n") && again.starts_with("node_modules/"));
        assert_eq!(with_block(""), IGNORE);
    }

    #[test]
    fn placed_paths_are_added_once_and_mean_themselves_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "dist/").unwrap();
        assert!(keep_block(folder.path()).unwrap());
        assert!(add_placed(folder.path(), &["data/b [1].csv".to_owned(), "data/a.csv".to_owned()]).unwrap());
        assert!(add_placed(folder.path(), &["data/z.csv".to_owned()]).unwrap());
        assert!(!add_placed(folder.path(), &["data/a.csv".to_owned()]).unwrap());
        assert!(!keep_block(folder.path()).unwrap());
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.starts_with("dist/\n\n# >>> modelkeep:"));
        assert!(text.ends_with(
            "(they live on the store)\n/data/a.csv\n/data/b \\[1].csv\n/data/z.csv\n# <<< placed by modelkeep\n"
        ));
    }
}
