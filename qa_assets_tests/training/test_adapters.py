"""What is frozen stays as it was, and adapters leave a plain T5."""

from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model
from qa_assets.training import adapters
from qa_assets.training.adapters import AdapterError
from qa_assets.training.config import TrainingConfig
from qa_assets_tests.models.tiny_seq2seq import ARCHITECTURES, create
from qa_assets_tests.training.test_trainer import train
from qa_assets_tests.training_fixtures import CONFIG, texts

_SHORT: dict[str, Any] = {"epochs": 1, "evaluations": 1}


def changed(base: Path, checkpoint: Path) -> set[str]:
    """The names of weights that differ."""
    import torch

    before, after = (base_model.load(path)[0].state_dict() for path in (base, checkpoint))
    assert before.keys() == after.keys()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({"freeze_embeddings": True}, ("shared", "encoder.embed", "decoder.embed")),
        ({"freeze_encoder": True}, ("encoder.block", "encoder.final")),
        ({"freeze_blocks": 1}, ("encoder.block.0", "decoder.block.0")),
    ],
)
def test_frozen_weights_stay(
    base: Path, data: Path, tmp_path: Path, changes: dict[str, Any], frozen: tuple[str, ...]
) -> None:
    result = train(base, data, tmp_path / "out", _SHORT | changes)
    names = changed(base, result.checkpoint)
    assert names
    assert not any(name.startswith(frozen) for name in names)


def test_adapters_are_merged(base: Path, data: Path, tmp_path: Path) -> None:
    result = train(base, data, tmp_path / "out", _SHORT | {"lora_rank": 4})
    names = changed(base, result.checkpoint)
    assert "encoder.block.0.layer.0.SelfAttention.q.weight" in names
    assert not any("norm" in name or "shared" in name for name in names)
    again = train(base, data, tmp_path / "again", _SHORT | {"lora_rank": 4})
    assert not changed(result.checkpoint, again.checkpoint)


def test_quantised_layers_are_written_as_what_they_compute(base: Path) -> None:
    """Of layers that are not quantised, which needs no GPU: peft's own merge is the measure."""
    import torch

    model, _ = base_model.load(base)
    trainee = adapters.prepare(model, CONFIG.model_copy(update={"lora_rank": 4}))
    with torch.no_grad():
        for parameter in trainee.trainable.values():
            parameter.normal_(std=0.1)
    merged = trainee.plain().state_dict()
    trainee.model.is_quantized = True
    found = trainee.plain().state_dict()
    assert found.keys() == merged.keys()
    for name, weight in merged.items():
        assert torch.allclose(found[name], weight, atol=1e-5), name
    assert not torch.equal(
        merged["encoder.block.0.layer.0.SelfAttention.q.weight"],
        base_model.load(base)[0].encoder.block[0].layer[0].SelfAttention.q.weight,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_modules_are_those_of_the_model(
    architecture: str, examples: list[Example], tmp_path: Path
) -> None:
    """Frozen blocks, dropout, and adapters in all linear layers but the head."""
    from torch import nn

    path = create(architecture, texts(examples), tmp_path / architecture)

    def trained(**changes: Any) -> tuple[Any, set[str]]:
        model, _ = base_model.load(path)
        trainee = adapters.prepare(model, CONFIG.model_copy(update=changes))
        return trainee.model, set(trainee.trainable)

    model, everything = trained(dropout=0.25)
    dropouts = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    dropouts += [m.dropout for m in model.modules() if isinstance(getattr(m, "dropout", 0), float)]
    assert set(dropouts) == {0.25}
    encoder = {name for name in everything if ".encoder." in f".{name}"}
    assert trained(freeze_encoder=True)[1] == everything - encoder
    first = {name for name in everything if ".block.0." in name or ".layers.0." in name}
    assert len(first) > 10
    assert trained(freeze_blocks=1)[1] == everything - first
    assert len(everything - trained(freeze_embeddings=True)[1]) == 1
    linear = {
        name for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    }  # fmt: skip
    _, adapted = trained(lora_rank=2)
    assert adapted == {f"{name}.lora_{matrix}.default.weight" for name in linear for matrix in "AB"}


@pytest.mark.parametrize("architecture", ["bart"])
def test_quantised_layers_with_biases(
    architecture: str, examples: list[Example], tmp_path: Path
) -> None:
    import torch

    model, _ = base_model.load(create(architecture, texts(examples), tmp_path / architecture))
    trainee = adapters.prepare(model, CONFIG.model_copy(update={"lora_rank": 4}))
    with torch.no_grad():
        for parameter in trainee.model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    merged = trainee.plain().state_dict()
    trainee.model.is_quantized = True
    dequantised = trainee.plain().state_dict()
    assert dequantised.keys() == merged.keys()
    for name, weight in merged.items():
        assert torch.allclose(dequantised[name], weight, atol=1e-4), name


def test_too_many_blocks_to_freeze(base: Path) -> None:
    model, _ = base_model.load(base)
    with pytest.raises(AdapterError, match="the model has 2 blocks"):
        adapters.prepare(model, CONFIG.model_copy(update={"freeze_blocks": 3}))


def test_quantised_base_says_what_it_lacks(base: Path, data: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(AdapterError, match="needs a CUDA device"):
        train(base, data, tmp_path / "out", {"lora_rank": 4, "quantize_base": True})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quantize_base": True}, "set lora_rank"),
        ({"lora_rank": 4, "freeze_encoder": True}, "leave the freeze"),
        ({"average_last": 3, "evaluations": 2}, "average_last=3"),
        ({"optimizer": "sgd"}, "adamw"),
        ({"batch_size": 3}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_one_another(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TrainingConfig(**changes)


def test_weights_are_those_by_which_a_layer_multiplies() -> None:
    """A layer of another class, as quantised ones are."""
    import torch

    class Doubled(torch.nn.Linear):  # type: ignore[misc]
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return super().forward(values * 2)

    for bias in (False, True):
        layer = Doubled(3, 2, bias=bias)
        assert torch.allclose(adapters.weight_of(layer), 2 * layer.weight, atol=1e-6)
