//! Checks of a store's own pointers, where it has some.

use modelkeep_core::Kind;

use super::{Bench, Doing as _, Outcome, agree, refused};
use crate::remote::{EntryKind, PointerKind};

pub(super) async fn point_where_they_should(bench: Bench) -> Outcome {
    if bench.remote.capabilities().pointers == PointerKind::File {
        return Ok(());
    }
    bench.put("models/v1/file", b"1").await?;
    bench.put("models/v2/file", b"2").await?;
    for pointer in ["models/latest", "elsewhere/deep/current"] {
        for target in ["models/v1", "models/v2"] {
            let pointed = bench.remote.point(&bench.at(pointer), &bench.at(target)).await;
            pointed.doing(format_args!("pointing `{pointer}` to `{target}`"))?;
            bench.is_kind(pointer, EntryKind::Pointer(Some(bench.at(target)))).await?;
        }
    }
    bench.lists("models", &["latest", "v1", "v2"]).await?;
    let entries = bench.list("elsewhere/deep").await?;
    let listed: Vec<_> = entries.iter().map(|entry| (entry.kind.clone(), entry.size)).collect();
    agree("the listed pointer", &listed, &vec![(EntryKind::Pointer(Some(bench.at("models/v2"))), 0)])?;
    bench.remote.delete(&entries[0].object()).await.doing("deleting a pointer by its entry")?;
    bench.remote.delete(&bench.object("models/latest")).await.doing("deleting a pointer by path")?;
    bench.lists("elsewhere/deep", &[]).await?;
    bench.lists("models", &["v1", "v2"]).await?;
    bench.holds("models/v2/file", b"2").await
}

pub(super) async fn stand_in_for_nothing_else(bench: Bench) -> Outcome {
    if bench.remote.capabilities().pointers == PointerKind::File {
        return Ok(());
    }
    bench.put("target/file", b"1").await?;
    bench.put("file", b"kept").await?;
    bench.put("folder/inside", b"kept").await?;
    for taken in ["file", "folder"] {
        let pointed = bench.remote.point(&bench.at(taken), &bench.at("target")).await;
        refused(format_args!("pointing from a taken `{taken}`"), pointed, Kind::Conflict)?;
    }
    bench.holds("file", b"kept").await?;
    bench.holds("folder/inside", b"kept").await?;
    bench.remote.point(&bench.at("pointer"), &bench.at("target")).await.doing("pointing")?;
    let renamed = bench.remote.rename(&bench.object("folder"), &bench.at("pointer")).await;
    refused("renaming to the name of a pointer", renamed, Kind::Conflict)?;
    bench.remote.rename(&bench.object("pointer"), &bench.at("moved")).await.doing("renaming a pointer")?;
    bench.is_free("pointer").await?;
    bench.is_kind("moved", EntryKind::Pointer(Some(bench.at("target")))).await?;
    bench.holds("target/file", b"1").await
}
