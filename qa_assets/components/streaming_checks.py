"""Checks of the responses: none lost, none twice, few messages that could not be read."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import Artifact
from qa_assets.settings import Settings


def build(pipeline: Pipeline) -> dg.Definitions:
    """The checks of this stage."""
    return dg.Definitions(
        asset_checks=[
            _exactly_once(pipeline),
            _few_dead_letters(pipeline),
            _report_checks(pipeline),
        ]
    )


def _metadata(context: dg.AssetCheckExecutionContext, key: dg.AssetKey) -> dict[str, Any] | None:
    """Metadata of the last materialisation, as plain values."""
    event = context.instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return None
    return {name: item.value for name, item in event.asset_materialization.metadata.items()}


def _exactly_once(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    words = pipeline.task.words
    responses, feed = f"{words.response}s", f"{words.request}_feed"
    key = pipeline.key(responses)

    @dg.asset_check(asset=key, additional_deps=[pipeline.key(feed)], blocking=True)
    def answered_exactly_once(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> dg.AssetCheckResult:
        """No offset of the topic is answered twice, and all of the newest feed is answered.

        What the feed sent after the responses had ended is left to their next run.
        """
        from qa_assets.streaming.feed import read_feed
        from qa_assets.streaming.table import KEY, ResponseTable

        metadata, store = _metadata(context, key), pipeline.store(settings)
        if metadata is None:
            return dg.AssetCheckResult(passed=False, description=f"{responses} was never made")
        topic_id, reached = metadata["topic_id"], metadata["end_offsets"]
        table = ResponseTable(pipeline.responses(settings), topic_id, pipeline.task.messages)
        rows = table.read(KEY)
        twice = int(rows.duplicated(KEY).sum())
        missing = due = 0
        fed = store.find(feed)
        if fed is not None and fed.info["topic_id"] == topic_id:
            sent = read_feed(table, fed.path)
            ends = sent["partition"].map(lambda number: reached[str(number)])
            sent = sent[sent["offset"] < ends]
            due, missing = len(sent), int(sent["answered_at"].isna().sum())
        return dg.AssetCheckResult(
            passed=twice == 0 and missing == 0,
            metadata={
                responses: len(rows), "twice": twice, "feed_due": due, "feed_missing": missing,
            },
        )  # fmt: skip

    return answered_exactly_once


def _few_dead_letters(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    key, limit = (
        pipeline.key(f"{pipeline.task.words.response}s"),
        pipeline.config.stream.max_dead_letter_share,
    )

    @dg.asset_check(asset=key)
    def few_dead_letters(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Dead letters are no more of the run's messages than `stream.max_dead_letter_share`."""
        metadata = _metadata(context, key)
        if metadata is None:
            return dg.AssetCheckResult(passed=False, description="it was never materialised")
        letters, messages = int(metadata["dead_letters"]), int(metadata["messages"])
        share = letters / messages if messages else 0.0
        return dg.AssetCheckResult(
            passed=share <= limit,
            metadata={
                "dead_letters": letters,
                "messages": messages,
                "share": share,
                "most": limit,
                "reasons": dg.MetadataValue.json(metadata["dead_letter_reasons"]),
            },
        )

    return few_dead_letters


def _report_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    words = pipeline.task.words
    asset = f"{words.response}_report"

    @dg.multi_asset_check(
        name=pipeline.op(f"{asset}_checks"),
        specs=[
            dg.AssetCheckSpec(
                "feed_complete",
                asset=pipeline.key(asset),
                description="Everything of the newest feed has its response in the report.",
            ),
            dg.AssetCheckSpec(
                "streamed_equals_batch",
                asset=pipeline.key(asset),
                description="The streamed predictions are those of the same model in batch: text "
                "by text, and so the scores. Those of an earlier model, to requests that were sent "
                "before it was replaced, are left out.",
                blocking=True,
            ),
        ],
        ins=pipeline.keys(asset),
    )
    def report_checks(**inputs: Artifact) -> Iterator[dg.AssetCheckResult]:
        info = inputs[asset].info
        yield dg.AssetCheckResult(
            asset_key=pipeline.key(asset),
            check_name="feed_complete",
            passed=info["completeness"] == 1.0,
            metadata={
                "completeness": info["completeness"],
                "sent": info[f"{words.request}s"],
            },
        )
        scores = [name.removeprefix("batch_") for name in info if name.startswith("batch_")]
        equal = all(info[f"batch_{name}"] == info[f"compared_{name}"] for name in scores)
        yield dg.AssetCheckResult(
            asset_key=pipeline.key(asset),
            check_name="streamed_equals_batch",
            passed=equal and info["differing"] == 0 and info["compared"] > 0,
            metadata={
                "compared": info["compared"],
                "differing": info["differing"],
                **{name: info[f"compared_{name}"] for name in scores},
                **{f"batch_{name}": info[f"batch_{name}"] for name in scores},
            },
        )

    return report_checks
