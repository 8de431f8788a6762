"""Draws the asset graph out of the definitions, as Mermaid, between two marks of README.md.

`python docs/asset_graph.py` rewrites it. A test fails when the README shows another graph.
"""

import sys
from pathlib import Path

import dagster as dg

from qa_assets.definitions import defs

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- asset graph: made by docs/asset_graph.py -->", "<!-- end of asset graph -->"


def mermaid() -> str:
    """The assets by group, with their kinds, and an arrow from each to what is made of it."""
    graph = defs().resolve_asset_graph()
    lines = ["```mermaid", "flowchart TD"]
    for group in ("data", "model", "deployment", "streaming"):
        lines.append(f"  subgraph {group}")
        for key in sorted(graph.asset_keys_for_group(group), key=lambda key: key.to_user_string()):
            kinds = ", ".join(sorted(graph.get(key).kinds))
            name = key.to_user_string()
            shape = f'["{name}<br><small>{kinds}</small>"]'
            lines.append(f"    {name}{shape if graph.get(key).is_materializable else f'({shape})'}")
        lines.append("  end")
    for key in graph.toposorted_asset_keys:
        lines += [f"  {parent} --> {_name(key)}" for parent in _parents(graph, key)]
    return "\n".join([*lines, "```"])


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()


def _parents(graph: "dg.AssetGraph", key: dg.AssetKey) -> list[str]:
    return sorted(_name(parent) for parent in graph.get(key).parent_keys)


def replaced(text: str) -> str:
    """`text` with the graph of today between the marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{mermaid()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(replaced(README.read_text()))
    sys.exit(0)
