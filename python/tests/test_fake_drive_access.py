"""Google's own Python client agrees with the fake Drive: who may do what, shared drives, tokens, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.auth.exceptions import RefreshError
from googleapiclient.errors import HttpError

from fake_drive import FOLDER, ME, OWN_FILES, READ, YOU, Fake, drive, folder, reason, refused, server, start, upload

__all__ = ["drive", "server", "start"]  # fixtures

ALL = {"supportsAllDrives": True, "includeItemsFromAllDrives": True}


def listed(drive: Any, **more: Any) -> list[str]:
    return sorted(file["name"] for file in drive.files().list(**more).execute()["files"])


def share(drive: Any, id: str, role: str, email: str = YOU) -> str:
    body = {"type": "user", "role": role, "emailAddress": email}
    made = drive.permissions().create(fileId=id, body=body, sendNotificationEmail=False, supportsAllDrives=True)
    granted: str = made.execute()["id"]
    return granted


def test_no_token_no_answer(server: Fake) -> None:
    drive = server.connect_with("made-up")
    assert refused(drive.files().list()) == (401, "authError", "Invalid Credentials")


def test_a_token_expires_and_is_refreshed(server: Fake, drive: Any) -> None:
    made = folder(drive, "a")
    server.control("clock", {"advance_seconds": 3600})
    assert drive.files().get(fileId=made).execute()["name"] == "a"
    assert "oauth.token" in server.names()


def test_a_refresh_token_expires_too(server: Fake) -> None:
    server.control("refresh", {"seconds": 604800})
    drive = server.connect()
    drive.files().list().execute()
    server.control("clock", {"advance_seconds": 604801})
    with pytest.raises(RefreshError, match="invalid_grant"):
        drive.files().list().execute()


def test_a_token_can_end_in_the_middle(server: Fake) -> None:
    server.control("fault", "expire-token=3")
    drive = server.connect()
    for _ in range(8):
        drive.files().list().execute()
    assert server.names().count("oauth.token") == 2


def test_rate_limits_are_retried(server: Fake, drive: Any) -> None:
    for fault in ["429:1*2", "5xx:1*2", "lost-reply:1*2@files.list"]:
        server.control("fault", fault)
        request = drive.files().list()
        request._sleep = lambda seconds: None
        assert request.execute(num_retries=3)["files"] == []


def test_sharing(server: Fake, drive: Any) -> None:
    you = server.connect(YOU)
    outer = folder(drive, "outer")
    made = upload(drive, "a", parent=outer)
    assert reason(you.files().get(fileId=made["id"])) == (404, "notFound")
    assert listed(you) == []
    start = you.changes().getStartPageToken().execute()["startPageToken"]

    granted = share(drive, outer, "reader")
    assert listed(you) == ["a", "outer"]
    assert listed(you, q="sharedWithMe") == ["outer"]
    seen = you.files().get(fileId=outer, fields="ownedByMe,owners(emailAddress),shared,parents,capabilities").execute()
    assert (seen["ownedByMe"], seen["shared"], seen["owners"]) == (False, True, [{"emailAddress": ME}])
    assert "parents" not in seen and not seen["capabilities"]["canEdit"]
    assert you.files().get_media(fileId=made["id"]).execute() == b"content"
    for request in [
        you.files().update(fileId=made["id"], body={"name": "b"}),
        you.files().create(body={"parents": [outer]}),
        you.permissions().create(fileId=outer, body={"type": "anyone", "role": "reader"}),
    ]:
        assert reason(request) == (403, "insufficientFilePermissions")

    share(drive, outer, "writer")
    mine = upload(you, "b", parent=outer)
    assert drive.files().get(fileId=mine["id"], fields="owners(emailAddress)").execute() == {
        "owners": [{"emailAddress": YOU}]
    }
    drive.files().update(fileId=mine["id"], body={"name": "renamed"}).execute()
    for request in [
        drive.files().delete(fileId=mine["id"]),
        drive.files().update(fileId=mine["id"], body={"trashed": True}),
        you.files().delete(fileId=outer),
    ]:
        assert reason(request) == (403, "insufficientFilePermissions"), "only an owner may"

    fields = "permissions(id,role,emailAddress)"
    permissions = drive.permissions().list(fileId=made["id"], fields=fields).execute()["permissions"]
    assert sorted((one["role"], one["emailAddress"]) for one in permissions) == [("owner", ME), ("writer", YOU)]
    drive.permissions().delete(fileId=outer, permissionId=granted).execute()
    assert listed(you) == ["renamed"], "what is mine is still mine"
    changed = you.changes().list(pageToken=start).execute()["changes"]
    assert (outer, True) in {(change["fileId"], change["removed"]) for change in changed}


def test_links_are_for_anyone_and_in_nobodys_list(server: Fake, drive: Any) -> None:
    made = upload(drive, "a")
    anyone = {"type": "anyone", "role": "reader"}
    assert drive.permissions().create(fileId=made["id"], body=anyone).execute()["id"] == "anyoneWithLink"
    you = server.connect(YOU)
    assert you.files().get_media(fileId=made["id"]).execute() == b"content"
    assert listed(you) == []


def test_drive_file_sees_what_it_made(server: Fake, drive: Any) -> None:
    app = server.connect(scope=OWN_FILES)
    other = server.connect(client="another", scope=OWN_FILES)
    theirs = drive.files().create(body={"name": "by the web"}, fields="id").execute()["id"]
    drive.files().update(fileId=theirs, body={"description": "x"}).execute()
    own = folder(app, "own")
    inside = upload(app, "inside", parent=own)
    # The same client id, and so the same files: by which scope they were made does not count.
    assert listed(app) == ["by the web", "inside", "own"]
    assert listed(other) == []
    assert listed(drive) == ["by the web", "inside", "own"]
    assert reason(other.files().get(fileId=inside["id"])) == (404, "notFound")
    assert reason(other.files().update(fileId=own, body={"name": "x"})) == (403, "appNotAuthorizedToFile")
    assert reason(other.files().get(fileId="root")) == (404, "notFound")
    assert reason(other.files().create(body={"parents": [own]})) == (404, "notFound")
    assert folder(other, "at the root")
    assert reason(app.files().emptyTrash())[0] == 403
    # A client with the whole scope sees all.
    assert "at the root" in listed(server.connect(client="third"))


def test_reading_is_not_writing(server: Fake, drive: Any) -> None:
    made = upload(drive, "a")
    reader = server.connect(scope=READ)
    assert reader.files().get_media(fileId=made["id"]).execute() == b"content"
    for request in [
        reader.files().create(body={"name": "x"}),
        reader.files().update(fileId=made["id"], body={"name": "x"}),
        reader.files().delete(fileId=made["id"]),
    ]:
        with pytest.raises(HttpError) as error:
            request.execute()
        assert error.value.resp.status == 403
        assert "ACCESS_TOKEN_SCOPE_INSUFFICIENT" in str(error.value.error_details) + error.value.content.decode()


def test_shared_drives(server: Fake, drive: Any) -> None:
    made = drive.drives().create(requestId="1", body={"name": "team"}).execute()
    assert made == {"kind": "drive#drive", "id": made["id"], "name": "team"}
    team = made["id"]
    assert drive.drives().list(pageSize=1).execute()["drives"] == [made]
    assert drive.drives().get(driveId=team).execute()["name"] == "team"

    # Without the client's word that it knows shared drives, there is nothing to see.
    inside = folder(drive, "inside", team)
    assert reason(drive.files().get(fileId=inside)) == (404, "notFound")
    assert reason(drive.files().create(body={"parents": [team]})) == (404, "notFound")
    file = upload(drive, "weights", parent=inside)
    assert file["driveId"] == team and "owners" not in file and "ownedByMe" not in file
    got = drive.files().get(fileId=inside, supportsAllDrives=True, fields="parents,driveId").execute()
    assert got == {"parents": [team], "driveId": team}
    assert listed(drive) == []
    assert listed(drive, **ALL) == ["inside", "weights"]
    assert listed(drive, **ALL, corpora="drive", driveId=team) == ["inside", "weights"]
    assert listed(drive, **ALL, corpora="allDrives", q=f"'{team}' in parents") == ["inside"]
    assert reason(drive.files().list(**ALL, corpora="drive")) == (400, "required")
    assert reason(drive.files().list(includeItemsFromAllDrives=True))[0] == 403
    assert drive.about().get(fields="storageQuota/usage").execute() == {"storageQuota": {"usage": "0"}}

    you = server.connect(YOU)
    assert reason(you.files().get(fileId=inside, supportsAllDrives=True)) == (404, "notFound")
    share(drive, team, "writer")
    assert listed(you, **ALL) == ["inside", "weights"]
    assert upload(you, "more", parent=inside)["driveId"] == team
    delete = you.files().delete(fileId=file["id"], supportsAllDrives=True)
    assert reason(delete) == (403, "insufficientFilePermissions")
    trash = {"fileId": file["id"], "supportsAllDrives": True, "body": {"trashed": True}}
    assert reason(you.files().update(**trash)) == (403, "insufficientFilePermissions")
    share(drive, team, "fileOrganizer")
    you.files().update(**trash).execute()
    token = drive.changes().getStartPageToken(driveId=team, supportsAllDrives=True).execute()["startPageToken"]
    drive.files().delete(fileId=inside, supportsAllDrives=True).execute()
    removed = drive.changes().list(pageToken=token, driveId=team, **ALL).execute()["changes"]
    assert inside in {change["fileId"] for change in removed}
    assert drive.changes().list(pageToken=token).execute()["changes"] == []
    assert drive.drives().delete(driveId=team).execute() == ""


def test_service_accounts_have_no_room(server: Fake, drive: Any) -> None:
    robot = server.connect("robot@project.iam.gserviceaccount.com")
    status, why, message = refused(robot.files().create(body={"mimeType": FOLDER}))
    assert (status, why) == (403, "storageQuotaExceeded") and message.startswith("Service Accounts")


def test_listings_may_be_late(server: Fake, drive: Any) -> None:
    server.control("fault", "late-list=2")
    made = upload(drive, "a")
    assert drive.files().get(fileId=made["id"]).execute()["name"] == "a", "by its id it is there at once"
    assert [listed(drive) for _ in range(3)] == [[], [], ["a"]]


def test_pages_may_be_short(server: Fake, drive: Any) -> None:
    for name in "abcdef":
        folder(drive, name)
    server.control("fault", "short-page:1")
    found, request, pages = [], drive.files().list(pageSize=2, orderBy="name"), 0
    while request is not None:
        page = request.execute()
        found += [file["name"] for file in page["files"]]
        pages += 1
        request = drive.files().list_next(request, page)
    assert found == list("abcdef") and pages > 3


def test_a_full_drive(server: Fake, drive: Any) -> None:
    server.control("fault", "full")
    with pytest.raises(HttpError, match="storageQuotaExceeded"):
        upload(drive, "a")
    assert folder(drive, "folders still fit")
