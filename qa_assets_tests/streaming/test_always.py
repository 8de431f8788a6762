"""The always-on mode: models change between batches, and a stop loses nothing."""

import threading
import time
from collections.abc import Callable

from qa_assets.streaming.config import StreamSettings
from qa_assets.streaming.consumer import StreamSummary, answer_always
from qa_assets.streaming.micro_batch import Model
from qa_assets_tests.streaming.stream import Stream


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_questions_are_answered_as_they_come_and_none_is_lost_at_the_end(stream: Stream) -> None:
    models, stop, done = [Model("v1", stream.answer)], threading.Event(), list[StreamSummary]()

    def work() -> None:
        settings = StreamSettings(max_offsets_per_trigger=5)
        done.append(
            answer_always(
                stream.spark, stream.kafka, settings, lambda: models[-1], stream.out, stop
            )
        )

    worker = threading.Thread(target=work)
    worker.start()
    stream.send([f"a{n}" for n in range(3)])
    _until(lambda: (stream.out / "table").exists() and len(stream.table()) == 3)
    models.append(Model("v2", stream.answer))
    stream.send([f"b{n}" for n in range(20)])
    _until(lambda: len(stream.table()) > 3)
    stop.set()  # in the midst of them
    worker.join(60)
    (summary,) = done
    assert summary.answered == len(stream.table()) == len(stream.answers())
    rest = stream.run()
    assert summary.answered + rest.answered == 23
    rows = stream.table()
    assert len(rows) == len({row["id"] for row in rows}) == 23
    assert len(stream.answers()) == 23
    assert {row["model_version"] for row in rows if row["id"].startswith("a")} == {"v1"}
    # what the thread had not finished, `run` answered
    assert {"v2"} <= {row["model_version"] for row in rows if row["id"].startswith("b")}


def test_a_process_that_answered_enough_ends_to_be_renewed(stream: Stream) -> None:
    stream.send([f"q{n}" for n in range(12)])
    settings = StreamSettings(max_offsets_per_trigger=4, renew_after_messages=4)
    model = Model("v1", stream.answer)
    summary = answer_always(
        stream.spark, stream.kafka, settings, lambda: model, stream.out, threading.Event()
    )
    assert 4 <= summary.answered < 12
    assert summary.lag == 12 - summary.answered
