//! Colours, sparingly: what stands out, what stands back, what needs care.

use anstyle::{AnsiColor, Style};

use crate::cli::Color;

/// The name of a thing.
pub const STRONG: Style = Style::new().bold();
/// What may be overlooked.
pub const FAINT: Style = Style::new().dimmed();
/// In use, good.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub const CARE: Style = AnsiColor::Yellow.on_default();
/// Wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Text in a style; the codes are dropped again where nobody sees colours.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Obeys `--color`; `auto` looks at the terminal, `NO_COLOR` and `CLICOLOR_FORCE`.
pub fn choose(color: Color) {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}
