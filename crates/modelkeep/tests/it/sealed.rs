//! A sealed environment: own home, own current directory, own clock; nothing of the machine but `PATH` gets in.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

/// A temporary folder with a home, a place to work in, and models to push.
pub struct Sealed {
    _folder: tempfile::TempDir,
    pub root: PathBuf,
    minute: Cell<u32>,
    variables: RefCell<BTreeMap<&'static str, Option<String>>>,
}

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// 2026-02-10 12:00 UTC: when the training of the fixtures ended.
const TRAINED: Duration = Duration::from_secs(1_770_724_800);

impl Sealed {
    /// No workspace, no store; `outputs/` holds a base model and two adapters.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let sealed = Self { _folder: folder, root, minute: Cell::new(0), variables: RefCell::default() };
        fs::create_dir_all(sealed.root.join("home")).unwrap();
        fs::create_dir_all(sealed.work()).unwrap();
        sealed.base("outputs/llama2-7b");
        sealed.adapter("outputs/banking-v1", 1, &[("accuracy", 0.938), ("eval_loss", 0.124)]);
        sealed.adapter("outputs/banking-v2", 2, &[("accuracy", 0.952), ("eval_loss", 0.098)]);
        sealed
    }

    /// A workspace with an empty store beside it.
    pub fn with_store() -> Self {
        let sealed = Self::new();
        sealed.ok("init --remote ../store --name banking");
        sealed
    }

    /// A store with the base model and both adapters.
    pub fn with_models() -> Self {
        let sealed = Self::with_store();
        sealed.ok("push outputs/llama2-7b llama2-7b --kind base");
        sealed.ok("push outputs/banking-v1 banking-v1");
        sealed.ok("push outputs/banking-v2 banking-v2 --label prod");
        sealed
    }

    /// The current directory of commands.
    pub fn work(&self) -> PathBuf {
        self.root.join("project")
    }

    /// The program, ready to be started; each start is a minute after the one before.
    pub fn command(&self, args: &[String]) -> Command {
        let minute = self.minute.replace(self.minute.get() + 1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelkeep"));
        command.args(args).current_dir(self.work()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.root.join("home"));
        command.env("MODELKEEP_TESTING", "1");
        command.env("MODELKEEP_NOW", format!("2026-02-11T{:02}:{:02}:00Z", 10 + minute / 60, minute % 60));
        command.env("MODELKEEP_USER", "ana");
        command.env("HOSTNAME", "desk");
        for (name, value) in &*self.variables.borrow() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Every command from now on has this variable; or has it not.
    pub fn set(&self, name: &'static str, value: Option<&str>) {
        self.variables.borrow_mut().insert(name, value.map(str::to_owned));
    }

    /// Runs a command line as it would be typed after `modelkeep`.
    pub fn run(&self, line: &str) -> Ran {
        Ran::from(self.command(&words(line)).output().unwrap())
    }

    /// Runs one that must succeed.
    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "modelkeep {line}\n{}{}", ran.stdout, ran.stderr);
        ran
    }

    /// Runs one with `--json`: the exit code and the one document.
    pub fn json(&self, line: &str) -> (i32, Value) {
        let ran = self.run(&format!("{line} --json"));
        let document = serde_json::from_str(&ran.stdout);
        (ran.code, document.unwrap_or_else(|error| panic!("{line}: {error}\n{}{}", ran.stdout, ran.stderr)))
    }

    /// What a person sees who types these: results as they are, the rest behind `!`, exit codes other than 0.
    pub fn transcript(&self, lines: &[&str]) -> String {
        let one = |line: &&str| {
            let ran = self.run(line);
            let rest = ran.stderr.lines().map(|line| format!("! {line}\n"));
            let code = if ran.code == 0 { String::new() } else { format!("[exit {}]\n", ran.code) };
            let lines = [format!("$ modelkeep {line}\n"), ran.stdout].into_iter().chain(rest).chain([code]);
            lines.collect::<String>()
        };
        let text = lines.iter().map(one).collect::<Vec<_>>().join("\n");
        text.replace(&*self.root.to_string_lossy(), "[ROOT]")
    }

    /// Writes a file with the time that the training ended.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + TRAINED).unwrap();
    }

    /// A base model.
    pub fn base(&self, folder: &str) {
        self.write(
            &format!("{folder}/model.safetensors"),
            &safetensors(&[("embed", &[8, 4], 0), ("head", &[4, 8], 0)]),
        );
        self.write(&format!("{folder}/config.json"), br#"{"model_type": "llama"}"#);
    }

    /// A LoRA adapter on `llama2-7b`.
    pub fn adapter(&self, folder: &str, fill: u8, metrics: &[(&str, f64)]) {
        let rank = 8 * usize::from(fill);
        let tensors =
            safetensors(&[("q_proj.lora_A.weight", &[rank, 4], fill), ("q_proj.lora_B.weight", &[4, rank], fill)]);
        let config = json!({
            "base_model_name_or_path": "llama2-7b", "revision": "main", "peft_type": "LORA", "r": rank,
            "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
        });
        let metrics: serde_json::Map<String, Value> =
            metrics.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.write(&format!("{folder}/adapter_model.safetensors"), &tensors);
        self.write(&format!("{folder}/adapter_config.json"), config.to_string().as_bytes());
        self.write(&format!("{folder}/eval_results.json"), Value::from(metrics).to_string().as_bytes());
    }

    /// Takes the pushed folders away, so that no pull finds their content on this machine.
    pub fn forget_outputs(&self) {
        fs::remove_dir_all(self.work().join("outputs")).unwrap();
    }

    /// Every file below a folder of the root with its size, to tell whether anything was changed.
    pub fn files(&self, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
        fn collect(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    collect(&entry.path(), found);
                } else {
                    // A pointer may lead to a folder; where it leads is its content.
                    let target = fs::read_link(entry.path()).map(|to| to.to_string_lossy().into_owned().into_bytes());
                    found.push((entry.path(), target.or_else(|_| fs::read(entry.path())).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.root.join(folder), &mut found);
        found.sort();
        found
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Columns of paths are as wide as the temporary folder's name is long; here that does not matter.
pub fn narrow(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("   ") {
        text = text.replace("   ", "  ");
    }
    text
}

/// Splits a command line at spaces; single quotes hold words together.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            quoted = true;
            continue;
        }
        for (m, word) in part.split(' ').enumerate() {
            if m > 0 {
                // An empty word counts when it was quoted.
                if !(quoted || words.last().is_some_and(|word| !word.is_empty())) {
                    words.pop();
                }
                words.push(String::new());
                quoted = false;
            }
            words.last_mut().unwrap().push_str(word);
        }
    }
    if !quoted && words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    words
}

/// A safetensors file by hand: 8 bytes of header length, little endian; the header as JSON; the data.
pub fn safetensors(tensors: &[(&str, &[usize], u8)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, fill) in tensors {
        let begin = data.len();
        data.resize(begin + 4 * shape.iter().product::<usize>(), *fill);
        header.insert((*name).to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}));
    }
    let header = Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Compares with the stored snapshot; what is random is named instead.
macro_rules! assert_seen {
    ($text:expr) => {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(true);
        settings.add_filter(r"\b[0-9a-f]{32}\b", "[TREE]");
        settings.add_filter(r"tree [0-9a-f]{12}\)", "tree [TREE])");
        settings.bind(|| insta::assert_snapshot!($text));
    };
}
pub(crate) use assert_seen;
