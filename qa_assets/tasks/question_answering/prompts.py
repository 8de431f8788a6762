"""The text a model sees for a question. Training, batch evaluation and streaming share it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column

_QUESTION, _CONTEXT = "question: ", " context: "


def source_text(question: str, context: str) -> str:
    """The model's input for one question."""
    return f"{_QUESTION}{question}{_CONTEXT}{context}"


def head_of(source: str) -> str:
    """What stands before the context in a model's input; all of it where there is no context.

    A question that holds " context: " itself is taken to end there.
    """
    before, marker, _ = source.partition(_CONTEXT)
    return before + marker


def source_column(question: "Column", context: "Column") -> "Column":
    """The same as `source_text` in Spark: null where either is null."""
    from pyspark.sql import functions as F  # noqa: N812

    return F.concat(F.lit(_QUESTION), question, F.lit(_CONTEXT), context)
