//! The `fields` parameter: `id,name,files(id,owners/emailAddress),capabilities/*`.
//!
//! Knows the grammar and which names each resource has. Does not know what a resource says.

use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;
use std::str::Chars;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::error::{ApiError, Result};

/// What is asked for of one value.
#[derive(Debug, Clone, PartialEq)]
pub enum Mask {
    Everything,
    Only(BTreeMap<String, Mask>),
}

impl Mask {
    /// Reads a mask for the resource called `resource` in the discovery document.
    pub fn parse(text: &str, resource: &str) -> Result<Self> {
        let mut letters = text.chars().peekable();
        let mask = list(&mut letters).ok_or_else(|| refused(text))?;
        if letters.next().is_some() {
            return Err(refused(text));
        }
        check(&mask, Some(Shape::Resource(resource.to_owned())))?;
        Ok(mask)
    }

    /// Leaves of `value` what is asked for.
    pub fn apply(&self, value: Value) -> Value {
        match (self, value) {
            (Self::Everything, value) => value,
            (mask, Value::Array(items)) => Value::Array(items.into_iter().map(|item| mask.apply(item)).collect()),
            (Self::Only(names), Value::Object(object)) => Value::Object(
                object
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.clone(), names.get(&key)?.apply(value))))
                    .collect(),
            ),
            (Self::Only(_), value) => value,
        }
    }

    /// Whether `path` (names from the outside in) would be shown.
    pub fn wants(&self, path: &[&str]) -> bool {
        match (self, path) {
            (Self::Everything, _) | (_, []) => true,
            (Self::Only(names), [first, rest @ ..]) => names.get(*first).is_some_and(|mask| mask.wants(rest)),
        }
    }

    fn join(&mut self, other: Mask) {
        match (&mut *self, other) {
            (Self::Everything, _) => {}
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Only(names), Self::Only(more)) => more.into_iter().for_each(|(name, mask)| put(names, name, mask)),
        }
    }
}

fn refused(text: &str) -> ApiError {
    ApiError::parameter("invalidParameter", "fields", format!("Invalid field selection {text}"))
}

fn put(names: &mut BTreeMap<String, Mask>, name: String, mask: Mask) {
    match names.get_mut(&name) {
        Some(known) => known.join(mask),
        None => {
            names.insert(name, mask);
        }
    }
}

/// `a,b(c),d/e`
fn list(letters: &mut Peekable<Chars<'_>>) -> Option<Mask> {
    let mut names = BTreeMap::new();
    let mut everything = false;
    loop {
        let (name, mask) = path(letters)?;
        everything |= name == "*" && mask == Mask::Everything;
        put(&mut names, name, mask);
        if letters.next_if_eq(&',').is_none() {
            break;
        }
    }
    Some(if everything { Mask::Everything } else { Mask::Only(names) })
}

/// `a`, `a/b`, `a(b,c)`, `a/b(c)`
fn path(letters: &mut Peekable<Chars<'_>>) -> Option<(String, Mask)> {
    let skip = |letters: &mut Peekable<Chars<'_>>| while letters.next_if(|letter| letter.is_whitespace()).is_some() {};
    skip(letters);
    let mut name = String::new();
    while let Some(letter) = letters.next_if(|letter| letter.is_alphanumeric() || "*_-.".contains(*letter)) {
        name.push(letter);
    }
    skip(letters);
    if name.is_empty() {
        return None;
    }
    let mask = if letters.next_if_eq(&'/').is_some() {
        let (inner, mask) = path(letters)?;
        if inner == "*" { Mask::Everything } else { Mask::Only(BTreeMap::from([(inner, mask)])) }
    } else if letters.next_if_eq(&'(').is_some() {
        let mask = list(letters)?;
        letters.next_if_eq(&')')?;
        skip(letters);
        mask
    } else {
        Mask::Everything
    };
    Some((name, mask))
}

/// Refuses names that the resource does not have.
fn check(mask: &Mask, shape: Option<Shape>) -> Result<()> {
    let (Mask::Only(names), Some(shape)) = (mask, shape) else { return Ok(()) };
    let known = match &shape {
        Shape::Any => return Ok(()),
        Shape::Plain => return names.keys().next().map_or(Ok(()), |name| Err(refused(name))),
        Shape::Fields(fields) => fields,
        Shape::Resource(name) => match RESOURCES.get(name) {
            Some(fields) => fields,
            None => return Ok(()),
        },
    };
    for (name, mask) in names {
        match known.get(name) {
            None if name == "*" => {}
            None => return Err(refused(name)),
            Some(inner) => check(mask, Some(inner.clone()))?,
        }
    }
    Ok(())
}

