"""Where answers stand in their contexts, as Spark columns: offsets that are wrong are put right."""

from pyspark.sql import Column
from pyspark.sql import functions as sf

ANSWERS = "array<struct<text: string, answer_start: int>>"


def placed(answers: Column, context: Column) -> Column:
    """Answers with the offset at which their text stands in the context, the nearest one; or null.

    Offsets count characters (Unicode code points), as SQuAD's do.
    """

    def place(answer: Column) -> Column:
        text, stated = answer["text"], answer["answer_start"].cast("int")
        is_there = (stated >= 0) & (sf.substr(context, stated + 1, sf.length(text)) == text)
        start = sf.greatest(stated, sf.lit(0))  # 0 where none is stated
        last = sf.length(context) - sf.length(text)
        after = sf.position(text, context, start + 1) - 1
        from_end = sf.greatest(last - start, sf.lit(0))
        before = last + 1 - sf.position(sf.reverse(text), sf.reverse(context), from_end + 1)
        # not found: position gives 0, so that after is -1 and before is last + 1
        is_after, is_before = after >= 0, before <= last
        is_nearer = ~is_after | (start - before <= after - start)
        nearest = sf.when(is_before & is_nearer, before).when(is_after, after)
        offset = sf.when(is_there, stated).otherwise(nearest).cast("int")
        return sf.struct(text.alias("text"), offset.alias("answer_start"))

    return sf.transform(answers, place)


def repaired(answers: Column, placed_answers: Column) -> Column:
    """How many offsets are other than stated."""

    def is_moved(answer: Column, placed_answer: Column) -> Column:
        start = placed_answer["answer_start"]
        return start.isNotNull() & ~start.eqNullSafe(answer["answer_start"].cast("int"))

    moved = sf.zip_with(answers, placed_answers, is_moved)
    return sf.coalesce(sf.size(sf.filter(moved, lambda changed: changed)), sf.lit(0))
