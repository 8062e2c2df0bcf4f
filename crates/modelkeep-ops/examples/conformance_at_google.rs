//! The conformance suite on Google Drive itself, in a new folder of the account that a command here would use: by
//! `MODELKEEP_GDRIVE_TOKEN`, a token command, a login, Google's default credentials. `MODELKEEP_GDRIVE_ENDPOINT` sends it
//! to another server.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use modelkeep_ops::context::Env;
use modelkeep_ops::drive::{Access, endpoints};
use modelkeep_remote::conformance;
use modelkeep_remote::drive::{Drive, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let env = Env::from_process();
    let access = Access::find(&env, env.get("MODELKEEP_GDRIVE_ACCOUNT")).map_err(|error| error.full_message())?;
    println!("by {}", access.by);
    let options = Options { endpoints: endpoints(&env), ..Options::default() };
    let name = format!("modelkeep conformance {}", std::process::id());
    let remote = Drive::new(options, access.auth)?.create(&name).await.map_err(|error| error.full_message())?;
    println!("in the folder `{name}` of {} ({}): delete it afterwards", remote.account().await?, remote.id());
    let (scratch, remote, began) = (tempfile::TempDir::new()?, Arc::new(remote), Instant::now());
    let outcome = conformance::run(Arc::<modelkeep_remote::DriveRemote>::clone(&remote), scratch.path()).await;
    let spent = remote.spent();
    println!("{} calls, {} quota units, {} s", spent.calls, spent.units, began.elapsed().as_secs());
    match outcome {
        Ok(()) => println!("it conforms"),
        Err(failures) => return Err(failures.into()),
    }
    Ok(())
}
