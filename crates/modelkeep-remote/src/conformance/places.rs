//! Checks of folders: what stands where, and how it gets somewhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use modelkeep_core::Kind;

use super::{Bench, Doing as _, Outcome, agree, holds, pattern, refused};
use crate::remote::{EntryKind, Inline, Mode, NoMeter, Object};

pub(super) async fn folders_are_made_on_the_way(bench: Bench) -> Outcome {
    bench.put("a/b/c/d/e/f/file", b"deep").await?;
    for folder in ["a", "a/b", "a/b/c/d/e/f"] {
        bench.is_kind(folder, EntryKind::Dir).await?;
    }
    let entry = bench.remote.create_dir(&bench.at("x/y")).await.doing("creating a folder in a new one")?;
    agree("its kind", &entry.kind, &EntryKind::Dir)?;
    agree("its path", &entry.path, &bench.at("x/y"))?;
    bench.lists("x", &["y"]).await?;
    bench.lists("x/y", &[]).await?;
    let again = bench.remote.create_dir(&bench.at("x/y")).await.doing("creating a folder that is there")?;
    agree("its id", &again.id, &entry.id)?;
    bench.put("x/y/file", b"kept").await?;
    bench.remote.create_dir(&bench.at("x/y")).await.doing("creating a folder that is not empty")?;
    bench.holds("x/y/file", b"kept").await?;
    let on_a_file = bench.remote.create_dir(&bench.at("x/y/file")).await;
    refused("creating a folder on a file", on_a_file, Kind::Conflict)?;
    bench.holds("x/y/file", b"kept").await
}

pub(super) async fn lists_direct_children_only(bench: Bench) -> Outcome {
    bench.put("one", b"1").await?;
    bench.put("three", b"333").await?;
    bench.put("folder/inside/deeper", b"not seen from above").await?;
    let entries = bench.list("").await?;
    let found: Vec<_> = entries.iter().map(|entry| (entry.name(), entry.kind.clone(), entry.size)).collect();
    let expected = [("folder", EntryKind::Dir, 0), ("one", EntryKind::File, 1), ("three", EntryKind::File, 3)];
    agree("the listing", &found[..], &expected)?;
    for entry in &entries {
        agree("a listed path", &entry.path, &bench.at(entry.name()))?;
        agree("a listed id", &entry.id.is_some(), &bench.remote.capabilities().ids)?;
        agree("what a listing brings unasked", &entry.content, &None)?;
    }
    let ids: BTreeSet<_> = entries.iter().filter_map(|entry| entry.id.as_deref()).collect();
    holds("two entries share an id", ids.is_empty() || ids.len() == entries.len())?;
    bench.lists("folder", &["inside"]).await
}

pub(super) async fn listings_bring_what_is_wanted(bench: Bench) -> Outcome {
    bench.put("wanted.json", b"{}").await?;
    bench.put("limit.json", &[b'x'; 100]).await?;
    bench.put("large.json", &[b'x'; 101]).await?;
    bench.put("other.bin", b"no").await?;
    bench.put("folder.json/inside", b"no").await?;
    let wants = |name: &str| name.contains("json");
    let entries = bench.remote.list(&bench.at(""), Inline::UpTo(100, &wants)).await.doing("listing with content")?;
    agree("the number of entries", &entries.len(), &5)?;
    for entry in entries {
        let Some(content) = entry.content else { continue };
        let expected: &[u8] = match entry.path.name() {
            "wanted.json" => b"{}",
            "limit.json" => &[b'x'; 100],
            name => return Err(format!("the content of `{name}` came along, which nobody wanted")),
        };
        agree("the content that came along", &content[..], expected)?;
    }
    Ok(())
}

