"""The raw data set: the two data files, wherever the profile has them from."""

from dataclasses import asdict

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.data import sources
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import table_schema
from qa_assets.settings import Settings

_COLUMNS = {
    "id": ("string", "Unique in its file."),
    "title": ("string", "The article; made from the context where there is none."),
    "context": ("string", "The text in which the answer is looked for."),
    "question": ("string", "What is asked."),
    "answers": ("list of {text, answer_start}", "Texts, and where they begin in the context."),
    "is_impossible": ("bool", "Whether the context does not hold the answer; else by answers."),
}


@dg.asset(
    group_name="data",
    kinds={"json"},
    owners=["team:data"],
    code_version="2",
    metadata={"dagster/column_schema": table_schema(_COLUMNS)},
)
def raw_squad(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """The train and the dev file as they were found, with their SHA-256 and counts.

    Generated, official, from a directory or an address of your own, or from the hub: docs/data.md.
    """
    with store.write("raw_squad") as draft:
        facts = sources.fetch(settings.data, draft.path, settings.downloads)
        draft.info["files"] = {name: asdict(fact) for name, fact in facts.items()}
        draft.info["source"] = settings.data.source
    numbers = {
        f"{name.partition('.')[0]}_{key}": value
        for name, fact in facts.items()
        for key, value in asdict(fact).items()
        if value is not None
    }
    total = sum(fact.questions for fact in facts.values())
    return materialized(
        draft.done(), source=settings.data.source, **numbers, **{"dagster/row_count": total}
    )
