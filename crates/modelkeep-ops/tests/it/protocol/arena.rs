//! A store in memory and its clients, run one remote call at a time in an order that the test decides.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use jiff::SignedDuration;
use modelkeep_core::Kind;
use modelkeep_core::event::WriterId;
use modelkeep_ops::context::Chance;
use modelkeep_ops::rule::Rule;
use modelkeep_ops::store::Format;
use modelkeep_ops::{prune, repair, verify};
use modelkeep_remote::layer::{Call, Hook};
use modelkeep_remote::memory::Profile;
use modelkeep_remote::{MemoryRemote, Remote};
use tempfile::TempDir;

use super::cast::{Act, Outcome};
use super::gate::{Died, Gate, Pass};
use super::oracle::Oracle;
use super::wrong::{Wrong, WrongRemote};
use crate::world::{Machine, scratch};

/// What was not as it must be.
pub type Violation = String;

/// Days that removed content waits in these tests: the shortest there may be.
const GRACE_DAYS: u32 = 7;

/// Nobody needs so many calls for anything here.
const MOST_CALLS: u32 = 2000;

/// A client after which nobody waits for an answer.
pub struct Client {
    act: Act,
    machine: usize,
    gate: Arc<Gate>,
    work: Pin<Box<dyn Future<Output = Outcome>>>,
    calls: u32,
    /// It slept over an hour.
    slept: bool,
    /// It has waited at its gate for so long.
    waited: SignedDuration,
    /// A pull that must bring something.
    must_come: bool,
    /// Whether its model was deployed when it began.
    deployed: bool,
    /// How many pushes were removed before it began.
    removals: usize,
}

/// The store, its machines, the clients at work, and what must be so.
pub struct Arena {
    store: MemoryRemote,
    format: Format,
    machines: Vec<Machine>,
    clients: BTreeMap<usize, Client>,
    begun: usize,
    seed: u64,
    broken: Option<Rule>,
    wrong: Option<Wrong>,
    oracle: Oracle,
    pulls: TempDir,
    /// What happened, for the person who has to understand it.
    pub story: Vec<String>,
}

impl Arena {
    /// A fresh tree, and so many machines.
    pub async fn new(profile: Profile, machines: usize, seed: u64) -> Self {
        let store = MemoryRemote::new(profile);
        let machines: Vec<Machine> = (0..machines).map(|n| Machine::new(&format!("machine-{n}"))).collect();
        store.set_now("2026-11-23T10:00:00Z".parse().unwrap());
        let remote: Arc<dyn Remote> = Arc::new(store.clone());
        let mut format = machines[0].init(&remote).await;
        // The tree's own id is random, and the only chance left.
        format.remote_id = "00000000000000000000000000000000".to_owned();
        store.settle();
        Self {
            store,
            format,
            machines,
            clients: BTreeMap::new(),
            begun: 0,
            seed,
            broken: None,
            wrong: None,
            oracle: Oracle::default(),
            pulls: scratch(),
            story: Vec::new(),
        }
    }

    /// Every client breaks this rule.
    pub fn breaking(mut self, rule: Option<Rule>) -> Self {
        self.broken = rule;
        self
    }

    /// The store does this wrong.
    pub fn on_wrong(mut self, wrong: Option<Wrong>) -> Self {
        self.wrong = wrong;
        self
    }

    /// The store, to do something to it that no client does.
    pub fn store(&self) -> &MemoryRemote {
        &self.store
    }

    /// Sets a machine's clock off.
    pub fn set_off(&self, machine: usize, by: SignedDuration) {
        self.machines[machine].clock.set_off(by);
    }

    /// Begins an act on a machine: it waits before its first call.
    pub async fn begin(&mut self, machine: usize, act: Act) -> Result<usize, Violation> {
        let writer = WriterId(0x5eed_0000 + self.begun as u64);
        self.begin_as(machine, act, writer).await
    }

    /// The same, as a writer that somebody else may be too.
    pub async fn begin_as(&mut self, machine: usize, act: Act, writer: WriterId) -> Result<usize, Violation> {
        let number = self.begun;
        self.begun += 1;
        let gate = Arc::new(Gate::default());
        let on = &self.machines[machine];
        let client = self.store.client(u32::try_from(machine).unwrap() + 1);
        let remote: Arc<dyn Remote> = match self.wrong {
            Some(wrong) => Arc::new(WrongRemote::new(client, wrong)),
            None => Arc::new(client),
        };
        let mut ctx = on.context(&remote, &self.format, Some(Arc::clone(&gate) as Arc<dyn Hook>), self.broken);
        ctx.writer = writer;
        ctx.chance = Chance::seeded(self.seed.wrapping_mul(1 << 20).wrapping_add(number as u64 * 1000));
        ctx.settings.retention.grace_days = GRACE_DAYS;
        let path = match act {
            Act::Pull(_) => self.pulls.path().join(number.to_string()),
            _ => act.prepare(on),
        };
        // Where listings are late a client may not have heard of a model.
        let must_come = !self.store.capabilities().late_listings
            && matches!(
                act, Act::Pull(model) if self.oracle.must_come(model.split('@').next().unwrap_or(model))
            );
        let deployed = matches!(act, Act::Push(model, _) if self.oracle.was_deployed(model));
        let work = Box::pin(async move { act.run(&ctx, &path).await });
        let removals = self.oracle.removals();
        let (waited, slept) = (SignedDuration::ZERO, false);
        let client = Client { act, machine, gate, work, calls: 0, slept, waited, must_come, deployed, removals };
        self.clients.insert(number, client);
        self.story.push(format!("{number}: {act:?} on machine {machine}"));
        self.poll(number).await?;
        Ok(number)
    }

