"""Google's own Python client agrees with the fake Drive: bytes, up and down."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import httplib2
import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseUpload, MediaUpload

from fake_drive import FOLDER, Fake, download, drive, folder, reason, server, start, upload

__all__ = ["drive", "server", "start"]  # fixtures

STEP = 256 * 1024
BYTES = bytes(range(256)) * 4096 + b"\r\n--end"  # a little more than four steps


def resumable(content: bytes, chunk: int = STEP, mime_type: str = "application/x-weights") -> MediaIoBaseUpload:
    return MediaIoBaseUpload(io.BytesIO(content), mime_type, chunksize=chunk, resumable=True)


def check(file: dict[str, Any], content: bytes) -> None:
    assert file["size"] == str(len(content))
    for name in ["md5", "sha1", "sha256"]:
        assert file[f"{name}Checksum"] == hashlib.new(name, content).hexdigest()


@pytest.mark.parametrize("content", [b"", b"\n", b"ends in a CR\r", b"\r\n\r\n--==", BYTES, bytes(range(256))])
def test_multipart(drive: Any, content: bytes) -> None:
    made = upload(drive, "ümläut", content)
    check(made, content)
    assert made["name"] == "ümläut" and made["mimeType"] == "text/plain"
    assert drive.files().get_media(fileId=made["id"]).execute() == content


def test_media_alone(server: Fake, drive: Any) -> None:
    made = drive.files().create(media_body=MediaIoBaseUpload(io.BytesIO(b"bytes"), "text/plain"), fields="*").execute()
    check(made, b"bytes")
    assert (made["name"], made["mimeType"]) == ("Untitled", "text/plain")
    assert "upload.create" in server.names()


@pytest.mark.parametrize("chunk", [STEP, 3 * STEP, -1])
@pytest.mark.parametrize("size", [0, 1, STEP, 2 * STEP, len(BYTES)])
def test_resumable(drive: Any, chunk: int, size: int) -> None:
    content = BYTES[:size]
    request = drive.files().create(body={"name": "w"}, media_body=resumable(content, chunk), fields="*")
    made, seen = None, []
    while made is None:
        status, made = request.next_chunk()
        if status:
            seen.append(status.resumable_progress)
    check(made, content)
    assert (made["name"], made["mimeType"]) == ("w", "application/x-weights")
    expected = range(chunk, size, chunk) if chunk > 0 else []
    assert seen == list(expected)
    assert drive.files().get_media(fileId=made["id"]).execute() == content


class Repeatable(MediaUpload):  # type: ignore[misc]
    """Bytes that can be sent again, of a size that may be unknown.

    A stream cannot: httplib2 by itself repeats a request whose connection broke, with the stream it has already used
    up; it announces bytes that never come and waits for a minute.
    """

    def __init__(self, content: bytes, chunk: int, size: int | None = None) -> None:
        super().__init__()
        self.content, self.chunk, self.known = content, chunk, size

    def chunksize(self) -> int:
        return self.chunk

    def mimetype(self) -> str:
        return "application/x-weights"

    def size(self) -> int | None:
        return self.known

    def resumable(self) -> bool:
        return True

    def getbytes(self, begin: int, length: int) -> bytes:
        return self.content[begin : begin + length]

    def has_stream(self) -> bool:
        return False


def test_resumable_of_unknown_size(drive: Any) -> None:
    check(drive.files().create(body={}, media_body=Repeatable(BYTES, STEP), fields="*").execute(), BYTES)


def test_an_upload_goes_on_after_faults(server: Fake, drive: Any) -> None:
    for fault in ["5xx:1*2@upload.chunk", "lost-reply:1*1@upload.chunk", "cut=300000*1@upload.chunk"]:
        server.control("fault", fault)
        media = Repeatable(BYTES, 2 * STEP, len(BYTES))
        request = drive.files().create(body={"name": "w"}, media_body=media, fields="*")
        made, errors = None, 0
        while made is None:
            try:
                _, made = request.next_chunk()
            except (HttpError, OSError, httplib2.HttpLib2Error):
                errors += 1
        check(made, BYTES)
        calls = server.control("calls", method="GET")["calls"]
        struck = [call["status"] for call in calls if call["fault"]]
        assert len(struck) == (2 if fault.startswith("5xx") else 1), fault
        assert calls[-1]["name"] == "upload.chunk" and (errors == 0 or "upload.probe" in server.names())
        server.control("calls", method="DELETE")


def test_a_session_can_be_gone(server: Fake, drive: Any) -> None:
    request = drive.files().create(body={}, media_body=resumable(BYTES), fields="id")
    assert request.next_chunk()[1] is None
    server.control("fault", "expire-session*1@upload.chunk")
    with pytest.raises(HttpError) as error:
        request.next_chunk()
    assert error.value.resp.status == 404


def test_new_content_in_the_same_file(drive: Any) -> None:
    before = upload(drive, "a", b"one")
    for content, media in [(b"two", MediaIoBaseUpload(io.BytesIO(b"two"), "text/css")), (BYTES, resumable(BYTES))]:
        after = drive.files().update(fileId=before["id"], media_body=media, fields="*").execute()
        check(after, content)
        assert after["id"] == before["id"] and after["name"] == "a"
        assert after["headRevisionId"] != before["headRevisionId"]
        assert int(after["version"]) > int(before["version"])
        before = after
    update = drive.files().update(fileId=before["id"], body={"name": "b"}, media_body=resumable(b"x"), fields="*")
    assert update.execute()["name"] == "b"


def test_an_id_is_used_once(drive: Any) -> None:
    first, second = drive.files().generateIds(count=2).execute()["ids"]
    make = lambda id, media: drive.files().create(body={"id": id}, media_body=media)  # noqa: E731
    assert make(first, resumable(b"x")).execute()["id"] == first
    assert reason(make(first, resumable(b"x"))) == (409, "fileIdInUse"), "at the start of the session"
    assert reason(make(first, MediaIoBaseUpload(io.BytesIO(b"x"), "text/plain"))) == (409, "fileIdInUse")
    # Two sessions for one id: the second to end is refused at its end.
    sessions = [make(second, resumable(BYTES)) for _ in range(2)]
    for session in sessions:
        assert session.next_chunk()[1] is None
    while sessions[0].next_chunk()[1] is None:
        pass
    with pytest.raises(HttpError) as error:
        while True:
            sessions[1].next_chunk()
    assert error.value.resp.status == 409


def test_uploads_are_checked_before_they_begin(drive: Any) -> None:
    make = lambda body, **more: drive.files().create(body=body, media_body=resumable(b"x"), **more)  # noqa: E731
    assert reason(make({"parents": ["nosuch"]})) == (404, "notFound")
    assert reason(make({}, fields="nosuch")) == (400, "invalidParameter")
    assert reason(drive.files().update(fileId="nosuch", media_body=resumable(b"x"))) == (404, "notFound")


def test_download_in_chunks(drive: Any) -> None:
    for content in [b"", b"x", BYTES]:
        made = upload(drive, "a", content)
        assert download(drive.files().get_media(fileId=made["id"]), STEP + 1) == content


def test_ranges(drive: Any) -> None:
    made = upload(drive, "a", BYTES)
    ask = drive.files().get_media(fileId=made["id"])

    def get(range: str) -> tuple[int, str | None, bytes]:
        answer, content = ask.http.request(ask.uri, headers={"range": range})
        return answer.status, answer.get("content-range"), content

    size = len(BYTES)
    assert get("bytes=0-9") == (206, f"bytes 0-9/{size}", BYTES[:10])
    assert get("bytes=300000-700000") == (206, f"bytes 300000-700000/{size}", BYTES[300_000:700_001])
    assert get(f"bytes={size - 5}-") == (206, f"bytes {size - 5}-{size - 1}/{size}", BYTES[-5:])
    assert get("bytes=-7") == (206, f"bytes {size - 7}-{size - 1}/{size}", BYTES[-7:])
    assert get(f"bytes={size}-")[:2] == (416, f"bytes */{size}")
    assert get("bytes=5-4") == (200, None, BYTES)


def test_only_files_have_bytes(drive: Any) -> None:
    made = folder(drive, "folder")
    assert reason(drive.files().get_media(fileId=made)) == (403, "fileNotDownloadable")
    assert reason(drive.files().get_media(fileId="nosuch")) == (404, "notFound")
    with_content = drive.files().create(body={"mimeType": FOLDER}, media_body=resumable(b"x"))
    assert reason(with_content)[0] == 400


def test_revisions(drive: Any) -> None:
    made = upload(drive, "a", b"one")
    for content in [b"two!", b"three"]:
        media = MediaIoBaseUpload(io.BytesIO(content), "text/plain")
        drive.files().update(fileId=made["id"], media_body=media).execute()
    revisions = drive.revisions()
    listed = revisions.list(fileId=made["id"], fields="revisions(id,size,keepForever)").execute()["revisions"]
    assert [revision["size"] for revision in listed] == ["3", "4", "5"]
    assert not any(revision["keepForever"] for revision in listed)
    first, second, head = (revision["id"] for revision in listed)
    assert drive.files().get(fileId=made["id"], fields="headRevisionId").execute() == {"headRevisionId": head}
    assert revisions.get_media(fileId=made["id"], revisionId=head).execute() == b"three"
    assert reason(revisions.get_media(fileId=made["id"], revisionId=first))[0] == 403
    kept = revisions.update(fileId=made["id"], revisionId=first, body={"keepForever": True}, fields="*").execute()
    assert kept["keepForever"] and kept["md5Checksum"] == hashlib.md5(b"one").hexdigest()
    assert revisions.get_media(fileId=made["id"], revisionId=first).execute() == b"one"
    assert drive.files().get(fileId=made["id"], fields="quotaBytesUsed").execute() == {"quotaBytesUsed": "8"}
    revisions.delete(fileId=made["id"], revisionId=second).execute()
    assert reason(revisions.get(fileId=made["id"], revisionId=second)) == (404, "notFound")


def test_checksums_may_come_late(server: Fake, drive: Any) -> None:
    server.control("fault", "late-checksum=2")
    made = upload(drive, "a")
    assert "sha256Checksum" not in made and made["md5Checksum"]
    look = lambda: drive.files().get(fileId=made["id"], fields="sha256Checksum").execute()  # noqa: E731
    assert [look(), bool(look())] == [{}, True]
