"""Requests on a Kafka topic, the responses to them, and how good those are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from qa_assets.components import sensors, streaming_checks
from qa_assets.components.pipeline import Pipeline, code_version, digest
from qa_assets.components.spark_resource import SparkResource
from qa_assets.components.tables import markdown_table, sample_of
from qa_assets.core.artifacts import Artifact
from qa_assets.core.examples import read_examples
from qa_assets.settings import Settings

if TYPE_CHECKING:
    from qa_assets.streaming.summary import StreamSummary

_CODE_VERSION = "1"  # of the responses


class FeedOverrides(dg.Config):
    """How much to send in this run. Empty: as the pipeline says."""

    examples: int | None = Field(default=None, description="Test examples to send at most.")


def build(pipeline: Pipeline) -> dg.Definitions:
    """The assets and checks of this stage, the sensor, and the job that answers until ended."""
    requests = dg.AssetSpec(
        **pipeline.spec(pipeline.requests, {"kafka"}, "platform"),
        deps=[pipeline.key(pipeline.feed)],
        description=f"The Kafka topic {pipeline.topics.requests}, written to by `{pipeline.feed}` "
        "and by anyone else. The sensor observes its offsets.",
    )
    return dg.Definitions(
        assets=[_feed(pipeline), requests, _responses(pipeline), _report(pipeline)],
        asset_checks=streaming_checks.build(pipeline),
        jobs=[_stream(pipeline)],
        sensors=[sensors.new_requests(pipeline, _CODE_VERSION)],
    )


def _feed(pipeline: Pipeline) -> dg.AssetsDefinition:
    asset, count = pipeline.feed, pipeline.config.stream.feed_examples

    @dg.asset(
        **pipeline.spec(asset, {"kafka"}, "platform"),
        ins=pipeline.keys("test_split"),
        code_version=code_version("2", count),
        description="Test examples on the topic of requests, and `sent.parquet`: where each of "
        "them lies there.",
    )
    def feed(
        config: FeedOverrides, settings: dg.ResourceParam[Settings], test_split: Artifact
    ) -> dg.MaterializeResult[None]:
        from qa_assets.streaming.feed import send_feed

        stream = pipeline.stream(settings)
        examples = read_examples(test_split.path / "rows", config.examples or count)
        with pipeline.store(settings).write(asset, test_split) as draft:
            topic = send_feed(stream, examples, draft.path)
            draft.info |= {"topic_id": topic.topic_id, "examples": len(examples)}
        return pipeline.materialized(
            draft.done(),
            topic=stream.topics.requests,
            sample=sample_of(draft.done().path / "sent.parquet", ["id", "partition", "offset"]),
            **{"dagster/row_count": len(examples)},
        )

    return feed


def _responses(pipeline: Pipeline) -> dg.AssetsDefinition:
    serving, feed = pipeline.config.serving.model, pipeline.feed
    engine = "sparknlp" if pipeline.config.serving.engine == "spark_nlp" else "ctranslate2"

    @dg.asset(
        **pipeline.spec(pipeline.responses, {"kafka", "pyspark", engine}, "platform"),
        # the feed too, though it only writes to the topic: an external asset puts no order between
        # the steps of one run
        deps=[pipeline.key(pipeline.requests), pipeline.key(feed)],
        ins=pipeline.keys(serving),
        check_specs=[sensors.not_stopped(pipeline)],
        code_version=_CODE_VERSION,
        pool="spark",
        description=f"Each of the {pipeline.requests} on the topic answered once: a Parquet table, "
        f"the topic {pipeline.topics.responses}, dead letters. Spark Structured Streaming works "
        "off what is there and ends; the sensor starts it again.",
    )
    def responses(
        settings: dg.ResourceParam[Settings], spark: SparkResource, **inputs: Artifact
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows no [None] beside checks
        # the newest feed is predicted once more without Kafka, for the report to compare: here,
        # since session and model are at hand
        from qa_assets.streaming import consumer
        from qa_assets.streaming.feed import predict_feed
        from qa_assets.streaming.worker import load_model

        store, stream = pipeline.store(settings), pipeline.stream(settings)
        out, session = pipeline.stream_directory(settings), spark.brief_session
        model = load_model(session, inputs[serving])
        # a run holds a whole feed, since in a run of the whole graph no sensor starts another
        most = max(stream.config.max_messages_per_run, stream.config.feed_examples)
        summary = consumer.process_available(session, stream.with_run_limit(most), model, out)
        fed, test = store.find(feed), store.find("test_split")
        if fed is not None and test is not None:
            predict_feed(session, stream.task, model, fed.path, test.path / "rows", out)
        state = digest(summary.topic_id, summary.end_offsets, inputs[serving].data_version)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(state),
            metadata=_metadata(out, summary),
            check_results=[dg.AssetCheckResult(check_name=sensors.NOT_STOPPED, passed=True)],
        )

    return responses


def _metadata(out: Path, summary: "StreamSummary") -> dict[str, Any]:
    """Metadata of the responses: numbers, which Dagster plots over its materialisations."""
    reached = {str(partition): end for partition, end in summary.end_offsets.items()}
    earlier = {"earlier_topics": list(summary.earlier_topics)} if summary.earlier_topics else {}
    waits = summary.open_transaction
    return {
        "messages": summary.messages,
        "answered": summary.answered,
        "abstained": summary.abstained,
        "duplicates": summary.duplicates,
        "dead_letters": summary.dead_letters.total(),
        "lag": summary.lag,
        "waiting_for_transaction": waits.records if waits else 0,
        "lost": summary.lost,
        "duration_s": summary.duration_s,
        "messages_per_s": summary.messages_per_s,
        **{f"latency_{name}_s": value for name, value in summary.latency_s.items()},
        "batches": summary.batches,
        "partitions": len(reached),
        "dead_letter_reasons": dg.MetadataValue.json(dict(summary.dead_letters)),
        "end_offsets": dg.MetadataValue.json(reached),
        "topic_id": summary.topic_id,
        "path": dg.MetadataValue.path(str(out)),
        **({"open_transaction": str(waits)} if waits else {}),
        **earlier,
    }


def _report(pipeline: Pipeline) -> dg.AssetsDefinition:
    asset, feed = f"{pipeline.task.words.response}_report", pipeline.feed

    @dg.asset(
        **pipeline.spec(asset, {"parquet", "markdown"}, "platform"),
        deps=[pipeline.key(pipeline.responses)],
        ins=pipeline.keys(feed, "test_split"),
        code_version="2",
        description="The streamed test examples: scores of their responses, latency and "
        "completeness.",
    )
    def report(
        settings: dg.ResourceParam[Settings], **inputs: Artifact
    ) -> dg.MaterializeResult[None]:
        from qa_assets.evaluation.comparison import Comparison
        from qa_assets.streaming.feed import read_feed
        from qa_assets.streaming.table import ResponseTable

        store, fed, test = pipeline.store(settings), inputs[feed], inputs["test_split"]
        task = pipeline.task.with_learned(test.info["task"]["settings"])
        out, topic_id = pipeline.stream_directory(settings), fed.info["topic_id"]
        frame = read_feed(ResponseTable(out, topic_id, task.messages), fed.path)
        examples = {example.id: example for example in read_examples(test.path / "rows")}
        answered = frame[frame["answered_at"].notna()]
        pairs = answered[answered["batch_prediction"].notna()]
        asked = [examples[key] for key in answered["id"]]
        streamed_feed = Comparison(task, asked, {"streamed": list(answered["prediction"])})
        compared, batch = list(pairs["prediction"]), list(pairs["batch_prediction"])
        asked_again = [examples[key] for key in pairs["id"]]
        again = Comparison(task, asked_again, {"compared": compared, "batch": batch})
        latency = (answered["answered_at"] - answered["asked_at"]).dt.total_seconds()
        numbers = {
            **streamed_feed.scores["streamed"].figures,
            pipeline.requests: len(frame),
            "completeness": len(answered) / len(frame),
            "latency_p50_s": float(latency.quantile(0.5)),
            "latency_p95_s": float(latency.quantile(0.95)),
            "compared": len(pairs),
            "differing": sum(a.text != b.text for a, b in zip(compared, batch, strict=True)),
            **{
                f"{which}_{name}": value
                for which, scores in again.scores.items()
                for name, value in scores.figures.items()
            },
        }
        with store.write(asset, fed, test) as draft:
            (draft.path / "scores.json").write_text(json.dumps(numbers, indent=2) + "\n")
            streamed_feed.to_frame().drop(columns=list(task.messages.inputs)[1:]).to_parquet(
                draft.path / "answers.parquet", index=False
            )
            draft.info |= numbers
        samples = markdown_table(streamed_feed.samples("streamed"))
        return pipeline.materialized(draft.done(), **numbers, sample_answers=samples)

    return report


def _stream(pipeline: Pipeline) -> dg.JobDefinition:
    @dg.op(name=pipeline.op("respond_until_ended"))
    def respond_until_ended() -> None:
        """The always-on consumer, until the run is terminated; it finishes its batch then."""
        import threading

        from qa_assets.streaming.worker import keep_running, worker_command

        code = keep_running(worker_command(pipeline.name), threading.Event())
        raise dg.Failure(f"the consumer ended by itself, with exit code {code}: see its output")

    @dg.job(
        name=pipeline.op("stream"),
        description=f"Answer {pipeline.requests} as they come; the sensor starts no run "
        "meanwhile. Terminate the run to end it.",
    )
    def stream() -> None:
        respond_until_ended()

    return stream
