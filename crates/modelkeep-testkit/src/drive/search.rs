//! Which files a query means, and in which order: `q` and `orderBy` asked of the state.

use std::cmp::Ordering;

use super::error::{ApiError, Result};
use super::query::{Compare, Flag, Group, Query, TextField, TimeField};
use super::state::{Caller, Grantee, Item, Role, State};

/// A query with its ids resolved, for one caller.
pub struct Search<'a> {
    pub state: &'a State,
    pub caller: &'a Caller,
}

impl Search<'_> {
    /// Refuses a query about folders that the caller cannot see.
    pub fn check(&self, query: &Query, all_drives: bool) -> Result<()> {
        for leaf in query.leaves() {
            if let Query::Member { of: Group::Parents, value } = leaf
                && value != "root"
                && !self.is_own_root(value)
            {
                // Drive does not repeat the id here.
                self.state.visible(self.caller, value, all_drives).map_err(|_| ApiError::not_found(""))?;
            }
        }
        Ok(())
    }

    pub fn matches(&self, query: &Query, item: &Item) -> bool {
        match query {
            Query::And(left, right) => self.matches(left, item) && self.matches(right, item),
            Query::Or(left, right) => self.matches(left, item) || self.matches(right, item),
            Query::Not(inner) => !self.matches(inner, item),
            Query::Text { field, is, value } => self.text(*field, *is, value, item),
            Query::Time { field, is, value } => {
                let time = match field {
                    TimeField::Created => item.created,
                    TimeField::Modified | TimeField::ViewedByMe => item.modified,
                };
                compares(*is, time.cmp(value))
            }
            Query::Flag { field, is } => {
                let holds = match field {
                    Flag::Trashed => self.state.is_trashed(item),
                    Flag::Starred => item.starred,
                    Flag::SharedWithMe => self.is_shared_with_me(item),
                };
                holds == *is
            }
            Query::Member { of: Group::Parents, value } => {
                item.parent.as_ref() == Some(&self.state.resolve(self.caller, value))
            }
            Query::Member { of, value } => self.belongs(*of, value, item),
            Query::Property { private, key, value } => {
                let properties =
                    if *private { item.app_properties.get(&self.caller.client) } else { Some(&item.properties) };
                properties.and_then(|properties| properties.get(key)) == Some(value)
            }
        }
    }

    fn text(&self, field: TextField, is: Compare, value: &str, item: &Item) -> bool {
        let equal = match (field, is) {
            (TextField::Name, Compare::Contains) => return tokens_begin(&item.name, value),
            (TextField::FullText, _) => {
                let text = format!("{} {}", item.name, item.description.as_deref().unwrap_or_default());
                return tokens_are_in(&text, value);
            }
            (TextField::MimeType, Compare::Contains) => return item.mime_type.starts_with(value),
            (TextField::MimeType, _) => item.mime_type == value,
            // The real server may fold case here; one that does keeps clients from relying on it.
            (TextField::Name, _) => item.name.to_lowercase() == value.to_lowercase(),
            (TextField::ShortcutTarget, _) => item.shortcut.as_ref().is_some_and(|shortcut| shortcut.target == value),
            (TextField::Visibility, _) => {
                let open = self.state.chain(item).flat_map(|above| &above.permissions);
                let anyone = open.into_iter().any(|permission| permission.to == Grantee::Anyone);
                value == if anyone { "anyoneWithLink" } else { "limited" }
            }
        };
        equal == (is == Compare::Equal)
    }

    fn belongs(&self, of: Group, who: &str, item: &Item) -> bool {
        let account = if who == "me" { &self.caller.account } else { who };
        match of {
            Group::Owners => item.owner.as_deref() == Some(account),
            Group::Writers => self.state.listed_role(item, account) >= Some(Role::Writer),
            _ => self.state.listed_role(item, account).is_some(),
        }
    }

    /// Granted on the file itself, not through a folder.
    fn is_shared_with_me(&self, item: &Item) -> bool {
        let me = Grantee::User(self.caller.account.clone());
        item.drive.is_none()
            && item.owner.as_ref() != Some(&self.caller.account)
            && item.permissions.iter().any(|permission| permission.to == me)
    }

    fn is_own_root(&self, id: &str) -> bool {
        self.state.accounts.get(&self.caller.account).is_some_and(|root| root == id)
    }
}

