"""Text classification: a label for a text, several, or none that fits."""

from qa_assets.tasks.classification.task import Classification

__all__ = ["TASK", "Classification"]

TASK = Classification
