//! A store on Google Drive, against a fake one: the whole way, what it costs, and whose Drive and folder it is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use modelkeep_testkit::drive::{Options, Server};
use serde_json::Value;

use crate::sealed::Sealed;

pub const ME: &str = "ana@example.com";
pub const DRIVE: &str = "https://www.googleapis.com/auth/drive";
const HOUR: Duration = Duration::from_secs(3600);

/// A machine and a Drive; nobody is signed in.
pub fn machine() -> (Sealed, Server) {
    let server = Server::start(Options { accounts: vec![ME.to_owned()], ..Options::default() }).unwrap();
    let sealed = Sealed::new();
    sealed.set("MODELKEEP_GDRIVE_ENDPOINT", Some(server.url()));
    sealed.set("MODELKEEP_RETRY_BASE_MS", Some("1"));
    sealed.set("MODELKEEP_GDRIVE_SETTLE_MS", Some("0"));
    // The store has a clock of its own.
    sealed.set("MODELKEEP_NOW", None);
    (sealed, server)
}

/// The same with a token for the Drive of that account.
pub fn with_token(account: &str) -> (Sealed, Server) {
    let (sealed, server) = machine();
    sealed.set("MODELKEEP_GDRIVE_TOKEN", Some(&server.token(account, "client", DRIVE, HOUR)));
    (sealed, server)
}

/// One request as a browser or another program makes it: head and body of the answer.
pub fn request(method: &str, url: &str, headers: &str, body: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head =
        format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn api(server: &Server, method: &str, path: &str, body: &str) -> Value {
    let token = server.token(ME, "browser", DRIVE, HOUR);
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let (head, body) = request(method, &format!("{}/drive/v3/{path}", server.url()), &headers, body);
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}"))
}

/// Names of the calls since the last time.
fn calls(server: &Server) -> Vec<String> {
    let names = server.calls().into_iter().map(|call| call.name).collect();
    server.clear_calls();
    names
}

/// Without those that ask what changed, which a machine with much else to do asks once more.
fn besides_changes(calls: &[String]) -> usize {
    calls.iter().filter(|name| *name != "changes.list").count()
}

fn settings(sealed: &Sealed) -> String {
    fs::read_to_string(sealed.work().join("modelkeep.toml")).unwrap()
}

#[test]
fn the_whole_way() {
    let (sealed, server) = with_token(ME);
    // Large enough to go up in parts that can be resumed.
    sealed.write("outputs/llama2-7b/model.bin", &vec![7; 9 << 20]);
    let (code, made) = sealed.json("init --remote 'gdrive:Banking LLM'");
    assert_eq!((code, made["account"].as_str()), (0, Some(ME)), "{made}");
    assert!(made["spent"]["calls"].as_u64() > Some(3) && made["spent"]["units"].as_u64() > Some(100), "{made}");
    let folder = made["folder"].as_str().unwrap();
    let settings = settings(&sealed);
    for line in ["url = \"gdrive:Banking LLM\"", &format!("account = \"{ME}\""), &format!("folder = \"{folder}\"")] {
        assert!(settings.contains(line), "{settings}");
    }
    sealed.ok("init");

    sealed.ok("push outputs/llama2-7b llama2-7b --kind base");
    let (_, pushed) = sealed.json("push outputs/banking-v1 banking-v1");
    assert_eq!((&pushed["confirmed"], &pushed["created"]), (&true.into(), &true.into()), "{pushed}");
    assert!(pushed["spent"]["units"].is_u64(), "{pushed}");
    sealed.ok("push outputs/banking-v2 banking-v2 --label prod");
    sealed.ok("deploy banking-v2 --yes");
    let found = api(&server, "GET", "files?q=mimeType%3D'application/vnd.google-apps.shortcut'&fields=files(name)", "");
    let names: Vec<&str> = found["files"].as_array().unwrap().iter().filter_map(|file| file["name"].as_str()).collect();
    assert!(names.contains(&"current"), "{names:?}");

    let (_, list) = sealed.json("list");
    assert_eq!(list["models"].as_array().unwrap().len(), 3, "{list}");
    let pushed = ["llama2-7b/model.bin", "banking-v2/adapter_model.safetensors"]
        .map(|path| (path, fs::read(sealed.work().join("outputs").join(path)).unwrap()));
    sealed.forget_outputs();
    sealed.ok("pull llama2-7b --to back/llama2-7b");
    sealed.ok("pull banking-v2@prod --to back/banking-v2");
    for (path, bytes) in pushed {
        assert!(fs::read(sealed.work().join("back").join(path)).unwrap() == bytes, "{path}");
    }
    sealed.ok("verify --deep");

    // Another machine that has the settings alone.
    let state = sealed.work().join(".modelkeep");
    fs::remove_dir_all(&state).unwrap();
    sealed.ok("pull banking-v1 --to there");
    assert!(state.join("local.db").is_file());
    let known = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(known.into_iter().any(|name| name.starts_with("gdrive-")));
}

#[test]
fn what_is_known_is_not_asked_again() {
    let (sealed, server) = with_token(ME);
    sealed.ok("init --remote 'gdrive:Banking LLM'");
    sealed.ok("push outputs/banking-v1 banking-v1");
    // To a deployed model nothing is sent before all of it is hashed; else files younger than two seconds are.
    sealed.ok("deploy banking-v1 --yes");
    sealed.ok("push outputs/banking-v1 banking-v1");
    server.clear_calls();
    let ran = sealed.ok("push outputs/banking-v1 banking-v1 -v");
    let made = calls(&server);
    assert!(besides_changes(&made) <= 1, "{made:?}");
    assert!(ran.stderr.contains(&format!("{} calls, ", made.len())) && ran.stderr.contains(ME), "{}", ran.stderr);
    assert!(ran.stderr.contains("quota units to gdrive:"), "{}", ran.stderr);
    sealed.ok("list");
    let made = calls(&server);
    assert!(besides_changes(&made) <= 1, "{made:?}");
}

