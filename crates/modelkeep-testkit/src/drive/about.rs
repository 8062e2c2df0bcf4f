//! `about.get`: who asks, and how full the account is.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::routing::get;
use serde_json::json;

use super::app::{Answer, App, Params, reply};
use super::error::ApiError;
use super::resource;
use super::state::Caller;

/// 5,120 GB (`maxSize` in the discovery document).
const LARGEST: u64 = 5_497_558_138_880;

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/about", get(about))
}

async fn about(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    if params.get("fields").is_none() {
        let message = "The 'fields' parameter is required for this method.";
        return Err(ApiError::parameter("required", "fields", message));
    }
    let mask = params.mask("*", "About")?;
    let (usage, trash) = app.state().usage(&caller.account);
    let mut quota = json!({
        "usage": usage.to_string(),
        "usageInDrive": usage.to_string(),
        "usageInDriveTrash": trash.to_string(),
    });
    if let Some(limit) = app.quota {
        quota["limit"] = limit.to_string().into();
    }
    let about = json!({
        "kind": "drive#about",
        "user": resource::user(&caller, &caller.account),
        "storageQuota": quota,
        "maxUploadSize": LARGEST.to_string(),
        "importFormats": {},
        "exportFormats": {},
        "maxImportSizes": {},
        "appInstalled": false,
        "canCreateDrives": true,
        "canCreateTeamDrives": true,
        "folderColorPalette": [],
        "driveThemes": [],
    });
    Ok(reply(&mask, about))
}
