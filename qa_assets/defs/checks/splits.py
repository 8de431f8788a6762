"""Checks of the splits: columns, articles kept apart, answers where they say they are."""

from collections.abc import Iterator

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.squad import splits
from qa_assets.squad.report import read_split

_SPLITS = [f"{name}_split" for name in splits.NAMES]


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=split, blocking=True)
        for split in _SPLITS
        for name in ("schema", "articles_apart", "answers_in_context")
    ]
)
def split_checks(store: dg.ResourceParam[ArtifactStore]) -> Iterator[dg.AssetCheckResult]:
    """What training and evaluation rely on, of every row."""
    import pyarrow.parquet as pq

    titles: dict[str, set[str]] = {}
    for split in _SPLITS:
        rows = store.latest(split).path / "rows"
        found = pq.read_table(rows).schema.names
        yield dg.AssetCheckResult(
            asset_key=split,
            check_name="schema",
            passed=found == list(splits.COLUMNS),
            metadata={"columns": ", ".join(found)},
        )
        titles[split] = {row["title"] for row in read_split(rows, ["title"])}
        bad = _misplaced(read_split(rows, ["id", "context", "answers", "is_impossible"]))
        yield dg.AssetCheckResult(
            asset_key=split,
            check_name="answers_in_context",
            passed=not bad,
            metadata={"misplaced": len(bad), "first": ", ".join(bad[:5]) or "none"},
        )
    for split in _SPLITS:
        others = set().union(*(titles[other] for other in _SPLITS if other != split))
        shared = sorted(titles[split] & others)
        yield dg.AssetCheckResult(
            asset_key=split,
            check_name="articles_apart",
            passed=not shared,
            metadata={"shared": len(shared), "first": ", ".join(shared[:5]) or "none"},
        )


def _misplaced(rows: list[dict]) -> list[str]:  # type: ignore[type-arg]
    """Ids whose answers are not at their offsets, or whose answerability contradicts them."""
    return [
        row["id"]
        for row in rows
        if row["is_impossible"] == bool(row["answers"])
        or any(
            not row["context"].startswith(answer["text"], answer["answer_start"])
            for answer in row["answers"]
        )
    ]
