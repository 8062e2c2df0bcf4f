//! What it costs: measured sizes against a table of prices that people may edit.
//!
//! Money is in US dollars a month, storage in bytes; a GB-month is 10⁹ bytes kept for a month.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::size::ByteSize;

/// What a place costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// For people.
    pub name: String,
    /// What it costs however much is kept.
    pub monthly_usd: f64,
    /// The upper end, where it is a range.
    pub monthly_usd_high: Option<f64>,
    /// How much may be kept for that.
    pub included: ByteSize,
    /// What each GB above it costs.
    pub per_gb_month_usd: f64,
    /// When that was the price.
    pub date: String,
    /// Who says so.
    pub source: String,
}

/// One `[prices.NAME]` of the settings: what is left out stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    /// See [`Price`].
    pub name: Option<String>,
    /// See [`Price`].
    pub monthly_usd: Option<f64>,
    /// See [`Price`].
    pub monthly_usd_high: Option<f64>,
    /// As people write sizes.
    pub included: Option<String>,
    /// See [`Price`].
    pub per_gb_month_usd: Option<f64>,
    /// See [`Price`].
    pub date: Option<String>,
    /// See [`Price`].
    pub source: Option<String>,
}

/// The place that one works on.
const HERE: &str = "codespaces";
/// The store.
const STORE: &str = "drive";

/// Prices by name. `codespaces` is where one works, `drive` is the store; all others are alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices(BTreeMap<String, Price>);

/// Name, title, fixed price, its upper end, included, a GB-month, date, source.
type Built = (&'static str, &'static str, f64, Option<f64>, u64, f64, &'static str, &'static str);

const GB: u64 = 1_000_000_000;
const PLAN: &str = "the plan of this arrangement";

const BUILT_IN: [Built; 6] = [
    (HERE, "GitHub Codespaces", 0.0, None, 15 * GB, 0.07, "2026-09-20", "https://github.com/pricing/calculator"),
    (STORE, "Google Drive", 2.99, None, 2000 * GB, 0.0, "2026-02-04", PLAN),
    ("vm", "cloud VMs", 100.0, Some(300.0), 0, 0.0, "2026-02-04", PLAN),
    ("s3", "Amazon S3 Standard", 0.0, None, 0, 0.023, "2025-01-01", "https://aws.amazon.com/s3/pricing/"),
    ("gcs", "Google Cloud Storage", 0.0, None, 0, 0.020, "2025-01-01", "https://cloud.google.com/storage/pricing"),
    ("hf", "Hugging Face PRO, private", 9.0, None, 1000 * GB, 0.025, "2025-01-01", "https://huggingface.co/pricing"),
];

impl Prices {
    /// The built-in prices with these over them; a mistake is told with the name of its entry.
    pub fn new(own: impl IntoIterator<Item = (String, Own)>) -> Result<Self, (String, Error)> {
        let mut prices: BTreeMap<String, Price> = BUILT_IN
            .iter()
            .map(|(id, name, monthly_usd, monthly_usd_high, included, per_gb_month_usd, date, source)| {
                let price = Price {
                    name: (*name).to_owned(),
                    monthly_usd: *monthly_usd,
                    monthly_usd_high: *monthly_usd_high,
                    included: ByteSize(*included),
                    per_gb_month_usd: *per_gb_month_usd,
                    date: (*date).to_owned(),
                    source: (*source).to_owned(),
                };
                ((*id).to_owned(), price)
            })
            .collect();
        for (id, own) in own {
            let before = prices.get(&id).cloned().unwrap_or_else(|| Price {
                name: id.clone(),
                monthly_usd: 0.0,
                monthly_usd_high: None,
                included: ByteSize(0),
                per_gb_month_usd: 0.0,
                date: String::new(),
                source: String::new(),
            });
            let price = over(before, own).map_err(|error| (id.clone(), error))?;
            prices.insert(id, price);
        }
        Ok(Self(prices))
    }

    /// How much the store's plan holds.
    pub fn store_holds(&self) -> ByteSize {
        self.0.get(STORE).map_or(ByteSize(0), |price| price.included)
    }
}