#[test]
fn what_is_deleted_goes_to_drives_trash_unless_the_person_says_no() {
    let (sealed, server) = with_token(ME);
    sealed.ok("init --remote 'gdrive:Banking LLM'");
    for (said, deletes) in [(false, false), (true, true)] {
        if said {
            sealed.ok("config set gdrive.permanent_delete true");
        }
        calls(&server);
        sealed.ok("remote test");
        let made = calls(&server);
        assert_eq!(made.iter().any(|name| name == "files.delete"), deletes, "{made:?}");
    }
}

#[test]
fn of_two_folders_of_one_name_the_person_chooses() {
    let (sealed, server) = with_token(ME);
    let body = r#"{"name": "Banking LLM", "mimeType": "application/vnd.google-apps.folder"}"#;
    let ids = [(); 2].map(|()| api(&server, "POST", "files", body)["id"].as_str().unwrap().to_owned());
    let (code, report) = sealed.json("init --remote 'gdrive:Banking LLM'");
    let message = report["error"]["message"].as_str().unwrap();
    assert!(code == 4 && ids.iter().all(|id| message.contains(id)), "{code}: {report}");
    assert!(report["error"]["hint"].as_str().unwrap().contains("gdrive:id:"), "{report}");
    sealed.ok(&format!("init --remote gdrive:id:{}", ids[1]));
    sealed.ok("push outputs/banking-v1 banking-v1");

    // The folder is the workspace's own from now on: another one is refused, by both names.
    let (code, report) = sealed.json(&format!("init --remote gdrive:id:{}", ids[0]));
    let message = report["error"]["message"].as_str().unwrap();
    assert!(code == 6 && ids.iter().all(|id| message.contains(id)), "{code}: {report}");
}

#[test]
fn another_account_is_refused_by_name() {
    let (sealed, server) = with_token(ME);
    sealed.ok("init --remote 'gdrive:Banking LLM'");
    let other = server.token("bob@example.com", "client", DRIVE, HOUR);
    sealed.set("MODELKEEP_GDRIVE_TOKEN", Some(&other));
    let (code, report) = sealed.json("list");
    let message = report["error"]["message"].as_str().unwrap();
    assert_eq!((code, report["error"]["kind"].as_str()), (6, Some("auth")), "{report}");
    assert!(message.contains(ME) && message.contains("bob@example.com"), "{message}");
    assert!(!report.to_string().contains(&other));
}

#[test]
fn without_access_it_says_how_to_get_it() {
    let (sealed, server) = machine();
    let (code, report) = sealed.json("init --remote 'gdrive:Banking LLM'");
    assert_eq!((code, report["error"]["kind"].as_str()), (6, Some("auth")), "{report}");
    assert_eq!(report["error"]["hint"], "modelkeep login gdrive");
    assert!(server.calls().is_empty());
    let (code, report) = sealed.json("list --remote gdrive:x --offline");
    assert_eq!((code, report["error"]["kind"].as_str()), (7, Some("unavailable")), "{report}");
}

#[test]
fn a_token_that_ended_is_an_error_and_a_command_gives_another() {
    let (sealed, server) = with_token(ME);
    sealed.ok("init --remote 'gdrive:Banking LLM'");
    server.advance(2 * HOUR);
    let (code, report) = sealed.json("list");
    assert_eq!((code, report["error"]["kind"].as_str()), (6, Some("auth")), "{report}");
    assert!(report["error"]["hint"].as_str().unwrap().contains("new token"), "{report}");

    let file = sealed.root.join("tokens");
    let tokens: Vec<String> = (0..40).map(|_| server.token(ME, "client", DRIVE, HOUR)).collect();
    fs::write(&file, tokens.join("\n") + "\n").unwrap();
    sealed.set("MODELKEEP_GDRIVE_TOKEN", None);
    // A new one each time that it is asked.
    let command = format!("head -n 1 '{0}' && sed -i.bak 1d '{0}'", file.display());
    sealed.set("MODELKEEP_GDRIVE_TOKEN_COMMAND", Some(&command));
    server.fault("expire-token=10").unwrap();
    sealed.ok("push outputs/banking-v1 banking-v1");
    let left = fs::read_to_string(&file).unwrap().lines().count();
    assert!(left < 39, "{left} tokens are left");
}

#[test]
fn a_login_for_its_own_files_says_what_it_cannot_see() {
    let (sealed, server) = machine();
    api(&server, "POST", "files", r#"{"name": "Banking LLM", "mimeType": "application/vnd.google-apps.folder"}"#);
    crate::gdrive_login::sign_in(&sealed, &server, "--scope drive.file");
    let ran = sealed.ok("init --remote 'gdrive:Banking LLM'");
    assert!(ran.stderr.contains("drive.file"), "{}", ran.stderr);
    assert!(sealed.ok("list").stderr.contains("drive.file"));
}

#[test]
fn the_demo_runs_on_a_drive() {
    let (sealed, _server) = with_token(ME);
    let ran = sealed.ok("demo --remote 'gdrive:Banking LLM'");
    assert!(ran.stdout.contains("all as they should be"), "{}", ran.stdout);
    sealed.ok("demo --remote 'gdrive:Banking LLM'");
}
