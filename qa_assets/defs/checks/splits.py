"""Checks of the splits: columns, articles kept apart, answers where they say they are."""

from collections.abc import Iterator

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.data import splits
from qa_assets.evaluation.comparison import read_split
from qa_assets.settings import Settings

_POINT = 0.01
_SPLITS = [f"{name}_split" for name in splits.NAMES]


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=split, blocking=True)
        for split in _SPLITS
        for name in ("schema", "articles_apart", "answers_in_context", "rejected_share")
    ]
    + [dg.AssetCheckSpec("unanswerable_as_in_train", asset="valid_split")]
)
def split_checks(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> Iterator[dg.AssetCheckResult]:
    """What training and evaluation rely on, of every row."""
    yield from _row_checks(store)
    yield from _rejected_checks(settings, store)
    yield _share_check(store)


def _rejected_checks(settings: Settings, store: ArtifactStore) -> Iterator[dg.AssetCheckResult]:
    """No more than the limit of the records of a split's file were bad."""
    import pyarrow.parquet as pq

    bad = store.latest("rejected_questions")
    files = pq.read_table(bad.path / "rows", columns=["file"])["file"].to_pylist()
    limit = settings.data.max_rejected_share
    for split in _SPLITS:
        file = store.latest(split).info["file"]
        share = files.count(file) / bad.info["files"][file]["records"]
        yield dg.AssetCheckResult(
            asset_key=split,
            check_name="rejected_share",
            passed=share <= limit,
            description=None
            if share <= limit
            else f"{share:.2%} of the records of {file} are bad, {limit:.2%} are allowed"
            " (QA_ASSETS_DATA_MAX_REJECTED_SHARE): rejected_questions says why",
            metadata={"share": share, "limit": limit, "rejected": files.count(file)},
        )


def _share_check(store: ArtifactStore) -> dg.AssetCheckResult:
    """The share of unanswerable questions of valid is within a point of train's."""
    train, valid = (
        1 - info["answerable"] / info["questions"]
        for info in (store.latest(f"{name}_split").info for name in (splits.TRAIN, splits.VALID))
    )
    return dg.AssetCheckResult(
        asset_key="valid_split",
        check_name="unanswerable_as_in_train",
        passed=abs(train - valid) <= _POINT,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"train": train, "valid": valid},
    )


def _row_checks(store: ArtifactStore) -> Iterator[dg.AssetCheckResult]:
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
