//! Signing in to Google Drive, out again, and who is signed in.
//!
//! The OAuth client is the person's own: none comes with the program. How a browser or another device is reached is
//! the caller's; what makes a login, and where it is kept, is here.

use jiff::Timestamp;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::drive::auth::{Auth, Granted, Login, Refresh, revoke};
pub use modelkeep_remote::drive::auth::{Browser, OAuthClient, Scope, begin_device};
use modelkeep_remote::drive::{Drive, Options};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::{Context, Env};
use crate::drive::{Access, credentials, endpoints};
use crate::store::{Address, Location};

/// A login that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Whose Drive it opens.
    pub account: String,
    /// What it may see: `drive` or `drive.file`.
    pub scope: String,
    /// By which OAuth client.
    pub client_id: String,
    /// Where it is kept, for this user alone: a file, or the keyring.
    pub kept_in: String,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Who {
    /// Every login of this user.
    pub logins: Vec<Known>,
    /// What a command would use, when there is anything.
    pub used: Option<Used>,
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Known {
    /// Whose.
    pub account: String,
    /// What it may see.
    pub scope: String,
    /// By which OAuth client.
    pub client_id: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// What a command would use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Used {
    /// Whose Drive it opens; null when nobody was asked (`--offline`).
    pub account: Option<String>,
    /// Where the access comes from.
    pub by: String,
    /// Google was asked, and it works.
    pub works: bool,
}

/// A login that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gone {
    /// Whose it was.
    pub account: String,
    /// Google has taken it back; otherwise it is only forgotten here.
    pub revoked: bool,
}

/// The OAuth client in what Google's console gives as JSON; one of another kind than Desktop is refused.
pub fn client(env: &Env, given: &str) -> Result<OAuthClient> {
    let given = given.trim();
    if given.starts_with('{') {
        return OAuthClient::from_json(given);
    }
    let file = match (given.strip_prefix("~/"), env.home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => env.cwd.join(given),
    };
    let text =
        std::fs::read_to_string(&file).map_err(|error| modelkeep_remote::folder::failed("reading", &file, error))?;
    OAuthClient::from_json(&text).map_err(|error| error.context(file.display()))
}

/// The OAuth client of an earlier login, so that signing in again needs no file.
pub fn known_client(env: &Env, account: Option<&str>) -> Result<Option<OAuthClient>> {
    let credentials = credentials(env)?;
    let known = credentials.accounts()?;
    let there = match account {
        Some(account) => known.iter().any(|known| known == account),
        None => known.len() == 1,
    };
    // One whose secrets cannot be had any more is made anew, from the file.
    Ok(if there { credentials.login(account).ok().map(|(_, login)| login.client) } else { None })
}

/// Proves what was granted with a call to Drive, and keeps it.
pub async fn keep(env: &Env, client: OAuthClient, granted: Granted, account: Option<&str>) -> Result<Report> {
    let refresh_token = granted.refresh_token.clone().ok_or_else(|| {
        Error::new(Kind::Auth, "signing in: Google gave no lasting login").hint("modelkeep login gdrive")
    })?;
    let endpoints = endpoints(env);
    let source = Refresh {
        client: client.clone(),
        refresh_token: refresh_token.clone(),
        url: endpoints.token.clone(),
        quota_project: None,
    };
    // By the refresh token, which is what later commands have.
    let drive = Drive::new(Options { endpoints: endpoints.clone(), ..Options::default() }, Auth::new(source))?;
    let found = drive.account().await.map_err(|error| error.context("trying the new login"))?;
    if let Some(wanted) = account.filter(|wanted| !wanted.eq_ignore_ascii_case(&found)) {
        // What nobody wanted is not left behind at Google.
        let _ = revoke(&endpoints.revoke, &refresh_token).await;
        return Err(Error::new(Kind::Auth, format!("{found} signed in, not {wanted}; nothing was kept"))
            .hint(format!("modelkeep login gdrive --account {wanted}, and choose that account in the browser")));
    }
    let client_id = client.client_id.clone();
    let scope = short(&granted.scope);
    let login = Login { client, refresh_token, scope: granted.scope, since: Timestamp::now() };
    let credentials = credentials(env)?;
    credentials.keep(&found, login)?;
    let kept_in = credentials.place(&found)?;
    Ok(Report { account: found, scope, client_id, kept_in })
}

