"""What a task says of itself: words, measures, messages, raw data; its parts of report and card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Words:
    """What things are called in asset names, checks and reports.

    Attributes:
        raw: name of the raw data set.
        request: what a model is asked, in the singular, like the next two.
        response: what it gives back.
        group: the unit of splitting.
    """

    raw: str
    request: str
    response: str
    group: str


@dataclass(frozen=True)
class Metrics:
    """The measures of a task.

    Attributes:
        shown: label by measure, in the order of tables.
        primary: by which models are chosen, compared and sliced.
        exact: 1 where a prediction is entirely right, else 0.
        note: sentences for readers of a report: what the measures mean, and whose they are.
        floors: percentages that a champion must reach, by measure, unless the pipeline says.
        figures: names of all figures that `Task.score` may return.
    """

    shown: Mapping[str, str]
    primary: str
    exact: str
    note: str
    floors: Mapping[str, float]
    figures: Sequence[str]


@dataclass(frozen=True)
class Messages:
    """The fields of requests and responses, as JSON Schemas by name.

    Attributes:
        inputs: of a request; they are those of `Example.inputs`, all of them required, all text.
        outputs: of a response, as `Task.respond` returns them.
        kept_inputs: those that the table of responses keeps.
        sample: a request to show.
    """

    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    kept_inputs: Sequence[str]
    sample: Mapping[str, str]


@dataclass(frozen=True)
class RawData:
    """What raw data looks like.

    Attributes:
        columns: type and description of each field of a record.
        lineage: the fields of a record that each column of a split is made of.
        reasons: why a record may be rejected: a sentence by its name in the table of rejected ones.
        official: SHA-256 by URL of the files that the source `official` names, train first.
        title: of the official data set.
        hub_name: of the same on the Hugging Face hub.
        credit: its licence and authors.
    """

    columns: Mapping[str, tuple[str, str]]
    lineage: Mapping[str, Sequence[str]]
    reasons: Mapping[str, str]
    official: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    hub_name: str = ""
    credit: str = ""


@dataclass(frozen=True)
class CardTexts:
    """What a model card says of the task; tags and metric are names of the Hugging Face hub."""

    pipeline_tag: str
    tags: Sequence[str]
    metric: str
    summary: str
    use: str
    limits: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A table of the report that only this task has."""

    title: str
    note: str
    rows: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class FileFacts:
    """What one data file holds.

    Attributes:
        format: such as `json`; the copy of the file ends in it.
        sha256: of its bytes.
        bytes: its size.
        examples: records, broken ones included.
        counts: what else the task counts, by name; None where the format does not tell.
    """

    format: str
    sha256: str
    bytes: int
    examples: int
    counts: Mapping[str, int | None]