    /// The clients that are not done.
    pub fn at_work(&self) -> Vec<usize> {
        self.clients.keys().copied().collect()
    }

    /// Which machine a client is on, and what it does.
    pub fn of(&self, client: usize) -> Option<(usize, Act)> {
        self.clients.get(&client).map(|client| (client.machine, client.act))
    }

    /// Makes a client's next call. True when that was its last.
    pub async fn step(&mut self, number: usize) -> Result<bool, Violation> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(true) };
        let late = client.waited > SignedDuration::from_hours(1);
        client.slept |= late;
        client.waited = SignedDuration::ZERO;
        let call = client.gate.waiting().ok_or_else(|| format!("{number} waits for no call and is not done"))?;
        client.calls += 1;
        if client.calls > MOST_CALLS {
            return Err(format!("{:?} never ends", client.act));
        }
        client.gate.open(if late { Pass::Late } else { Pass::Go });
        self.story.push(format!("{number}: {call}"));
        let done = self.poll(number).await?;
        if call.writes() {
            self.oracle.look(&self.store)?;
        }
        Ok(done)
    }

    /// Makes calls until the one before which `stop` says so, which is not made. False when it ended before.
    pub async fn until(&mut self, number: usize, stop: impl Fn(&Call) -> bool) -> Result<bool, Violation> {
        loop {
            let Some(client) = self.clients.get(&number) else { return Ok(false) };
            if client.gate.waiting().is_some_and(|call| stop(&call)) {
                return Ok(true);
            }
            self.step(number).await?;
        }
    }

    /// Lets a client end.
    pub async fn finish(&mut self, number: usize) -> Result<(), Violation> {
        while !self.step(number).await? {}
        Ok(())
    }

    /// Begins an act and lets it end.
    pub async fn run(&mut self, machine: usize, act: Act) -> Result<(), Violation> {
        let number = self.begin(machine, act).await?;
        self.finish(number).await
    }

    /// An act that must succeed.
    pub async fn succeed(&mut self, machine: usize, act: Act) -> Result<(), Violation> {
        let number = self.begin(machine, act).await?;
        self.finish_well(number).await
    }

    /// Lets a client end, which must succeed.
    pub async fn finish_well(&mut self, number: usize) -> Result<(), Violation> {
        self.finish(number).await?;
        match self.story.last() {
            Some(last) if last.contains("failed") => Err(last.clone()),
            _ => Ok(()),
        }
    }

    /// A client dies where it waits; or, `answered`, right after its call was carried out.
    pub async fn crash(&mut self, number: usize, carried_out: bool) -> Result<(), Violation> {
        if carried_out && let Some(client) = self.clients.get_mut(&number) {
            let call = client.gate.waiting().map(|call| call.to_string()).unwrap_or_default();
            self.story.push(format!("{number}: {call}, and dies"));
            client.gate.open(Pass::Die);
            self.poll(number).await?;
            self.oracle.look(&self.store)?;
        } else {
            self.story.push(format!("{number} dies"));
        }
        self.clients.remove(&number);
        Ok(())
    }

    /// Time passes, for everybody.
    pub fn pass(&mut self, time: SignedDuration) {
        self.store.advance(time);
        if time >= SignedDuration::from_hours(1) {
            // So late is no listing.
            self.store.settle();
        }
        for machine in &self.machines {
            machine.clock.advance(time);
        }
        for client in self.clients.values_mut() {
            client.waited += time;
        }
        self.story.push(format!("{time:#} pass"));
    }

    /// Fails when the trash holds what nobody removed.
    pub fn trash_holds_only_what_was_removed(&self) -> Result<(), Violation> {
        if self.oracle.trashed_unremoved(&self.store) { Err("it is in the trash".to_owned()) } else { Ok(()) }
    }

    /// Everybody ends. After one repair the tree is what the log says, and everything unremoved can be pulled.
    pub async fn end(&mut self) -> Result<(), Violation> {
        for number in self.at_work() {
            self.finish(number).await?;
        }
        self.store.settle();
        let ctx = {
            let remote: Arc<dyn Remote> = Arc::new(self.store.client(1000));
            let mut last = Machine::new("last");
            last.clock = Arc::clone(&self.machines[0].clock);
            let ctx = last.context(&remote, &self.format, None, None);
            self.machines.push(last);
            ctx
        };
        repair::repair(&ctx, &repair::Request::default())
            .await
            .map_err(|error| format!("the last repair: {}", error.full_message()))?;
        self.oracle.look_at_the_end(&self.store)?;
        // A plan that was carried out leaves nothing to plan.
        let again = repair::repair(&ctx, &repair::Request::default()).await.map_err(|error| error.full_message())?;
        if !again.steps.is_empty() {
            return Err(format!("a second repair: {:#?}", again.steps));
        }
        let prune = async || prune::prune(&ctx, &prune::Request::default()).await.map_err(|error| error.full_message());
        let (first, again) = (prune().await?, prune().await?);
        if !again.steps.is_empty() {
            return Err(format!("after {:#?} a second prune: {:#?}", first.steps, again.steps));
        }
        self.oracle.look(&self.store)?;
        let report = verify::verify(&ctx, None, false).await.map_err(|error| error.full_message())?;
        if !report.problems.is_empty() {
            return Err(format!("after one repair: {:#?}", report.problems));
        }
        for (nth, (reference, revision)) in self.oracle.pullable().into_iter().enumerate() {
            let to = self.pulls.path().join(format!("end-{nth}"));
            let request = modelkeep_ops::pull::Request { to: Some(to.clone()), ..Default::default() };
            modelkeep_ops::pull::pull(&ctx, &request, &reference)
                .await
                .map_err(|error| format!("pulling {reference}: {}", error.full_message()))?;
            let files = crate::world::files(&to).into_iter();
            let files: BTreeMap<_, _> =
                files.map(|(path, bytes)| (path, modelkeep_core::digest::Sha256::of(&bytes))).collect();
            if files != self.oracle.files(revision) {
                return Err(format!("{reference} came back as {files:?}"));
            }
        }
        Ok(())
    }

    /// Runs a client until it waits for its next call. True when it is done.
    async fn poll(&mut self, number: usize) -> Result<bool, Violation> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(true) };
        let polled = poll_fn(|cx| {
            let work = catch_unwind(AssertUnwindSafe(|| client.work.as_mut().poll(cx)));
            match work {
                Ok(Poll::Ready(outcome)) => Poll::Ready(Some(Ok(outcome))),
                // What is not waiting at the gate waits for a file on its own disk, and wakes up by itself.
                Ok(Poll::Pending) if client.gate.waiting().is_some() => Poll::Ready(None),
                Ok(Poll::Pending) => Poll::Pending,
                Err(panic) => Poll::Ready(Some(Err(panic))),
            }
        })
        .await;
        let outcome = match polled {
            None => return Ok(false),
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) if panic.is::<Died>() => return Ok(true),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        };
        if let Some(client) = self.clients.remove(&number) {
            self.judge(number, &client, outcome)?;
        }
        Ok(true)
    }

    /// Whether an act may end like this.
    fn judge(&mut self, number: usize, client: &Client, outcome: Outcome) -> Result<(), Violation> {
        match outcome {
            Ok(None) => {
                self.story.push(format!("{number}: done"));
                // Where listings are late it may not have heard of a removal before it began.
                let heard_all = self.oracle.removals() == 0 || !self.store.capabilities().late_listings;
                if let Some((model, content)) = client.act.content()
                    && heard_all
                    && self.oracle.removals() == client.removals
                    && !self.oracle.holds(model, &content)
                {
                    return Err(format!("{:?} said that it is done, and nothing is there", client.act));
                }
            }
            Ok(Some(pulled)) => {
                self.story.push(format!("{number}: pulled {}", pulled.revision.short()));
                if pulled.files != self.oracle.files(pulled.revision) {
                    return Err(format!("{:?} brought {:?}", client.act, pulled.files));
                }
            }
            Err(error) => {
                let message = format!("{:?} failed: {}", client.act, error.full_message());
                self.story.push(format!("{number}: {message}"));
                let mut may = client.act.may_fail(error.kind(), client.slept);
                if let Act::Pull(model) = client.act {
                    let removed_meanwhile = !self.oracle.must_come(model);
                    let ambiguous = error.kind() == Kind::Conflict && model.contains('@');
                    may &= removed_meanwhile || ambiguous || error.kind() == Kind::NotFound && !client.must_come;
                }
                if let Act::Push(model, _) = client.act {
                    // Where listings are late a folder may be seen before the marker in it.
                    let late = self.store.capabilities().late_listings;
                    may &= error.kind() != Kind::Conflict || late || client.deployed || self.oracle.was_deployed(model);
                }
                if !may {
                    return Err(message);
                }
            }
        }
        Ok(())
    }
}
