//! One arm for each operation: its request from JSON, the call, its report as JSON.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_ops::context::Silent;
use modelkeep_ops::{Context, Env, Observer, Options, deploy, init, list, pull, push, show};
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfModel {
    model: String,
    #[serde(default)]
    dry_run: bool,
}

impl Call {
    /// Does the operation of that name.
    pub async fn run(self, operation: &str, request: &str) -> Outcome {
        match operation {
            "init" => {
                let request: init::Request = parse(operation, request)?;
                json(&init::init(&self.env, &self.options, &self.observer, &request).await?)
            }
            "push" => self.push(parse(operation, request)?).await,
            "pull" => self.pull(parse(operation, request)?).await,
            "list" => {
                let request: list::Request = parse(operation, request)?;
                let (ctx, chosen) = self.open(Access::Read)?;
                if let Some(chosen) = chosen
                    && chosen.is_unborn(&ctx).await?
                {
                    return json(&list::Report { models: Vec::new(), simulated: chosen.simulated() });
                }
                json(&list::list(&ctx, &request).await?)
            }
            "show" => {
                let OfModel { model, .. } = parse(operation, request)?;
                json(&show::show(&self.open(Access::Read)?.0, &model).await?)
            }
            "deploy" => {
                let OfModel { model, dry_run } = parse(operation, request)?;
                json(&deploy::deploy(&self.open(Access::Write)?.0, &model, dry_run).await?)
            }
            _ => Err(Error::usage(format!("there is no operation `{operation}`")).into()),
        }
    }

    fn open(&self, access: Access) -> Result<(Context, Option<Chosen>)> {
        let mut ctx = Context::open(self.env.clone(), self.options.clone(), Arc::clone(&self.observer))?;
        ctx.stop = Arc::clone(&self.stop);
        let chosen = if self.notebook { Some(Chosen::choose(&mut ctx, access)?) } else { None };
        Ok((ctx, chosen))
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
            Ok(report) => json(&report),
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
        json(&pull::pull(&ctx, &request, &model).await?)
    }
}

fn parse<T: DeserializeOwned>(operation: &str, request: &str) -> Result<T> {
    serde_json::from_str(request)
        .map_err(|error| Error::usage(format!("the request for {operation} cannot be read")).because(error))
}

fn json(report: &impl Serialize) -> Outcome {
    serde_json::to_string(report).map_err(|error| Error::internal("a report cannot be written").because(error).into())
}
