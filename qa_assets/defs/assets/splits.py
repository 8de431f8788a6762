"""The Parquet splits that everything downstream reads."""

from collections.abc import Iterator

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import sample_of, schema_of
from qa_assets.settings import Settings
from qa_assets.squad import splits


def _spec(name: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        deps=["raw_squad"],
        description=description,
        group_name="data",
        kinds={"pyspark", "parquet"},
        owners=["team:data"],
        code_version="1",
    )


@dg.multi_asset(
    specs=[
        _spec("train_split", "Questions to learn from."),
        _spec("valid_split", "Whole articles held out of train, to choose by."),
        _spec("test_split", "The dev file, to report on."),
    ],
    pool="spark",
)
def split_squad(
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
    spark: SparkResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """Rows of `id, title, question, context, answers, is_impossible, source, target, references`.

    `source` is what the model reads, `target` what it should say.
    """
    raw = store.latest("raw_squad")
    with (
        store.write("train_split", raw) as train,
        store.write("valid_split", raw) as valid,
        store.write("test_split", raw) as test,
    ):
        drafts = {splits.TRAIN: train, splits.VALID: valid, splits.TEST: test}
        made = splits.make_splits(
            spark.spark_session,
            raw.path,
            settings.data,
            {name: draft.path / "rows" for name, draft in drafts.items()},
        )
        for facts in made:
            draft = drafts[facts.name]
            draft.data_version = facts.content_hash
            draft.info |= {"questions": facts.questions, "answerable": facts.answerable}
    for facts in made:
        artifact = drafts[facts.name].done()
        rows = artifact.path / "rows"
        yield materialized(
            artifact,
            articles=facts.articles,
            answerable_share=facts.answerable / facts.questions,
            sample=sample_of(rows, ["question", "context", "target"]),
            **{"dagster/row_count": facts.questions, "dagster/column_schema": schema_of(rows)},
        )
