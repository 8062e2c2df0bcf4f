//! Checks of files: their bytes, names and times, and what happens where nothing is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use modelkeep_core::Kind;
use modelkeep_core::digest::Sha256;

use super::{Bench, Doing as _, Outcome, agree, holds, pattern, refused};
use crate::remote::{EntryKind, Inline, Mode, NoMeter};

/// How far the clocks of a store and of its entries may lie apart (FAT keeps two seconds; a busy store needs some).
const NEAR: SignedDuration = SignedDuration::from_secs(30);

pub(super) async fn reads_back_what_was_written(bench: Bench) -> Outcome {
    let bytes = pattern(300_000);
    let written = bench.put("file", &bytes).await?;
    agree("the size written", &written.size, &300_000)?;
    agree("the digest written", &written.sha256, &Sha256::of(&bytes))?;
    agree("an id where there are ids", &written.id.is_some(), &bench.remote.capabilities().ids)?;
    bench.holds("file", &bytes).await?;
    let entry = bench.entry("file").await?;
    agree("the entry's path", &entry.path, &bench.at("file"))?;
    agree("the entry's id", &entry.id, &written.id)?;
    agree("the entry's size", &entry.size, &300_000)?;
    agree("the entry's kind", &entry.kind, &EntryKind::File)?;
    for (range, expected) in [
        (0..10, &bytes[..10]),
        (131_000..140_000, &bytes[131_000..140_000]),
        (299_990..400_000, &bytes[299_990..]),
        (300_000..300_001, &[][..]),
        (400_000..u64::MAX, &[][..]),
        (7..7, &[][..]),
    ] {
        let part = bench.remote.read(&entry.object(), range.clone()).await.doing(format_args!("reading {range:?}"))?;
        agree(format_args!("the bytes {range:?}"), &part[..], expected)?;
    }
    Ok(())
}

pub(super) async fn an_empty_file_is_a_file(bench: Bench) -> Outcome {
    let written = bench.put("empty", b"").await?;
    agree("its digest", &written.sha256, &Sha256::of(b""))?;
    bench.holds("empty", b"").await?;
    let entry = bench.entry("empty").await?;
    agree("its kind", &entry.kind, &EntryKind::File)?;
    agree("its size", &entry.size, &0)
}

pub(super) async fn new_never_replaces(bench: Bench) -> Outcome {
    bench.put("name", b"first").await?;
    refused("writing a new file on a file", bench.write("name", b"second", Mode::New).await, Kind::Conflict)?;
    bench.holds("name", b"first").await?;
    bench.put("folder/inside", b"kept").await?;
    refused("writing a new file on a folder", bench.write("folder", b"second", Mode::New).await, Kind::Conflict)?;
    holds("a file replaced a folder", bench.write("folder", b"second", Mode::Replace).await.is_err())?;
    holds("a file was written below a file", bench.write("name/below", b"second", Mode::New).await.is_err())?;
    bench.holds("name", b"first").await?;
    bench.holds("folder/inside", b"kept").await?;
    refused("refreshing in no folder", bench.write("none/file", b"", Mode::Refresh).await, Kind::NotFound)?;
    bench.write("folder/inside", b"fresh", Mode::Refresh).await.doing("refreshing a file")?;
    bench.holds("folder/inside", b"fresh").await?;
    bench.lists("", &["folder", "name"]).await
}

pub(super) async fn replace_is_whole(bench: Bench) -> Outcome {
    const SIZES: [usize; 4] = [400_000, 100_000, 700_000, 3];
    let content = |size: usize| vec![b'0' + u8::try_from(size % 10).unwrap_or(0); size];
    let replace = |size: usize| {
        let bench = &bench;
        async move { bench.write("file", &content(size), Mode::Replace).await }
    };
    replace(SIZES[0]).await.doing("replacing what is not there yet")?;
    bench.holds("file", &content(SIZES[0])).await?;
    let writers = join_all(SIZES.map(replace));
    let object = bench.object("file");
    let readers = join_all((0..16).map(|_| bench.read_all(&object)));
    let (written, read) = futures_util::future::join(writers, readers).await;
    for result in written {
        result.doing("replacing while others replace and read")?;
    }
    for result in read {
        let bytes = result.doing("reading while it is replaced")?;
        let whole = SIZES.iter().any(|&size| bytes == content(size));
        holds(format_args!("a reader saw {} bytes that nobody wrote", bytes.len()), whole)?;
    }
    replace(SIZES[1]).await.doing("replacing with less")?;
    bench.holds("file", &content(SIZES[1])).await?;
    bench.lists("", &["file"]).await
}

