"""Checks of the responses: none lost, none twice, few messages that could not be read."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import Artifact
from qa_assets.settings import Settings


def build(pipeline: Pipeline) -> list[dg.AssetChecksDefinition]:
    """The checks of this stage."""
    return [_exactly_once(pipeline), _few_dead_letters(pipeline), _report_checks(pipeline)]


def _exactly_once(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    responses, feed = pipeline.responses, pipeline.feed

    @dg.asset_check(
        asset=pipeline.key(responses), additional_deps=[pipeline.key(feed)], blocking=True
    )
    def answered_exactly_once(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> dg.AssetCheckResult:
        """No offset of the topic is answered twice, and all of the newest feed is answered.

        What the feed sent after the responses had ended is left to their next run.
        """
        from qa_assets.streaming.feed import read_feed
        from qa_assets.streaming.table import KEY, ResponseTable

        metadata = pipeline.last_metadata(context.instance, responses)
        if not metadata:
            return dg.AssetCheckResult(passed=False, description=f"{responses} was never made")
        topic_id, reached = metadata["topic_id"], metadata["end_offsets"]
        table = ResponseTable(pipeline.stream_directory(settings), topic_id, pipeline.task.messages)
        rows = table.read(KEY)
        twice = int(rows.duplicated(KEY).sum())
        missing = due = 0
        fed = pipeline.store(settings).find(feed)
        if fed is not None and fed.info["topic_id"] == topic_id:
            sent = read_feed(table, fed.path)
            # a partition may have been added since
            ends = sent["partition"].map(lambda number: reached.get(str(number), 0))
            sent = sent[sent["offset"] < ends]
            due, missing = len(sent), int(sent["answered_at"].isna().sum())
        counts: dict[str, Any] = {responses: len(rows), "twice": twice}
        counts |= {"feed_due": due, "feed_missing": missing}
        return pipeline.result(responses, "answered_exactly_once", twice == missing == 0, **counts)

    return answered_exactly_once


def _few_dead_letters(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=pipeline.key(pipeline.responses))
    def few_dead_letters(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Dead letters are no more of the run's messages than `stream.max_dead_letter_share`."""
        metadata = pipeline.last_metadata(context.instance, pipeline.responses)
        if not metadata:
            return dg.AssetCheckResult(passed=False, description="it was never materialised")
        letters, messages = int(metadata["dead_letters"]), int(metadata["messages"])
        share = letters / messages if messages else 0.0
        most = pipeline.config.stream.max_dead_letter_share
        return pipeline.result(
            pipeline.responses,
            "few_dead_letters",
            share <= most,
            dead_letters=letters,
            messages=messages,
            share=share,
            most=most,
            reasons=metadata["dead_letter_reasons"],
        )

    return few_dead_letters


def _report_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    asset = f"{pipeline.task.words.response}_report"

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
        share, sent = info["completeness"], info[pipeline.requests]
        yield pipeline.result(asset, "feed_complete", share == 1.0, completeness=share, sent=sent)
        scores = [name.removeprefix("batch_") for name in info if name.startswith("batch_")]
        equal = all(info[f"batch_{name}"] == info[f"compared_{name}"] for name in scores)
        yield pipeline.result(
            asset,
            "streamed_equals_batch",
            equal and info["differing"] == 0 and info["compared"] > 0,
            compared=info["compared"],
            differing=info["differing"],
            **{name: info[f"compared_{name}"] for name in scores},
            **{f"batch_{name}": info[f"batch_{name}"] for name in scores},
        )

    return report_checks
