//! One line for each operation: which access it needs, its request from JSON, the call. The report goes out as JSON.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_ops::context::Silent;
use modelkeep_ops::drive::OnDrive;
use modelkeep_ops::{
    Context, Env, Observer, Options, adopt, archive, cache, checkpoint, config, cost, deploy, diff, doctor, fetch,
    file, guard, history, init, label, list, login, maintain, pins, place, placement, prune, pull, push, remotes,
    remove, repair, runlog, schedule, set, show, status, verify, watch,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::running::Outcome;
use crate::store::{Access, Chosen};

/// Everything that a call is done with.
pub struct Call {
    /// What the process looks like now.
    pub env: Env,
    /// What the session was given.
    pub options: Options,
    /// Whom to tell.
    pub observer: Arc<dyn Observer>,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
    /// Whether the store is found as a notebook needs it, and made by a first write.
    pub notebook: bool,
}

/// An operation's name, and its request as JSON.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// As on the command line.
    pub operation: &'a str,
    /// Its fields.
    pub request: &'a str,
}

/// What operations are asked that have no request type of their own: the fields they take, by the names of the
/// command line's arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Plain {
    model: Option<String>,
    account: Option<String>,
    name: Option<String>,
    place: String,
    paths: Vec<PathBuf>,
    email: String,
    key: Option<String>,
    value: String,
    url: String,
    before: String,
    after: String,
    values: Vec<String>,
    deep: bool,
    read_only: bool,
    dry_run: bool,
}

impl Plain {
    fn model(&self) -> Result<&str> {
        self.model.as_deref().ok_or_else(|| Error::usage("the request names no model"))
    }

    fn name(&self) -> Result<&str> {
        self.name.as_deref().ok_or_else(|| Error::usage("the request gives no name"))
    }

    fn paths(&self) -> Result<&[PathBuf]> {
        if self.paths.is_empty() { Err(Error::usage("the request names no path")) } else { Ok(&self.paths) }
    }

    fn key(&self) -> Result<&str> {
        self.key.as_deref().ok_or_else(|| Error::usage("the request gives no key"))
    }
}

