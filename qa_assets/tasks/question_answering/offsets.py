"""Where answers stand in their contexts, as Spark columns: offsets that are wrong are put right."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column

ANSWERS = "array<struct<text: string, answer_start: int>>"


def placed(answers: "Column", context: "Column") -> "Column":
    """Answers with the offset at which their text stands in the context, the nearest one; or null.

    Offsets count characters (Unicode code points), as SQuAD's do.
    """
    from pyspark.sql import functions as sf

    def place(answer: "Column") -> "Column":
        text = answer["text"]
        said = answer["answer_start"].cast("int")
        start = sf.greatest(said, sf.lit(0))
        there = (said >= 0) & (sf.substr(context, said + 1, sf.length(text)) == text)
        after = sf.call_function("locate", text, context, sf.coalesce(start, sf.lit(0)) + 1) - 1
        from_end = sf.length(context) - sf.length(text)
        before = (
            from_end
            + 1
            - sf.call_function(
                "locate",
                sf.reverse(text),
                sf.reverse(context),
                sf.greatest(from_end - start, sf.lit(0)) + 1,
            )
        )
        # not found: locate gives 0, so that after is -1 and before is from_end + 1
        found_after, found_before = after >= 0, (before <= from_end) & start.isNotNull()
        nearest = (
            sf.when(
                found_before & found_after,
                sf.when(start - before <= after - start, before).otherwise(after),
            )
            .when(found_before, before)
            .when(found_after, after)
        )
        return sf.struct(
            text.alias("text"),
            sf.when(there, said).otherwise(nearest).cast("int").alias("answer_start"),
        )

    return sf.transform(answers, place)


def repaired(answers: "Column", found: "Column") -> "Column":
    """How many offsets are other than they were said to be."""
    from pyspark.sql import functions as sf

    moved = sf.zip_with(
        answers,
        found,
        lambda said, now: (
            now["answer_start"].isNotNull()
            & ~now["answer_start"].eqNullSafe(said["answer_start"].cast("int"))
        ),
    )
    return sf.coalesce(sf.size(sf.filter(moved, lambda one: one)), sf.lit(0))