pub(super) async fn renames_files_and_whole_folders(bench: Bench) -> Outcome {
    bench.put("from/file", b"file").await?;
    bench.put("from/sub/deep", b"deep").await?;
    let rename = async |from: &str, to: &str| {
        let moved = bench.remote.rename(&bench.object(from), &bench.at(to)).await;
        moved.doing(format_args!("renaming `{from}` to `{to}`"))
    };
    rename("from/file", "from/renamed").await?;
    bench.is_free("from/file").await?;
    bench.holds("from/renamed", b"file").await?;
    rename("from", "new/above/to").await?;
    bench.is_free("from").await?;
    bench.lists("new/above/to", &["renamed", "sub"]).await?;
    bench.holds("new/above/to/renamed", b"file").await?;
    bench.holds("new/above/to/sub/deep", b"deep").await?;
    rename("new/above/to/renamed", "up").await?;
    bench.holds("up", b"file").await?;
    bench.lists("", &["new", "up"]).await?;
    bench.put("from/again", b"the name is free").await.map(drop)
}

pub(super) async fn rename_never_replaces(bench: Bench) -> Outcome {
    bench.put("file", b"file").await?;
    bench.put("folder/inside", b"folder").await?;
    bench.put("taken/file", b"old file").await?;
    bench.put("taken/folder/inside", b"old folder").await?;
    bench.remote.create_dir(&bench.at("taken/empty")).await.doing("creating an empty folder")?;
    for from in ["file", "folder"] {
        for to in ["taken/file", "taken/folder", "taken/empty", "taken", "file"] {
            let renamed = bench.remote.rename(&bench.object(from), &bench.at(to)).await;
            refused(format_args!("renaming `{from}` to the taken `{to}`"), renamed, Kind::Conflict)?;
        }
    }
    bench.lists("", &["file", "folder", "taken"]).await?;
    bench.lists("taken", &["empty", "file", "folder"]).await?;
    bench.lists("taken/empty", &[]).await?;
    bench.holds("file", b"file").await?;
    bench.holds("folder/inside", b"folder").await?;
    bench.holds("taken/file", b"old file").await?;
    bench.holds("taken/folder/inside", b"old folder").await
}

