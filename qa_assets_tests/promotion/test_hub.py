"""Uploading to a hub: what arrives, what stays here, and that the token is in no message."""

import logging
from pathlib import Path

import pytest

from qa_assets.promotion.hub import HubError, publish
from qa_assets_tests.fake_hub import COMMIT, TOKEN, FakeHub


@pytest.fixture
def model(candidate_model: Path, tmp_path: Path) -> Path:
    """A champion's directory."""
    path = tmp_path / "model"
    path.mkdir()
    for file in candidate_model.iterdir():
        (path / file.name).hardlink_to(file)
    (path / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n\n# A model\n")
    (path / "manifest.json").write_text("{}")
    (path / "report.html").write_text("<html>contexts</html>")
    return path


def test_model_and_card_arrive_whole(
    hub: FakeHub,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    caplog.set_level(logging.DEBUG)
    for _ in range(2):  # into a new repository, and into one that is there
        done = publish(model, "someone/model", private=True, message="data version 1")
    assert hub.repositories == {"someone/model": True}
    assert hub.message == "data version 1"
    assert done.commit == COMMIT
    assert done.url == f"{hub.url}/someone/model"
    assert done.files == sorted(hub.files)
    kept = {"manifest.json", "report.html"}
    assert set(hub.files) == {path.name for path in model.iterdir()} - kept
    for name, content in hub.files.items():
        assert content == (model / name).read_bytes(), name
    assert TOKEN not in caplog.text + repr(done)


def test_refusal_says_what_to_do_but_not_the_token(
    hub: FakeHub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "hf_wrong_but_secret"
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(HubError, match="someone/model could not be uploaded.*HF_TOKEN") as refusal:
        publish(model, "someone/model", private=True, message="")
    assert wrong not in str(refusal.value)
    assert hub.repositories == {}


def test_hub_out_of_reach(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="could not be uploaded"):
        publish(model, "someone/model", private=True, message="")


def test_no_token(hub: FakeHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(model / "no-token"))
    with pytest.raises(HubError, match="set HF_TOKEN"):
        publish(model, "someone/model", private=True, message="")
