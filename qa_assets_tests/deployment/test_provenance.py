"""A model that serves is what its provenance says."""

from pathlib import Path

import pytest

from qa_assets.deployment.provenance import Provenance, ProvenanceError, read, write

MADE = Provenance("ctranslate2", "unavailable", 8, 128, 32, "fp32", {"model": "1"})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_bytes(b"1")
    write(tmp_path, MADE)
    found = read(tmp_path)
    assert list(found.files) == ["deep/weights"]
    assert Provenance(**(vars(found) | {"files": {}})) == MADE


def test_changes_are_seen(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match=r"has no provenance\.json"):
        read(tmp_path)
    weights = tmp_path / "weights"
    weights.write_bytes(b"1")
    write(tmp_path, MADE)
    weights.write_bytes(b"2")
    with pytest.raises(ProvenanceError, match="weights is not what"):
        read(tmp_path)
    weights.write_bytes(b"1")
    (tmp_path / "more").touch()
    with pytest.raises(ProvenanceError, match="more is not what"):
        read(tmp_path)
