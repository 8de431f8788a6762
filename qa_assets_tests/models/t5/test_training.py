"""The fast loss against transformers' own, and against plain dropout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model
from qa_assets.training import adapters, dataset
from qa_assets_tests.training_fixtures import CONFIG, TASK, first_t5

Gradients = dict[str, Any]


@pytest.fixture(scope="module")
def batch(base: Path, examples: list[Example]) -> dict[str, Any]:
    """Seven questions of different length, answers among them."""
    _, tokenizer = base_model.load(base)
    return dataset.encode(examples[:7], TASK, tokenizer, CONFIG).batch(list(range(7)), 0)


def gradients(model: Any, loss: Callable[[], Any]) -> tuple[float, Gradients]:
    model.zero_grad()
    value = loss()
    value.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.requires_grad}
    return value.item(), found


def off(found: Gradients, expected: Gradients) -> float:
    """The length of the difference, as a share."""
    difference = sum(((found[name] - one) ** 2).sum() for name, one in expected.items())
    return float((difference / sum((one**2).sum() for one in expected.values())) ** 0.5)


def theirs(model: Any, batch: dict[str, Any], precision: str) -> Any:
    """The sum of the losses as transformers computes them."""
    import torch

    with base_model.autocast(model, precision):
        logits = model(**batch).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), batch["labels"].flatten(), reduction="sum"
    )


def ours(model: Any, batch: dict[str, Any], precision: str) -> Any:
    from qa_assets.models.t5.training import FastT5

    with base_model.autocast(model, precision):
        return FastT5(model).eval()(**batch)


def test_loss_and_gradients_are_those_of_transformers(base: Path, batch: dict[str, Any]) -> None:
    model, _ = base_model.load(base)
    loss, expected = gradients(model, lambda: theirs(model, batch, "fp32"))
    fast, found = gradients(model, lambda: ours(model, batch, "fp32"))
    assert fast == pytest.approx(loss, rel=1e-5)
    assert off(found, expected) < 1e-4


def test_bf16_is_no_further_off_than_that_of_transformers(
    base: Path, batch: dict[str, Any]
) -> None:
    model, _ = base_model.load(base)
    _, expected = gradients(model, lambda: theirs(model, batch, "fp32"))
    their_error = off(gradients(model, lambda: theirs(model, batch, "bf16"))[1], expected)
    our_error = off(gradients(model, lambda: ours(model, batch, "bf16"))[1], expected)
    assert 0 < our_error < 1.2 * their_error < 0.1


def test_first_t5_too(base: Path, batch: dict[str, Any]) -> None:
    """ReLU without a gate, and a head that is the embedding."""
    model = first_t5(base)
    loss, expected = gradients(model, lambda: theirs(model, batch, "fp32"))
    fast, found = gradients(model, lambda: ours(model, batch, "fp32"))
    assert fast == pytest.approx(loss, rel=1e-5)
    assert off(found, expected) < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_drops_its_share_and_keeps_the_mean(dtype: str) -> None:
    import torch

    from qa_assets.models.t5.dropout import Dropout

    torch.manual_seed(3)
    ones = torch.ones(1_000_003, dtype=getattr(torch, dtype), requires_grad=True)
    dropped = Dropout.apply(ones, 0.1)
    values = dropped.detach().float()
    assert float((values == 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    assert float(values.mean()) == pytest.approx(1.0, abs=0.004)
    dropped.sum().backward()
    assert (ones.grad is not None) and torch.equal(ones.grad, dropped.detach())
    # neighbours know nothing of one another
    zeros = (values == 0).float()
    assert float((zeros[1:] * zeros[:-1]).mean()) == pytest.approx(0.01, abs=0.001)
    assert float((zeros[4:] * zeros[:-4]).mean()) == pytest.approx(0.01, abs=0.001)


def test_residual_is_dropped_alike_both_ways() -> None:
    import torch

    from qa_assets.models.t5.dropout import AddDropped

    hidden, change = (torch.full((1000, 50), value, requires_grad=True) for value in (2.0, 9.0))
    out = AddDropped.apply(hidden, change, 0.2)
    out.sum().backward()
    kept = (out.detach() - 2) / 9
    assert sorted(set(kept.flatten().tolist())) == pytest.approx([0, 1.25])
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    assert change.grad is not None
    assert torch.allclose(change.grad, kept)
    assert hidden.grad is not None
    assert bool((hidden.grad == 1).all())


def test_adapters_are_trained_and_nothing_else(base: Path, batch: dict[str, Any]) -> None:
    model, _ = base_model.load(base)
    trainee = adapters.prepare(model, CONFIG.model_copy(update={"lora_rank": 4}))
    assert all("lora" in name for name in trainee.trainable)
    expected = gradients(trainee.model, lambda: theirs(trainee.model, batch, "fp32"))
    found = gradients(trainee.model, lambda: ours(trainee.model, batch, "fp32"))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert off(found[1], expected[1]) < 1e-4


def test_bf16_on_cuda_is_near_fp32(base: Path, batch: dict[str, Any]) -> None:
    """CUDA's autocast makes other operations fp32 than a CPU's."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    model, _ = base_model.load(base)
    _, expected = gradients(model, lambda: ours(model, batch, "fp32"))
    there = {name: one.cuda() for name, one in batch.items()}
    model = model.cuda()
    _, found = gradients(model, lambda: ours(model, there, "bf16"))
    assert off({name: one.cpu() for name, one in found.items()}, expected) < 0.05


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sign_says_which_probabilities_are_dropped(dtype: str) -> None:
    import torch

    from qa_assets.models.t5.dropout import negate_dropped

    torch.manual_seed(4)
    values = torch.full((1000, 999), 0.5, dtype=getattr(torch, dtype))
    signed = negate_dropped(values.clone(), 0.1)
    assert torch.equal(signed.abs(), values)
    assert float((signed < 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    torch.manual_seed(4)
    assert torch.equal(negate_dropped(values.clone(), 0.1), signed)
    assert not torch.equal(negate_dropped(values.clone(), 0.1), signed)


def test_gradients_of_attention_are_those_of_what_was_dropped() -> None:
    import torch

    from qa_assets.models.t5.dropout import negate_dropped
    from qa_assets.models.t5.ops import Attention

    torch.manual_seed(5)
    q, k, v = (torch.randn(2, 5, 3, 4, requires_grad=True) for _ in range(3))
    relative = torch.randn(1, 3, 5, 5, requires_grad=True)
    arguments = q, k, v, relative
    weights = torch.randn(2, 5, 3, 4)

    torch.manual_seed(6)
    fast = Attention.apply(q, k, v, relative.detach().expand(2, -1, -1, -1), relative, 0.3)
    found = torch.autograd.grad((fast * weights).sum(), arguments)
    torch.manual_seed(6)
    kept = negate_dropped(torch.ones(6, 5, 5), 0.3).clamp_min(0).view(2, 3, 5, 5)
    assert 0 < float(kept.mean()) < 1
    probabilities = (torch.einsum("eqhd,ekhd->ehqk", q, k) + relative).softmax(-1)
    plain = torch.einsum("ehqk,ekhd->eqhd", probabilities * kept / 0.7, v)
    expected = torch.autograd.grad((plain * weights).sum(), arguments)
    assert torch.allclose(fast, plain, atol=1e-5)
    for ours_, theirs_ in zip(found, expected, strict=True):
        assert torch.allclose(ours_, theirs_, atol=1e-5)
