//! The conformance suite on Google itself, in a new folder of the account whose token `MODELKEEP_GDRIVE_TOKEN` is.

use std::error::Error;
use std::sync::Arc;

use modelkeep_remote::conformance;
use modelkeep_remote::drive::auth::{Auth, Fixed};
use modelkeep_remote::drive::{DriveRemote, Options, Secret};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::var("MODELKEEP_GDRIVE_TOKEN").map_err(|_| "MODELKEEP_GDRIVE_TOKEN is not set")?;
    let name = format!("modelkeep conformance {}", std::process::id());
    let remote = DriveRemote::create(Options::default(), Auth::new(Fixed(Secret::new(token))), &name).await?;
    println!("in the folder `{name}` ({}): delete it afterwards", remote.id());
    let scratch = tempfile::TempDir::new()?;
    match conformance::run(Arc::new(remote), scratch.path()).await {
        Ok(()) => println!("it conforms"),
        Err(failures) => return Err(failures.into()),
    }
    Ok(())
}
