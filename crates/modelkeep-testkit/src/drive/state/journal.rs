//! The state on disk: one record a line, appended. A line that was cut off by a crash is the last one and is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use super::Record;

#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    pub fn append_to(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// Every whole line, oldest first; the file is cut after the last of them.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (mut records, mut whole, mut line) = (Vec::new(), 0, String::new());
    let mut reader = BufReader::new(file);
    while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
        records.push(serde_json::from_str(&line)?);
        whole += line.len() as u64;
        line.clear();
    }
    OpenOptions::new().write(true).open(path)?.set_len(whole)?;
    Ok(records)
}