pub(super) async fn one_of_many_renames_wins(bench: Bench) -> Outcome {
    const RIVALS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    for (inside, round) in [("/file", "folders"), ("", "files")] {
        let from = |rival: &str| format!("{round}/from/{rival}");
        let to = bench.at(&format!("{round}/to"));
        for rival in RIVALS {
            bench.put(&format!("{}{inside}", from(rival)), rival.as_bytes()).await?;
        }
        let objects = RIVALS.map(|rival| bench.object(&from(rival)));
        let results = join_all(objects.iter().map(|object| bench.remote.rename(object, &to))).await;
        let mut winners = Vec::new();
        for (result, rival) in results.into_iter().zip(RIVALS) {
            if result.is_ok() {
                winners.push(rival);
                bench.is_free(&from(rival)).await?;
            } else {
                refused("a rename that lost", result, Kind::Conflict)?;
                bench.holds(&format!("{}{inside}", from(rival)), rival.as_bytes()).await?;
            }
        }
        holds("no rename won", !winners.is_empty())?;
        if bench.remote.capabilities().unique_names {
            agree(format_args!("the winners of one name among {round}"), &winners.len(), &1)?;
            bench.holds(&format!("{round}/to{inside}"), winners[0].as_bytes()).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_folder_cannot_move_into_itself(bench: Bench) -> Outcome {
    bench.put("folder/sub/file", b"kept").await?;
    for to in ["folder/to", "folder/sub/to", "folder/sub/new/to"] {
        let moved = bench.remote.rename(&bench.object("folder"), &bench.at(to)).await;
        holds(format_args!("a folder moved into itself, to `{to}`"), moved.is_err())?;
    }
    bench.holds("folder/sub/file", b"kept").await
}

pub(super) async fn delete_takes_all_of_it(bench: Bench) -> Outcome {
    bench.put("folder/file", b"1").await?;
    bench.put("folder/sub/file", b"2").await?;
    bench.put("stays", b"kept").await?;
    let file = bench.entry("folder/file").await?;
    bench.remote.delete(&file.object()).await.doing("deleting a file")?;
    bench.is_free("folder/file").await?;
    bench.remote.delete(&file.object()).await.doing("deleting it again")?;
    let folder = bench.entry("folder").await?;
    bench.remote.delete(&folder.object()).await.doing("deleting a folder with something in it")?;
    bench.is_free("folder").await?;
    bench.is_free("folder/sub/file").await?;
    bench.lists("", &["stays"]).await?;
    bench.holds("stays", b"kept").await?;
    bench.put("folder/file", b"the name is free").await.map(drop)
}

pub(super) async fn ids_stay_when_objects_move(bench: Bench) -> Outcome {
    if !bench.remote.capabilities().ids {
        return Ok(());
    }
    bench.put("from/file", b"content").await?;
    let (folder, file) = (bench.entry("from").await?, bench.entry("from/file").await?);
    bench.remote.rename(&folder.object(), &bench.at("to")).await.doing("renaming by id")?;
    let path_now = async |object: &Object| {
        let found = bench.remote.find(object).await.doing("finding by id")?;
        Ok::<_, String>(found.map(|entry| (entry.path, entry.id)))
    };
    agree("the folder found by id", &path_now(&folder.object()).await?, &Some((bench.at("to"), folder.id.clone())))?;
    agree("the file found by id", &path_now(&file.object()).await?, &Some((bench.at("to/file"), file.id.clone())))?;
    let bytes = bench.read_all(&file.object()).await.doing("reading by id")?;
    agree("the bytes read by id", &bytes[..], b"content")?;
    bench.put("from/file", b"another file of the same path").await?;
    let bytes = bench.read_all(&file.object()).await.doing("reading by id when the path is another's")?;
    agree("the bytes read by id", &bytes[..], b"content")?;
    bench.remote.delete(&file.object()).await.doing("deleting by id")?;
    agree("the deleted file found by id", &path_now(&file.object()).await?, &None)?;
    refused("reading a deleted id", bench.read_all(&file.object()).await, Kind::NotFound)?;
    bench.holds("from/file", b"another file of the same path").await
}

pub(super) async fn copies_are_files_of_their_own(bench: Bench) -> Outcome {
    if !bench.remote.capabilities().copies {
        return Ok(());
    }
    let bytes = pattern(200_000);
    bench.put("from", &bytes).await?;
    let copy = async |to: &str| bench.remote.copy(&bench.object("from"), &bench.at(to), Arc::new(NoMeter)).await;
    let copied = copy("new/folder/to").await.doing("copying")?;
    agree("the size copied", &copied.size, &200_000)?;
    let entry = bench.entry("new/folder/to").await?;
    agree("the copy's id", &entry.id, &copied.id)?;
    holds("the copy has the original's id", entry.id.is_none() || entry.id != bench.entry("from").await?.id)?;
    bench.holds("new/folder/to", &bytes).await?;
    bench.put("taken", b"old").await?;
    refused("copying onto a taken name", copy("taken").await, Kind::Conflict)?;
    bench.holds("taken", b"old").await?;
    bench.write("from", b"changed", Mode::Replace).await.doing("replacing the original")?;
    bench.holds("new/folder/to", &bytes).await?;
    bench.remote.delete(&bench.object("from")).await.doing("deleting the original")?;
    bench.holds("new/folder/to", &bytes).await
}

pub(super) async fn exchange_swaps_two_folders(bench: Bench) -> Outcome {
    bench.put("one/file", b"1").await?;
    bench.put("below/other/file", b"2").await?;
    // A store may learn only by trying that it cannot, and says so from then on.
    let swapped = bench.remote.exchange(&bench.at("one"), &bench.at("below/other")).await;
    if !bench.remote.capabilities().exchange {
        holds("an exchange that is not claimed was done", swapped.is_err())?;
        bench.holds("one/file", b"1").await?;
        return bench.holds("below/other/file", b"2").await;
    }
    swapped.doing("exchanging two folders")?;
    bench.holds("one/file", b"2").await?;
    bench.holds("below/other/file", b"1").await?;
    bench.lists("", &["below", "one"]).await?;
    let with_nothing = bench.remote.exchange(&bench.at("one"), &bench.at("nothing")).await;
    refused("an exchange with nothing", with_nothing, Kind::NotFound)?;
    let with_its_own = bench.remote.exchange(&bench.at("below"), &bench.at("below/other")).await;
    holds("a folder changed places with one that is in it", with_its_own.is_err())?;
    bench.holds("one/file", b"2").await?;
    bench.holds("below/other/file", b"1").await?;
    holds("a refused exchange took the capability away", bench.remote.capabilities().exchange)
}