fn over(before: Price, own: Own) -> Result<Price> {
    for (field, value) in [
        ("monthly_usd", own.monthly_usd),
        ("monthly_usd_high", own.monthly_usd_high),
        ("per_gb_month_usd", own.per_gb_month_usd),
    ] {
        if let Some(value) = value
            && !(value.is_finite() && value >= 0.0)
        {
            return Err(Error::usage(format!("{field} = {value}: a price is 0 or more")));
        }
    }
    let included = own.included.map(|text| text.parse::<ByteSize>()).transpose();
    let included = included.map_err(|error| error.context("included"))?;
    let monthly_usd = own.monthly_usd.unwrap_or(before.monthly_usd);
    // A price that is set alone is no range any more.
    let high = own.monthly_usd_high.or(if own.monthly_usd.is_some() { None } else { before.monthly_usd_high });
    if high.is_some_and(|high| high < monthly_usd) {
        return Err(Error::usage("monthly_usd_high is lower than monthly_usd"));
    }
    Ok(Price {
        name: own.name.unwrap_or(before.name),
        monthly_usd,
        monthly_usd_high: high,
        included: included.unwrap_or(before.included),
        per_gb_month_usd: own.per_gb_month_usd.unwrap_or(before.per_gb_month_usd),
        date: own.date.unwrap_or(before.date),
        source: own.source.unwrap_or(before.source),
    })
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Bytes on this machine that count against its budget.
    pub here: u64,
    /// Bytes on the store.
    pub store: u64,
    /// What the store says that it holds.
    pub quota: Option<u64>,
    /// Bytes of each model's versions.
    pub models: Vec<(String, u64)>,
    /// When how many bytes were pushed.
    pub pushed: Vec<(Timestamp, u64)>,
    /// Now.
    pub now: Timestamp,
}

/// What it costs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Cost {
    /// All of it.
    pub monthly_usd: f64,
    /// What one pays for now.
    pub items: Vec<Item>,
    /// What the same bytes would cost elsewhere.
    pub alternatives: Vec<Alternative>,
    /// What each model's versions take of the store's price, the largest first.
    pub models: Vec<OfModel>,
    /// What is pushed in a month, at the pace of the last three; null while the log is younger than a week.
    pub growth_bytes_per_month: Option<u64>,
    /// Months until the store is full at that pace; null when it does not grow.
    pub months_until_full: Option<f64>,
}

/// Something that one pays for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Item {
    /// For people.
    pub name: String,
    /// What it costs.
    pub monthly_usd: f64,
    /// Whether all of it is within what the plan holds.
    pub included: bool,
    /// Bytes there.
    pub size_bytes: u64,
    /// Bytes that the plan holds.
    pub included_bytes: u64,
    /// When that was the price.
    pub date: String,
    /// Who says so.
    pub source: String,
}

/// What it would cost elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Alternative {
    /// For people.
    pub name: String,
    /// The least.
    pub monthly_usd_low: f64,
    /// The most.
    pub monthly_usd_high: f64,
    /// When that was the price.
    pub date: String,
    /// Who says so.
    pub source: String,
}

/// One model's share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OfModel {
    /// Its id.
    pub model: String,
    /// Bytes of its versions.
    pub size_bytes: u64,
    /// Its share of the store's price, by bytes.
    pub monthly_usd: f64,
}

impl Price {
    fn of(&self, bytes: u64) -> f64 {
        cents(self.monthly_usd + self.above(bytes))
    }

    fn above(&self, bytes: u64) -> f64 {
        in_gb(bytes.saturating_sub(self.included.0)) * self.per_gb_month_usd
    }
}

/// Reckons.
pub fn reckon(prices: &Prices, measured: &Measured) -> Cost {
    let item = |id: &str, bytes: u64, quota: Option<u64>| {
        let price = prices.0.get(id)?;
        // A disk or a plan that is smaller than the price says holds no more for it.
        let included = quota.map_or(price.included.0, |quota| quota.min(price.included.0));
        Some(Item {
            name: price.name.clone(),
            monthly_usd: price.of(bytes),
            included: bytes <= included,
            size_bytes: bytes,
            included_bytes: included,
            date: price.date.clone(),
            source: price.source.clone(),
        })
    };
    let store = item(STORE, measured.store, measured.quota);
    let store_usd = store.as_ref().map_or(0.0, |item| item.monthly_usd);
    let full = store.as_ref().map_or(0, |item| item.included_bytes);
    let items: Vec<Item> = [item(HERE, measured.here, None), store].into_iter().flatten().collect();
    let alternatives = prices.0.iter().filter(|(id, _)| *id != HERE && *id != STORE).map(|(_, price)| Alternative {
        name: price.name.clone(),
        monthly_usd_low: price.of(measured.store),
        monthly_usd_high: cents(price.monthly_usd_high.unwrap_or(price.monthly_usd) + price.above(measured.store)),
        date: price.date.clone(),
        source: price.source.clone(),
    });
    let all: u64 = measured.models.iter().map(|(_, bytes)| bytes).sum();
    let mut models: Vec<OfModel> = measured
        .models
        .iter()
        .map(|(model, bytes)| OfModel {
            model: model.clone(),
            size_bytes: *bytes,
            monthly_usd: if all == 0 { 0.0 } else { cents(store_usd * in_gb(*bytes) / in_gb(all)) },
        })
        .collect();
    models.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.model.cmp(&b.model)));
    let growth = growth(&measured.pushed, measured.now);
    let left = full.saturating_sub(measured.store);
    let months = growth.filter(|bytes| *bytes > 0).map(|bytes| (in_gb(left) / in_gb(bytes) * 10.0).round() / 10.0);
    Cost {
        monthly_usd: cents(items.iter().map(|item| item.monthly_usd).sum()),
        items,
        alternatives: alternatives.collect(),
        models,
        growth_bytes_per_month: growth,
        months_until_full: months,
    }
}

