//! The JSON that other programs read: the fields of the contract are there.

use serde_json::Value;

use crate::sealed::Sealed;

#[track_caller]
fn has(report: &Value, fields: &str) {
    for field in fields.split(' ') {
        assert!(report.get(field).is_some(), "`{field}` is missing in {report}");
    }
}

#[test]
fn reports_have_the_fields_of_the_contract() {
    let sealed = Sealed::with_store();
    let (_, push) = sealed.json("push outputs/banking-v1 banking-v1 --label prod");
    has(
        &push,
        "model revision number labels created files size_bytes sent_bytes skipped_bytes base_model metrics simulated confirmed",
    );
    assert_eq!((&push["created"], &push["simulated"], &push["confirmed"]), (&true.into(), &false.into(), &true.into()));
    assert_eq!(push["metrics"]["accuracy"], 0.938);
    let (_, again) = sealed.json("push outputs/banking-v1 banking-v1");
    assert_eq!((&again["created"], &again["sent_bytes"]), (&false.into(), &0.into()));
    assert_eq!(again["revision"], push["revision"]);

    let (_, pull) = sealed.json("pull banking-v1@prod");
    has(&pull, "model revision path files size_bytes fetched_bytes reused_bytes");
    assert_eq!(pull["size_bytes"], push["size_bytes"]);

    let (_, list) = sealed.json("list");
    let of_list =
        "id kind type status revision revisions size_bytes base_model metrics labels deployed created_at training_date";
    has(&list["models"][0], of_list);
    assert_eq!((&list["models"][0]["kind"], &list["models"][0]["status"]), (&"finetuned".into(), &"active".into()));

    let (_, show) = sealed.json("show banking-v1");
    has(&show, of_list);
    has(&show["files"][0], "path size_bytes sha256");
    assert_eq!(show["history"].as_array().unwrap().len(), 1);

    let (_, deploy) = sealed.json("deploy banking-v1 --yes");
    has(&deploy, "model revision changed steps simulated confirmed dry_run");
    let (_, verify) = sealed.json("verify");
    has(&verify, "checked bytes problems");
}

#[test]
fn each_json_answer_is_one_line_and_the_rest_is_elsewhere() {
    let sealed = Sealed::with_models();
    for line in ["list", "show banking-v1", "history", "diff banking-v1 banking-v2", "remote list", "config show"] {
        let ran = sealed.ok(&format!("{line} --json -v"));
        assert_eq!(ran.stdout.lines().count(), 1, "{line}");
        serde_json::from_str::<Value>(&ran.stdout).unwrap();
    }
}

#[test]
fn a_stream_of_progress_is_json_lines_on_standard_error() {
    let sealed = Sealed::with_store();
    let ran = sealed.ok("push outputs/banking-v1 banking-v1 --progress json");
    let events: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["event"] == "stage"), "{events:?}");
    assert!(events.iter().any(|event| event["event"] == "bytes" && event["done"].is_u64()), "{events:?}");
}

#[test]
fn reports_are_what_their_schema_says() {
    let sealed = Sealed::with_models();
    let names = sealed.ok("schema").stdout;
    for name in names.lines() {
        let schema: Value = serde_json::from_str(&sealed.ok(&format!("schema {name}")).stdout).unwrap();
        assert_eq!(schema["type"], "object", "{name}");
    }
    for (line, name) in [
        ("list", "list"),
        ("show banking-v1", "show"),
        ("history", "history"),
        ("diff banking-v1 banking-v2", "diff"),
        ("deploy banking-v1 --yes", "deploy"),
        ("set banking-v1 a=b", "set"),
        ("pull banking-v1", "pull"),
        ("push outputs/banking-v1 banking-v3", "push"),
        ("use banking-v1", "use"),
        ("pull", "pull-all"),
        ("verify", "verify"),
        ("remote test", "remote-test"),
        ("config get evict", "config-item"),
        ("status", "status"),
        ("cache status", "cache-status"),
        ("cache list", "cache-list"),
        ("cache evict", "cache-evict"),
        ("cache clear --yes", "cache-clear"),
        ("cache repair", "cache-repair"),
        ("log list", "log-list"),
        ("log show banking-v1", "log-show"),
        ("log append banking-v1 monday loss=0.5", "log-append"),
        ("maintain due --dry-run", "maintain"),
        ("maintain schedule --print --cron", "maintain-schedule"),
        ("maintain schedule --remove", "maintain-schedule"),
        ("cost", "cost"),
        ("place --dry-run", "place"),
        ("where outputs", "where"),
        ("file list", "file-list"),
    ] {
        let schema: Value = serde_json::from_str(&sealed.ok(&format!("schema {name}")).stdout).unwrap();
        let (code, report) = sealed.json(line);
        assert_eq!(code, 0, "{line}: {report}");
        for field in schema["required"].as_array().unwrap() {
            has(&report, field.as_str().unwrap());
        }
        for field in report.as_object().unwrap().keys() {
            assert!(schema["properties"].get(field).is_some(), "{line}: the schema does not know `{field}`");
        }
    }
}
