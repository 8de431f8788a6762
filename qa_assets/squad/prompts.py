"""The text a model sees for a question. Training, batch evaluation and streaming share it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column


def source_text(question: str, context: str) -> str:
    """The model's input for one question."""
    return f"question: {question} context: {context}"


def source_column(question: "Column", context: "Column") -> "Column":
    """The same in Spark: null where either is null."""
    from pyspark.sql import functions as F  # noqa: N812

    return F.concat(F.lit("question: "), question, F.lit(" context: "), context)
