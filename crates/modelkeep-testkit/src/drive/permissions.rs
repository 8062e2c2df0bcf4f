//! `permissions`: who else may see and change a file.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::routing::get as on_get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{Answer, App, Params, json_body, nothing, reply};
use super::error::{ApiError, Result};
use super::resource;
use super::state::{Caller, Gone, Grantee, Item, Permission, Role, State};

const LIST: &str = "kind,nextPageToken,permissions(kind,id,type,role)";
const PERMISSION: &str = "kind,id,type,role";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    role: Option<Role>,
    #[serde(rename = "type")]
    kind: Option<String>,
    email_address: Option<String>,
    domain: Option<String>,
}

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/files/{id}/permissions", on_get(list).post(create))
        .route("/files/{id}/permissions/{permission}", on_get(get).patch(update).delete(delete))
}

async fn list(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params, Path(id): Path<String>) -> Answer {
    let mask = params.mask(LIST, "PermissionList")?;
    let state = app.state();
    let item = state.visible(&caller, &id, params.all_drives())?;
    if state.role(item, &caller.account) < Some(Role::Writer) {
        return Err(ApiError::insufficient_permissions());
    }
    let grants = resource::grants(&state, item).into_iter();
    let shown: Vec<Value> = grants.map(|grant| resource::permission(&state, &caller, item, &grant)).collect();
    Ok(reply(&mask, json!({ "kind": "drive#permissionList", "permissions": shown })))
}

async fn get(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path((id, permission)): Path<(String, String)>,
) -> Answer {
    let mask = params.mask(PERMISSION, "Permission")?;
    let state = app.state();
    let item = state.visible(&caller, &id, params.all_drives())?;
    let grants = resource::grants(&state, item);
    let grant = grants.iter().find(|grant| grant.id == permission).ok_or_else(|| not_found(&permission))?;
    Ok(reply(&mask, resource::permission(&state, &caller, item, grant)))
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "notFound", format!("Permission not found: {id}."))
        .at("parameter", "permissionId")
}

/// A file whose sharing the caller may change.
fn shareable<'a>(state: &'a State, caller: &Caller, params: &Params, id: &str) -> Result<&'a Item> {
    let in_drive = state.items.get(id).is_some_and(|item| item.drive.is_some());
    let needed = if in_drive { Role::Organizer } else { Role::Writer };
    state.writable(caller, id, params.all_drives(), needed)
}

async fn create(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let mask = params.mask(PERMISSION, "Permission")?;
    let wanted = read(&body)?;
    let mut state = app.state();
    let mut item = shareable(&state, &caller, &params, &id)?.clone();
    let role = wanted.role.ok_or_else(|| ApiError::bad_request("The permission role field is required."))?;
    let permission = Permission::new(grantee(&wanted)?, role);
    check_role(&item, role, &params)?;
    if role == Role::Owner {
        return transfer(&app, &mut state, &caller, item, &permission, &mask);
    }
    match item.permissions.iter_mut().find(|known| known.id == permission.id) {
        // An owner stays one.
        Some(known) => known.role = known.role.max(permission.role),
        None => item.permissions.push(permission.clone()),
    }
    let shown = resource::permission(&state, &caller, &item, &permission);
    state.put(item, app.now())?;
    Ok(reply(&mask, shown))
}

fn read(body: &[u8]) -> Result<Wanted> {
    serde_json::from_value(json_body(body)?)
        .map_err(|error| ApiError::bad_request(format!("The specified permission is invalid: {error}")))
}

fn grantee(wanted: &Wanted) -> Result<Grantee> {
    let email = wanted.email_address.clone().filter(|email| email.contains('@'));
    match (wanted.kind.as_deref(), email, &wanted.domain) {
        (Some("user"), Some(email), _) => Ok(Grantee::User(email)),
        (Some("group"), Some(email), _) => Ok(Grantee::Group(email)),
        (Some("domain"), _, Some(domain)) => Ok(Grantee::Domain(domain.clone())),
        (Some("anyone"), _, _) => Ok(Grantee::Anyone),
        (None, _, _) => Err(ApiError::bad_request("The permission type field is required.")),
        _ => Err(ApiError::parameter("invalid", "permission.emailAddress", "The specified emailAddress is invalid.")),
    }
}

