"""Draws the assets of `quickstart` by stage, as Mermaid, between two marks in README.md.

`python docs/asset_graph.py` rewrites it. A test fails when the README shows another graph.
"""

from pathlib import Path

import dagster as dg

from qa_assets.components import data, deployment, evaluation, promotion, streaming, training
from qa_assets.components.pipeline import Pipeline
from qa_assets.definitions import pipelines

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- asset graph: made by docs/asset_graph.py -->", "<!-- end of asset graph -->"
PIPELINE = "quickstart"
STAGES = {
    "data": [data],
    "model": [training, evaluation, promotion],
    "deployment": [deployment],
    "streaming": [streaming],
}
"""The modules that build the assets of each stage."""


def mermaid() -> str:
    """The assets by stage, with their kinds, and an arrow from each to what is made of it."""
    pipeline = Pipeline(PIPELINE, pipelines()[PIPELINE])
    lines, arrows = ["```mermaid", "flowchart TD"], []
    for stage, modules in STAGES.items():
        lines.append(f"  subgraph {stage}")
        for definition in (assets for module in modules for assets in _assets(module, pipeline)):
            external = isinstance(definition, dg.AssetSpec)
            for spec in [definition] if external else definition.specs:
                label = f'["{spec.key.path[-1]}<br><small>{", ".join(sorted(spec.kinds))}</small>"]'
                lines.append(f"    {spec.key.path[-1]}{f'({label})' if external else label}")
                parents = sorted(dep.asset_key.path[-1] for dep in spec.deps)
                arrows += [f"  {parent} --> {spec.key.path[-1]}" for parent in parents]
        lines.append("  end")
    return "\n".join([*lines, *arrows, "```"])


def _assets(module: object, pipeline: Pipeline) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    return list(module.build(pipeline).assets)


def replaced(text: str) -> str:
    """`text` with the graph of today between the marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{mermaid()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(replaced(README.read_text()))
