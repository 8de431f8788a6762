"""What cannot be read, on the real broker: its neighbours get their answers all the same."""

import json
import random

from qa_assets_tests.streaming.bad_messages import ALIVE, DEAD, mutated, readable
from qa_assets_tests.streaming.stream import Stream


def test_bad_messages_of_all_kinds_become_dead_letters_as_they_were(stream: Stream) -> None:
    assert len(DEAD) >= 30
    values: list[bytes | None] = []
    for value, _ in DEAD.values():
        good = json.dumps({"id": f"q{len(values)}", "question": "who?", "context": "some text"})
        values += [good.encode(), value]
    stream.send_raw(values)
    summary = stream.run()
    assert summary.dead_letters.total() == summary.answered == len(DEAD)

    letters = stream.messages(stream.kafka.dead_letter_topic)
    by_offset = {int(dict(one.headers())["dead_letter.offset"]): one for one in letters}
    assert len(letters) == len(by_offset) == len(DEAD)
    for at, (value, reason) in enumerate(DEAD.values()):
        letter = by_offset[2 * at + 1]
        assert letter.value() == value
        assert dict(letter.headers())["dead_letter.reason"].decode() == reason
    told = {one["offset"]: (one["id"], one["answer"]) for one in stream.answers()}
    assert told == {at: (f"q{at}", "WHO? SOME TEXT") for at in range(0, 2 * len(DEAD), 2)}


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
    told = {one["offset"]: one for one in stream.answers()}
    dead = {
        int(dict(one.headers())["dead_letter.offset"])
        for one in stream.messages(stream.kafka.dead_letter_topic)
    }
    assert sorted([*told, *dead]) == list(range(len(values)))
    for at, value in enumerate(values):
        assert value is not None
        if at % 2 == 0:
            assert told[at]["answer"] == f"Q {json.loads(value)['context'].upper()}"
            assert told[at]["id"] == f"g{at // 2}"
        elif readable(value):
            assert at in told
