"""The fake Drive as a process, and Google's own client connected to it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import googleapiclient
import httplib2
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

ROOT = Path(__file__).resolve().parents[2]
# Read before a test's sealed machine hides the variables of ours.
PROGRAM = os.environ.get("MODELKEEP_FAKE_DRIVE", str(ROOT / "target/debug/fake-drive"))
DOCUMENT = json.loads((Path(googleapiclient.__file__).parent / "discovery_cache/documents/drive.v3.json").read_text())

FULL = "https://www.googleapis.com/auth/drive"
READ = "https://www.googleapis.com/auth/drive.readonly"
OWN_FILES = "https://www.googleapis.com/auth/drive.file"
FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
ME, YOU = "me@example.com", "you@example.com"


class Fake:
    """A running fake-drive."""

    def __init__(self, *arguments: str) -> None:
        command = [PROGRAM, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        first = self.process.stdout.readline()
        assert first.startswith("listening on http://127.0.0.1:"), first
        self.url = first.removeprefix("listening on ").strip()
        self.services: list[Any] = []

    def stop(self) -> None:
        for service in self.services:
            service.close()
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def control(self, path: str, body: object = None, method: str = "POST") -> Any:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_fake/{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or "null")

    def tokens(self, account: str = ME, client: str = "app", scope: str = FULL, **more: object) -> dict[str, str]:
        tokens: dict[str, str] = self.control("token", {"account": account, "client": client, "scope": scope, **more})
        return tokens

    def connect(self, account: str = ME, client: str = "app", scope: str = FULL) -> Any:
        """Google's client, from the discovery document it brings along, asking this server."""
        tokens = self.tokens(account, client, scope)
        credentials = Credentials(
            tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            token_uri=f"{self.url}/token",
            client_id=client,
            client_secret="secret",
        )
        return self.remember(build_from_document(self.document(), credentials=credentials))

    def connect_with(self, token: str) -> Any:
        """The same with a token that nothing refreshes."""
        return self.remember(build_from_document(self.document(), http=Bearer(token)))

    def document(self) -> dict[str, Any]:
        # With the endpoint given as an option instead, media would go to https.
        return {key: value for key, value in DOCUMENT.items() if key != "mtlsRootUrl"} | {"rootUrl": f"{self.url}/"}

    def remember(self, service: Any) -> Any:
        self.services.append(service)
        return service

    def names(self) -> list[str]:
        """The calls so far."""
        calls = self.control("calls", method="GET")["calls"]
        return [call["name"] for call in calls]


class Bearer(httplib2.Http):
    """HTTP with one token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token
        # Python's client takes 308 for "resume incomplete", not for a redirection.
        self.redirect_codes = self.redirect_codes - {308}

    def request(self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **more: Any) -> Any:
        headers = dict(headers or {}) | {"authorization": f"Bearer {self.token}"}
        return super().request(uri, method, body=body, headers=headers, **more)


@pytest.fixture
def start() -> Iterator[Callable[..., Fake]]:
    """Starts servers, which stop with the test."""
    servers: list[Fake] = []

    def start(*arguments: str) -> Fake:
        servers.append(Fake(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start: Callable[..., Fake]) -> Fake:
    """One without anything in it."""
    return start()


@pytest.fixture
def drive(server: Fake) -> Any:
    """Google's client, signed in as me."""
    return server.connect()


def refused(request: Any) -> tuple[int, str, str]:
    """What an error says: its status, its first reason, its message."""
    try:
        request.execute()
    except HttpError as error:
        body = json.loads(error.content)["error"]
        assert body["code"] == error.resp.status
        assert body["message"] == body["errors"][0]["message"]
        assert error.resp["content-type"].startswith("application/json")
        return error.resp.status, body["errors"][0]["reason"], body["message"]
    raise AssertionError("it was not refused")


def reason(request: Any) -> tuple[int, str]:
    return refused(request)[:2]


def folder(drive: Any, name: str, parent: str = "root", **more: Any) -> str:
    body = {"name": name, "mimeType": FOLDER, "parents": [parent]}
    made: str = drive.files().create(body=body, supportsAllDrives=True, **more).execute()["id"]
    return made


def upload(drive: Any, name: str, content: bytes = b"content", parent: str = "root", **body: Any) -> dict[str, Any]:
    """A small file, in one request."""
    media = MediaIoBaseUpload(io.BytesIO(content), "text/plain")
    body = {"name": name, "parents": [parent], **body}
    create = drive.files().create(body=body, media_body=media, fields="*", supportsAllDrives=True)
    made: dict[str, Any] = create.execute()
    return made


def download(request: Any, chunk: int = 1 << 20) -> bytes:
    into = io.BytesIO()
    loader, done = MediaIoBaseDownload(into, request, chunksize=chunk), False
    while not done:
        _, done = loader.next_chunk()
    return into.getvalue()
