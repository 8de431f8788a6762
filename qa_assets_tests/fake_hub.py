"""The part of the Hugging Face hub's HTTP interface that an upload uses, on loopback.

Follows what huggingface_hub sends: make a repository, ask how each file is to be sent, put large
ones by git LFS, then commit. Every request without the right token is refused.
"""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from threading import Thread
from typing import Any, Self

TOKEN = "hf_only_for_this_test"  # noqa: S105 - of the fake
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """What was uploaded: `files` by path, `repositories` with whether they are private."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.repositories: dict[str, bool] = {}
        self.message = ""
        self.objects: dict[str, bytes] = {}
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub

    def do_POST(self) -> None:  # noqa: N802 - the base class calls it so
        body = self._body()
        if not self._authorized():
            return
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._reply({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            self._preupload(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._lfs_batch(json.loads(body))
        elif path.endswith("/commit/main"):
            self._commit(body)
        else:
            self._reply({"error": f"no such path: {path}"}, 404)

    def do_PUT(self) -> None:  # noqa: N802 - the base class calls it so
        content = self._body()
        self.fake.objects[hashlib.sha256(content).hexdigest()] = content
        self._reply({})

    def do_GET(self) -> None:  # noqa: N802 - the base class calls it so
        if not self._authorized():
            return
        if "/tree/" not in self.path:
            self._reply({"error": f"no such path: {self.path}"}, 404)
            return
        self._reply(
            [
                {"type": "file", "path": name, "size": len(content), "oid": ""}
                for name, content in sorted(self.fake.files.items())
            ]
        )

    def _authorized(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._reply({"error": "Invalid credentials in Authorization header"}, 401)
        return False

    def _create(self, wanted: dict[str, Any]) -> None:
        owner = wanted.get("organization", "someone")
        name = f"{owner}/{wanted['name']}"
        if name in self.fake.repositories:
            self._reply({"url": f"{self.fake.url}/{name}", "error": "exists"}, 409)
            return
        self.fake.repositories[name] = wanted.get("private", False)
        self._reply({"url": f"{self.fake.url}/{name}", "name": name})

    def _preupload(self, wanted: dict[str, Any]) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
                "shouldIgnore": False,
            }
            for file in wanted["files"]
        ]
        self._reply({"files": modes})

    def _lfs_batch(self, wanted: dict[str, Any]) -> None:
        objects = [
            one | {"actions": {"upload": {"href": f"{self.fake.url}/lfs/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        self._reply({"transfer": "basic", "objects": objects})

    def _commit(self, body: bytes) -> None:
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                self.fake.message = value["summary"]
            elif item["key"] == "file":
                self.fake.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                self.fake.files[value["path"]] = self.fake.objects[value["oid"]]
        url = f"{self.fake.url}/someone/model/commit/{COMMIT}"
        self._reply({"commitUrl": url, "commitOid": COMMIT, "success": True})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _reply(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class
        """Nothing: tests look at what was received."""


def _is_large(path: str) -> bool:
    return PurePosixPath(path).suffix in {".safetensors", ".model"}
