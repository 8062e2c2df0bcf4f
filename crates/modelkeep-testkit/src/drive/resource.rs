//! Files, permissions and revisions as the JSON that Drive shows of them.
//!
//! Knows which fields there are and who sees them. What was not asked for is taken out afterwards, by `fields`.

use serde_json::{Map, Value, json};

use super::clock::rfc3339;
use super::content::{Content, Contents};
use super::error::Result;
use super::fields::{Mask, object};
use super::state::{Caller, Grantee, Item, Permission, Revision, Role, SharedDrive, State};

/// Fields whose making takes reading the whole content.
const OLDER_DIGESTS: [&str; 2] = ["md5Checksum", "sha1Checksum"];

/// Whether MD5 or SHA-1 are asked for, below `path`.
pub fn wants_older_digests(mask: &Mask, path: &[&str]) -> bool {
    OLDER_DIGESTS.iter().any(|name| mask.wants(&[path, &[*name]].concat()))
}

/// A file as `caller` sees it; `digests` if the slow ones are wanted.
pub fn file(state: &State, contents: &Contents, caller: &Caller, item: &Item, digests: bool) -> Result<Value> {
    let role = state.role(item, &caller.account);
    let mut file = object([
        ("kind", "drive#file".into()),
        ("id", item.id.clone().into()),
        ("name", item.name.clone().into()),
        ("mimeType", item.mime_type.clone().into()),
        ("description", item.description.clone().into()),
        ("starred", item.starred.into()),
        ("trashed", state.is_trashed(item).into()),
        ("explicitlyTrashed", item.trashed.is_some().into()),
        ("trashedTime", item.trashed.as_ref().map(|(time, _)| rfc3339(*time)).into()),
        ("trashingUser", item.trashed.as_ref().map_or(Value::Null, |(_, by)| user(caller, by))),
        ("parents", parents(state, caller, item)),
        ("properties", map(&item.properties)),
        ("appProperties", item.app_properties.get(&caller.client).map_or(Value::Null, map)),
        ("spaces", json!(["drive"])),
        ("version", item.version.to_string().into()),
        ("createdTime", rfc3339(item.created).into()),
        ("modifiedTime", rfc3339(item.modified).into()),
        ("modifiedByMe", (item.modified_by == caller.account).into()),
        ("lastModifyingUser", user(caller, &item.modified_by)),
        ("viewedByMe", true.into()),
        ("shared", (item.drive.is_some() || grants(state, item).len() > 1).into()),
        ("driveId", item.drive.clone().into()),
        ("teamDriveId", item.drive.clone().into()),
        ("capabilities", capabilities(state, caller, item, role)),
        ("copyRequiresWriterPermission", false.into()),
        ("viewersCanCopyContent", true.into()),
        ("writersCanShare", true.into()),
        ("hasThumbnail", false.into()),
        ("thumbnailVersion", "0".into()),
        ("iconLink", format!("https://drive-thirdparty.googleusercontent.com/16/type/{}", item.mime_type).into()),
        ("webViewLink", format!("https://drive.google.com/file/d/{}/view?usp=drivesdk", item.id).into()),
        ("quotaBytesUsed", item.quota_bytes().to_string().into()),
        ("isAppAuthorized", (item.client == caller.client).into()),
        ("inheritedPermissionsDisabled", false.into()),
        ("shortcutDetails", shortcut(item)),
        ("permissionIds", grants(state, item).iter().map(|grant| grant.id.clone()).collect::<Vec<_>>().into()),
    ]);
    if let Some(owner) = &item.owner {
        file.insert("owners".into(), json!([user(caller, owner)]));
        file.insert("ownedByMe".into(), (*owner == caller.account).into());
        if role >= Some(Role::Writer) {
            // Not told of shared drives, nor to those who may not share.
            let grants = grants(state, item).into_iter().map(|grant| permission(state, caller, item, &grant));
            file.insert("permissions".into(), grants.collect());
        }
    }
    if let Some(head) = item.head() {
        file.append(&mut blob(contents, item, head, digests)?);
    }
    Ok(file.into())
}

fn blob(contents: &Contents, item: &Item, head: &Revision, digests: bool) -> Result<Map<String, Value>> {
    let extension = item.name.rsplit_once('.').map(|(_, extension)| extension.to_owned());
    let mut blob = object([
        ("size", head.content.size.to_string().into()),
        ("sha256Checksum", if item.checksum_late == 0 { head.content.sha256.clone().into() } else { Value::Null }),
        ("headRevisionId", head.id.clone().into()),
        ("originalFilename", item.name.clone().into()),
        ("fileExtension", extension.clone().unwrap_or_default().into()),
        ("fullFileExtension", extension.unwrap_or_default().into()),
        ("webContentLink", format!("https://drive.google.com/uc?id={}&export=download", item.id).into()),
    ]);
    if digests {
        blob.append(&mut older(contents, &head.content)?);
    }
    Ok(blob)
}

fn older(contents: &Contents, content: &Content) -> Result<Map<String, Value>> {
    let (md5, sha1) = contents.older_digests(content)?;
    Ok(object([("md5Checksum", md5.into()), ("sha1Checksum", sha1.into())]))
}

fn map(properties: &std::collections::BTreeMap<String, String>) -> Value {
    if properties.is_empty() { Value::Null } else { json!(properties) }
}

fn shortcut(item: &Item) -> Value {
    item.shortcut.as_ref().map_or(
        Value::Null,
        |shortcut| json!({ "targetId": shortcut.target, "targetMimeType": shortcut.target_mime_type }),
    )
}

