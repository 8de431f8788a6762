"""Questions on a Kafka topic, the answers to them, and how good those are."""

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import markdown_table, sample_of
from qa_assets.evaluation.comparison import read_split
from qa_assets.settings import Settings

if TYPE_CHECKING:
    from qa_assets.streaming.consumer import StreamSummary


@dg.asset(
    deps=["test_split"],
    group_name="streaming",
    kinds={"kafka"},
    owners=["team:platform"],
    code_version="1",
)
def question_feed(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """Test questions on the questions topic, and `sent.parquet`: where each of them lies there."""
    import pandas as pd

    from qa_assets.streaming import kafka, producer

    test = store.latest("test_split")
    rows = read_split(test.path / "rows", ["id", "question", "context"], settings.stream.questions)
    with store.write("question_feed", test) as draft:
        sent = producer.produce_questions(settings.kafka, rows)
        topic = kafka.end_offsets(settings.kafka, settings.kafka.questions_topic)
        pd.DataFrame([asdict(one) for one in sent]).to_parquet(
            draft.path / "sent.parquet", index=False
        )
        draft.info |= {"topic_id": topic.topic_id, "questions": len(sent)}
    return materialized(
        draft.done(),
        topic=settings.kafka.questions_topic,
        sample=sample_of(draft.done().path / "sent.parquet", ["id", "partition", "offset"]),
        **{"dagster/row_count": len(sent)},
    )


questions = dg.AssetSpec(
    "questions",
    deps=["question_feed"],
    description="The Kafka topic of questions, written to by `question_feed` and by anyone else. "
    "The sensor observes its offsets.",
    group_name="streaming",
    kinds={"kafka"},
    owners=["team:platform"],
)


@dg.asset(
    # question_feed too, though it only writes to the topic: an external asset puts no order
    # between the steps of one run
    deps=["questions", "question_feed", "spark_nlp_model", "ctranslate2_model"],
    group_name="streaming",
    kinds={"kafka", "pyspark", "sparknlp"},
    owners=["team:platform"],
    code_version="1",
    pool="spark",
)
def answers(
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
    spark: SparkResource,
) -> dg.MaterializeResult[None]:
    """Every question on the topic answered once: a Parquet table, the answers topic, dead letters.

    Spark Structured Streaming works off what is there and ends; the sensor starts it again. The
    questions of the newest feed are answered once more without Kafka, for `answer_report` to
    compare: here, since session and model are at hand.
    """
    from qa_assets.served import load_model
    from qa_assets.streaming import consumer
    from qa_assets.streaming.feed import answer_feed

    model = store.latest(settings.serving.model)
    out = store.root / "answers"
    session = spark.spark_session
    serving = load_model(session, model)
    # a run holds a whole feed, since in a run of the whole graph no sensor starts another
    most = max(settings.stream.max_questions_per_run, settings.stream.questions)
    stream = settings.stream.model_copy(update={"max_questions_per_run": most})
    summary = consumer.answer_available(session, settings.kafka, stream, serving, out)
    feed, test = store.find("question_feed"), store.find("test_split")
    if feed is not None and test is not None:
        answer_feed(session, serving, feed.path, test.path / "rows", out)
    state = [summary.topic_id, summary.end_offsets, model.data_version]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(sha256(json.dumps(state).encode()).hexdigest()),
        metadata=streamed(out, summary),
    )


def streamed(out: Path, summary: "StreamSummary") -> dict[str, Any]:
    """Metadata of `answers`: numbers, which Dagster plots over its materialisations."""
    reached = {str(partition): end for partition, end in summary.end_offsets.items()}
    earlier = {"earlier_topics": list(summary.earlier_topics)} if summary.earlier_topics else {}
    return {
        "path": dg.MetadataValue.path(str(out)),
        "topic_id": summary.topic_id,
        "end_offsets": dg.MetadataValue.json(reached),
        "partitions": len(reached),
        "lag": summary.lag,
        "messages": summary.messages,
        "answered": summary.answered,
        "abstained": summary.abstained,
        "duplicates": summary.duplicates,
        "dead_letters": summary.dead_letters.total(),
        "dead_letter_reasons": dg.MetadataValue.json(dict(summary.dead_letters)),
        "lost": summary.lost,
        "batches": summary.batches,
        "duration_s": summary.duration_s,
        "messages_per_s": summary.messages_per_s,
        **{f"latency_{name}_s": value for name, value in summary.latency_s.items()},
        **earlier,
    }


@dg.asset(
    deps=["answers", "question_feed", "test_split"],
    group_name="streaming",
    kinds={"parquet", "markdown"},
    owners=["team:platform"],
    code_version="1",
)
def answer_report(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """The streamed test questions: EM and F1 of their answers, latency and completeness."""
    import pandas as pd

    from qa_assets.evaluation.comparison import compare
    from qa_assets.streaming.feed import read_batch_answers
    from qa_assets.streaming.table import answers_of_feed

    feed, test = store.latest("question_feed"), store.latest("test_split")
    frame = answers_of_feed(store.root / "answers", feed.path, feed.info["topic_id"])
    gold = {
        row["id"]: row
        for row in read_split(test.path / "rows", ["id", "question", "context", "references"])
    }
    answered = frame[frame["answered_at"].notna()]
    result = compare(
        [gold[key] for key in answered["id"]],
        {"streamed": [text or "" for text in answered["answer"]]},
    )
    batch = read_batch_answers(store.root / "answers", feed.path)
    pair = answered.merge(batch, on=["id", "model_version"])
    again = compare(
        [gold[key] for key in pair["id"]],
        {
            "compared": [text or "" for text in pair["answer"]],
            "batch": [text or "" for text in pair["batch_answer"]],
        },
    )
    latency = (answered["answered_at"] - answered["asked_at"]).dt.total_seconds()
    numbers = {
        "questions": len(frame),
        "completeness": len(answered) / len(frame),
        "latency_p50_s": float(latency.quantile(0.5)),
        "latency_p95_s": float(latency.quantile(0.95)),
        "compared": len(pair),
        "differing": int((pair["answer"].fillna("") != pair["batch_answer"].fillna("")).sum()),
        **{
            f"{which}_{name}": value
            for which, scores in again.scores.items()
            for name, value in scores.items()
        },
        **result.scores["streamed"],
    }
    with store.write("answer_report", feed, test) as draft:
        (draft.path / "scores.json").write_text(json.dumps(numbers, indent=2) + "\n")
        asked = pd.DataFrame(result.rows).drop(columns=["context"])
        asked.to_parquet(draft.path / "answers.parquet", index=False)
        draft.info |= numbers
    return materialized(
        draft.done(), sample_answers=markdown_table(result.samples("streamed")), **numbers
    )
