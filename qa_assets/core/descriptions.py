"""Declarations of a task: words, measures, message fields, raw data, texts of report and card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Words:
    """Nouns for asset names, topics, checks and reports; all but `raw` in the singular.

    Attributes:
        raw: name of the raw data set.
        request: what a model is asked, such as `question`.
        response: what it returns, such as `answer`.
        group: the unit of splitting, such as `article`.
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
        primary: the measure that models are selected, compared and sliced by.
        exact: the measure that is 1 where a prediction is entirely right, else 0.
        note: sentences for readers of a report: what the measures mean, and who defined them.
        floors: percentages that a champion must reach, by measure; a pipeline may set others.
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
        inputs: of a request, the same as `Example.inputs`: all required, all text.
        outputs: of a response, as `Task.respond` returns them.
        kept_inputs: inputs that the table of responses keeps.
        sample: inputs of a request to show.
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
        lineage: the fields of a record that each column of a split comes from.
        reasons: why a record may be rejected: a sentence by the reason's name.
        official: SHA-256 by URL of the files of the source `official`, train first.
        title: of the official data set.
        hub_name: its name on the Hugging Face hub.
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
    """Texts of a model card; tags and metric are names of the Hugging Face hub."""

    pipeline_tag: str
    tags: Sequence[str]
    metric: str
    summary: str
    use: str
    limits: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A table of the report."""

    title: str
    note: str
    rows: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class FileFacts:
    """What a data file holds.

    Attributes:
        format: the suffix of its copy, such as `json`.
        sha256: of its bytes.
        bytes: its size.
        examples: records, bad ones included.
        counts: what else the task counts, by name; None where the format does not tell.
    """

    format: str
    sha256: str
    bytes: int
    examples: int
    counts: Mapping[str, int | None]