/// The folder, if the account may see it.
fn parents(state: &State, caller: &Caller, item: &Item) -> Value {
    let parent = item.parent.as_ref().and_then(|parent| state.items.get(parent));
    parent
        .filter(|parent| state.role(parent, &caller.account).is_some())
        .map_or(Value::Null, |parent| json!([parent.id]))
}

pub fn user(caller: &Caller, email: &str) -> Value {
    let name = email.split_once('@').map_or(email, |(name, _)| name);
    json!({
        "kind": "drive#user",
        "displayName": name,
        "emailAddress": email,
        "me": email == caller.account,
        "permissionId": Permission::user(email, Role::Reader).id,
    })
}

fn capabilities(state: &State, caller: &Caller, item: &Item, role: Option<Role>) -> Value {
    let (edit, folder) = (role >= Some(Role::Writer), item.is_folder());
    let (trash, delete) = (state.may_trash(item, &caller.account), state.may_delete(item, &caller.account));
    let blob = !item.revisions.is_empty();
    json!({
        "canAddChildren": edit && folder,
        "canComment": role >= Some(Role::Commenter),
        "canCopy": !folder,
        "canDelete": delete,
        "canDeleteChildren": folder && delete,
        "canDownload": blob,
        "canEdit": edit,
        "canListChildren": folder,
        "canModifyContent": edit,
        "canMoveItemWithinDrive": edit && item.parent.is_some(),
        "canReadRevisions": blob && edit,
        "canRemoveChildren": edit && folder,
        "canRename": edit && item.parent.is_some(),
        "canShare": edit,
        "canTrash": trash,
        "canTrashChildren": folder && trash,
        "canUntrash": trash,
    })
}

/// What holds for a file: granted on it and above it, the most for each grantee.
pub fn grants(state: &State, item: &Item) -> Vec<Permission> {
    let mut grants: Vec<Permission> = Vec::new();
    for above in state.chain(item) {
        for permission in &above.permissions {
            let mut permission = permission.clone();
            if above.id != item.id && permission.role == Role::Owner {
                permission.role = Role::Writer;
            }
            match grants.iter_mut().find(|known| known.id == permission.id) {
                Some(known) => known.role = known.role.max(permission.role),
                None => grants.push(permission),
            }
        }
    }
    grants
}

pub fn permission(state: &State, caller: &Caller, item: &Item, permission: &Permission) -> Value {
    let inherited = !item.permissions.iter().any(|own| own.id == permission.id);
    let mut shown = object([
        ("kind", "drive#permission".into()),
        ("id", permission.id.clone().into()),
        ("role", json!(permission.role)),
        ("pendingOwner", false.into()),
        ("deleted", false.into()),
    ]);
    let (kind, email, domain) = match &permission.to {
        Grantee::User(email) => ("user", Some(email), None),
        Grantee::Group(email) => ("group", Some(email), None),
        Grantee::Domain(domain) => ("domain", None, Some(domain)),
        Grantee::Anyone => ("anyone", None, None),
    };
    shown.insert("type".into(), kind.into());
    if let Some(email) = email {
        shown.insert("emailAddress".into(), email.clone().into());
        shown.insert("displayName".into(), user(caller, email)["displayName"].clone());
    }
    if let Some(domain) = domain {
        shown.insert("domain".into(), domain.clone().into());
    }
    if matches!(permission.to, Grantee::Anyone | Grantee::Domain(_)) {
        shown.insert("allowFileDiscovery".into(), false.into());
    }
    if item.drive.is_some() {
        let from = state.chain(item).find(|above| above.permissions.iter().any(|own| own.id == permission.id));
        let details = json!([{
            "permissionType": if inherited { "member" } else { "file" },
            "role": permission.role,
            "inherited": inherited,
            "inheritedFrom": from.filter(|_| inherited).map(|from| from.id.clone()),
        }]);
        shown.insert("permissionDetails".into(), details);
    }
    shown.into()
}

pub fn revision(contents: &Contents, caller: &Caller, item: &Item, revision: &Revision) -> Result<Value> {
    let mut shown = object([
        ("kind", "drive#revision".into()),
        ("id", revision.id.clone().into()),
        ("mimeType", revision.mime_type.clone().into()),
        ("modifiedTime", rfc3339(revision.modified).into()),
        ("lastModifyingUser", user(caller, &revision.modified_by)),
        ("keepForever", revision.keep_forever.into()),
        ("published", false.into()),
        ("originalFilename", item.name.clone().into()),
        ("size", revision.content.size.to_string().into()),
    ]);
    let (md5, _) = contents.older_digests(&revision.content)?;
    shown.insert("md5Checksum".into(), md5.into());
    Ok(shown.into())
}

pub fn drive(state: &State, caller: &Caller, drive: &SharedDrive) -> Value {
    let role = state.items.get(&drive.id).and_then(|root| state.role(root, &caller.account));
    let organizer = role >= Some(Role::Organizer);
    json!({
        "kind": "drive#drive",
        "id": drive.id,
        "name": drive.name,
        "createdTime": rfc3339(drive.created),
        "hidden": false,
        "capabilities": {
            "canAddChildren": role >= Some(Role::Writer),
            "canDeleteDrive": organizer,
            "canListChildren": true,
            "canManageMembers": organizer,
            "canRenameDrive": organizer,
        },
    })
}
