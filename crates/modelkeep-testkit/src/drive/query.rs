//! The `q` parameter: `'ID' in parents and (name = 'quinn\'s paper\\essay' or not trashed = true)`.
//!
//! Knows the grammar (<https://developers.google.com/workspace/drive/api/guides/ref-search-terms>). Does not know
//! files; `search` asks them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::error::{ApiError, Result};

/// A query as a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    And(Box<Query>, Box<Query>),
    Or(Box<Query>, Box<Query>),
    Not(Box<Query>),
    Text { field: TextField, is: Compare, value: String },
    Time { field: TimeField, is: Compare, value: Timestamp },
    Flag { field: Flag, is: bool },
    Member { of: Group, value: String },
    Property { private: bool, key: String, value: String },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TextField {
    Name,
    FullText,
    MimeType,
    ShortcutTarget,
    Visibility,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeField {
    Created,
    Modified,
    ViewedByMe,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flag {
    Trashed,
    Starred,
    SharedWithMe,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Group {
    Parents,
    Owners,
    Writers,
    Readers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Compare {
    Contains,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

impl Query {
    /// Reads a query; `None` if it is empty, which asks for everything.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let tokens = tokens(text).ok_or_else(invalid)?;
        if tokens.is_empty() {
            return Ok(None);
        }
        let mut parser = Parser { tokens, at: 0 };
        let query = parser.either().ok_or_else(invalid)?;
        if parser.at == parser.tokens.len() { Ok(Some(query)) } else { Err(invalid()) }
    }

    /// Every leaf.
    pub fn leaves(&self) -> Vec<&Query> {
        match self {
            Self::And(left, right) | Self::Or(left, right) => [left.leaves(), right.leaves()].concat(),
            Self::Not(inner) => inner.leaves(),
            leaf => vec![leaf],
        }
    }

    /// The folders that a match must be in, if the query says so at its top.
    pub fn only_parents(&self) -> Option<Vec<&str>> {
        match self {
            Self::Member { of: Group::Parents, value } => Some(vec![value]),
            Self::And(left, right) => left.only_parents().or_else(|| right.only_parents()),
            Self::Or(left, right) => Some([left.only_parents()?, right.only_parents()?].concat()),
            _ => None,
        }
    }
}

fn invalid() -> ApiError {
    ApiError::parameter("invalid", "q", "Invalid Value")
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    const SIGNS: [&str; 10] = ["!=", "<=", ">=", "=", "<", ">", "(", ")", "{", "}"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '\'' {
            let (value, length) = quoted(rest)?;
            tokens.push(Token::Quoted(value));
            length
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else {
            let length = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.'));
            let length = length.unwrap_or(rest.len());
            if length == 0 {
                return None;
            }
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// What stands between quotes, and how many bytes that took; `\` keeps the letter after it as it is.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    loop {
        match letters.next()? {
            (_, '\\') => value.push(letters.next()?.1),
            (at, '\'') => return Some((value, at + 1)),
            (_, letter) => value.push(letter),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn either(&mut self) -> Option<Query> {
        let mut left = self.both()?;
        while self.word("or") {
            left = Query::Or(Box::new(left), Box::new(self.both()?));
        }
        Some(left)
    }

    fn both(&mut self) -> Option<Query> {
        let mut left = self.one()?;
        while self.word("and") {
            left = Query::And(Box::new(left), Box::new(self.one()?));
        }
        Some(left)
    }

    fn one(&mut self) -> Option<Query> {
        if self.word("not") {
            return Some(Query::Not(Box::new(self.one()?)));
        }
        if self.sign("(") {
            let inner = self.either()?;
            return self.sign(")").then_some(inner);
        }
        match self.next()? {
            Token::Quoted(value) => {
                let member = self.word("in").then(|| self.next())??;
                let Token::Word(group) = member else { return None };
                let of = match group.as_str() {
                    "parents" => Group::Parents,
                    "owners" => Group::Owners,
                    "writers" => Group::Writers,
                    "readers" => Group::Readers,
                    _ => return None,
                };
                Some(Query::Member { of, value })
            }
            Token::Word(field) => self.about(&field),
            Token::Sign(_) => None,
        }
    }

    fn about(&mut self, field: &str) -> Option<Query> {
        use Compare::{Contains, Equal, NotEqual};
        match field {
            "name" => self.text(TextField::Name, &[Contains, Equal, NotEqual]),
            "fullText" => self.text(TextField::FullText, &[Contains]),
            "mimeType" => self.text(TextField::MimeType, &[Contains, Equal, NotEqual]),
            "shortcutDetails.targetId" => self.text(TextField::ShortcutTarget, &[Equal, NotEqual]),
            "visibility" => self.text(TextField::Visibility, &[Equal, NotEqual]),
            "createdTime" => self.time(TimeField::Created),
            "modifiedTime" => self.time(TimeField::Modified),
            "viewedByMeTime" => self.time(TimeField::ViewedByMe),
            "trashed" => self.flag(Flag::Trashed),
            "starred" => self.flag(Flag::Starred),
            // The one term that may stand alone.
            "sharedWithMe" if !self.comparing() => Some(Query::Flag { field: Flag::SharedWithMe, is: true }),
            "sharedWithMe" => self.flag(Flag::SharedWithMe),
            "properties" => self.property(false),
            "appProperties" => self.property(true),
            _ => None,
        }
    }

    fn text(&mut self, field: TextField, allowed: &[Compare]) -> Option<Query> {
        let is = self.compare()?;
        let Token::Quoted(value) = self.next()? else { return None };
        allowed.contains(&is).then_some(Query::Text { field, is, value })
    }

    fn time(&mut self, field: TimeField) -> Option<Query> {
        let is = self.compare().filter(|is| *is != Compare::Contains)?;
        let Token::Quoted(value) = self.next()? else { return None };
        Some(Query::Time { field, is, value: read_time(&value)? })
    }

    fn flag(&mut self, field: Flag) -> Option<Query> {
        let equal = match self.compare()? {
            Compare::Equal => true,
            Compare::NotEqual => false,
            _ => return None,
        };
        let value = match self.next()? {
            Token::Word(word) if word == "true" => true,
            Token::Word(word) if word == "false" => false,
            _ => return None,
        };
        Some(Query::Flag { field, is: value == equal })
    }

    /// `has { key='k' and value='v' }`
    fn property(&mut self, private: bool) -> Option<Query> {
        let opened = self.word("has") && self.sign("{") && self.word("key") && self.sign("=");
        let Token::Quoted(key) = opened.then(|| self.next())?? else { return None };
        let valued = self.word("and") && self.word("value") && self.sign("=");
        let Token::Quoted(value) = valued.then(|| self.next())?? else { return None };
        self.sign("}").then_some(Query::Property { private, key, value })
    }

    fn compare(&mut self) -> Option<Compare> {
        Some(match self.next()? {
            Token::Word(word) if word == "contains" => Compare::Contains,
            Token::Sign("=") => Compare::Equal,
            Token::Sign("!=") => Compare::NotEqual,
            Token::Sign("<") => Compare::Less,
            Token::Sign("<=") => Compare::LessOrEqual,
            Token::Sign(">") => Compare::Greater,
            Token::Sign(">=") => Compare::GreaterOrEqual,
            _ => return None,
        })
    }

    fn comparing(&self) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Sign("=" | "!=")))
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn word(&mut self, word: &str) -> bool {
        self.take(|token| matches!(token, Token::Word(found) if found == word))
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.take(|token| matches!(token, Token::Sign(found) if *found == sign))
    }

    fn take(&mut self, wanted: impl Fn(&Token) -> bool) -> bool {
        let found = self.tokens.get(self.at).is_some_and(wanted);
        self.at += usize::from(found);
        found
    }
}

/// RFC 3339; without a zone it is UTC, and a day alone is its beginning.
fn read_time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Query {
        Query::parse(text).unwrap().unwrap()
    }

    fn name(is: Compare, value: &str) -> Query {
        Query::Text { field: TextField::Name, is, value: value.into() }
    }

    #[test]
    fn quoting_is_undone() {
        assert_eq!(parse(r"name contains 'quinn\'s paper\\essay'"), name(Compare::Contains, r"quinn's paper\essay"));
        assert_eq!(parse("name='a and b'"), name(Compare::Equal, "a and b"));
        assert_eq!(parse("name != 'line\nfeed (x)'"), name(Compare::NotEqual, "line\nfeed (x)"));
    }

    #[test]
    fn and_or_not_and_parentheses() {
        let (a, b, c) = (name(Compare::Equal, "a"), name(Compare::Equal, "b"), name(Compare::Equal, "c"));
        let and = |left: &Query, right: &Query| Query::And(Box::new(left.clone()), Box::new(right.clone()));
        let or = |left: &Query, right: &Query| Query::Or(Box::new(left.clone()), Box::new(right.clone()));
        assert_eq!(parse("name='a' or name='b' and name='c'"), or(&a, &and(&b, &c)));
        assert_eq!(parse("(name='a' or name='b') and name='c'"), and(&or(&a, &b), &c));
        assert_eq!(parse("not name='a' and name='b'"), and(&Query::Not(Box::new(a)), &b));
    }

    #[test]
    fn every_kind_of_term() {
        for text in [
            "trashed=false and ('ID' in parents)",
            "'root' in parents and mimeType = 'application/vnd.google-apps.folder'",
            "appProperties has { key='sha256' and value='ab\\'c' }",
            "properties has {key='a' and value='b'}",
            "modifiedTime > '2012-06-04T12:00:00' and createdTime<='2012-06-04T12:00:00-08:00'",
            "sharedWithMe and starred != true",
            "'me' in owners or 'a@b.c' in writers or 'x' in readers",
            "shortcutDetails.targetId='1'",
            "fullText contains 'hello'",
        ] {
            assert!(Query::parse(text).is_ok(), "{text}");
        }
        assert_eq!(parse("trashed != true"), Query::Flag { field: Flag::Trashed, is: false });
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "nosuch = 'a'",
            "name = a",
            "name = 'a",
            "name > 'a'",
            "name = 'a' and",
            "(name = 'a'",
            "name = 'a' name = 'b'",
            "trashed = 'true'",
            "size > 5",
            "'x' in children",
            "modifiedTime > 'yesterday'",
            "properties has { key='a' }",
            "name = \"a\"",
        ] {
            let error = Query::parse(text).unwrap_err();
            assert_eq!((error.status.as_u16(), error.reason), (400, "invalid"), "{text}");
        }
        assert_eq!(Query::parse(" ").unwrap(), None);
    }

    #[test]
    fn parents_at_the_top_narrow_the_search() {
        assert_eq!(parse("trashed=false and ('a' in parents or 'b' in parents)").only_parents(), Some(vec!["a", "b"]));
        assert_eq!(parse("'a' in parents or trashed=true").only_parents(), None);
    }
}
