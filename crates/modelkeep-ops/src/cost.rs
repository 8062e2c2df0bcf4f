//! What it costs: sizes as they are now, against the price table of the settings.

use std::collections::BTreeMap;

use modelkeep_core::cost::{self, Cost, Measured, Own, Prices};
use modelkeep_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::settings::Settings;
use crate::store::Store;
use crate::{log, status};

/// What it costs, and what should be known beside it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The reckoning.
    #[serde(flatten)]
    pub cost: Cost,
    /// What should be known beside it.
    pub notes: Vec<String>,
}

/// Measures, and reckons.
pub async fn cost(ctx: &Context) -> Result<Report> {
    of(ctx, status::status(ctx).await?).await
}

/// Reckons with what was measured.
pub(crate) async fn of(ctx: &Context, measured: status::Report) -> Result<Report> {
    let prices = prices(&ctx.settings)?;
    let mut notes = Vec::new();
    let mut of = Measured { here: measured.local.used_bytes, now: ctx.now(), ..Measured::default() };
    match (measured.remote, measured.remote_error) {
        (Some(remote), _) => {
            let store = ctx.store().await?;
            of.store = remote.categories.iter().map(|category| category.size_bytes).sum::<u64>() + remote.trash_bytes;
            if store.on_drive().is_some() {
                // What else is on that Drive takes its room as well.
                (of.store, of.quota) = (remote.used_bytes, remote.quota_bytes);
            } else {
                let what = if store.simulated() { "a simulation" } else { "a folder" };
                notes.push(format!(
                    "the store is {what}, priced as the Drive that it stands for; another price: [prices.drive] in modelkeep.toml"
                ));
            }
            pushed(ctx, &store, &mut of).await?;
        }
        (None, Some(why)) => notes.push(format!("the store could not be asked, so nothing on it is counted: {why}")),
        (None, None) => notes.push("no store is set, so nothing on it is counted".to_owned()),
    }
    Ok(Report { cost: cost::reckon(&prices, &of), notes })
}

/// What the log says of sizes.
async fn pushed(ctx: &Context, store: &Store, of: &mut Measured) -> Result<()> {
    let view = log::refresh(ctx, store).await?;
    for model in view.state.kept() {
        let kept = model.pushes.iter().filter(|push| push.removed.is_none());
        let bytes: u64 = kept.clone().map(|push| push.size_bytes).sum();
        of.pushed.extend(kept.map(|push| (push.at, push.size_bytes)));
        if bytes > 0 && model.place.is_none() {
            of.models.push((model.id.to_string(), bytes));
        }
    }
    Ok(())
}

/// The prices that count here. A mistake is told with its file, its line and the reason.
pub fn prices(settings: &Settings) -> Result<Prices> {
    #[derive(Deserialize)]
    struct Document {
        prices: BTreeMap<String, toml::Spanned<Own>>,
    }
    let (mut own, mut lines) = (BTreeMap::new(), BTreeMap::new());
    // The farthest first, so that the nearest counts.
    for (file, text) in settings.prices.iter().rev() {
        let wrong = |why: String| {
            Error::usage(format!("{}: [prices]: {why}", file.display()))
                .hint(format!("mend {}; the fields are in the guide, under upkeep", file.display()))
        };
        let document: Document =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        for (name, price) in document.prices {
            let line = text[..price.span().start].matches('\n').count() + 1;
            lines.insert(name.clone(), (file, line));
            own.insert(name, price.into_inner());
        }
    }
    Prices::new(own).map_err(|(name, error)| match lines.get(&name) {
        Some((file, line)) => error.context(format!("{} line {line}, [prices.{name}]", file.display())),
        None => error,
    })
}
