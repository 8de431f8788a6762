"""Several processes train as one does: same examples, same steps, same gradients."""

from pathlib import Path

import pytest

from qa_assets.models import base_model
from qa_assets_tests.training.test_trainer import train

# parts of a few rows, so that some are smaller than the number of processes
_CHANGES = {"epochs": 1, "evaluations": 1, "max_batch_tokens": 120}


def worker(rank: int, base: Path, data: Path, out: Path) -> None:
    """One of two processes."""
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out.parent / 'meeting'}", rank=rank, world_size=2
    )
    train(base, data, out, _CHANGES, rank=rank, world_size=2)
    torch.distributed.destroy_process_group()


@pytest.mark.timeout(240)
def test_two_processes_learn_the_same(base: Path, data: Path, tmp_path: Path) -> None:
    import torch

    from qa_assets.training.result import RESULT, TrainingResult

    model, tokenizer = base_model.load(base)
    model.config.dropout_rate = 0.0  # each process draws its own
    steady = base_model.save(model, tokenizer, tmp_path / "steady")
    alone = train(steady, data, tmp_path / "alone", _CHANGES)
    torch.multiprocessing.spawn(worker, (steady, data, tmp_path / "two"), nprocs=2)
    both = TrainingResult.read(tmp_path / "two" / RESULT)
    assert both.steps == alone.steps
    assert both.consumed == alone.consumed
    losses = [[point["loss"] for point in result.history] for result in (alone, both)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
