"""What the documents say of the code is so."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_the_asset_graph_of_today() -> None:
    tool = runpy.run_path(str(ROOT / "docs" / "asset_graph.py"))
    text = (ROOT / "README.md").read_text()
    assert tool["replaced"](text) == text, "run: python docs/asset_graph.py"