impl Call {
    /// Does the operation of that name.
    ///
    /// To add one: a line here, `Read` or `Write` by whether it changes the store, and a method in
    /// `python/modelkeep/workspace/`.
    pub async fn run(self, asked: Asked<'_>) -> Outcome {
        use Access::{Read, Write};
        match asked.operation {
            // These find their store in a way of their own.
            "init" => json(&init::init(&self.env, &self.options, &self.observer, &parse(asked)?).await?),
            "push" => self.push(parse(asked)?).await,
            "pull" => self.pull(parse(asked)?).await,
            "list" => self.list(parse(asked)?).await,
            // To look.
            "show" => self.plain(Read, asked, async |ctx, q| show::show(ctx, q.model()?).await).await,
            "history" => self.plain(Read, asked, async |ctx, q| history::history(ctx, q.model.as_deref()).await).await,
            "diff" => self.plain(Read, asked, async |ctx, q| diff::diff(ctx, &q.before, &q.after).await).await,
            "verify" => {
                self.plain(Read, asked, async |ctx, q| verify::verify(ctx, q.model.as_deref(), q.deep).await).await
            }
            "pull-all" => self.with(Read, asked, async |ctx, q| pins::pull_all(ctx, &q).await).await,
            "status" => self.both(asked, async |ctx, _: Plain| status::status(ctx).await).await,
            "where" => self.plain(Read, asked, async |ctx, q| placement::locate(ctx, q.paths()?).await).await,
            "cost" => self.both(asked, async |ctx, _: Plain| cost::cost(ctx).await).await,
            // From the Hub, and the caches of this machine.
            "fetch" => self.with(Write, asked, async |ctx, q| fetch::fetch(ctx, &q).await).await,
            "cache-status" => self.local(asked, async |ctx, _| cache::status::status(ctx).await).await,
            "cache-list" => self.with(Read, asked, async |ctx, q| cache::list::list(ctx, &q).await).await,
            "cache-evict" => self.with(Read, asked, async |ctx, q| cache::evict::evict(ctx, &q).await).await,
            "cache-repair" => self.with(Read, asked, async |ctx, q| cache::repair::repair(ctx, &q).await).await,
            // To change the registry.
            "label" => {
                self.plain(Write, asked, async |ctx, q| label::add(ctx, q.model()?, q.name()?, q.dry_run).await).await
            }
            "unlabel" => {
                self.plain(Write, asked, async |ctx, q| label::remove(ctx, q.model()?, q.name()?, q.dry_run).await)
                    .await
            }
            "set" => {
                self.plain(Write, asked, async |ctx, q| set::set(ctx, q.model()?, &q.values, q.dry_run).await).await
            }
            "deploy" => self.plain(Write, asked, async |ctx, q| deploy::deploy(ctx, q.model()?, q.dry_run).await).await,
            "rollback" => self.plain(Write, asked, async |ctx, q| deploy::rollback(ctx, q.dry_run).await).await,
            "archive" => {
                self.plain(Write, asked, async |ctx, q| archive::archive(ctx, q.model()?, q.dry_run).await).await
            }
            "unarchive" => {
                self.plain(Write, asked, async |ctx, q| archive::unarchive(ctx, q.model()?, q.dry_run).await).await
            }
            "rm" => self.plain(Write, asked, async |ctx, q| remove::remove(ctx, q.model()?, q.dry_run).await).await,
            "restore" => {
                self.plain(Write, asked, async |ctx, q| remove::restore(ctx, q.model()?, q.dry_run).await).await
            }
            // Data sets, notebooks, results, configs and documents.
            "file-push" => self.with(Write, asked, async |ctx, q| file::push::push(ctx, q).await).await,
            "file-pull" => self.with(Read, asked, async |ctx, q| file::pull::pull(ctx, &q).await).await,
            "file-list" => self.with(Read, asked, async |ctx, q| file::list::list(ctx, &q).await).await,
            "file-rm" => {
                self.plain(Write, asked, async |ctx, q| file::remove::remove(ctx, &q.place, q.dry_run).await).await
            }
            "place" => self.with(Write, asked, async |ctx, q| place::place(ctx, &q).await).await,
            // A training that is running.
            "training" => self.training(asked).await,
            "checkpoint" => self.with(Write, asked, async |ctx, q| checkpoint::store(ctx, &q).await).await,
            "checkpoints" => self.plain(Read, asked, async |ctx, q| checkpoint::stored(ctx, q.model()?).await).await,
            "watch" => self.with(Write, asked, watch_once).await,
            "log-append" => self.with(Write, asked, async |ctx, q| runlog::append(ctx, &q).await).await,
            "log-list" => {
                self.plain(Read, asked, async |ctx, q| runlog::list::list(ctx, q.model.as_deref()).await).await
            }
            "log-show" => self.with(Read, asked, async |ctx, q| runlog::show::show(ctx, &q).await).await,
            // Care.
            "adopt" => self.with(Write, asked, async |ctx, q| adopt::adopt(ctx, &q).await).await,
            "repair" => self.with(Write, asked, async |ctx, q| repair::repair(ctx, &q).await).await,
            "prune" => self.with(Write, asked, async |ctx, q| prune::prune(ctx, &q).await).await,
            "maintain" => self.both(asked, async |ctx, q| maintain::maintain(ctx, &q).await).await,
            "maintain-schedule" => self.with(Read, asked, async |ctx, q| schedule::schedule(ctx, &q)).await,
            "doctor" => self.both(asked, async |ctx, q| doctor::doctor(ctx, q).await).await,
            "guard-check" => self.with(Read, asked, async |ctx, q| guard::check(ctx, &q)).await,
            "guard-history" => self.local(asked, async |ctx, _| guard::history(ctx)).await,
            "guard-install" => self.with(Read, asked, async |ctx, q| guard::install(ctx, q)).await,
            // This workspace and this machine.
            "use" => self.plain(Read, asked, async |ctx, q| pins::pin(ctx, q.model()?).await).await,
            "unuse" => self.local(asked, async |ctx, q| pins::unpin(ctx, q.model()?)).await,
            "remotes" => self.local(asked, async |ctx, _| Ok(remotes::list(ctx))).await,
            "remote-add" => {
                self.local(asked, async |ctx, q| remotes::add_for(ctx, q.name()?, &q.url, q.account.as_deref()).await)
                    .await
            }
            "remote-show" => self.local(asked, async |ctx, q| remotes::show(ctx, q.name()?)).await,
            "remote-remove" => self.local(asked, async |ctx, q| remotes::remove(ctx, q.name()?)).await,
            "remote-test" => self.local(asked, async |ctx, q| remotes::test(ctx, q.name.as_deref()).await).await,
            "remote-share" => {
                let share = async |ctx: &Context, q: Plain| {
                    remotes::share(ctx, q.name.as_deref(), &q.email, !q.read_only).await
                };
                self.local(asked, share).await
            }
            "config" => self.local(asked, async |ctx, _| Ok(config::show(ctx))).await,
            "config-get" => self.local(asked, async |ctx, q| config::get(ctx, q.key()?)).await,
            "config-set" => self.local(asked, async |ctx, q| config::set(ctx, q.key()?, &q.value)).await,
            "whoami" => self.local(asked, async |ctx, _| login::whoami(ctx).await).await,
            "logout" => self.local(asked, async |ctx, q| login::logout(ctx, q.account.as_deref()).await).await,
            operation => Err(Error::usage(format!("there is no operation `{operation}`")).into()),
        }
    }

