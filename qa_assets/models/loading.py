"""The models of a task, by its kind.

torch and transformers are imported when one is asked for, so that this module can be imported
anywhere.
"""

from collections.abc import Sequence
from pathlib import Path

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import Kind, Task
from qa_assets.models.task_model import PredictOptions, TaskModel


def model_type(kind: Kind) -> type[TaskModel]:
    """The class of the models of that kind."""
    if kind == "encoder":
        from qa_assets.models.encoder import Encoder

        return Encoder
    from qa_assets.models.seq2seq import Seq2Seq

    return Seq2Seq


def load(model_dir: str | Path, task: Task) -> TaskModel:
    """As `TaskModel.load`."""
    return model_type(task.kind).load(model_dir, task)


def predict(
    model_dir: str | Path, task: Task, examples: Sequence[Example], options: PredictOptions
) -> list[Prediction]:
    """Load a model and predict every example."""
    return load(model_dir, task).predict(examples, options)
