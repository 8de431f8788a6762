"""Checks of raw data and splits: whole files, columns, groups kept apart, few rejected records."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import Artifact
from qa_assets.core.examples import read_examples
from qa_assets.core.files import hash_files
from qa_assets.data import sources, splits

_POINT = 0.01
_SPLITS = [f"{name}_split" for name in splits.NAMES]


def build(pipeline: Pipeline) -> list[dg.AssetChecksDefinition]:
    """The checks of this stage."""
    return [_raw_checks(pipeline), _split_checks(pipeline)]


def _raw_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    asset = pipeline.task.words.raw

    @dg.multi_asset_check(
        name=pipeline.op("raw_checks"),
        specs=[
            dg.AssetCheckSpec(name, asset=pipeline.key(asset), blocking=True)
            for name in ("checksums", "counts")
        ],
        ins=pipeline.keys(asset),
    )
    def raw_checks(**inputs: Artifact) -> Iterator[dg.AssetCheckResult]:
        """The files are as they were fetched, and hold examples that have a right answer."""
        raw = inputs[asset]
        files = raw.info["files"]
        changed = [name for name in files if hash_files(raw.path / name) != files[name]["sha256"]]
        names = ", ".join(changed) or "none"
        yield pipeline.result(asset, "checksums", not changed, changed=names)
        counted = {name: asdict(pipeline.task.inspect(raw.path / name)) for name in files}
        without = [name for name, facts in counted.items() if not facts["counts"]["answerable"]]
        same = json.loads(json.dumps(counted)) == files
        yield pipeline.result(asset, "counts", same and not without, counted=counted)

    return raw_checks


def _split_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    words = pipeline.task.words
    rejected_asset = f"rejected_{words.request}s"
    apart = f"{words.group}s_apart"

    @dg.multi_asset_check(
        name=pipeline.op("split_checks"),
        specs=[
            dg.AssetCheckSpec(
                name,
                asset=pipeline.key(split),
                additional_deps=[pipeline.key(rejected_asset)],
                blocking=True,
            )
            for split in _SPLITS
            for name in ("schema", apart, "consistent", "rejected_share")
        ]
        + [dg.AssetCheckSpec("answerable_as_in_train", asset=pipeline.key("valid_split"))],
        ins=pipeline.keys(*_SPLITS, rejected_asset),
    )
    def split_checks(**inputs: Artifact) -> Iterator[dg.AssetCheckResult]:
        """What training and evaluation rely on, of every row."""
        artifacts = {name: inputs[name] for name in _SPLITS}
        yield from _row_checks(pipeline, artifacts, apart)
        yield from _rejected_checks(pipeline, artifacts, inputs[rejected_asset])
        yield _share_check(pipeline, artifacts)

    return split_checks


def _row_checks(
    pipeline: Pipeline, artifacts: dict[str, Artifact], apart: str
) -> Iterator[dg.AssetCheckResult]:
    import pyarrow.parquet as pq

    groups: dict[str, set[str]] = {}
    for split, artifact in artifacts.items():
        rows = artifact.path / "rows"
        columns = pq.read_table(rows).schema.names
        whole = columns == list(splits.COLUMNS)
        yield pipeline.result(split, "schema", whole, columns=", ".join(columns))
        examples = read_examples(rows)
        groups[split] = {example.group for example in examples}
        bad = pipeline.task.inconsistent(examples)
        first = ", ".join(bad[:5]) or "none"
        yield pipeline.result(split, "consistent", not bad, inconsistent=len(bad), first=first)
    for split in artifacts:
        others = set().union(*(groups[other] for other in artifacts if other != split))
        shared = sorted(groups[split] & others)
        first = ", ".join(shared[:5]) or "none"
        yield pipeline.result(split, apart, not shared, shared=len(shared), first=first)


def _rejected_checks(
    pipeline: Pipeline, artifacts: dict[str, Artifact], rejected: Artifact
) -> Iterator[dg.AssetCheckResult]:
    """No more than the limit of the records of a split's file were bad."""
    limit = pipeline.config.data.max_rejected_share
    for split in artifacts:
        file = splits.file_of(split.removesuffix("_split"), rejected.info["files"])
        counts = rejected.info["files"][file]
        share = counts["rejected"] / counts["records"]
        yield pipeline.result(
            split,
            "rejected_share",
            share <= limit,
            f"{share:.2%} of the records of {file} are bad, {limit:.2%} are allowed "
            f"(data.max_rejected_share): {rejected.asset} says why",
            share=share,
            limit=limit,
            rejected=counts["rejected"],
        )


def _share_check(pipeline: Pipeline, artifacts: dict[str, Artifact]) -> dg.AssetCheckResult:
    """The share of examples of valid that have a right answer is within a point of train's."""
    facts = [artifacts[f"{name}_split"].info for name in (sources.TRAIN, sources.VALID)]
    train, valid = (fact["answerable"] / fact["examples"] for fact in facts)
    near = abs(train - valid) <= _POINT
    return pipeline.result(
        "valid_split", "answerable_as_in_train", near, warns=True, train=train, valid=valid
    )
