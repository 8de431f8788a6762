"""Raw data, and the Parquet splits that everything downstream reads."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import dagster as dg

from qa_assets.components import data_checks
from qa_assets.components.pipeline import Pipeline, code_version, digest, overrides
from qa_assets.components.spark_resource import SparkResource
from qa_assets.components.tables import histograms, markdown_table, table_metadata, table_schema
from qa_assets.core.artifacts import Artifact
from qa_assets.core.examples import Budget
from qa_assets.data import records, sources, splits
from qa_assets.data.config import DataConfig
from qa_assets.data.description import count_words, describe
from qa_assets.data.leakage import NEAR, Leakage
from qa_assets.models.tokens import piece_counter
from qa_assets.settings import Settings

_WHAT = {
    "train": "Examples to learn from.",
    "valid": "Examples to choose models by: of groups held out of train, unless given.",
    "test": "Examples to report on.",
}
_SHAPED_BY = {
    "train": {"seed", "valid_examples", "train_examples"},
    "valid": {"seed", "valid_examples", "eval_examples"},
    "test": {"seed", "eval_examples"},
}
"""The data settings that shape each split."""
_SIZES = ("valid_examples", "train_examples", "eval_examples")


class RawOverrides(overrides(DataConfig, "source", "generated_examples")):  # type: ignore[misc]
    """Where to take the data from in this run. Empty: as the pipeline says."""


class SplitOverrides(overrides(DataConfig, *_SIZES)):  # type: ignore[misc]
    """Size limits for a trial run. Empty: as the pipeline says."""


def build(pipeline: Pipeline) -> dg.Definitions:
    """The assets and checks of this stage."""
    assets = [_raw(pipeline), _splits(pipeline)]
    return dg.Definitions(assets=assets, asset_checks=data_checks.build(pipeline))


def _raw(pipeline: Pipeline) -> dg.AssetsDefinition:
    task, data = pipeline.task, pipeline.config.data
    asset = task.words.raw
    shaping = {"source"} | ({"generated_examples", "seed"} if data.source == "generated" else set())

    @dg.asset(
        **pipeline.spec(asset, {"json"}, "data"),
        code_version=code_version("2", data.model_dump(include=shaping)),
        metadata={"dagster/column_schema": table_schema(task.raw.columns)},
        description="The data files as they were found, with their SHA-256 and counts. Generated, "
        "official, from a file, a directory or an address, or from the hub: docs/data.md.",
    )
    def raw_data(
        config: RawOverrides, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult[None]:
        wanted = data.model_copy(update=config.model_dump(exclude_none=True))
        with pipeline.store(settings).write(asset) as draft:
            facts = sources.fetch(task, wanted, draft.path, settings.root / "downloads")
            draft.info["files"] = {name: asdict(fact) for name, fact in facts.items()}
            draft.info["source"] = wanted.source
        numbers = {
            f"{sources.role_of(name)}_{key}": value
            for name, fact in facts.items()
            for key, value in (asdict(fact) | dict(fact.counts)).items()
            if key != "counts" and value is not None
        }
        numbers["dagster/row_count"] = sum(fact.examples for fact in facts.values())
        return pipeline.materialized(draft.done(), source=wanted.source, **numbers)

    return raw_data


def _splits(pipeline: Pipeline) -> dg.AssetsDefinition:
    task, words, data = pipeline.task, pipeline.task.words, pipeline.config.data
    rejected_asset, raw_key = f"rejected_{words.request}s", pipeline.key(words.raw)

    def spec(name: str, description: str, columns: Iterable[str], *shaping: Any) -> dg.AssetSpec:
        lineage = {
            column: [dg.TableColumnDep(raw_key, source) for source in task.raw.lineage[column]]
            for column in columns
            if column in task.raw.lineage
        }
        return dg.AssetSpec(
            **pipeline.spec(name, {"pyspark", "parquet"}, "data"),
            deps=[raw_key],
            description=description,
            code_version=code_version("3", task, *shaping),
            metadata={"dagster/column_lineage": dg.TableColumnLineage(lineage)},
        )

    @dg.multi_asset(
        name=pipeline.op("splits"),
        specs=[
            spec(f"{name}_split", _WHAT[name], splits.COLUMNS, _shaping(data, name))
            for name in splits.NAMES
        ]
        + [spec(rejected_asset, "Bad records, and why.", records.REJECTED)],
        ins=pipeline.keys(words.raw),
        pool="spark",
    )
    def make_splits(
        config: SplitOverrides,
        settings: dg.ResourceParam[Settings],
        spark: SparkResource,
        **inputs: Artifact,
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Every record checked; the good ones as three splits, the bad ones with their reasons."""
        raw, store = inputs[words.raw], pipeline.store(settings)
        limited = data.model_copy(update=config.model_dump(exclude_none=True))
        with ExitStack() as stack:
            drafts = {
                name: stack.enter_context(store.write(f"{name}_split", raw))
                for name in splits.NAMES
            }
            rejected = stack.enter_context(store.write(rejected_asset, raw))
            result = splits.make_splits(
                spark.brief_session,
                task,
                [raw.path / name for name in raw.info["files"]],
                limited,
                {name: draft.path / "rows" for name, draft in drafts.items()},
                rejected.path / "rows",
            )
            for facts in result.splits:
                draft = drafts[facts.name]
                draft.data_version = digest(facts.content_hash, _shaping(limited, facts.name), task)
                draft.info |= {
                    "examples": facts.examples,
                    "answerable": facts.answerable,
                    "content_hash": facts.content_hash,
                    "task": result.task.spec(),
                }
            rejected.info["files"] = {name: asdict(file) for name, file in result.files.items()}
            rejected.data_version = digest(raw.data_version, task)
        for facts in result.splits:
            more = _leakage(result.leakage) if facts.name == sources.TEST else {}
            yield _split_result(pipeline, drafts[facts.name].done(), facts, more)
        yield _rejected_result(pipeline, rejected.done(), result.files)

    return make_splits


