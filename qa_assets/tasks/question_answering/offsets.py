"""Where answers stand in their contexts, as Spark columns: offsets that are wrong are put right."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column

ANSWERS = "array<struct<text: string, answer_start: int>>"


def placed(answers: "Column", context: "Column") -> "Column":
    """Answers with the offset at which their text stands in the context, the nearest one; or null.

    Offsets count characters (Unicode code points), as SQuAD's do.
    """
    from pyspark.sql import functions as F  # noqa: N812

    def place(answer: "Column") -> "Column":
        text = answer["text"]
        said = answer["answer_start"].cast("int")
        start = F.greatest(said, F.lit(0))
        there = (said >= 0) & (F.substr(context, said + 1, F.length(text)) == text)
        after = F.call_function("locate", text, context, F.coalesce(start, F.lit(0)) + 1) - 1
        from_end = F.length(context) - F.length(text)
        before = (
            from_end
            + 1
            - F.call_function(
                "locate",
                F.reverse(text),
                F.reverse(context),
                F.greatest(from_end - start, F.lit(0)) + 1,
            )
        )
        # not found: locate gives 0, so that after is -1 and before is from_end + 1
        found_after, found_before = after >= 0, (before <= from_end) & start.isNotNull()
        nearest = (
            F.when(
                found_before & found_after,
                F.when(start - before <= after - start, before).otherwise(after),
            )
            .when(found_before, before)
            .when(found_after, after)
        )
        return F.struct(
            text.alias("text"),
            F.when(there, said).otherwise(nearest).cast("int").alias("answer_start"),
        )

    return F.transform(answers, place)


def repaired(answers: "Column", found: "Column") -> "Column":
    """How many offsets are other than they were said to be."""
    from pyspark.sql import functions as F  # noqa: N812

    moved = F.zip_with(
        answers,
        found,
        lambda said, now: (
            now["answer_start"].isNotNull()
            & ~now["answer_start"].eqNullSafe(said["answer_start"].cast("int"))
        ),
    )
    return F.coalesce(F.size(F.filter(moved, lambda one: one)), F.lit(0))