/// Every login, and what a command here would use.
pub async fn whoami(ctx: &Context) -> Result<Who> {
    let credentials = credentials(&ctx.env)?;
    let mut logins = Vec::new();
    for account in credentials.accounts()? {
        let (account, login) = match credentials.login(Some(&account)) {
            Ok(login) => login,
            Err(error) => {
                ctx.warn(error.full_message());
                continue;
            }
        };
        let (scope, client_id) = (short(&login.scope), login.client.client_id);
        logins.push(Known { account, scope, client_id, since: login.since });
    }
    let wanted = Address::resolve(ctx).ok().filter(|address| matches!(address.location, Location::Drive(_)));
    let wanted = wanted.and_then(|address| address.account);
    let wanted = wanted.as_deref().or_else(|| ctx.env.get("MODELKEEP_GDRIVE_ACCOUNT"));
    let access = match Access::of(ctx, wanted) {
        Ok(access) => access,
        // Nobody, or nobody that was meant: said below the list of those who are.
        Err(error) if error.kind() == Kind::Auth && !logins.is_empty() => {
            ctx.warn(error.full_message());
            return Ok(Who { logins, used: None });
        }
        Err(error) => return Err(error),
    };
    let by = access.by.to_owned();
    if ctx.options.offline {
        return Ok(Who { logins, used: Some(Used { account: access.account, by, works: false }) });
    }
    let options = Options { endpoints: endpoints(&ctx.env), ..Options::default() };
    let account = Drive::new(options, access.auth)?.account().await.map_err(|error| error.context(&by))?;
    Ok(Who { logins, used: Some(Used { account: Some(account), by, works: true }) })
}

/// Gives a login back to Google and forgets it; without an account the only one there is.
pub async fn logout(ctx: &Context, account: Option<&str>) -> Result<Gone> {
    let credentials = credentials(&ctx.env)?;
    let known = credentials.accounts()?;
    let found = credentials.login(account);
    let (account, asked) = match (found, account) {
        (Ok((account, _)), _) if ctx.options.offline => (account, Err(Error::new(Kind::Unavailable, "not asked"))),
        (Ok((account, login)), _) => (account, revoke(&endpoints(&ctx.env).revoke, &login.refresh_token).await),
        // Its secrets cannot be had any more: it is forgotten all the same.
        (Err(error), Some(account)) if known.iter().any(|known| known == account) => (account.to_owned(), Err(error)),
        (Err(error), _) if error.kind() == Kind::Auth => {
            return Err(error.hint("modelkeep whoami, then modelkeep logout --account E-MAIL"));
        }
        (Err(error), _) => return Err(error),
    };
    credentials.forget(&account)?;
    if asked.is_err() {
        ctx.warn(
            "Google could not be told, so the login is only forgotten here; take it back at \
             https://myaccount.google.com/connections",
        );
    }
    Ok(Gone { account, revoked: asked.is_ok() })
}

/// The widest scope for Drive among those granted, without what Google puts before it.
fn short(scopes: &str) -> String {
    let has = |scope: Scope| scopes.split(' ').any(|granted| granted == scope.url());
    if has(Scope::Drive) { "drive".to_owned() } else { "drive.file".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_comes_from_a_file_or_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"{"installed":{"client_id":"a.apps","client_secret":"hush"}}"#;
        std::fs::write(folder.path().join("client_secret.json"), json).unwrap();
        let env = Env { cwd: folder.path().to_owned(), ..Env::default() };
        for given in ["client_secret.json", json] {
            assert_eq!(client(&env, given).unwrap().client_id, "a.apps");
        }
        let error = client(&env, r#"{"web":{"client_id":"a","client_secret":"hush"}}"#).unwrap_err();
        assert!(!error.full_message().contains("hush"));
        assert!(client(&env, "none.json").is_err());
    }
}
