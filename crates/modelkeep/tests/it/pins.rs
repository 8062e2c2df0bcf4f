//! Pins: `use`, `pull` of everything pinned, `unuse`.

use crate::sealed::{Sealed, assert_seen};

#[test]
fn pinned_models_come_back_exactly() {
    let sealed = Sealed::with_models();
    sealed.forget_outputs();
    std::fs::create_dir_all(sealed.work().join("outputs/banking-v1")).unwrap();
    assert_seen!(sealed.transcript(&[
        "pull",
        "use banking-v2@prod",
        "use banking-v2@prod",
        "use llama2-7b",
        "pull --dry-run",
        "pull",
        "pull",
        "rm banking-v2 --yes",
        "unuse banking-v2",
        "unuse banking-v2",
        "use outputs/banking-v1",
    ]));
    let lock = std::fs::read_to_string(sealed.work().join("modelkeep.lock")).unwrap();
    assert_seen!(lock);
}

#[test]
fn a_pin_holds_while_the_model_moves_on() {
    let sealed = Sealed::with_models();
    sealed.ok("use banking-v2");
    sealed.ok("push outputs/banking-v1 banking-v2");
    let (code, report) = sealed.json("pull");
    assert_eq!(code, 0);
    assert_eq!(report["models"][0]["model"], "banking-v2");
    let read = |path: &str| std::fs::read(sealed.work().join(path)).unwrap();
    assert_eq!(
        read("models/banking-v2/latest/adapter_model.safetensors"),
        read("outputs/banking-v2/adapter_model.safetensors")
    );
}