def _shaping(data: DataConfig, split: str) -> dict[str, Any]:
    return data.model_dump(mode="json", include=_SHAPED_BY[split])


def _leakage(leakage: dict[str, Leakage]) -> dict[str, Any]:
    examples = [example for field in leakage.values() for example in field.examples]
    return {
        f"shared_{name}_{key}": value
        for name, field in leakage.items()
        for key, value in asdict(field).items()
        if key != "examples"
    } | {
        "shared_near_means": f"at least {NEAR:.0%} of the words of both are the same",
        "shared_near_examples": markdown_table(examples) if examples else "none",
    }


def _split_result(
    pipeline: Pipeline, artifact: Artifact, facts: splits.SplitFacts, more: dict[str, Any]
) -> dg.MaterializeResult[None]:
    task, training, base = pipeline.task, pipeline.config.training, pipeline.config.model.base
    rows = artifact.path / "rows"
    count = piece_counter(base) if task.kind == "seq2seq" else None
    budget = (
        Budget(count, training.max_source_tokens, training.window_overlap_tokens) if count else None
    )
    description = describe(task, rows, count or count_words, budget)
    if budget:
        more |= {
            f"{task.words.request}s_in_windows": description.windowed,
            "windows": description.windows,
            f"{task.words.response}s_in_no_window": description.lost,
        }
    return pipeline.materialized(
        artifact,
        **{f"{task.words.group}s": description.groups},
        answerable_share=facts.answerable / facts.examples,
        length_in_tokens=histograms(description.lengths),
        token=f"a piece of {base}" if count else "a word",
        slices=markdown_table(
            {
                "slice": name,
                "value": value,
                f"{task.words.request}s": size,
                "share": round(size / facts.examples, 3),
            }
            for name, value, size in description.slices
        ),
        content_hash=facts.content_hash,
        **more,
        **table_metadata(rows, splits.COLUMNS, ["inputs", "references"], facts.examples),
    )


def _rejected_result(
    pipeline: Pipeline, artifact: Artifact, files: dict[str, records.Summary]
) -> dg.MaterializeResult[None]:
    rows, reasons = artifact.path / "rows", pipeline.task.raw.reasons
    rejected = sum(file.rejected for file in files.values())
    return pipeline.materialized(
        artifact,
        files=markdown_table(
            {"file": name}
            | {key: value for key, value in asdict(file).items() if key != "reasons"}
            | {"rejected_share": round(file.rejected_share, 5)}
            for name, file in files.items()
        ),
        reasons=markdown_table(
            {"file": name, "records": count, "reason": reason, "": reasons[reason]}
            for name, file in files.items()
            for reason, count in file.reasons.items()
        ),
        repaired_values=sum(file.repaired for file in files.values()),
        **table_metadata(rows, records.REJECTED, records.REJECTED, rejected),
    )