/// A pace is told from so much of the log, and no less.
const LEAST: SignedDuration = SignedDuration::from_hours(7 * 24);
const MOST: SignedDuration = SignedDuration::from_hours(90 * 24);
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

fn growth(pushed: &[(Timestamp, u64)], now: Timestamp) -> Option<u64> {
    let first = pushed.iter().map(|(at, _)| *at).min()?;
    let age = now.duration_since(first);
    if age < LEAST {
        return None;
    }
    let span = age.min(MOST);
    let recent = pushed.iter().filter(|(at, _)| now.duration_since(*at) <= span).map(|(_, bytes)| u128::from(*bytes));
    let seconds = |duration: SignedDuration| u128::from(duration.as_secs().unsigned_abs());
    u64::try_from(recent.sum::<u128>() * seconds(MONTH) / seconds(span).max(1)).ok()
}

#[allow(clippy::cast_precision_loss, reason = "money is told in cents")]
fn in_gb(bytes: u64) -> f64 {
    bytes as f64 / GB as f64
}

fn cents(usd: f64) -> f64 {
    (usd * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured(store: u64) -> Measured {
        Measured {
            here: GB,
            store,
            models: vec![("a".to_owned(), GB), ("b".to_owned(), 3 * GB)],
            ..Measured::default()
        }
    }

    #[test]
    fn the_arrangement_costs_what_its_plans_cost() {
        let prices = Prices::new([]).unwrap();
        let cost = reckon(&prices, &measured(4 * GB));
        assert_eq!(
            cost.items.iter().map(|item| (item.monthly_usd, item.included)).collect::<Vec<_>>(),
            [(0.0, true), (2.99, true)]
        );
        assert!((cost.monthly_usd - 2.99).abs() < 1e-9);
        let vm = cost.alternatives.iter().find(|alternative| alternative.name == "cloud VMs").unwrap();
        assert_eq!((vm.monthly_usd_low, vm.monthly_usd_high), (100.0, 300.0));
        assert_eq!(
            cost.models.iter().map(|of| (&*of.model, of.monthly_usd)).collect::<Vec<_>>(),
            [("b", 2.24), ("a", 0.75)]
        );
    }

    #[test]
    fn more_than_the_plan_holds_is_told_and_paid() {
        let prices = Prices::new([]).unwrap();
        let cost = reckon(&prices, &Measured { here: 25 * GB, ..measured(4 * GB) });
        assert_eq!((cost.items[0].monthly_usd, cost.items[0].included), (0.7, false));
        let full = reckon(&prices, &Measured { quota: Some(3 * GB), ..measured(4 * GB) });
        assert!(!full.items[1].included);
    }

    #[test]
    fn growth_is_told_from_a_week_of_the_log_on() {
        let day = |n: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * n);
        assert_eq!(growth(&[(day(0), GB)], day(3)), None);
        assert_eq!(growth(&[(day(0), GB)], day(30)), Some(GB));
        assert_eq!(growth(&[(day(0), GB), (day(150), 3 * GB)], day(200)), Some(GB));
        let prices = Prices::new([]).unwrap();
        let grown = Measured { pushed: vec![(day(0), 4 * GB)], now: day(30), quota: Some(12 * GB), ..measured(4 * GB) };
        assert_eq!(reckon(&prices, &grown).months_until_full, Some(2.0));
    }

    #[test]
    fn a_price_of_ones_own_comes_over_the_built_in_one_and_a_mistake_is_named() {
        let own = Own { monthly_usd: Some(9.99), ..Own::default() };
        let cost = reckon(&Prices::new([("drive".to_owned(), own)]).unwrap(), &measured(0));
        assert!((cost.monthly_usd - 9.99).abs() < 1e-9);
        let wrong = Own { per_gb_month_usd: Some(-1.0), ..Own::default() };
        assert_eq!(Prices::new([("s3".to_owned(), wrong)]).unwrap_err().0, "s3");
    }

    proptest! {
        #[test]
        fn more_bytes_never_cost_less(a in 0..u64::MAX / 4, b in 0..u64::MAX / 4) {
            let prices = Prices::new([]).unwrap();
            let (small, large) = (a.min(b), a.max(b));
            prop_assert!(reckon(&prices, &measured(small)).monthly_usd <= reckon(&prices, &measured(large)).monthly_usd);
        }
    }
}
