"""Encoder and decoder for answering against transformers' own."""

from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model
from qa_assets.training import adapters, dataset
from qa_assets_tests.training_fixtures import CONFIG, TASK, first_t5


@pytest.fixture(scope="module")
def batch(base: Path, examples: list[Example]) -> dict[str, Any]:
    """Questions of different length: of so many tokens that a CPU encodes them in parts."""
    _, tokenizer = base_model.load(base)
    encoded = dataset.encode(examples[:80], TASK, tokenizer, CONFIG)
    batch = encoded.batch(list(range(80)), 0)
    del batch["labels"]
    assert batch["input_ids"].numel() > 2048
    assert not batch["attention_mask"].all()
    return batch


def adapted(base: Path) -> Any:
    """With adapters that do something."""
    import torch

    model = adapters.prepare(
        base_model.load(base)[0], CONFIG.model_copy(update={"lora_rank": 4})
    ).model
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter.data, std=0.1)
    return model.train()  # as in the middle of a training, with dropout on


def logits_off(model: Any, batch: dict[str, Any], dtype: Any) -> tuple[float, float]:
    """How far encoder and logits are from transformers', by the norm of the difference."""
    import torch

    from qa_assets.models.t5.inference import InferenceT5

    said = torch.randint(2, model.config.vocab_size, (len(batch["input_ids"]), 6))
    said[:, 0] = model.config.decoder_start_token_id
    with torch.inference_mode():
        fast = InferenceT5(model, dtype)
        model.eval()
        theirs = model(**batch, decoder_input_ids=said)
        encoded = fast.encode(**batch)
        state = fast.start(encoded, batch["attention_mask"], max_steps=9)
        kept, ours = torch.arange(len(said)), []
        for length in range(6):
            if length == 3:  # every other row is finished
                kept = kept[::2]
                state.keep(kept)
            ours.append(fast.step(said[kept, length], state))
    real = batch["attention_mask"] == 1
    encoder = theirs.encoder_last_hidden_state[real]
    expected = torch.cat([theirs.logits[:, :3].transpose(0, 1).flatten(0, 1),
                          theirs.logits[::2, 3:].transpose(0, 1).flatten(0, 1)])  # fmt: skip
    off = (encoded[real] - encoder).norm() / encoder.norm()
    return float(off), float((torch.cat(ours) - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", ["flan", "first", "adapted"])
def test_all_is_that_of_transformers(kind: str, base: Path, batch: dict[str, Any]) -> None:
    """The encoder, and logits by token, of all rows first and then of half of them."""
    import torch

    make = {"flan": lambda base: base_model.load(base)[0], "first": first_t5, "adapted": adapted}
    encoder, logits = logits_off(make[kind](base), batch, torch.float32)
    assert encoder < 1e-4
    assert logits < 1e-4


def test_adapters_change_what_is_computed(base: Path, batch: dict[str, Any]) -> None:
    """So that the test above would notice if they were left out."""
    import torch

    with torch.inference_mode():
        plain, changed = (
            model.eval()(**batch, decoder_input_ids=batch["input_ids"][:, :2]).logits
            for model in (base_model.load(base)[0], adapted(base))
        )
    assert float((changed - plain).norm() / plain.norm()) > 0.01


def test_bf16_rounds_the_encoder_alone(base: Path, batch: dict[str, Any]) -> None:
    import torch

    encoder, logits = logits_off(base_model.load(base)[0], batch, torch.bfloat16)
    assert 1e-4 < encoder < 0.02
    assert logits < 2 * encoder


def test_weights_are_found_by_what_a_layer_does() -> None:
    """A layer of another class, as quantised ones are."""
    import torch

    from qa_assets.models.t5.packed import weight_of

    class Doubled(torch.nn.Linear):  # type: ignore[misc]
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return super().forward(values * 2)

    for bias in (False, True):
        layer = Doubled(3, 2, bias=bias)
        assert torch.allclose(weight_of(layer), 2 * layer.weight, atol=1e-6)
