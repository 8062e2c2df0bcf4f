//! What goes wrong on purpose.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::drive::random::Random;
use crate::rule::{BadRule, Rule, Spec};

/// The names there are; `fake-hub --help` says what each does.
const NAMES: [&str; 13] = [
    "429",
    "503",
    "cut",
    "stall",
    "slow",
    "wrong-bytes",
    "short",
    "long",
    "gated",
    "moved",
    "loop",
    "no-range",
    "escape",
];

/// The rules in force, and their dice.
#[derive(Debug)]
pub struct Faults(Mutex<Dice>);

#[derive(Debug)]
struct Dice {
    rules: Vec<Rule>,
    random: Random,
}

impl Faults {
    pub fn new(spec: Spec) -> Result<Self, BadRule> {
        let seed = spec.seed.unwrap_or_default();
        let faults = Self(Mutex::new(Dice { rules: Vec::new(), random: Random::new(seed) }));
        faults.add(spec)?;
        Ok(faults)
    }

    pub fn add(&self, spec: Spec) -> Result<(), BadRule> {
        if let Some(rule) = spec.rules.iter().find(|rule| !NAMES.contains(&rule.name.as_str())) {
            return Err(BadRule(rule.name.clone()));
        }
        self.dice().rules.extend(spec.rules);
        Ok(())
    }

    pub fn clear(&self) {
        self.dice().rules.clear();
    }

    /// Whether this goes wrong now, in a request of this name.
    pub fn strikes(&self, name: &str, call: &str) -> bool {
        self.strike(name, call).is_some()
    }

    /// The same for a fault that happens to bytes: after how many of `size`; a share of them drawn unless the rule says.
    pub fn strikes_after(&self, name: &str, call: &str, size: u64) -> Option<u64> {
        let rule = self.strike(name, call)?;
        let after = rule.argument.and_then(|text| text.parse().ok());
        let drawn = || {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            self.dice().random.below(size) as u64
        };
        Some(after.unwrap_or_else(drawn)).filter(|after| *after < size)
    }

    fn strike(&self, name: &str, call: &str) -> Option<Rule> {
        let mut dice = self.dice();
        let Dice { rules, random } = &mut *dice;
        let about = |rule: &&mut Rule| {
            rule.name == name && rule.call.as_ref().is_none_or(|prefix| call.starts_with(prefix.as_str()))
        };
        let rule = rules.iter_mut().find(about)?;
        if !random.chance(rule.rate) {
            return None;
        }
        let struck = rule.clone();
        rule.times = rule.times.map(|times| times.saturating_sub(1));
        rules.retain(|rule| rule.times != Some(0));
        Some(struck)
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
