"""Checks of the responses."""

from pathlib import Path

import dagster as dg
import pandas as pd

from qa_assets.components import streaming_checks
from qa_assets.settings import load_settings
from qa_assets_tests import pipelines
from qa_assets_tests.pipelines import key


def test_a_feed_on_a_partition_that_was_added_since_is_left_to_the_next_run(tmp_path: Path) -> None:
    pipeline, settings = pipelines.pipeline(), load_settings(home=tmp_path)
    sent = pd.DataFrame({"id": ["a"], "partition": [1], "offset": [0], "sent_at": [0]})
    with pipeline.store(settings).write("question_feed") as draft:
        sent.to_parquet(draft.path / "sent.parquet", index=False)
        draft.info["topic_id"] = "topic"
    ends = dg.MetadataValue.json({"0": 3})
    made = dg.AssetMaterialization(
        key("answers"), metadata={"topic_id": "topic", "end_offsets": ends}
    )
    check = streaming_checks.build(pipeline)[0]
    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(made)
        result = check(dg.build_asset_check_context(instance=instance), settings=settings)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed
    assert result.metadata["feed_due"].value == 0
