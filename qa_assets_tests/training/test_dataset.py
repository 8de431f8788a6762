"""Token ids in a cache, and the order in which they are learnt from."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qa_assets.models import base_model
from qa_assets.training import dataset, features
from qa_assets_tests.training_fixtures import CONFIG, NULL_TEXT

_SOURCES = np.array([number * 37 % 101 + 60 for number in range(2050)])
_TARGETS = np.array([20 if number % 11 == 0 else 2 + number % 5 for number in range(2050)])
_BIG = CONFIG.model_copy(update={"batch_tokens": 20_000, "max_batch_tokens": 10_000})


def load(base: Path, data: Path, **options: Any) -> tuple[dataset.Examples, str]:
    _, tokenizer = base_model.load(base)
    return dataset.load(data / "train", tokenizer, CONFIG, NULL_TEXT, **options)


def test_cache_holds_the_same_and_is_used(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, key = load(base, data, cache=tmp_path / "cache")
    monkeypatch.setattr(features, "read_rows", None)  # it must not be needed again
    kept, again = load(base, data, cache=tmp_path / "cache")
    assert again == key
    assert kept.counts == fresh.counts
    for before, after in ((fresh.sources, kept.sources), (fresh.targets, kept.targets)):
        assert np.array_equal(before.values, after.values)
        assert np.array_equal(before.offsets, after.offsets)


def test_one_of_several_workers_tokenises_for_all(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = features.encode

    def slow(*given: Any) -> features.Features:
        calls.append(1)
        time.sleep(0.2)
        return encode(*given)

    monkeypatch.setattr(features, "encode", slow)
    tokenizer = base_model.load_tokenizer(base)

    def worker(_: int) -> tuple[dataset.Examples, str]:
        return dataset.load(data / "train", tokenizer, CONFIG, NULL_TEXT, tmp_path / "cache")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(worker, range(4)))
    assert len(calls) == 1
    assert len({examples.sources.values.tobytes() for examples, _ in found}) == 1


def test_cache_is_for_what_shapes_it(base: Path, data: Path, tmp_path: Path) -> None:
    _, tokenizer = base_model.load(base)
    keys = {
        dataset.load(data / split, tokenizer, config, null_text, tmp_path, limit)[1]
        for split, config, null_text, limit in (
            ("train", CONFIG, NULL_TEXT, None),
            ("valid", CONFIG, NULL_TEXT, None),
            ("train", CONFIG.model_copy(update={"max_target_tokens": 6}), NULL_TEXT, None),
            ("train", CONFIG, "none", None),
            ("train", CONFIG, NULL_TEXT, 20),
        )
    }
    assert len(keys) == 5
    same = CONFIG.model_copy(update={"learning_rate": 0.5, "batch_tokens": 9})
    assert dataset.load(data / "train", tokenizer, same, NULL_TEXT, tmp_path)[1] in keys


def test_batch_pads_on_the_right(base: Path, data: Path) -> None:
    examples, _ = load(base, data)
    numbers = [5, 0, 7]
    batch = examples.batch(numbers, pad_id=0)
    lengths = [int(examples.sources.lengths[number]) for number in numbers]
    assert batch["input_ids"].shape == (3, max(lengths))
    assert batch["attention_mask"].sum(1).tolist() == lengths
    start = int(examples.sources.offsets[5])
    row = batch["input_ids"][0].tolist()
    assert row[: lengths[0]] == examples.sources.values[start : start + lengths[0]].tolist()
    assert not any(row[lengths[0] :])
    targets = [int(examples.targets.lengths[number]) for number in numbers]
    assert (batch["labels"] >= 0).sum(1).tolist() == targets


def steps(**changes: Any) -> list[dataset.Step]:
    config = _BIG.model_copy(update=changes)
    return dataset.epoch_steps(_SOURCES, _TARGETS, config, changes.get("epoch", 0))


def test_an_epoch_holds_every_example_once() -> None:
    taken = [number for step in steps() for part in step for number in part]
    assert sorted(taken) == list(range(len(_SOURCES)))


def test_steps_keep_to_their_budget_with_little_padding() -> None:
    found = steps()
    tokens = [sum(_SOURCES[part].sum() for part in step) for step in found[:-1]]
    assert np.mean(tokens) == pytest.approx(20_000, rel=0.05)
    assert max(tokens) < 24_100  # half a part more
    parts = [part for step in found for part in step]
    places = sum(len(part) * _SOURCES[part].max() for part in parts)
    assert 1 - _SOURCES.sum() / places < 0.05
    said = sum(len(part) * _TARGETS[part].max() for part in parts)
    assert said < 2 * _TARGETS.sum()
    assert max(len(part) * _SOURCES[part].max() for part in parts) <= 4096


def test_order_depends_on_seed_and_epoch_and_not_on_memory() -> None:
    def taken(found: list[dataset.Step]) -> list[list[int]]:
        return [[number for part in step for number in part] for step in found]

    first = taken(steps())
    assert first == taken(steps(max_batch_tokens=500))
    assert first != taken(steps(seed=5))
    assert first != taken(steps(epoch=1))
    assert max(len(part) for step in steps(max_batch_tokens=500) for part in step) < 9


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_a_step(world_size: int) -> None:
    step = steps()[0]
    shares = [dataset.share(step, rank, world_size) for rank in range(world_size)]
    taken = sorted(number for share in shares for part in share for number in part)
    assert taken == sorted(number for part in step for number in part)
