//! The matrix, row by row, and what no rule may do.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn facts(path: &str, size: u64, content: Content) -> Facts {
    Facts { path: path.to_owned(), size, content, trained: false, outputs: 0 }
}

fn rule(category: Category) -> Rule {
    Rule {
        category,
        paths: Vec::new(),
        content: Vec::new(),
        from: None,
        below: None,
        codespaces: None,
        drive: None,
        hub: None,
        git: None,
        to: None,
        reason: None,
    }
}

#[test]
fn the_rows_of_the_seed() {
    use Category::{BaseModel, Configs, Datasets, Finetuned, Notebooks, Requirements, SourceCode, TrainingLogs};
    use Codespaces::{Link, No, Store, Temporary};
    let rules = Rules::new(&[]).unwrap();
    let (kept, none) = (Drive::Store, Drive::No);
    let cases = [
        ("src/train.py", 900, Content::Text, SourceCode, Store, none, Hub::No, true),
        ("README.md", 900, Content::Text, SourceCode, Store, none, Hub::No, true),
        ("logo.png", 9000, Content::Binary, SourceCode, Store, none, Hub::No, true),
        ("requirements.txt", 90, Content::Text, Requirements, Store, none, Hub::No, true),
        ("requirements/dev.in", 90, Content::Text, Requirements, Store, none, Hub::No, true),
        (
            "models/base/llama/model.safetensors",
            1 << 30,
            Content::Safetensors,
            BaseModel,
            Temporary,
            kept,
            Hub::Preferred,
            false,
        ),
        ("out/model.gguf", 1 << 30, Content::Gguf, Finetuned, Temporary, kept, Hub::Optional, false),
        ("data/train.csv", LARGE, Content::Csv, Datasets, Link, kept, Hub::No, false),
        ("data/train.csv", LARGE - 1, Content::Csv, Datasets, Store, none, Hub::No, true),
        ("data/notes.dat", 90, Content::Binary, Datasets, Store, none, Hub::No, true),
        ("anywhere/blob", 1 << 30, Content::Binary, Datasets, Link, kept, Hub::No, false),
        ("notebooks/a.ipynb", 900, Content::Notebook, Notebooks, Temporary, kept, Hub::No, true),
        ("mlruns/0/abc/metrics/loss", 90, Content::Text, TrainingLogs, No, kept, Hub::Mlflow, false),
        ("results/benchmarks/speed.csv", 90, Content::Csv, TrainingLogs, No, kept, Hub::Mlflow, false),
        ("data/finetuning/lora.yaml", 90, Content::Text, Configs, Store, kept, Hub::No, true),
        ("configs/train.json", 90, Content::Text, Configs, Store, kept, Hub::No, true),
        ("current.safetensors", 130, Content::LfsPointer, SourceCode, Store, none, Hub::No, true),
    ];
    for (path, size, content, category, codespaces, drive, hub, git) in cases {
        let verdict = rules.judge(&facts(path, size, content));
        assert_eq!((verdict.category, verdict.row), (category, Row { codespaces, drive, hub, git }), "{path}");
        assert!(!verdict.reason.is_empty());
    }
    let adapter = Facts { trained: true, ..facts("models/base/x/adapter_model.bin", 9, Content::Torch) };
    assert_eq!(rules.judge(&adapter).category, Finetuned);
    let printed = Facts { outputs: 12, ..facts("a.ipynb", 900, Content::Notebook) };
    assert!(!rules.judge(&printed).row.git);
}

#[test]
fn settings_come_first_and_overrule_single_verdicts() {
    let own = Rule {
        paths: vec!["tests/".to_owned(), "*.npz".to_owned()],
        content: vec!["model".to_owned(), "array".to_owned()],
        below: Some("1MB".to_owned()),
        git: Some(true),
        to: Some("results/fixtures".to_owned()),
        reason: Some("fixtures".to_owned()),
        ..rule(Category::Datasets)
    };
    let rules = Rules::new(std::slice::from_ref(&own)).unwrap();
    let small = rules.judge(&facts("tests/tiny.safetensors", 900, Content::Safetensors));
    assert_eq!(
        (small.category, small.row.git, small.to.as_deref()),
        (Category::Datasets, true, Some("results/fixtures"))
    );
    assert!(small.reason.starts_with("fixtures"));
    assert_eq!(
        rules.judge(&facts("tests/big.safetensors", 2 << 20, Content::Safetensors)).category,
        Category::Finetuned
    );
    assert_eq!(rules.judge(&facts("src/x.safetensors", 900, Content::Safetensors)).category, Category::Finetuned);
}