fn compares(is: Compare, order: Ordering) -> bool {
    match is {
        Compare::Equal => order.is_eq(),
        Compare::NotEqual => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterOrEqual => order.is_ge(),
        Compare::Contains => false,
    }
}

fn tokens(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// `name contains`: each word of the question begins a word of the name. `World` does not find `HelloWorld`.
fn tokens_begin(text: &str, asked: &str) -> bool {
    let words = tokens(text);
    tokens(asked).iter().all(|asked| words.iter().any(|word| word.starts_with(asked)))
}

/// `fullText contains`: whole words; in double quotes a phrase.
fn tokens_are_in(text: &str, asked: &str) -> bool {
    let (words, asked_words) = (tokens(text), tokens(asked));
    if asked.trim().starts_with('"') {
        return words.windows(asked_words.len().max(1)).any(|window| window == asked_words);
    }
    asked_words.iter().all(|asked| words.contains(asked))
}

/// `orderBy`, as the names of keys and whether they run backwards.
pub fn order(text: &str) -> Result<Vec<(String, bool)>> {
    const KEYS: [&str; 11] = [
        "createdTime",
        "folder",
        "modifiedByMeTime",
        "modifiedTime",
        "name",
        "name_natural",
        "quotaBytesUsed",
        "recency",
        "sharedWithMeTime",
        "starred",
        "viewedByMeTime",
    ];
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    keys.map(|key| {
        let (name, backwards) = key.strip_suffix(" desc").map_or((key, false), |name| (name.trim(), true));
        if !KEYS.contains(&name) {
            return Err(ApiError::parameter("invalid", "orderBy", "Invalid Value"));
        }
        Ok((name.to_owned(), backwards))
    })
    .collect()
}

/// Compares two files by the keys, then by id, so that pages never overlap.
pub fn compare(keys: &[(String, bool)], left: &Item, right: &Item) -> Ordering {
    for (key, backwards) in keys {
        let order = match key.as_str() {
            "name" | "name_natural" => natural(&left.name, &right.name, key == "name_natural"),
            "folder" => right.is_folder().cmp(&left.is_folder()),
            "createdTime" => left.created.cmp(&right.created),
            "quotaBytesUsed" => left.quota_bytes().cmp(&right.quota_bytes()),
            "starred" => right.starred.cmp(&left.starred),
            // Most recent first, as Drive does for this one key.
            "recency" => right.modified.cmp(&left.modified),
            _ => left.modified.cmp(&right.modified),
        };
        let order = if *backwards { order.reverse() } else { order };
        if order.is_ne() {
            return order;
        }
    }
    left.id.cmp(&right.id)
}

/// Case is folded; with `numbers`, digits count by value: `a2` before `a10`.
fn natural(left: &str, right: &str, numbers: bool) -> Ordering {
    let (left, right) = (left.to_lowercase(), right.to_lowercase());
    if !numbers {
        return left.cmp(&right);
    }
    pieces(&left).cmp(&pieces(&right))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Number(u128),
    Text(String),
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(match piece.parse() {
            Ok(number) if digits => Piece::Number(number),
            _ => Piece::Text(piece.to_owned()),
        });
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_means_the_beginning_of_words() {
        assert!(tokens_begin("HelloWorld", "hello"));
        assert!(!tokens_begin("HelloWorld", "World"));
        assert!(tokens_begin("quarterly report-2024.pdf", "2024 quart"));
        assert!(!tokens_are_in("HelloWorld", "Hello"));
        assert!(tokens_are_in("Hello_there world", "\"hello there\""));
        assert!(!tokens_are_in("Hello there world", "\"hello world\""));
    }

    #[test]
    fn names_in_natural_order() {
        assert!(natural("a10", "a2", false).is_lt());
        assert!(natural("a10", "A2", true).is_gt());
        assert!(order("folder,name desc").is_ok());
        assert_eq!(order("size").unwrap_err().reason, "invalid");
    }
}