    fn open(&self, access: Access) -> Result<(Context, Option<Chosen>)> {
        let mut ctx = self.here()?;
        let chosen = if self.notebook { Some(Chosen::choose(&mut ctx, access)?) } else { None };
        Ok((ctx, chosen))
    }

    /// A context for what needs no store, or finds it by name.
    fn here(&self) -> Result<Context> {
        let mut ctx = Context::open(self.env.clone(), self.options.clone(), Arc::clone(&self.observer))?;
        ctx.stop = Arc::clone(&self.stop);
        Ok(ctx)
    }

    /// An operation with a request type of its own.
    async fn with<Q: DeserializeOwned, R: Serialize>(
        &self,
        access: Access,
        asked: Asked<'_>,
        work: impl AsyncFnOnce(&Context, Q) -> Result<R>,
    ) -> Outcome {
        let request = parse(asked)?;
        ended(&self.open(access)?.0, work, request).await
    }

    /// An operation that takes plain arguments.
    async fn plain<R: Serialize>(
        &self,
        access: Access,
        asked: Asked<'_>,
        work: impl AsyncFnOnce(&Context, Plain) -> Result<R>,
    ) -> Outcome {
        self.with(access, asked, work).await
    }

    /// The same for what is about this machine, and not about one store.
    async fn local<R: Serialize>(
        &self,
        asked: Asked<'_>,
        work: impl AsyncFnOnce(&Context, Plain) -> Result<R>,
    ) -> Outcome {
        let request = parse(asked)?;
        ended(&self.here()?, work, request).await
    }

    /// The same for what is about this machine and its store, when there is one.
    async fn both<Q: DeserializeOwned, R: Serialize>(
        &self,
        asked: Asked<'_>,
        work: impl AsyncFnOnce(&Context, Q) -> Result<R>,
    ) -> Outcome {
        let request = parse(asked)?;
        let ctx = match self.open(Access::Write) {
            // What the first write is still to make is as good as none.
            Ok((ctx, Some(chosen))) if chosen.is_unborn(&ctx).await? => self.here()?,
            Ok((ctx, _)) => ctx,
            Err(error) if error.kind() == Kind::Auth => self.here()?,
            Err(error) => return Err(error.into()),
        };
        ended(&ctx, work, request).await
    }

    async fn list(&self, request: list::Request) -> Outcome {
        let (ctx, chosen) = self.open(Access::Read)?;
        if let Some(chosen) = chosen
            && chosen.is_unborn(&ctx).await?
        {
            return json(&list::Report { models: Vec::new(), simulated: chosen.simulated() });
        }
        ended(&ctx, async |ctx, request| list::list(ctx, &request).await, request).await
    }

