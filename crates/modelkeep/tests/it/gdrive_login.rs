//! Signing in to Google Drive, and out again: by a browser here, a browser elsewhere, another device.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};

use modelkeep_testkit::drive::Server;

use crate::gdrive::{DRIVE, ME, machine, request};
use crate::sealed::{Ran, Sealed, words};

const CLIENT: &str =
    r#"{"installed":{"client_id":"mine.apps","client_secret":"GOCSPX-hush","redirect_uris":["http://localhost"]}}"#;

fn client_file(sealed: &Sealed) {
    fs::write(sealed.work().join("client_secret.json"), CLIENT).unwrap();
}

/// Starts a login, and returns the first line on standard error that holds `sought`, with what reads the rest.
fn begin(sealed: &Sealed, line: &str, sought: &str) -> (Child, BufReader<std::process::ChildStderr>, String, String) {
    let mut command = sealed.command(&words(line));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let (mut said, mut line) = (String::new(), String::new());
    while !line.contains(sought) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended: {said}");
        said += &line;
    }
    (child, stderr, line.trim().to_owned(), said)
}

fn end(mut child: Child, mut stderr: BufReader<std::process::ChildStderr>, mut said: String) -> Ran {
    let (mut stdout, mut rest) = (String::new(), String::new());
    stderr.read_to_string(&mut rest).unwrap();
    said += &rest;
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ran { code: child.wait().unwrap().code().unwrap_or(-1), stdout, stderr: said }
}

/// Where a browser ends that opens this address and whose person agrees.
fn agree(address: &str) -> String {
    let (head, _) = request("GET", address, "", "");
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    location.trim().to_owned()
}

/// Signs in by a browser on this machine.
pub fn sign_in(sealed: &Sealed, server: &Server, flags: &str) -> Ran {
    client_file(sealed);
    let line = format!("login gdrive --client-secret client_secret.json {flags}");
    let (child, stderr, address, said) = begin(sealed, line.trim(), server.url());
    let back = agree(&address);
    // The browser is shown something, whatever came of it.
    let (_, page) = request("GET", &back.replacen("/?", "?", 1).replacen('?', "/?", 1), "", "");
    assert!(page.contains("modelkeep is"), "{page}");
    end(child, stderr, said)
}

fn no_secret_in(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        for secret in ["hush", "1//0", "ya29.", "code_verifier"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn by_a_browser_here_and_out_again() {
    let (sealed, server) = machine();
    let ran = sign_in(&sealed, &server, "");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(ME) && ran.stderr.contains("7 days"), "{}{}", ran.stdout, ran.stderr);
    no_secret_in(&ran);
    let file = sealed.root.join("home/.config/modelkeep/credentials.json");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    sealed.ok("init --remote 'gdrive:Banking LLM'");
    sealed.ok("push outputs/banking-v1 banking-v1");
    let (_, who) = sealed.json("whoami");
    assert_eq!((who["used"]["account"].as_str(), who["used"]["by"].as_str()), (Some(ME), Some("login")), "{who}");
    assert_eq!(who["logins"][0]["scope"], "drive");
    let ran = sealed.ok("whoami");
    assert!(ran.stdout.contains(ME) && ran.stdout.contains("mine.apps"), "{}", ran.stdout);
    no_secret_in(&ran);

    let ran = sealed.ok("logout");
    assert!(ran.stdout.contains("Google took the login back"), "{}", ran.stdout);
    assert!(!fs::read_to_string(&file).unwrap().contains("1//0"));
    for line in ["list", "whoami", "logout"] {
        let (code, report) = sealed.json(line);
        assert_eq!((code, report["error"]["kind"].as_str()), (6, Some("auth")), "{line}: {report}");
    }
}

#[test]
fn by_a_browser_elsewhere_and_again_without_the_file() {
    let (sealed, server) = machine();
    client_file(&sealed);
    let first = "login gdrive --client-secret client_secret.json --paste";
    for (line, code) in [(first, 0), ("login gdrive --paste --account bob@example.com", 2), ("login --paste", 0)] {
        if code == 2 {
            // Bob has no login whose client could be used again.
            let ran = sealed.run(line);
            assert!(ran.code == code && ran.stderr.contains("auth/clients/create"), "{}", ran.stderr);
            continue;
        }
        let (mut child, stderr, address, said) = begin(&sealed, line, server.url());
        writeln!(child.stdin.take().unwrap(), "{}", agree(&address)).unwrap();
        let ran = end(child, stderr, said);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        no_secret_in(&ran);
    }
}

#[test]
fn on_another_device() {
    let (sealed, server) = machine();
    client_file(&sealed);
    let line = "login gdrive --client-secret client_secret.json --device";
    let (child, stderr, told, said) = begin(&sealed, line, "and type");
    let code = told.split_whitespace().last().unwrap();
    request("GET", &format!("{}/device?user_code={code}", server.url()), "", "");
    let ran = end(child, stderr, said);
    assert!(ran.code == 0 && ran.stdout.contains("drive.file"), "{}{}", ran.stdout, ran.stderr);
    let ran = sealed.run(&format!("{line} --scope drive"));
    assert!(ran.code == 2 && ran.stderr.contains("--paste"), "{}", ran.stderr);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_kept() {
    let (sealed, server) = machine();
    let ran = sealed.run("login gdrive");
    assert!(ran.code == 2 && ran.stderr.contains("5. Make a client of type"), "{}", ran.stderr);
    fs::write(sealed.work().join("web.json"), CLIENT.replace("installed", "web")).unwrap();
    let ran = sealed.run("login gdrive --client-secret web.json");
    assert!(ran.code == 2 && ran.stderr.contains("Web application"), "{}", ran.stderr);
    no_secret_in(&ran);

    let ran = sign_in(&sealed, &server, "--account bob@example.com");
    assert!(ran.code == 6 && ran.stderr.contains(ME) && ran.stderr.contains("bob@example.com"), "{}", ran.stderr);
    server.consent(None, Some(&["https://www.googleapis.com/auth/drive.file"]));
    let ran = sign_in(&sealed, &server, "");
    assert!(ran.code == 6 && ran.stderr.contains(&format!("{DRIVE} was not granted")), "{}", ran.stderr);
    server.consent(None, None);
    server.deny();
    let ran = sign_in(&sealed, &server, "");
    assert!(ran.code == 6 && ran.stderr.contains("access_denied"), "{}", ran.stderr);
    assert_eq!(sealed.run("whoami").code, 6);
}
