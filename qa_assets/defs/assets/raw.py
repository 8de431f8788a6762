"""The raw data set: the two SQuAD v2.0 files, wherever the profile has them from."""

from dataclasses import asdict

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.defs.results import materialized
from qa_assets.settings import Settings
from qa_assets.squad import source


@dg.asset(group_name="data", kinds={"json"}, owners=["team:data"], code_version="1")
def raw_squad(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """`train.json` and `dev.json` in the format of SQuAD v2.0, with their SHA-256 and counts.

    Generated, downloaded from the official address, or copied from a directory of your own.
    """
    with store.write("raw_squad") as draft:
        facts = source.fetch(settings.data, draft.path)
        draft.info["files"] = {name: asdict(fact) for name, fact in facts.items()}
        draft.info["source"] = settings.data.source
    numbers = {
        f"{name.removesuffix('.json')}_{key}": value
        for name, fact in facts.items()
        for key, value in asdict(fact).items()
    }
    total = sum(fact.questions for fact in facts.values())
    return materialized(
        draft.done(), source=settings.data.source, **numbers, **{"dagster/row_count": total}
    )