/// What a field may be asked for.
#[derive(Debug, Clone)]
enum Shape {
    Plain,
    Any,
    Fields(HashMap<String, Shape>),
    Resource(String),
}

static RESOURCES: LazyLock<HashMap<String, HashMap<String, Shape>>> =
    LazyLock::new(|| read_schema(include_str!("fields/schema.txt")));

fn read_schema(text: &str) -> HashMap<String, HashMap<String, Shape>> {
    let mut resources: HashMap<String, String> = HashMap::new();
    let mut name = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(next) = line.strip_suffix(" =") {
            name = next;
        } else {
            let fields = resources.entry(name.to_owned()).or_default();
            fields.push(' ');
            fields.push_str(line.trim());
        }
    }
    resources.into_iter().map(|(name, fields)| (name, read_fields(&mut fields.chars().peekable()))).collect()
}

/// Up to the closing parenthesis or the end.
fn read_fields(letters: &mut Peekable<Chars<'_>>) -> HashMap<String, Shape> {
    let mut fields = HashMap::new();
    loop {
        while letters.next_if_eq(&' ').is_some() {}
        let word = |letters: &mut Peekable<Chars<'_>>| {
            let mut word = String::new();
            while let Some(letter) = letters.next_if(char::is_ascii_alphanumeric) {
                word.push(letter);
            }
            word
        };
        let name = word(letters);
        if name.is_empty() {
            return fields;
        }
        let shape = if letters.next_if_eq(&':').is_some() {
            Shape::Resource(word(letters))
        } else if letters.next_if_eq(&'(').is_some() {
            let any = letters.next_if_eq(&'*').is_some();
            let inner = read_fields(letters);
            letters.next();
            if any { Shape::Any } else { Shape::Fields(inner) }
        } else {
            Shape::Plain
        };
        fields.insert(name, shape);
    }
}

/// An object of what is not null.
pub fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(fields: &str, resource: &str, value: Value) -> Value {
        Mask::parse(fields, resource).unwrap().apply(value)
    }

    #[test]
    fn masks_nest() {
        let page = json!({
            "kind": "drive#fileList", "nextPageToken": "t",
            "files": [{ "id": "1", "name": "a", "capabilities": { "canEdit": true, "canTrash": false } }],
        });
        assert_eq!(masked("files/id", "FileList", page.clone()), json!({ "files": [{ "id": "1" }] }));
        assert_eq!(
            masked("nextPageToken, files(id,capabilities/canEdit)", "FileList", page.clone()),
            json!({ "nextPageToken": "t", "files": [{ "id": "1", "capabilities": { "canEdit": true } }] })
        );
        assert_eq!(
            masked("files(capabilities(canEdit),capabilities/canTrash)", "FileList", page.clone()),
            json!({ "files": [{ "capabilities": { "canEdit": true, "canTrash": false } }] })
        );
        assert_eq!(masked("*", "FileList", page.clone()), page);
        assert_eq!(masked("files/*", "FileList", page.clone()), json!({ "files": page["files"] }));
    }

    #[test]
    fn unknown_names_and_broken_masks_are_refused() {
        for (fields, resource) in [
            ("nosuch", "File"),
            ("files(id,nosuch)", "FileList"),
            ("id(x)", "File"),
            ("files(id", "FileList"),
            ("id,", "File"),
            ("id)", "File"),
            ("owners/nosuch", "File"),
        ] {
            let error = Mask::parse(fields, resource).unwrap_err();
            assert_eq!((error.status.as_u16(), error.reason), (400, "invalidParameter"), "{fields}");
        }
        assert!(Mask::parse("appProperties/anything,properties(a,b),owners/emailAddress", "File").is_ok());
    }

    #[test]
    fn a_mask_knows_what_it_wants() {
        let mask = Mask::parse("files(id,md5Checksum)", "FileList").unwrap();
        assert!(mask.wants(&["files", "md5Checksum"]));
        assert!(!mask.wants(&["files", "sha1Checksum"]));
    }
}
