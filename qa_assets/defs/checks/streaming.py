"""Checks of the streamed answers: none lost, none twice, few that could not be read."""

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.settings import Settings
from qa_assets.streaming.table import KEY, answers_of_feed, read_answers


@dg.asset_check(asset="answers", additional_deps=["question_feed"], blocking=True)
def answered_exactly_once(
    context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[ArtifactStore]
) -> dg.AssetCheckResult:
    """No offset of the topic is answered twice, and every question of the newest feed is answered.

    Questions that the feed sent after `answers` had ended are left to its next run.
    """
    event = context.instance.get_latest_materialization_event(dg.AssetKey("answers"))
    if event is None or event.asset_materialization is None:
        return dg.AssetCheckResult(passed=False, description="answers was never materialised")
    metadata = event.asset_materialization.metadata
    topic_id, reached = str(metadata["topic_id"].value), metadata["end_offsets"].value
    out = store.root / "answers"
    table = read_answers(out, topic_id)
    twice = int(table.duplicated(KEY).sum())
    missing = due = 0
    feed = store.find("question_feed")
    if feed is not None and feed.info["topic_id"] == topic_id:
        sent = answers_of_feed(out, feed.path, topic_id)
        ends = sent["partition"].map(lambda number: reached[str(number)])
        sent = sent[sent["offset"] < ends]
        due, missing = len(sent), int(sent["answered_at"].isna().sum())
    return dg.AssetCheckResult(
        passed=twice == 0 and missing == 0,
        metadata={"answers": len(table), "twice": twice, "feed_due": due, "feed_missing": missing},
    )


@dg.asset_check(asset="answers")
def few_dead_letters(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Dead letters are no more of the run's messages than `stream.max_dead_letter_share`."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey("answers"))
    if event is None or event.asset_materialization is None:
        return dg.AssetCheckResult(passed=False, description="answers was never materialised")
    metadata = event.asset_materialization.metadata
    letters, messages = (int(str(metadata[name].value)) for name in ("dead_letters", "messages"))
    share = letters / messages if messages else 0.0
    return dg.AssetCheckResult(
        passed=share <= settings.stream.max_dead_letter_share,
        metadata={
            "dead_letters": letters,
            "messages": messages,
            "share": share,
            "most": settings.stream.max_dead_letter_share,
            "reasons": metadata["dead_letter_reasons"],
        },
    )


@dg.asset_check(asset="answer_report")
def feed_complete(store: dg.ResourceParam[ArtifactStore]) -> dg.AssetCheckResult:
    """Every question of the newest feed has its answer in the report."""
    info = store.latest("answer_report").info
    return dg.AssetCheckResult(
        passed=info["completeness"] == 1.0,
        metadata={"completeness": info["completeness"], "questions": info["questions"]},
    )


@dg.asset_check(asset="answer_report", blocking=True)
def streamed_equals_batch(store: dg.ResourceParam[ArtifactStore]) -> dg.AssetCheckResult:
    """The streamed answers are those of the same model in batch: text by text, and so the scores.

    Answers of an earlier model, to questions that were sent before it was replaced, are left out.
    """
    info = store.latest("answer_report").info
    scores = [name.removeprefix("batch_") for name in info if name.startswith("batch_")]
    equal = all(info[f"batch_{name}"] == info[f"compared_{name}"] for name in scores)
    return dg.AssetCheckResult(
        passed=equal and info["differing"] == 0 and info["compared"] > 0,
        metadata={
            "compared": info["compared"],
            "differing": info["differing"],
            **{name: info[f"compared_{name}"] for name in scores},
            **{f"batch_{name}": info[f"batch_{name}"] for name in scores},
        },
    )
