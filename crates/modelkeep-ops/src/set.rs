//! Set fields of a model: purpose, note, a metric, anything a team wants beside.

use std::collections::BTreeMap;

use modelkeep_core::event::Body;
use modelkeep_core::registry::json::{METRICS, is_computed};
use modelkeep_core::{Error, Result};
use serde_json::Value;

use crate::context::Context;
use crate::report::{Change, Step, Wrote};
use crate::{log, project};

/// Sets `KEY=VALUE` fields. `metrics.NAME=0.9` sets one metric; an empty value takes a field back.
pub async fn set(ctx: &Context, model: &str, assignments: &[String], dry_run: bool) -> Result<Change> {
    let mut wanted = BTreeMap::new();
    for assignment in assignments {
        let (field, value) = parse(assignment)?;
        wanted.insert(field, value);
    }
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    let model = view.state.model(model)?;
    let id = model.id.clone();
    wanted.retain(|field, value| model.fields.get(field).unwrap_or(&Value::Null) != value);
    let steps: Vec<Step> = wanted
        .iter()
        .map(|(field, value)| {
            let before = model.fields.get(field).map_or_else(|| "unset".to_owned(), Value::to_string);
            Step::new("set", format!("{id}: {field} = {value}"), format!("was {before}"))
        })
        .collect();
    let changed = !wanted.is_empty() && !dry_run;
    if changed {
        log::append(ctx, &store, &mut view, Body::Fields { model: id.clone(), set: wanted }).await?;
        project::after(ctx, &store, &mut view, &[&id]).await?;
    }
    Ok(Change { model: id, place: None, revision: None, changed, steps, wrote: Wrote::to(&store, dry_run) })
}

fn parse(assignment: &str) -> Result<(String, Value)> {
    let wrong = |why: String| Error::usage(why).hint("modelkeep set MODEL purpose=\"fraud triage\" metrics.f1=0.95");
    let (field, text) = assignment.split_once('=').ok_or_else(|| wrong(format!("`{assignment}` is not KEY=VALUE")))?;
    let field = field.trim();
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if field.is_empty() || !field.chars().all(good) {
        return Err(wrong(format!("`{field}` is no field name")));
    }
    if matches!(field, METRICS | "metrics.") {
        return Err(Error::usage("`metrics` are set one by one").hint("modelkeep set MODEL metrics.NAME=0.95"));
    }
    if is_computed(field) {
        return Err(wrong(format!("`{field}` is measured, not set")));
    }
    if field == "status" && text != "failed" {
        return Err(Error::usage("status is set to `failed` only")
            .hint("for the others: modelkeep deploy, archive, unarchive, rm"));
    }
    let value = if text.is_empty() {
        Value::Null
    } else {
        // Numbers, booleans and null as such; everything else is text, quoted or not.
        match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null | Value::String(_))) => value,
            _ => Value::from(text),
        }
    };
    if field.starts_with("metrics.") && !(value.is_number() || value.is_null()) {
        return Err(wrong(format!("`{field}` takes a number, not `{text}`")));
    }
    if field == "training_date"
        && value.as_str().is_none_or(|text| text.parse::<jiff::civil::Date>().is_err())
        && !value.is_null()
    {
        return Err(wrong(format!("`training_date` is YYYY-MM-DD, not `{text}`")));
    }
    Ok((field.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_set_one_by_one() {
        for assignment in ["metrics=0.9", "metrics={}", "metrics=", "metrics.=0.9"] {
            let error = parse(assignment).unwrap_err();
            assert_eq!(error.hint_text(), Some("modelkeep set MODEL metrics.NAME=0.95"), "{assignment}");
        }
        assert_eq!(parse("metrics.f1=0.9").unwrap(), ("metrics.f1".to_owned(), Value::from(0.9)));
        assert_eq!(parse("metrics.f1=").unwrap(), ("metrics.f1".to_owned(), Value::Null));
    }
}
