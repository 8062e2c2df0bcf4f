//! `modelkeep completions`: a script for the shell; where a model is meant it completes the ids on the store.

use clap::CommandFactory as _;
use clap_complete::Shell;
use modelkeep_core::Result;

use crate::cli::Cli;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Commands whose first argument is a model.
const OF_MODELS: &str = "pull use unuse show history diff label set deploy archive unarchive rm restore verify";

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "modelkeep", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    output::print(&match args.shell {
        Shell::Bash => script + &bash(),
        Shell::Fish => script + &fish(),
        Shell::Zsh => zsh(&script),
        _ => script,
    })
}

fn bash() -> String {
    let commands = OF_MODELS.replace(' ', "|");
    format!(
        r#"
_modelkeep_and_models() {{
    _modelkeep "$@"
    local current="${{COMP_WORDS[COMP_CWORD]}}"
    case "${{COMP_WORDS[1]}}" in
        {commands})
            if [[ "$current" != -* ]]; then
                COMPREPLY+=( $(compgen -W "$(modelkeep __complete models 2>/dev/null)" -- "$current") )
            fi
            ;;
    esac
}}
complete -F _modelkeep_and_models -o bashdefault -o default modelkeep
"#
    )
}

fn fish() -> String {
    format!(
        "\ncomplete -c modelkeep -n \"__fish_seen_subcommand_from {OF_MODELS}\" -f \
         -a \"(modelkeep __complete models 2>/dev/null)\"\n"
    )
}

/// The arguments called `model`, `before` and `after` complete to ids; the function for it goes below the first line,
/// which must stay the first.
fn zsh(script: &str) -> String {
    let function = "\n_modelkeep_models() {\n    local -a models\n    models=(${(f)\"$(modelkeep __complete models 2>/dev/null)\"})\n    compadd -a models\n}\n";
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    let of_models =
        |line: &str| ["':model ", "'::model ", "':before ", "':after "].iter().any(|start| line.starts_with(start));
    let lines = rest
        .lines()
        .map(|line| if of_models(line) { line.replace(":_default'", ":_modelkeep_models'") } else { line.to_owned() });
    format!("{first}\n{function}{}\n", lines.collect::<Vec<_>>().join("\n"))
}
