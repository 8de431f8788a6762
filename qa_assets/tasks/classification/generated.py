"""A made-up data set: requests to an assistant, of eight intents, and others out of scope.

Sentences come from templates with a small vocabulary, so that a tiny model learns to tell them
apart within a minute on a CPU. An eighth of the texts is out of scope: about subjects of no intent.
"""

import random
from pathlib import Path

OUT_OF_SCOPE = "oos"

_SLOTS = {
    "song": ("jazz", "rock", "piano music", "my playlist", "some blues", "a love song"),
    "time": ("seven", "eight thirty", "noon", "six in the morning", "ten", "a quarter past five"),
    "town": ("paris", "oslo", "rome", "lima", "cairo", "dublin", "tokyo", "boston"),
    "day": ("today", "tomorrow", "on monday", "on friday", "next week", "this evening"),
    "name": ("anna", "my mother", "the office", "doctor lee", "tom", "my sister"),
    "sum": ("ten euros", "fifty dollars", "a hundred pounds", "my rent", "twenty francs"),
    "room": ("kitchen", "bedroom", "hall", "garage", "bathroom", "office"),
    "word": ("bread", "water", "thank you", "good night", "train", "apple"),
    "tongue": ("french", "spanish", "german", "polish", "italian"),
    "thing": ("a volcano", "the moon", "a sonata", "chess", "glass", "the stone age", "a comet"),
}
_INTENTS = {
    "play_music": ("play {song}", "put on {song}", "i want to hear {song}", "start {song} now"),
    "set_alarm": ("wake me up at {time}", "set an alarm for {time}", "i have to get up at {time}"),
    "weather": (
        "will it rain in {town} {day}", "weather in {town} {day}", "how cold is it in {town}",
    ),
    "call": ("call {name}", "please ring {name}", "i need to talk to {name} on the phone"),
    "transfer_money": ("send {sum} to {name}", "transfer {sum} {day}", "pay {name} {sum}"),
    "lights": ("turn on the light in the {room}", "{room} lights off", "dim the {room} lamp"),
    "translate": (
        "how do you say {word} in {tongue}", "translate {word} to {tongue}", "{word} in {tongue}",
    ),
    "book_flight": ("book a flight to {town} {day}", "i want to fly to {town}", "fly me to {town}"),
}  # fmt: skip
_OTHERS = (
    "why is {thing} so old", "who discovered {thing}", "write me a poem about {thing}",
    "how heavy is {thing}", "what do you think of {thing}", "tell me the history of {thing}",
)  # fmt: skip
_POLITE = ("", "please ", "hey ", "could you ", "ok ")
_SHARE = 8  # one text in so many is out of scope
_TEST = 6  # one in so many is in the test file


def generate(out: Path, examples: int, seed: int) -> list[Path]:
    """Write `train.tsv` and `dev.tsv`, a `label<TAB>text` a line; returns both.

    No text occurs twice.

    Args:
        out: an existing directory.
        examples: texts in both files together.
        seed: the same seed writes the same bytes.

    Raises:
        ValueError: there are not so many texts.
    """
    rng = random.Random(seed)  # noqa: S311
    texts: dict[str, str] = {}
    intents, tries = list(_INTENTS), 0
    while len(texts) < examples:
        tries += 1
        if tries > 50 * examples:
            raise ValueError(f"examples: {examples} texts cannot be made, {len(texts)} can")
        scoped = len(texts) % _SHARE != 0
        label = rng.choice(intents) if scoped else OUT_OF_SCOPE
        template = rng.choice(_INTENTS[label] if scoped else _OTHERS)
        slots = {name: rng.choice(values) for name, values in _SLOTS.items()}
        texts.setdefault(rng.choice(_POLITE) + template.format(**slots), label)
    lines = [f"{label}\t{text}\n" for text, label in texts.items()]
    rng.shuffle(lines)
    parts = {"train": lines[len(lines) // _TEST :], "dev": lines[: len(lines) // _TEST]}
    for name, part in parts.items():
        (out / f"{name}.tsv").write_text("".join(part), encoding="utf-8")
    return [out / "train.tsv", out / "dev.tsv"]