fn check_role(item: &Item, role: Role, params: &Params) -> Result<()> {
    let of_drives = [Role::Organizer, Role::FileOrganizer].contains(&role);
    if of_drives && item.drive.is_none() || role == Role::Owner && item.drive.is_some() {
        let message = "The specified role is not valid for this file.";
        return Err(ApiError::forbidden("invalidSharingRequest", message));
    }
    if role == Role::Owner && !params.flag("transferOwnership") {
        let message = "The transferOwnership parameter must be enabled when the permission role is 'owner'.";
        return Err(ApiError::parameter("forbidden", "transferOwnership", message));
    }
    Ok(())
}

fn transfer(
    app: &App,
    state: &mut State,
    caller: &Caller,
    mut item: Item,
    permission: &Permission,
    mask: &super::fields::Mask,
) -> Answer {
    let Grantee::User(email) = &permission.to else {
        return Err(ApiError::forbidden("invalidSharingRequest", "Only a user can own a file."));
    };
    if item.owner.as_ref() != Some(&caller.account) || item.parent.is_none() {
        return Err(ApiError::insufficient_permissions());
    }
    item.owner = Some(email.clone());
    item.permissions.retain(|known| known.id != permission.id);
    for known in &mut item.permissions {
        // Who owned it before may still write.
        known.role = known.role.min(Role::Writer);
    }
    item.permissions.push(permission.clone());
    let shown = resource::permission(state, caller, &item, permission);
    state.put(item, app.now())?;
    Ok(reply(mask, shown))
}

async fn update(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path((id, permission)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let mask = params.mask(PERMISSION, "Permission")?;
    let wanted = read(&body)?;
    let mut state = app.state();
    let mut item = shareable(&state, &caller, &params, &id)?.clone();
    let known = item.permissions.iter_mut().find(|known| known.id == permission);
    let known = known.ok_or_else(|| not_found(&permission))?;
    let role = wanted.role.unwrap_or(known.role);
    if known.role == Role::Owner && role != Role::Owner {
        return Err(ApiError::insufficient_permissions());
    }
    known.role = role;
    let shown = known.clone();
    check_role(&item, role, &params)?;
    if role == Role::Owner {
        return transfer(&app, &mut state, &caller, item, &shown, &mask);
    }
    let shown = resource::permission(&state, &caller, &item, &shown);
    state.put(item, app.now())?;
    Ok(reply(&mask, shown))
}

async fn delete(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path((id, permission)): Path<(String, String)>,
) -> Answer {
    let mut state = app.state();
    let own = Permission::user(&caller.account, Role::Reader).id == permission;
    let item = if own && caller.may_write() {
        // Anybody may leave.
        state.visible(&caller, &id, params.all_drives())?
    } else {
        shareable(&state, &caller, &params, &id)?
    };
    let mut item = item.clone();
    let known = item.permissions.iter().find(|known| known.id == permission).ok_or_else(|| {
        let inherited = resource::grants(&state, &item).iter().any(|grant| grant.id == permission);
        if inherited {
            ApiError::forbidden("cannotDeleteInheritedPermission", "An inherited permission is removed where it is.")
        } else {
            not_found(&permission)
        }
    })?;
    if known.role == Role::Owner {
        return Err(ApiError::insufficient_permissions());
    }
    let before = state.audience(&item);
    item.permissions.retain(|known| known.id != permission);
    let (id, client, drive) = (item.id.clone(), item.client.clone(), item.drive.clone());
    state.put(item, app.now())?;
    let after = state.items.get(&id).map(|item| state.audience(item)).unwrap_or_default();
    let accounts: Vec<String> = before.into_iter().filter(|account| !after.contains(account)).collect();
    if !accounts.is_empty() {
        state.log(id, Some(Gone { accounts, client, drive }), app.now())?;
    }
    Ok(nothing())
}
