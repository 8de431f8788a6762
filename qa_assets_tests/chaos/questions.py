"""The requests of a chaos run, good and bad, and a tiny model whose answers differ by request."""

import json
import random
from pathlib import Path

from qa_assets.tasks.question_answering.prompts import source_text

_NAMES = ["Ada", "Rollo", "Zoe", "Marie", "Heron", "Danube", "Bela", "Cora", "Edda", "Falk"]
_DEEDS = [
    "wrote a program", "led the Norse", "won the prize twice", "eats fish and frogs",
    "flows through Vienna", "paid for a coffee", "keeps seven goats", "sells old clocks",
]  # fmt: skip
BAD = [
    b"not json", b"", b"{}", b"\xff\xfe", b'{"id": 7}',
    b'{"id": "x", "question": " ", "context": "c"}',
]  # fmt: skip


def message(number: int, seed: int) -> tuple[bytes, bytes, bool]:
    """The key and the value of a message, and whether it can be read.

    One in twelve is bad, one in nine has the id of an earlier one.
    """
    draw = random.Random(f"{seed}.{number}")
    if draw.random() < 1 / 12:
        return f"bad{number}".encode(), draw.choice(BAD), False
    name = f"q{draw.randrange(number) if number and draw.random() < 1 / 9 else number}"
    return name.encode(), json.dumps(_drawn(draw, name)).encode(), True


def question(number: int) -> dict[str, str]:
    """A readable request, the same for the same number."""
    return _drawn(random.Random(number), f"q{number}")


def _drawn(draw: random.Random, name: str) -> dict[str, str]:
    who, deed = draw.choice(_NAMES), draw.choice(_DEEDS)
    others = " ".join(f"{draw.choice(_NAMES)} {draw.choice(_DEEDS)}." for _ in range(4))
    return {"id": name, "question": f"Who {deed}?", "context": f"{who} {deed}. {others}"}


def make_model(home: Path) -> Path:
    """An exported T5 with random weights, whose output depends on every token of the source.

    Returns:
        The directory of its ONNX graphs.
    """
    import torch
    from transformers import T5ForConditionalGeneration, T5Tokenizer

    from qa_assets.deployment.engines.onnx_export import export
    from qa_assets.models import tiny_t5
    from qa_assets.models.base_model import save

    texts = [source_text(f"Who {deed}?", f"{name} {deed}.") for name in _NAMES for deed in _DEEDS]
    base = tiny_t5.create(texts, home / "base", words=["unavailable"], seed=1)
    tokenizer = T5Tokenizer.from_pretrained(base)
    config = T5ForConditionalGeneration.config_class.from_pretrained(base)
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(config)
    abstention = tokenizer("unavailable").input_ids[0]
    model.generation_config.sequence_bias = [[[1], 16.0], [[abstention], 20.0]]
    export(save(model, tokenizer, home / "model"), home / "onnx", max_new_tokens=8)
    return home / "onnx"
