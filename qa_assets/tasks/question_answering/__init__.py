"""Question answering: an answer from a context, or none. Data in the format of SQuAD."""

from qa_assets.tasks.question_answering.task import QuestionAnswering

__all__ = ["TASK", "QuestionAnswering"]

TASK = QuestionAnswering
