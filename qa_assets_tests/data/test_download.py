"""Downloads from a real server on loopback that breaks off, refuses and lies."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from qa_assets.core.task import SourceError
from qa_assets.data.download import download

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, with ranges; `faults` are what to do instead, one a request."""

    faults: ClassVar[list[str]] = []
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:  # noqa: N802
        """Answer one request."""
        fault = self.faults.pop(0) if self.faults else ""
        asked = self.headers.get("Range")
        self.asked.append(asked)
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start = (
            int(asked.removeprefix("bytes=").rstrip("-")) if asked and fault != "no range" else 0
        )
        if asked and start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        rest = CONTENT[start:]
        self.wfile.write(rest[: len(rest) // 2] if fault == "break" else rest)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Server.faults, Server.asked = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/train-v2.0.json"
        server.shutdown()


def test_whole_file_is_kept_and_not_fetched_again(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        path = download(url, SHA256, tmp_path, backoff_s=0)
        assert path.read_bytes() == CONTENT
    assert Server.asked == [None]
    assert [item.name for item in tmp_path.iterdir()] == ["train-v2.0.json"]


def test_goes_on_after_breaks_and_refusals_that_pass(url: str, tmp_path: Path) -> None:
    Server.faults = ["503", "break", "429", "break"]
    assert download(url, SHA256, tmp_path, backoff_s=0).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert Server.asked == [
        None, None, f"bytes={half}-", f"bytes={half}-", f"bytes={half + half // 2}-",
    ]  # fmt: skip


def test_goes_on_with_what_an_ended_process_left(url: str, tmp_path: Path) -> None:
    part = tmp_path / "train-v2.0.json.part"
    part.write_bytes(CONTENT[:1000])
    assert download(url, SHA256, tmp_path).read_bytes() == CONTENT
    assert Server.asked == ["bytes=1000-"]
    part.write_bytes(CONTENT)  # it ended between the last byte and the renaming
    (tmp_path / "train-v2.0.json").unlink()
    assert download(url, SHA256, tmp_path).read_bytes() == CONTENT


def test_server_without_ranges_starts_anew(url: str, tmp_path: Path) -> None:
    Server.faults = ["break", "no range"]
    assert download(url, SHA256, tmp_path, backoff_s=0).read_bytes() == CONTENT


def test_wrong_checksum_is_refused_and_not_kept(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"has SHA-256 {SHA256}, not 0000"):
        download(url, "0" * 64, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_said_at_once_and_a_dead_server_after_some_tries(
    url: str, tmp_path: Path
) -> None:
    Server.faults = ["404"]
    with pytest.raises(SourceError, match="404"):
        download(url, SHA256, tmp_path)
    assert len(Server.asked) == 1
    Server.faults = ["break"] * 20
    with pytest.raises(SourceError, match="cannot download"):
        download(url, SHA256, tmp_path, backoff_s=0)
    assert (tmp_path / "train-v2.0.json.part").stat().st_size > 0
