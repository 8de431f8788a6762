"""Grouping examples by a value or by length, for implementations of `Task.slices`."""

from collections.abc import Callable, Iterator, Sequence

Slice = tuple[str, str, list[int]]
"""A property of examples, a value of it, and the numbers of the examples that have it."""


def by_value(
    name: str,
    numbers: Sequence[int],
    value_of: Callable[[int], str],
    order: Sequence[str] | None = None,
) -> Iterator[Slice]:
    """Group examples by a value, in `order`, or else the largest group first."""
    groups: dict[str, list[int]] = {}
    for number in numbers:
        groups.setdefault(value_of(number), []).append(number)
    if order is None:
        order = sorted(groups, key=lambda value: (-len(groups[value]), value))
    for value in order:
        if value in groups:
            yield name, value, groups[value]


def by_words(
    name: str, numbers: Sequence[int], words: Sequence[int], edges: Sequence[int] | None = None
) -> Iterator[Slice]:
    """Group examples by their number of words, which `words` has for each example number.

    `edges` are the largest numbers of words of all bins but the last; None: the quartiles.
    """
    edges = _quartiles(words) if edges is None else edges
    labels = []
    for below, edge in zip([0, *edges], edges, strict=False):
        span = f"{edge}" if below + 1 == edge else f"{below + 1} to {edge}"
        labels.append(f"{span} word{'' if edge == 1 else 's'}")
    labels.append(f"over {edges[-1]} words" if edges else "any")

    def label(number: int) -> str:
        return labels[sum(words[number] > edge for edge in edges)]

    yield from by_value(name, numbers, label, labels)


def _quartiles(values: Sequence[int]) -> list[int]:
    """Up to three different values that cut the sorted values into quarters."""
    ordered = sorted(values)
    cuts = {ordered[len(ordered) * part // 4 - 1] for part in (1, 2, 3) if len(ordered) >= 4}
    return sorted(cuts - {ordered[-1]})
