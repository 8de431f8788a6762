"""The Parquet splits that everything downstream reads, and what was not fit for them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dagster as dg

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.data import splits
from qa_assets.data.content import SplitFacts
from qa_assets.data.description import count_words, describe
from qa_assets.data.leakage import NEAR, Overlap
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import histograms, markdown_table, sample_of, schema_of
from qa_assets.defs.versions import data_version
from qa_assets.models.base_model import piece_counter
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering import validation
from qa_assets.tasks.question_answering.windows import Windows

_MADE_OF = {
    "source": ("question", "context"),
    "target": ("answers",),
    "references": ("answers",),
    "is_impossible": ("is_impossible", "answers"),
    "answers": ("answers", "context"),
    "title": ("title", "context"),
    "record": ("id", "title", "context", "question", "answers", "is_impossible"),
}
_REJECTED_COLUMNS = {
    "file": "The data file.",
    "place": "Where in it.",
    "id": "The record's id, if it has one.",
    "reasons": "All that is wrong with it; docs/data.md explains each.",
    "record": "The record as JSON, as it was found.",
}


def _lineage(columns: list[str]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_key=dg.AssetKey("raw_squad"), column_name=one)
                for one in _MADE_OF.get(name, (name,))
            ]
            for name in columns
            if name not in ("file", "place", "reasons")
        }
    )


def _spec(name: str, description: str, columns: list[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        deps=["raw_squad"],
        description=description,
        group_name="data",
        kinds={"pyspark", "parquet"},
        owners=["team:data"],
        code_version="2",
        metadata={"dagster/column_lineage": _lineage(columns)},
    )


@dg.multi_asset(
    specs=[
        _spec("train_split", "Questions to learn from.", list(splits.COLUMNS)),
        _spec("valid_split", "Articles held out of train, to choose by.", list(splits.COLUMNS)),
        _spec("test_split", "The dev file, to report on.", list(splits.COLUMNS)),
        _spec("rejected_questions", "Bad records, and why.", list(validation.REJECTED)),
    ],
    pool="spark",
)
def split_squad(
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
    spark: SparkResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """Every record checked; the good ones as three splits, the bad ones with their reasons.

    `source` is what the model reads, `target` what it should say.
    """
    raw = store.latest("raw_squad")
    files = [raw.path / name for name in raw.info["files"]]
    with (
        store.write("train_split", raw) as train,
        store.write("valid_split", raw) as valid,
        store.write("test_split", raw) as test,
        store.write("rejected_questions", raw) as rejected,
    ):
        drafts = {splits.TRAIN: train, splits.VALID: valid, splits.TEST: test}
        made = splits.make_splits(
            spark.brief_session,
            dict(zip((splits.TRAIN, splits.TEST), files, strict=True)),
            settings.data,
            {name: draft.path / "rows" for name, draft in drafts.items()},
            rejected.path / "rows",
        )
        summaries = {name: asdict(one) for name, one in made.files.items()}
        for facts in made.splits:
            draft = drafts[facts.name]
            draft.data_version = data_version(facts.content_hash, settings, f"{facts.name}_split")
            draft.info |= {
                "questions": facts.questions,
                "answerable": facts.answerable,
                "content_hash": facts.content_hash,
                "file": files[facts.name == splits.TEST].name,
            }
        rejected.info["files"] = summaries
        rejected.data_version = data_version(raw.data_version, settings, "rejected_questions")
    for facts in made.splits:
        more = _shared(made.shared) if facts.name == splits.TEST else {}
        yield _split_result(drafts[facts.name].done(), facts, settings, more)
    yield _rejected_result(rejected.done(), made.files)


def _shared(found: Overlap) -> dict[str, Any]:
    counts = asdict(found)
    examples = counts.pop("examples")
    return {f"shared_{key}": value for key, value in counts.items()} | {
        "shared_near_means": f"at least {NEAR:.0%} of the words of both are the same",
        "shared_near_examples": markdown_table(examples) if examples else "none",
    }


def _split_result(
    artifact: Artifact, facts: SplitFacts, settings: Settings, more: dict[str, Any]
) -> dg.MaterializeResult[None]:
    rows = artifact.path / "rows"
    training, base = settings.training, settings.model.base
    pieces = piece_counter(base)
    windows = (
        Windows(pieces, training.max_source_tokens, training.window_overlap_tokens)
        if pieces
        else None
    )
    found = describe(rows, pieces or count_words, windows)
    if windows:
        more |= {
            "questions_in_windows": found.windowed,
            "windows": found.windows,
            "answers_in_no_window": found.lost,
        }
    return materialized(
        artifact,
        articles=len(found.titles),
        answerable_share=facts.answerable / facts.questions,
        content_hash=facts.content_hash,
        length_in_tokens=histograms(found.lengths),
        token=f"a piece of {base}" if pieces else "a word: the vocabulary is not made yet",
        question_types=markdown_table(
            {"type": name, "questions": count, "share": round(count / facts.questions, 3)}
            for name, count in found.types.most_common()
        ),
        sample=sample_of(rows, ["question", "context", "target"]),
        **more,
        **{
            "dagster/row_count": facts.questions,
            "dagster/column_schema": schema_of(rows, splits.COLUMNS),
        },
    )


def _rejected_result(
    artifact: Artifact, files: dict[str, validation.Summary]
) -> dg.MaterializeResult[None]:
    rows = artifact.path / "rows"
    return materialized(
        artifact,
        files=markdown_table(
            {"file": name}
            | {key: value for key, value in asdict(one).items() if key != "reasons"}
            | {"rejected_share": round(one.rejected_share, 5)}
            for name, one in files.items()
        ),
        reasons=markdown_table(
            {"file": name, "records": count, "reason": reason, "": validation.REASONS[reason]}
            for name, one in files.items()
            for reason, count in one.reasons.items()
        ),
        sample=sample_of(rows, validation.REJECTED),
        repaired_offsets=sum(one.repaired for one in files.values()),
        **{
            "dagster/row_count": sum(one.rejected for one in files.values()),
            "dagster/column_schema": schema_of(rows, _REJECTED_COLUMNS),
        },
    )
