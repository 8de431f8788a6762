"""Token ids of examples, their cache, and the order in which steps take them."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training import dataset
from qa_assets_tests.training_fixtures import CONFIG, TASK

_SOURCES = np.array([number * 37 % 101 + 60 for number in range(2050)])
_TARGETS = np.array([20 if number % 11 == 0 else 2 + number % 5 for number in range(2050)])
_BIG = CONFIG.model_copy(update={"batch_tokens": 20_000, "max_batch_tokens": 10_000})


def load(base: Path, data: Path, **options: Any) -> dataset.Dataset:
    _, tokenizer = base_model.load(base)
    return dataset.load(data / "train", TASK, tokenizer, CONFIG, **options)


def test_cache_holds_the_same_and_is_used(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = load(base, data, cache=tmp_path / "cache")
    monkeypatch.setattr(dataset, "read_examples", None)  # it must not be needed again
    kept = load(base, data, cache=tmp_path / "cache")
    assert kept.digest == fresh.digest
    assert kept.counts == fresh.counts
    for before, after in ((fresh.sources, kept.sources), (fresh.targets, kept.targets)):
        assert np.array_equal(before.values, after.values)
        assert np.array_equal(before.offsets, after.offsets)


def test_one_of_several_workers_tokenises_for_all(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = dataset.encode

    def slow(*arguments: Any) -> dataset.Dataset:
        calls.append(1)
        time.sleep(0.2)
        return encode(*arguments)

    monkeypatch.setattr(dataset, "encode", slow)
    tokenizer = base_model.load_tokenizer(base)

    def worker(_: int) -> dataset.Dataset:
        return dataset.load(data / "train", TASK, tokenizer, CONFIG, tmp_path / "cache")

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(worker, range(4)))
    assert len(calls) == 1
    assert len({prompts.sources.values.tobytes() for prompts in loaded}) == 1


def test_cache_is_for_what_shapes_it(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokenizer = base_model.load(base)
    other = QuestionAnswering(no_answer="none")
    for split, config, task, limit in (
        ("train", CONFIG, TASK, None),
        ("valid", CONFIG, TASK, None),
        ("train", CONFIG.model_copy(update={"max_target_tokens": 6}), TASK, None),
        ("train", CONFIG, other, None),
        ("train", CONFIG, TASK, 20),
    ):
        dataset.load(data / split, task, tokenizer, config, tmp_path, limit)
    kept = sorted(tmp_path.glob("*.parquet"))
    assert len(kept) == 5
    same = CONFIG.model_copy(update={"learning_rate": 0.5, "batch_tokens": 9})
    dataset.load(data / "train", TASK, tokenizer, same, tmp_path)
    assert sorted(tmp_path.glob("*.parquet")) == kept
    monkeypatch.setattr(dataset, "_code_of", lambda _: "changed")  # as by another prompt
    dataset.load(data / "train", TASK, tokenizer, CONFIG, tmp_path)
    assert sorted(tmp_path.glob("*.parquet")) != kept


def test_digest_is_of_what_is_learnt(base: Path, examples: list[Example]) -> None:
    tokenizer = base_model.load_tokenizer(base)
    first, again, other = (
        dataset.encode(part, task, tokenizer, CONFIG).digest
        for part, task in (
            (examples[:9], TASK),
            (examples[:9], QuestionAnswering(max_context_chars=9)),
            (examples[:9], QuestionAnswering(no_answer="none")),
        )
    )
    assert first == again
    assert first != other


def _encode(
    examples: Sequence[Example], base: Path, most: int, overlap: int, target: int = 8
) -> dataset.Dataset:
    changes = {"max_source_tokens": most, "window_overlap_tokens": overlap}
    config = CONFIG.model_copy(update=changes | {"max_target_tokens": target})
    return dataset.encode(examples, TASK, base_model.load_tokenizer(base), config)


def ids(texts: dataset.Sequences) -> list[list[int]]:
    bounds = zip(texts.offsets, texts.offsets[1:], strict=False)
    return [texts.values[start:end].tolist() for start, end in bounds]


def counts(encoded: dataset.Dataset, *names: str) -> list[int]:
    return [encoded.counts[name] for name in names]


def test_long_contexts_become_windows_and_the_answer_is_in_some(
    base: Path, examples: list[Example]
) -> None:
    tokenizer = base_model.load_tokenizer(base)
    whole = _encode(examples, base, 200, 20)
    assert counts(whole, "windowed", "lost", "truncated") == [0, 0, 0]
    assert [source[-1] for source in ids(whole.sources)] == len(examples) * [tokenizer.eos_token_id]
    lengths = sorted(map(len, ids(whole.sources)))
    limit = lengths[len(examples) // 2]
    cut = _encode(examples, base, limit, 20)
    assert cut.counts["windowed"] == sum(length > limit for length in lengths) > 0
    assert len(ids(cut.sources)) == len(ids(cut.targets))
    assert len(ids(cut.sources)) >= len(examples) + cut.counts["windowed"]
    assert max(map(len, ids(cut.sources))) <= limit
    assert counts(cut, "lost", "truncated", "truncated_targets") == [0, 0, 0]


def test_a_window_learns_the_answer_that_it_holds_where_it_stands(base: Path) -> None:
    tokenizer = base_model.load_tokenizer(base)
    context = "Rollo. " + "the town was old . " * 10 + "It was Rollo who led ."
    asked = {"question": "Who led?", "context": context}
    answers = [{"text": "Rollo", "answer_start": context.rindex("Rollo")}]
    answered = Example("1", "", asked, ["Rollo"], {"answers": answers})
    unanswered = Example("2", "", asked, [], {"answers": []})
    encoded = _encode([answered, unanswered], base, 40, 10)
    sources = tokenizer.batch_decode(ids(encoded.sources), skip_special_tokens=True)
    targets = tokenizer.batch_decode(ids(encoded.targets), skip_special_tokens=True)
    half = len(sources) // 2
    assert half > 2
    assert sources[:half] == sources[half:]
    assert "Rollo" in sources[0]  # but not that one
    assert "was Rollo" in sources[half - 1]
    assert targets[:half] == [
        "Rollo" if "was Rollo" in source else TASK.abstention for source in sources[:half]
    ]
    assert set(targets[half:]) == {TASK.abstention}
    assert encoded.counts["lost"] == 0


def test_what_is_lost_or_cut_is_counted(base: Path) -> None:
    context = "the town was old . " * 30
    answers = [{"text": context[:200], "answer_start": 0}]

    def example(question: str) -> Example:
        asked = {"question": question, "context": context}
        return Example("1", "", asked, [context[:200]], {"answers": answers})

    named = ("windowed", "lost", "truncated_targets")
    encoded = _encode([example("Which?")], base, 40, 10)
    assert counts(encoded, *named) == [1, 1, 0]
    encoded = _encode([example("Which?")], base, 512, 10)
    assert counts(encoded, *named) == [0, 0, 1]
    assert len(ids(encoded.targets)[0]) == 8
    encoded = _encode([example("Which old town? " * 30)], base, 40, 10)
    assert encoded.counts["truncated"] == len(ids(encoded.sources)) > 10
    assert {len(source) for source in ids(encoded.sources)} == {40}


def test_batch_pads_on_the_right(base: Path, data: Path) -> None:
    prompts = load(base, data)
    numbers = [5, 0, 7]
    batch = prompts.batch(numbers, pad_id=0)
    lengths = [int(prompts.sources.lengths[number]) for number in numbers]
    assert batch["input_ids"].shape == (3, max(lengths))
    assert batch["attention_mask"].sum(1).tolist() == lengths
    start = int(prompts.sources.offsets[5])
    row = batch["input_ids"][0].tolist()
    assert row[: lengths[0]] == prompts.sources.values[start : start + lengths[0]].tolist()
    assert not any(row[lengths[0] :])
    targets = [int(prompts.targets.lengths[number]) for number in numbers]
    assert (batch["labels"] >= 0).sum(1).tolist() == targets


def steps(**changes: Any) -> list[dataset.Step]:
    config = _BIG.model_copy(update=changes)
    return dataset.epoch_steps(_SOURCES, _TARGETS, config, changes.get("epoch", 0))


def test_an_epoch_holds_every_prompt_once() -> None:
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
    shards = [dataset.shard(step, rank, world_size) for rank in range(world_size)]
    taken = sorted(number for shard in shards for part in shard for number in part)
    assert taken == sorted(number for part in step for number in part)