    /// Before the first step: the store is made where a notebook's first write may make it. From then on it must be
    /// there: a Drive that was unmounted in the middle is not made again as an empty folder.
    async fn training(&self, asked: Asked<'_>) -> Outcome {
        let request: Plain = parse(asked)?;
        let (ctx, chosen) = self.open(Access::Write)?;
        if let Some(chosen) = chosen {
            chosen.make(&ctx).await?;
        }
        let again = |next: &ModelId| format!("ModelkeepCallback(model='{next}')");
        ended(&ctx, async |ctx, q: Plain| checkpoint::begin(ctx, q.model()?, again).await, request).await
    }

    async fn push(&self, request: push::Request) -> Outcome {
        let (ctx, chosen) = self.open(Access::Write)?;
        if let Some(chosen) = chosen
            && !request.dry_run
        {
            // A slip makes no store.
            let model: ModelId = request.model.parse()?;
            let path = ctx.absolute(&request.path);
            if !path.exists() {
                return Err(Error::not_found(format!("{} is not there", path.display()))
                    .hint(format!("check the path to what `{model}` was trained into"))
                    .into());
            }
            chosen.make(&ctx).await?;
        }
        match push::push(&ctx, request.clone()).await {
            Ok(report) => {
                remember(&ctx);
                json(&report)
            }
            Err(error) if error.kind() == Kind::Conflict => {
                Err(match self.next_if_deployed(&ctx.options, request).await {
                    Some(next) => Failure::deployed(error, next),
                    None => error.into(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next id, when nothing but the deployment of this one is in the way of a push.
    async fn next_if_deployed(&self, options: &Options, request: push::Request) -> Option<String> {
        let model: ModelId = request.model.parse().ok()?;
        let ctx = Context::open(self.env.clone(), options.clone(), Arc::new(Silent)).ok()?;
        let listed = list::list(&ctx, &list::Request::default()).await.ok()?;
        if !listed.models.iter().any(|item| item.id == model && item.deployed) {
            return None;
        }
        let as_if = push::Request { even_if_deployed: true, dry_run: true, ..request };
        push::push(&ctx, as_if).await.ok()?;
        Some(model.next().to_string())
    }

    async fn pull(&self, request: pull::Request) -> Outcome {
        let model = request.model.clone().ok_or_else(|| Error::usage("the request for pull names no model"))?;
        let (ctx, chosen) = self.open(Access::Read)?;
        if let Some(chosen) = chosen
            && chosen.is_unborn(&ctx).await?
        {
            let place = if chosen.simulated() { "the simulation" } else { "the store on your Drive" };
            return Err(Error::not_found(format!("there is no model `{model}`: {place} holds none yet"))
                .hint("save one first: upload_model(path, name)")
                .into());
        }
        ended(&ctx, async |ctx, request| pull::pull(ctx, &request, &model).await, request).await
    }
}

/// What was stored by two looks at a directory of checkpoints.
#[derive(Serialize)]
struct WatchedOnce {
    checkpoints: Vec<checkpoint::Report>,
}

async fn watch_once(ctx: &Context, request: watch::Request) -> Result<WatchedOnce> {
    let mut checkpoints = Vec::new();
    let request = watch::Request { once: true, ..request };
    watch::watch(ctx, &request, |report| {
        checkpoints.push(report.clone());
        Ok(())
    })
    .await?;
    Ok(WatchedOnce { checkpoints })
}

/// Does it, and keeps what was learnt of the store for the next call.
async fn ended<Q, R: Serialize>(
    ctx: &Context,
    work: impl AsyncFnOnce(&Context, Q) -> Result<R>,
    request: Q,
) -> Outcome {
    let report = work(ctx, request).await;
    remember(ctx);
    json(&report?)
}

fn remember(ctx: &Context) {
    ctx.opened().and_then(|store| store.on_drive()).into_iter().for_each(OnDrive::save);
}

fn parse<T: DeserializeOwned>(asked: Asked<'_>) -> Result<T> {
    serde_json::from_str(asked.request).map_err(|error| {
        Error::usage(format!("the request for {} cannot be read", asked.operation))
            .because(error)
            .hint(format!("help(modelkeep.Workspace.{})", asked.operation.replace('-', "_")))
    })
}

fn json(report: &impl Serialize) -> Outcome {
    serde_json::to_string(report).map_err(|error| Error::internal("a report cannot be written").because(error).into())
}
