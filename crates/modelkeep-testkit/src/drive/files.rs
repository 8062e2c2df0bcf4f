//! The `files` resource: one file per kind of call.

mod change;
mod create;
mod download;
mod list;
mod read;
mod remove;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use super::app::App;

pub use self::change::{Update, update};
pub use self::create::{New, check_new, create};
pub use self::download::download;
pub use self::list::Pages;
pub use self::read::{FILE, show};

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/files", get(list::list).post(create::create_from_metadata))
        .route("/files/generateIds", get(create::generate_ids))
        .route("/files/trash", delete(remove::empty_trash))
        .route("/files/{id}", get(read::get).patch(change::update_metadata).delete(remove::delete))
        .route("/files/{id}/copy", post(create::copy))
}
