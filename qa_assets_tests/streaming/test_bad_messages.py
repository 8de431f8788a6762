"""Messages that cannot be read, on the real broker: their neighbours are answered all the same."""

import json
import random

from qa_assets_tests.streaming.bad_messages import ALIVE, DEAD, mutated, readable
from qa_assets_tests.streaming.stream import Stream, header


def test_bad_messages_of_all_kinds_become_dead_letters_as_they_were(stream: Stream) -> None:
    assert len(DEAD) >= 30
    values: list[bytes | None] = []
    for value, _ in DEAD.values():
        good = json.dumps({"id": f"q{len(values)}", "question": "who?", "context": "some text"})
        values += [good.encode(), value]
    stream.send_raw(values)
    summary = stream.run()
    assert summary.dead_letters.total() == summary.answered == len(DEAD)

    letters = stream.dead_letters()
    assert len(letters) == len(DEAD)
    for at, (value, reason) in enumerate(DEAD.values()):
        letter = letters[2 * at + 1]
        assert letter.value() == value
        assert header(letter, "dead_letter.reason") == reason
    answers = {row["offset"]: (row["id"], row["answer"]) for row in stream.responses()}
    assert answers == {at: (f"q{at}", "WHO? SOME TEXT") for at in range(0, 2 * len(DEAD), 2)}


def test_mutated_messages_between_good_ones(stream: Stream) -> None:
    """A sample of `python benchmarks/fuzz.py`."""
    rng, values = random.Random(3), list[bytes | None]()
    for number in range(150):
        context = f"{rng.random()} is the text"
        values.append(
            json.dumps({"id": f"g{number}", "question": "q", "context": context}).encode()
        )
        values.append(mutated(rng, rng.choice(list(ALIVE.values())[2:])))
    stream.send_raw(values)
    summary = stream.run(max_offsets_per_trigger=100)
    assert summary.messages == len(values)
    responses = {row["offset"]: row for row in stream.responses()}
    assert sorted([*responses, *stream.dead_letters()]) == list(range(len(values)))
    for at, value in enumerate(values):
        assert value is not None
        if at % 2 == 0:
            assert responses[at]["answer"] == f"Q {json.loads(value)['context'].upper()}"
            assert responses[at]["id"] == f"g{at // 2}"
        elif readable(value):
            assert at in responses
