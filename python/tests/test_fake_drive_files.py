"""Google's own Python client agrees with the fake Drive: files, folders, queries, pages, changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from fake_drive import FOLDER, ME, SHORTCUT, Fake, drive, folder, reason, refused, server, start, upload

__all__ = ["drive", "server", "start"]  # fixtures

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def names(drive: Any, q: str | None = None, **more: Any) -> list[str]:
    """Names of what a query finds, page by page."""
    found, request = [], drive.files().list(q=q, **more)
    while request is not None:
        page = request.execute()
        found += [file["name"] for file in page["files"]]
        request = drive.files().list_next(request, page)
    return found


def test_about_needs_fields(drive: Any) -> None:
    about = drive.about().get(fields="user,storageQuota").execute()
    assert about["user"]["emailAddress"] == ME and about["user"]["me"] is True
    assert about["storageQuota"] == {"usage": "0", "usageInDrive": "0", "usageInDriveTrash": "0"}
    assert set(about) == {"user", "storageQuota"}
    assert reason(drive.about().get()) == (400, "required")


def test_quota_is_counted_with_the_trash(start: Callable[..., Fake]) -> None:
    drive = start("--quota", "1000").connect()
    made = upload(drive, "a", b"x" * 600)
    drive.files().update(fileId=made["id"], body={"trashed": True}).execute()
    quota = drive.about().get(fields="storageQuota(limit,usage,usageInDriveTrash)").execute()["storageQuota"]
    assert quota == {"limit": "1000", "usage": "600", "usageInDriveTrash": "600"}
    with pytest.raises(HttpError, match="storageQuotaExceeded"):
        upload(drive, "b", b"x" * 401)
    drive.files().delete(fileId=made["id"]).execute()
    upload(drive, "b", b"x" * 1000)


def test_what_a_new_file_is_like(drive: Any) -> None:
    files = drive.files()
    root = files.get(fileId="root", fields="id,name,mimeType,parents").execute()
    assert root == {"id": root["id"], "name": "My Drive", "mimeType": FOLDER}

    made = files.create(body={"name": "models", "mimeType": FOLDER}).execute()
    assert made == {"kind": "drive#file", "id": made["id"], "name": "models", "mimeType": FOLDER}
    assert set(files.get(fileId=made["id"]).execute()) == {"kind", "id", "name", "mimeType"}
    all_of_it = files.get(fileId=made["id"], fields="*").execute()
    assert all_of_it["parents"] == [root["id"]]
    assert all_of_it["ownedByMe"] and not all_of_it["trashed"] and not all_of_it["explicitlyTrashed"]
    assert all_of_it["capabilities"]["canAddChildren"]
    assert "size" not in all_of_it and "headRevisionId" not in all_of_it
    assert TIME.fullmatch(all_of_it["createdTime"]) and int(all_of_it["version"]) >= 1

    # Without a name, without a type: an empty file.
    made = files.create(body={}, fields="name,mimeType,size,md5Checksum").execute()
    assert made == {
        "name": "Untitled",
        "mimeType": "application/octet-stream",
        "size": "0",
        "md5Checksum": "d41d8cd98f00b204e9800998ecf8427e",
    }
    times = {"createdTime": "2020-01-02T03:04:05.678Z", "modifiedTime": "2021-01-02T03:04:05Z"}
    made = files.create(body=times, fields="createdTime,modifiedTime").execute()
    assert made == {"createdTime": "2020-01-02T03:04:05.678Z", "modifiedTime": "2021-01-02T03:04:05.000Z"}


def test_names_are_anything_and_not_unique(drive: Any) -> None:
    for name in ["a/b", "a\\b", "quinn's paper\\essay", "line\nfeed", "ümläut 模型 🤖", "e\u0301", "\u00e9", "'"]:
        ids = {drive.files().create(body={"name": name}).execute()["id"] for _ in range(2)}
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        found = drive.files().list(q=f"name = '{quoted}' and 'root' in parents").execute()["files"]
        assert {file["id"] for file in found} == ids, name
        assert {file["name"] for file in found} == {name}


def test_masks(drive: Any) -> None:
    made = upload(drive, "a")
    get = lambda fields: drive.files().get(fileId=made["id"], fields=fields).execute()  # noqa: E731
    assert get("id") == {"id": made["id"]}
    assert get("owners(emailAddress),capabilities/canEdit") == {
        "owners": [{"emailAddress": ME}],
        "capabilities": {"canEdit": True},
    }
    assert get("owners/emailAddress, size") == {"owners": [{"emailAddress": ME}], "size": "7"}
    assert get("capabilities/*")["capabilities"]["canTrash"] is True
    for wrong in ["nosuch", "id,", "owners(nosuch)", "id(name)"]:
        assert reason(drive.files().get(fileId=made["id"], fields=wrong)) == (400, "invalidParameter")
    page = drive.files().list(fields="files(id,name)").execute()
    assert page == {"files": [{"id": made["id"], "name": "a"}]}
    assert reason(drive.files().list(fields="files(id,nosuch)")) == (400, "invalidParameter")


def test_update_moves_and_renames(drive: Any) -> None:
    one, two = folder(drive, "one"), folder(drive, "two")
    made = upload(drive, "a", parent=one)
    update = lambda **more: drive.files().update(fileId=made["id"], fields="name,parents,version", **more)  # noqa: E731
    moved = update(addParents=two, removeParents=one, body={"name": "b"}).execute()
    assert (moved["name"], moved["parents"]) == ("b", [two])
    assert int(moved["version"]) > int(made["version"])
    assert names(drive, f"'{one}' in parents") == []
    assert names(drive, f"'{two}' in parents") == ["b"]
    assert update().execute()["name"] == "b", "an empty change changes nothing"

    assert reason(update(body={"parents": [one]})) == (403, "fieldNotWritable")
    assert reason(update(body={"size": "5"})) == (403, "fieldNotWritable")
    assert reason(update(addParents=f"{one},root")) == (403, "cannotAddParent")
    assert reason(update(addParents="nosuch")) == (404, "notFound")
    assert reason(update(addParents=made["id"])) == (403, "parentNotAFolder")
    into_itself = drive.files().update(fileId=one, addParents=folder(drive, "inner", one))
    assert reason(into_itself)[0] == 403
    two_parents = drive.files().create(body={"parents": [one, two]})
    assert reason(two_parents) == (403, "cannotAddParent")


def test_trash_takes_what_is_inside_along(drive: Any) -> None:
    outer = folder(drive, "outer")
    inner = folder(drive, "inner", outer)
    made = upload(drive, "a", parent=inner)
    state = lambda: drive.files().get(fileId=made["id"], fields="trashed,explicitlyTrashed").execute()  # noqa: E731
    drive.files().update(fileId=outer, body={"trashed": True}).execute()
    assert state() == {"trashed": True, "explicitlyTrashed": False}
    assert names(drive, "trashed = false") == []
    assert sorted(names(drive)) == ["a", "inner", "outer"], "a listing has the trash too"
    drive.files().update(fileId=outer, body={"trashed": False}).execute()
    assert state() == {"trashed": False, "explicitlyTrashed": False}

    drive.files().update(fileId=inner, body={"trashed": True}).execute()
    assert drive.files().emptyTrash().execute() == ""
    assert reason(drive.files().get(fileId=made["id"])) == (404, "notFound")
    assert names(drive) == ["outer"]


def test_delete_is_for_good(drive: Any) -> None:
    outer = folder(drive, "outer")
    made = upload(drive, "a", parent=outer)
    assert drive.files().delete(fileId=outer).execute() == ""
    for gone in [outer, made["id"]]:
        error = refused(drive.files().get(fileId=gone))
        assert error == (404, "notFound", f"File not found: {gone}.")
        assert reason(drive.files().delete(fileId=gone)) == (404, "notFound")
        assert reason(drive.files().update(fileId=gone, body={"name": "x"})) == (404, "notFound")
    assert reason(drive.files().create(body={"parents": [outer]})) == (404, "notFound")
    assert reason(drive.files().list(q=f"'{outer}' in parents")) == (404, "notFound")


def test_copy(drive: Any) -> None:
    inside = folder(drive, "inside")
    made = upload(drive, "a", b"bytes", parent=inside, description="words")
    fields = "id,name,parents,size,sha256Checksum,description,mimeType"
    copied = drive.files().copy(fileId=made["id"], fields=fields).execute()
    assert copied["id"] != made["id"] and copied["name"] == "Copy of a" and copied["parents"] == [inside]
    assert {key: copied[key] for key in ["size", "sha256Checksum", "description", "mimeType"]} == {
        key: made[key] for key in ["size", "sha256Checksum", "description", "mimeType"]
    }
    root = drive.files().get(fileId="root").execute()["id"]
    ids = drive.files().generateIds(count=1).execute()["ids"]
    body = {"name": "b", "parents": [root], "id": ids[0]}
    copied = drive.files().copy(fileId=made["id"], body=body, fields=fields).execute()
    assert (copied["id"], copied["name"], copied["parents"]) == (ids[0], "b", [root])
    assert reason(drive.files().copy(fileId=made["id"], body=body)) == (409, "fileIdInUse")
    assert reason(drive.files().copy(fileId=inside, body={})) == (403, "cannotCopyFile")


def test_shortcuts(drive: Any) -> None:
    target = folder(drive, "target")
    body = {"name": "link", "mimeType": SHORTCUT, "shortcutDetails": {"targetId": target}}
    link = drive.files().create(body=body, fields="id,size,shortcutDetails").execute()
    assert link == {"id": link["id"], "shortcutDetails": {"targetId": target, "targetMimeType": FOLDER}}
    assert names(drive, f"shortcutDetails.targetId = '{target}'") == ["link"]
    assert names(drive, f"mimeType = '{SHORTCUT}'") == ["link"]
    chained = body | {"shortcutDetails": {"targetId": link["id"]}}
    assert reason(drive.files().create(body=chained)) == (403, "shortcutTargetInvalid")
    assert reason(drive.files().create(body=body | {"shortcutDetails": {"targetId": "no"}})) == (404, "notFound")
    assert reason(drive.files().get_media(fileId=link["id"])) == (403, "fileNotDownloadable")
    # The link outlives its target, and the target its link.
    drive.files().delete(fileId=target).execute()
    assert drive.files().get(fileId=link["id"]).execute()["name"] == "link"


def test_ids_make_create_repeatable(drive: Any) -> None:
    generated = drive.files().generateIds(count=3, space="drive", type="files").execute()
    assert generated["kind"] == "drive#generatedIds" and generated["space"] == "drive"
    ids = generated["ids"]
    assert len(set(ids)) == 3
    for mime_type in [FOLDER, "text/plain"]:
        body = {"id": ids.pop(), "name": "a", "mimeType": mime_type}
        assert drive.files().create(body=body).execute()["id"] == body["id"]
        again = refused(drive.files().create(body=body))
        assert again == (409, "fileIdInUse", "A file already exists with the provided ID.")
    assert reason(drive.files().create(body={"id": "made-up"}))[0] == 400
    shortcut_id = drive.files().generateIds(count=1, type="shortcuts").execute()["ids"][0]
    assert reason(drive.files().create(body={"id": shortcut_id}))[0] == 400


def test_queries(drive: Any) -> None:
    inside = folder(drive, "inside")
    for name, parent, more in [
        ("HelloWorld.txt", inside, {"description": "greets everybody"}),
        ("quarterly report", inside, {"starred": True}),
        ("notes", "root", {"modifiedTime": "2020-05-05T00:00:00Z"}),
    ]:
        upload(drive, name, parent=parent, **more)
    find = lambda q: sorted(names(drive, q))  # noqa: E731
    everything = ["HelloWorld.txt", "inside", "notes", "quarterly report"]
    assert find(None) == everything
    assert find("name contains 'hello'") == ["HelloWorld.txt"]
    assert find("name contains 'World'") == [], "only the beginning of a word is found"
    assert find("name contains 'report quart'") == ["quarterly report"]
    assert find("name != 'notes'") == ["HelloWorld.txt", "inside", "quarterly report"]
    assert find("fullText contains 'everybody'") == ["HelloWorld.txt"]
    assert find("mimeType contains 'text/'") == ["HelloWorld.txt", "notes", "quarterly report"]
    assert find(f"mimeType!='{FOLDER}' and 'root' in parents") == ["notes"]
    assert find(f"trashed=false and ('{inside}' in parents or 'root' in parents)") == everything
    assert find(f"not '{inside}' in parents") == ["inside", "notes"]
    assert find("modifiedTime < '2021-01-01T00:00:00' and modifiedTime >= '2020-05-05T02:00:00+02:00'") == ["notes"]
    assert find("starred = true") == ["quarterly report"]
    assert find(f"'{ME}' in owners") == find("'me' in owners") == everything
    assert find("sharedWithMe") == []
    for wrong in ["nosuch = 'x'", "name = x", "name = 'x", "size > 3", "trashed = 'true'", "name = 'a' 'b'"]:
        assert refused(drive.files().list(q=wrong)) == (400, "invalid", "Invalid Value"), wrong


def test_pages_and_order(drive: Any) -> None:
    for name in ["b10", "a", "B2", "c"]:
        upload(drive, name, name.encode() * 3)
    folder(drive, "z")
    assert names(drive, orderBy="name", pageSize=2) == ["a", "b10", "B2", "c", "z"]
    assert names(drive, orderBy="name_natural desc", pageSize=1) == ["z", "c", "b10", "B2", "a"]
    assert names(drive, orderBy="folder,name", pageSize=3) == ["z", "a", "b10", "B2", "c"]
    assert names(drive, orderBy="quotaBytesUsed desc,name", pageSize=4) == ["b10", "B2", "a", "c", "z"]
    page = drive.files().list(orderBy="name", pageSize=2).execute()
    assert set(page) == {"kind", "incompleteSearch", "nextPageToken", "files"}
    token = page["nextPageToken"]
    again = [drive.files().list(orderBy="name", pageSize=2, pageToken=token).execute()["files"] for _ in range(2)]
    assert again[0] == again[1], "an answer that was lost can be asked for again"
    assert "nextPageToken" not in drive.files().list(pageSize=5).execute()
    assert reason(drive.files().list(pageToken="made-up")) == (400, "invalid")
    assert reason(drive.files().list(pageToken=token, q="trashed = true")) == (400, "invalid")
    assert reason(drive.files().list(orderBy="size")) == (400, "invalid")
    assert len(drive.files().list(pageSize=5000).execute()["files"]) == 5


def test_properties_belong_to_apps(server: Fake, drive: Any) -> None:
    made = upload(drive, "a", appProperties={"sha256": "ab'c", "n": "1"}, properties={"public": "yes"})
    assert made["appProperties"] == {"sha256": "ab'c", "n": "1"}
    assert names(drive, "appProperties has { key='sha256' and value='ab\\'c' }") == ["a"]
    other = server.connect(client="another-app")
    seen = other.files().get(fileId=made["id"], fields="properties,appProperties,isAppAuthorized").execute()
    assert seen == {"properties": {"public": "yes"}, "isAppAuthorized": False}
    assert names(other, "appProperties has { key='n' and value='1' }") == []
    update = drive.files().update(
        fileId=made["id"],
        body={"appProperties": {"n": None, "m": "2"}, "properties": {"more": "x"}},
        fields="appProperties,properties",
    )
    assert update.execute() == {
        "appProperties": {"sha256": "ab'c", "m": "2"},
        "properties": {"public": "yes", "more": "x"},
    }
    long = {"appProperties": {"k" * 60: "v" * 65}}
    assert reason(drive.files().update(fileId=made["id"], body=long))[0] == 400
    many = {"appProperties": {f"k{index}": "v" for index in range(31)}}
    assert reason(drive.files().update(fileId=made["id"], body=many))[0] == 400


def changes(drive: Any, token: str, **more: Any) -> tuple[list[tuple[str, bool]], str]:
    """Ids and whether they are gone, and the token for what comes next."""
    seen = []
    while True:
        page = drive.changes().list(pageToken=token, **more).execute()
        seen += [(change["fileId"], change["removed"]) for change in page["changes"]]
        if "newStartPageToken" in page:
            assert "nextPageToken" not in page
            return seen, page["newStartPageToken"]
        token = page["nextPageToken"]


def test_changes(drive: Any) -> None:
    start = drive.changes().getStartPageToken().execute()
    assert start["kind"] == "drive#startPageToken"
    token = start["startPageToken"]
    assert changes(drive, token) == ([], token)

    outer = folder(drive, "outer")
    made = [upload(drive, name, parent=outer)["id"] for name in "abc"]
    drive.files().update(fileId=made[0], body={"name": "renamed"}).execute()
    seen, after = changes(drive, token, pageSize=2)
    assert seen == [(outer, False), (made[1], False), (made[2], False), (made[0], False)], "once each, by the last"
    fields = "changes(fileId,changeType,time,file(name,trashed))"
    page = drive.changes().list(pageToken=token, fields=fields).execute()["changes"][-1]
    assert TIME.fullmatch(page.pop("time"))
    assert page == {"fileId": made[0], "changeType": "file", "file": {"name": "renamed", "trashed": False}}

    drive.files().delete(fileId=outer).execute()
    seen, _ = changes(drive, after)
    assert sorted(seen) == sorted((id, True) for id in [outer, *made])
    assert changes(drive, after, includeRemoved=False)[0] == []
    assert reason(drive.changes().list(pageToken="x")) == (400, "invalid")


def test_everything_is_there_after_a_restart(start: Callable[..., Fake], tmp_path: Any) -> None:
    first = start("--state", str(tmp_path))
    drive = first.connect()
    inside = folder(drive, "inside")
    kept = upload(drive, "a", b"x" * 300_000, parent=inside)
    drive.files().delete(fileId=upload(drive, "b")["id"]).execute()
    token = drive.changes().getStartPageToken().execute()["startPageToken"]
    drive.files().update(fileId=inside, body={"starred": True}).execute()
    access = first.tokens()["access_token"]
    first.stop()

    drive = start("--state", str(tmp_path)).connect_with(access)
    assert drive.files().get_media(fileId=kept["id"]).execute() == b"x" * 300_000
    same = drive.files().get(fileId=kept["id"], fields="*").execute()
    assert same == kept
    assert changes(drive, token)[0] == [(inside, False)]
    assert sorted(names(drive)) == ["a", "inside"]
