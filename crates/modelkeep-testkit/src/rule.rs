//! The language in which a test says what goes wrong: `NAME[=ARGUMENT][:RATE][*TIMES][@CALL]`, separated by commas;
//! `seed:N` decides where they strike.
//!
//! Knows the grammar. Which names there are, and what they do, is for each fake to say.

use std::fmt;
use std::str::FromStr;

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What goes wrong.
    pub name: String,
    /// How much, or for whom.
    pub argument: Option<String>,
    /// The chance for each request.
    pub rate: f64,
    /// How often at most.
    pub times: Option<u32>,
    /// Only for calls whose name begins so.
    pub call: Option<String>,
}

/// A list of rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// Decides where they strike.
    pub seed: Option<u64>,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRule(pub String);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no fault: `{}` (NAME[=ARGUMENT][:RATE][*TIMES][@CALL], as in 503:0.1 or cut=65536*1)", self.0)
    }
}

impl std::error::Error for BadRule {}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = || BadRule(text.to_owned());
        let (rest, call) = text.split_once('@').map_or((text, None), |(rest, call)| (rest, Some(call.to_owned())));
        let (rest, times) = match rest.split_once('*') {
            Some((rest, times)) => (rest, Some(times.parse().map_err(|_| bad())?)),
            None => (rest, None),
        };
        let (rest, rate) = match rest.split_once(':') {
            Some((rest, rate)) => (rest, rate.parse().map_err(|_| bad())?),
            None => (rest, 1.0),
        };
        let (name, argument) = match rest.split_once('=') {
            Some((name, argument)) => (name, Some(argument.to_owned())),
            None => (rest, None),
        };
        if name.is_empty() || !(0.0..=1.0).contains(&rate) {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), argument, rate, times, call })
    }
}

impl FromStr for Spec {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        read(text, Some).map(|(rules, seed)| Self { rules, seed })
    }
}

/// Reads a list: the rules that `known` makes of them, and the seed if one is said. The error names the rule that cannot
/// be read, or that `known` does not know.
pub fn read<R>(text: &str, known: impl Fn(Rule) -> Option<R>) -> Result<(Vec<R>, Option<u64>), BadRule> {
    let (mut rules, mut seed) = (Vec::new(), None);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let bad = || BadRule(part.to_owned());
        match part.strip_prefix("seed:") {
            Some(number) => seed = Some(number.parse().map_err(|_| bad())?),
            None => rules.push(known(part.parse()?).ok_or_else(bad)?),
        }
    }
    Ok((rules, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_rules_is_read() {
        let spec: Spec = "429:0.05,cut=65536:0.5*2@resolve,stall,seed:7".parse().unwrap();
        assert_eq!((spec.rules.len(), spec.seed), (3, Some(7)));
        let cut = &spec.rules[1];
        assert_eq!((cut.name.as_str(), cut.argument.as_deref(), cut.rate), ("cut", Some("65536"), 0.5));
        assert_eq!((cut.times, cut.call.as_deref()), (Some(2), Some("resolve")));
        assert_eq!("".parse(), Ok(Spec::default()));
        for rule in ["429:2", "429:x", "stall*x", "seed:x", ":0.5"] {
            assert!(rule.parse::<Spec>().is_err(), "{rule}");
        }
    }
}
