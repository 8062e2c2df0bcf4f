//! Many at once: eight machines push to the same and to different models while another prunes.

use std::sync::Arc;

use modelkeep_core::Kind;
use modelkeep_ops::{log, prune, show};

use crate::world::{Ground, Machine, files, pull, push, settled};

const MACHINES: usize = 8;
const ROUNDS: usize = 3;

fn content(who: usize, round: usize, model: &str) -> Vec<u8> {
    format!("{model}: machine {who}, round {round}").into_bytes()
}

/// A client of its own thread and its own runtime, as a process has them.
fn alone<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    })
}

#[tokio::test]
async fn eight_push_at_once_while_one_prunes() {
    let ground = Arc::new(Ground::new().await);
    let shared: Vec<u8> = vec![3; 200_000];
    let pushers = (0..MACHINES).map(|who| {
        let (ground, shared) = (Arc::clone(&ground), shared.clone());
        alone(async move || {
            let machine = Machine::new(&format!("machine{who}"));
            let mut pushed = Vec::new();
            for round in 0..ROUNDS {
                for model in ["same-v1".to_owned(), format!("own-v{who}")] {
                    let weights = content(who, round, &model);
                    let files: [(&str, &[u8]); 2] = [("weights.safetensors", &weights), ("shared.bin", &shared)];
                    let dir = machine.directory(&format!("{model}-{round}"), &files);
                    let report = push(&ground.of(&machine), &dir, &model).await.unwrap();
                    assert!(report.created);
                    pushed.push((model, report.revision, weights));
                }
            }
            pushed
        })
    });
    let pushers: Vec<_> = pushers.collect();
    let pruner = {
        let ground = Arc::clone(&ground);
        alone(async move || {
            let machine = Machine::new("pruner");
            let mut runs = 0;
            for _ in 0..20 {
                // No rule lets anything go, so all that it could take are pushes under way.
                match prune::prune(&ground.of(&machine), &prune::Request::default()).await {
                    Ok(report) => assert_eq!(report.steps, [], "nothing here is anybody's to prune"),
                    // An event of another that is being read as it is written: it does not delete on such a view.
                    Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{}", error.full_message()),
                }
                runs += 1;
                std::thread::yield_now();
            }
            runs
        })
    };
    let mut pushed = Vec::new();
    for pusher in pushers {
        pushed.extend(pusher.join().unwrap());
    }
    assert_eq!(pruner.join().unwrap(), 20);
    assert_eq!(pushed.len(), MACHINES * ROUNDS * 2);

    let (ana, ben) = (Machine::new("new-ana"), Machine::new("new-ben"));
    settled(&ground.of(&ana)).await;
    for (model, revision, weights) in &pushed {
        let to = ana.home.path().join("back");
        pull(&ground.of(&ana), &format!("{model}@{}", revision.short()), &to).await.unwrap();
        let got = files(&to);
        assert_eq!((&got["weights.safetensors"], &got["shared.bin"]), (weights, &shared));
        std::fs::remove_dir_all(to).unwrap();
    }
    let (one, two) = (ground.of(&ana), ground.of(&ben));
    let view = async |ctx: &modelkeep_ops::Context| {
        let store = ctx.store().await.unwrap();
        log::refresh(ctx, &store).await.unwrap()
    };
    let (one_view, two_view) = (view(&one).await, view(&two).await);
    assert_eq!(one_view.problems, []);
    assert_eq!(one_view.state, two_view.state);
    assert_eq!(one_view.state.models["same-v1"].pushes.len(), MACHINES * ROUNDS);
    let newest = show::show(&one, "same-v1").await.unwrap();
    assert_eq!(newest.history.len(), MACHINES * ROUNDS);
}
