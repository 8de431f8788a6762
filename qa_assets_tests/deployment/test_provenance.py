"""A serving model is what its provenance says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qa_assets.core.task import load_task
from qa_assets.deployment.provenance import FILE, Provenance, ProvenanceError, read, write
from qa_assets_tests.deployment.conftest import QA

WRITTEN = Provenance("ctranslate2", QA.spec(), 8, 128, 32, "fp32", {"model": "1"})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_bytes(b"1")
    write(tmp_path, WRITTEN)
    provenance = read(tmp_path)
    assert list(provenance.files) == ["deep/weights"]
    assert replace(provenance, files={}) == WRITTEN
    assert load_task(**provenance.task) == QA


def test_changes_are_seen(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match=r"has no provenance\.json"):
        read(tmp_path)
    weights = tmp_path / "weights"
    weights.write_bytes(b"1")
    write(tmp_path, WRITTEN)
    weights.write_bytes(b"2")
    with pytest.raises(ProvenanceError, match="weights is not what"):
        read(tmp_path)
    weights.write_bytes(b"1")
    (tmp_path / "more").touch()
    with pytest.raises(ProvenanceError, match="more is not what"):
        read(tmp_path)


def test_the_provenance_of_another_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, WRITTEN)
    content = json.loads((tmp_path / FILE).read_text())
    content["no_answer"] = content.pop("task")
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ProvenanceError, match="of another version of qa_assets"):
        read(tmp_path)
