//! Counts as people say them.

/// `1 file`, `9 files`.
pub fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {}", plural(one)) }
}

fn plural(one: &str) -> String {
    match one.strip_suffix('y') {
        // `day` keeps what `entry` changes.
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if one.ends_with("sh") => format!("{one}es"),
        _ => format!("{one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well() {
        for (text, expected) in [
            (count(1, "file"), "1 file"),
            (count(0, "file"), "0 files"),
            (count(2, "push"), "2 pushes"),
            (count(3, "entry"), "3 entries"),
            (count(30, "day"), "30 days"),
        ] {
            assert_eq!(text, expected);
        }
    }
}
