//! HTTP/1.1 by hand: what a proper client would not send, and what it would hide.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use modelkeep_testkit::drive::{Options, Server};
use serde_json::Value;

pub const DRIVE: &str = "https://www.googleapis.com/auth/drive";
pub const ME: &str = "me@example.com";

/// A server and somebody signed in to it.
pub struct Client {
    pub server: Server,
    pub token: String,
}

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Status and, of an error of the API, its reason.
    pub fn reason(&self) -> (u16, String) {
        (self.status, self.json()["error"]["errors"][0]["reason"].as_str().unwrap_or_default().to_owned())
    }
}

impl Client {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let server = Server::start(options).unwrap();
        let token = server.token(ME, "app", DRIVE, Duration::from_secs(3600));
        Self { server, token }
    }

    /// With the token.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body).unwrap()
    }

    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        request(self.server.url(), method, path, &headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Without the token.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        request(self.server.url(), "POST", path, &headers, form.join("&").as_bytes()).unwrap()
    }

    /// A file of `content`, by one request.
    pub fn file(&self, content: &[u8]) -> String {
        let answer = self.send("POST", "/upload/drive/v3/files?uploadType=media&fields=id", &[], content);
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

pub fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out + &char::from(byte).to_string(),
        byte => format!("{out}%{byte:02X}"),
    })
}

pub fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap()
}

pub fn write_head(
    to: &mut impl io::Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    length: usize,
) -> io::Result<()> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head = head + name + ": " + value + "\r\n";
    }
    to.write_all((head + "\r\n").as_bytes())
}

pub fn request(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
    let path = path.strip_prefix(url).unwrap_or(path);
    let mut stream = connect(url);
    write_head(&mut stream, method, path, headers, body.len())?;
    stream.write_all(body)?;
    read_answer(stream)
}

/// An answer; an error if the connection ends before it does.
pub fn read_answer(stream: TcpStream) -> io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let status = loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
        if status >= 200 {
            break status;
        }
    };
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    assert!(!headers.contains_key("transfer-encoding"), "every answer says how long it is");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Answer { status, headers, body })
}