pub(super) async fn one_of_many_writers_wins(bench: Bench) -> Outcome {
    const ROUNDS: usize = 8;
    const WRITERS: u8 = 8;
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        let contents: Vec<_> = (0..WRITERS).map(|writer| vec![b'a' + writer; 50_000]).collect();
        let results = join_all(contents.iter().map(|bytes| bench.write(&name, bytes, Mode::New))).await;
        let mut winners = Vec::new();
        for (result, bytes) in results.into_iter().zip(&contents) {
            match result {
                Ok(_) => winners.push(bytes),
                lost => refused("a writer that lost", lost, Kind::Conflict)?,
            }
        }
        holds("no writer won", !winners.is_empty())?;
        if bench.remote.capabilities().unique_names {
            agree("the number of winners of one name", &winners.len(), &1)?;
        }
        let found = bench.read_all(&bench.object(&name)).await.doing("reading what the winner wrote")?;
        holds("what stands there is not a winner's content", winners.iter().any(|bytes| found == **bytes))?;
        let standing = bench.list("").await?.iter().filter(|entry| entry.name() == name).count();
        agree("the number of files of that name", &standing, &winners.len())?;
    }
    Ok(())
}

pub(super) async fn odd_names_come_back_as_they_were(bench: Bench) -> Outcome {
    let long = "n".repeat(200);
    let emoji = format!("{}🦙", "é".repeat(40));
    let names =
        ["with a space", " led by one", "-rf", "--", ".hidden", "🦙.safetensors", "日本語", "it's", "%2F", "a&b=c"];
    let mut names: Vec<&str> = names.into_iter().chain([long.as_str(), emoji.as_str()]).collect();
    for (at, name) in names.iter().enumerate() {
        bench.put(name, format!("content {at}").as_bytes()).await?;
        bench.put(&format!("below/{name}/file"), b"in it").await?;
    }
    for (at, name) in names.iter().enumerate() {
        bench.holds(name, format!("content {at}").as_bytes()).await?;
        bench.holds(&format!("below/{name}/file"), b"in it").await?;
    }
    names.sort_unstable();
    bench.lists("below", &names).await?;
    let from = bench.object(&long);
    bench.remote.rename(&from, &bench.at("below/-to \u{1f999}")).await.doing("renaming to an odd name")?;
    bench.is_kind("below/-to \u{1f999}", EntryKind::File).await
}

pub(super) async fn nothing_is_found_where_nothing_is(bench: Bench) -> Outcome {
    for missing in ["nothing", "no/such/folder"] {
        let object = bench.object(missing);
        bench.is_free(missing).await?;
        refused("reading", bench.read_all(&object).await, Kind::NotFound)?;
        let to = bench.scratch.join("fetched");
        refused("fetching", bench.remote.fetch(&object, &to, Arc::new(NoMeter)).await, Kind::NotFound)?;
        bench.lists(missing, &[]).await?;
        let inline = Inline::UpTo(10, &|_| true);
        let listed = bench.remote.list(&bench.at(missing), inline).await.doing("listing a missing folder")?;
        agree("the entries of a missing folder", &listed.len(), &0)?;
        bench.remote.delete(&object).await.doing("deleting what is not there")?;
        refused("renaming", bench.remote.rename(&object, &bench.at("to")).await, Kind::NotFound)?;
        if bench.remote.capabilities().copies {
            let copied = bench.remote.copy(&object, &bench.at("to"), Arc::new(NoMeter)).await;
            refused("copying", copied, Kind::NotFound)?;
        }
        bench.is_free("to").await?;
    }
    Ok(())
}

pub(super) async fn time_is_the_stores_own(bench: Bench) -> Outcome {
    let before = bench.remote.now().await.doing("asking for the time")?;
    bench.put("file", b"now").await?;
    let after = bench.remote.now().await.doing("asking for the time again")?;
    holds(format_args!("the time went back from {before} to {after}"), after >= before)?;
    let modified = bench.entry("file").await?.modified;
    let near = modified.duration_since(before) >= -NEAR && modified.duration_since(after) <= NEAR;
    holds(format_args!("a file written between {before} and {after} is dated {modified}"), near)
}

pub(super) async fn flushes_what_was_written(bench: Bench) -> Outcome {
    bench.put("a", b"a").await?;
    bench.put("folder/b", b"b").await?;
    bench.remote.create_dir(&bench.at("empty")).await.doing("creating a folder")?;
    let paths = ["a", "folder/b", "folder", "empty"].map(|path| bench.at(path));
    bench.remote.flush(&paths).await.doing("flushing files and folders")?;
    bench.remote.flush(&[]).await.doing("flushing nothing")?;
    let mut many = Vec::new();
    for number in 0..20 {
        let name = format!("many/{number}");
        bench.put(&name, name.as_bytes()).await?;
        many.push(bench.at(&name));
    }
    bench.remote.flush(&many).await.doing("flushing many files")?;
    bench.holds("folder/b", b"b").await?;
    bench.remote.usage().await.doing("asking how full it is").map(drop)
}

pub(super) async fn checksums_are_right(bench: Bench) -> Outcome {
    const LOOKS: u32 = 20;
    let written = bench.put("file", &pattern(10_000)).await?;
    let claimed = bench.remote.capabilities().checksums;
    for look in 0..LOOKS {
        match bench.entry("file").await?.sha256 {
            None if !claimed => return Ok(()),
            None if look + 1 < LOOKS => tokio::time::sleep(Duration::from_millis(250)).await,
            found => return agree("the store's digest", &found, &Some(written.sha256)),
        }
    }
    Ok(())
}
