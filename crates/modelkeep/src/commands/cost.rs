//! `modelkeep cost`: what it costs, against the alternatives.

use modelkeep_core::Result;
use modelkeep_core::size::ByteSize;
use modelkeep_ops::cost::{Report, cost};

use crate::session::Session;
use crate::style::{BAD, FAINT, GOOD, STRONG, paint};
use crate::table::{Table, styled};

/// Runs it.
pub async fn run(session: &Session) -> Result<()> {
    let report = cost(session.context()?).await?;
    session.show(&report, human)?;
    if !session.globals.json {
        report.notes.iter().for_each(|note| session.note(note));
    }
    Ok(())
}

fn human(report: &Report) -> String {
    let cost = &report.cost;
    let mut now =
        Table::default().left("NOW").right("A MONTH").right("SIZE").right("INCLUDED").left("").left("PRICE OF");
    for item in &cost.items {
        let (style, word) = if item.included { (GOOD, "included") } else { (BAD, "more than included") };
        now.row([
            styled(STRONG, &item.name),
            usd(item.monthly_usd).into(),
            ByteSize(item.size_bytes).into(),
            ByteSize(item.included_bytes).into(),
            styled(style, word),
            styled(FAINT, dated(&item.date, &item.source)),
        ]);
    }
    now.row([styled(STRONG, "all of it"), styled(STRONG, usd(cost.monthly_usd))]);
    let mut elsewhere = Table::default().left("THE SAME ELSEWHERE").right("A MONTH").left("PRICE OF");
    for other in &cost.alternatives {
        let price = if other.monthly_usd_low < other.monthly_usd_high {
            format!("{}–{:.2}", usd(other.monthly_usd_low), other.monthly_usd_high)
        } else {
            usd(other.monthly_usd_low)
        };
        elsewhere.row([styled(STRONG, &other.name), price.into(), styled(FAINT, dated(&other.date, &other.source))]);
    }
    let mut models = Table::default().left("MODEL").right("SIZE").right("A MONTH");
    for of in &cost.models {
        models.row([styled(STRONG, &of.model), ByteSize(of.size_bytes).into(), usd(of.monthly_usd).into()]);
    }
    let models = if cost.models.is_empty() { String::new() } else { format!("\n{}", models.render()) };
    format!("{}{}\n{}{models}", now.render(), growth(report), elsewhere.render())
}

fn growth(report: &Report) -> String {
    let text = match (report.cost.growth_bytes_per_month, report.cost.months_until_full) {
        (Some(bytes), Some(months)) => {
            format!("{} a month are pushed: the store is full in {months} months", ByteSize(bytes))
        }
        (Some(_), None) => "nothing was pushed in the last three months".to_owned(),
        (None, _) => "the log is too young to say how fast it grows".to_owned(),
    };
    format!("{}\n", paint(FAINT, text))
}

fn usd(amount: f64) -> String {
    format!("${amount:.2}")
}

fn dated(date: &str, source: &str) -> String {
    match (date, source) {
        ("", "") => "no source given".to_owned(),
        (date, source) => format!("{date}  {source}").trim().to_owned(),
    }
}