#[test]
fn a_mistake_is_told_by_its_place() {
    let wrong = [
        Rule { content: vec!["modle".to_owned()], ..rule(Category::Datasets) },
        Rule { from: Some("ten".to_owned()), ..rule(Category::Datasets) },
        Rule { from: Some("2MB".to_owned()), below: Some("1MB".to_owned()), ..rule(Category::Datasets) },
        Rule { paths: vec!["a[".to_owned()], ..rule(Category::Datasets) },
        Rule { to: Some("models".to_owned()), ..rule(Category::Datasets) },
    ];
    for wrong in wrong {
        let (at, error) = Rules::new(&[rule(Category::Configs), wrong.clone()]).unwrap_err();
        assert_eq!((at, error.kind()), (1, crate::Kind::Usage), "{wrong:?}");
    }
}

#[test]
fn commands_are_said_as_they_are_typed() {
    let rules = Rules::new(&[]).unwrap();
    let not_there = Standing::default();
    let say = |path: &str, size, content, standing| command(path, &rules.judge(&facts(path, size, content)), standing);
    assert_eq!(say("src/a.py", 9, Content::Text, not_there), "");
    assert_eq!(
        say("out/model.safetensors", 9, Content::Safetensors, not_there),
        "modelkeep push out/model.safetensors out"
    );
    assert_eq!(
        say("models/base/llama2-7b.gguf", 9, Content::Gguf, not_there),
        "modelkeep push models/base/llama2-7b.gguf llama2-7b --kind base"
    );
    let big = LARGE * 2;
    assert_eq!(say("data/a b.csv", big, Content::Csv, not_there), "modelkeep file push 'data/a b.csv' --to datasets");
    let stored = Standing { stored: true, ..not_there };
    assert_eq!(say("data/a.csv", big, Content::Csv, stored), "modelkeep use data/a.csv");
    assert_eq!(say("data/a.csv", big, Content::Csv, Standing { pinned: true, ..stored }), "");
    let tracked = Standing { tracked: true, ..stored };
    assert_eq!(say("m.gguf", 9, Content::Gguf, tracked), "git rm --cached -r -- m.gguf");
    assert_eq!(say("m.gguf", 9, Content::Gguf, Standing { stored: false, ..tracked }), "modelkeep place m.gguf");
}

fn contents() -> impl Strategy<Value = Content> {
    proptest::sample::select(vec![
        Content::Text,
        Content::Binary,
        Content::Csv,
        Content::Parquet,
        Content::Safetensors,
        Content::Torch,
        Content::Notebook,
        Content::Run,
        Content::Empty,
        Content::LfsPointer,
    ])
}

proptest! {
    /// Whatever it is: a model never belongs in git, and what git may not have has another place to be.
    #[test]
    fn nothing_is_left_without_a_place(
        path in "[a-z]{1,8}(/[a-zA-Z._-]{1,8}){0,3}", size in 1_u64..1 << 40, content in contents(), trained: bool, outputs in 0_u64..9,
    ) {
        let verdict = Rules::new(&[]).unwrap().judge(&Facts { path, size, content, trained, outputs });
        prop_assert!(!(content.is_model() && verdict.row.git));
        prop_assert!(verdict.row.git || verdict.row.drive == Drive::Store);
        prop_assert_eq!(verdict.to.is_none(), matches!(verdict.category, Category::BaseModel | Category::Finetuned));
    }

    /// The command is empty exactly when nothing is left to do.
    #[test]
    fn a_command_for_what_lies_wrong(
        path in "[a-z]{1,8}(/[a-z .'-]{1,8}){0,3}", size in 1_u64..1 << 40, content in contents(), stored: bool, tracked: bool, pinned: bool,
    ) {
        let verdict = Rules::new(&[]).unwrap().judge(&facts(&path, size, content));
        let said = command(&path, &verdict, Standing { stored, tracked, pinned });
        let right = (!tracked || verdict.row.git)
            && (stored || verdict.row.drive == Drive::No)
            && (pinned || verdict.row.codespaces != Codespaces::Link);
        prop_assert_eq!(said.is_empty(), right, "{}", said);
    }
}
