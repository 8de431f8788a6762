"""A pipeline's artefacts with candidates and reports, and an MLflow, for tests of promotion."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.core.examples import Example
from qa_assets.promotion.card import CardWriter
from qa_assets.promotion.gate import GateConfig
from qa_assets.promotion.registry import Registry
from qa_assets.tasks.question_answering.task import QuestionAnswering
from qa_assets.training.config import TrainingConfig

PIPELINE = "squad"


def report(
    champion: float | None = None, half_width: float = 0.8, **candidate: float
) -> dict[str, Any]:
    """What `test_report` writes of a candidate of F1 60.

    Args:
        champion: F1 by which the candidate is better than the champion; None: there is none.
        half_width: of the interval of that difference.
        candidate: other scores of the candidate.
    """
    scores = {
        "untuned": _scores(30.0),
        "candidate": _scores(60.0) | candidate,
        "always abstain": _scores(50.0) | {"HasAns_f1": 0.0, "NoAns_f1": 100.0},
    }
    f1 = {"untuned": 30.0, "candidate": 60.0}
    paired = {"untuned": {"f1_difference": 30.0, "interval": [27.0, 33.0], "p_value": 0.0}}
    if champion is not None:
        scores["champion"] = _scores(60.0 - champion)
        f1["champion"] = 60.0 - champion
        interval = [champion - half_width, champion + half_width]
        paired["champion"] = {"f1_difference": champion, "interval": interval, "p_value": 0.4}
    slices = [
        {"slice": "question word", "value": word, "examples": 300, "groups": 9, "f1": dict(f1)}
        for word in ("what", "who")
    ]
    intervals = {model: {"f1": [of["f1"] - 2, of["f1"] + 2]} for model, of in scores.items()}
    return {
        "primary_metric": "f1",
        "scores": scores,
        "intervals": intervals,
        "paired": paired,
        "slices": slices,
    }


def _scores(f1: float) -> dict[str, float]:
    exact = {"exact": f1 - 2, "HasAns_exact": f1 - 2, "NoAns_exact": f1}
    return exact | {"f1": f1, "total": 1000, "HasAns_f1": f1, "NoAns_f1": f1}


class Bench:
    """A store, a registry, and what the assets before `champion` would have left there.

    Attributes:
        home: where the settings say that everything lies.
        tracking_uri: of MLflow.
        task: that of the pipeline.
        gate: what a champion has to reach.
        card_writer: for the pipeline's champions.
        store: the pipeline's artefacts.
        model: a Hugging Face directory that candidates are copied from.
    """

    def __init__(self, home: Path, mlflow_db: Path, model: Path) -> None:
        shutil.copy(mlflow_db, home / "mlflow.db")
        self.home, self.model = home, model
        self.tracking_uri = f"sqlite:///{home / 'mlflow.db'}"
        self.task, self.gate = QuestionAnswering(), GateConfig()
        self.card_writer = CardWriter(self.task, f"qa_assets_{PIPELINE}", "cc-by-sa-4.0")
        self.store = ArtifactStore(home / "artifacts" / PIPELINE)

    @property
    def registry(self) -> Registry:
        """The registry of the pipeline, connected anew."""
        return Registry(self.tracking_uri, f"qa_assets_{PIPELINE}")

    def candidate(self, name: str, model: Path | None = None) -> Artifact:
        """A `best_model`; candidates of the same name are equal, others are not."""
        with self.store.write("best_model") as draft:
            shutil.copytree(model or self.model, draft.path, dirs_exist_ok=True)
            (draft.path / "name.txt").write_text(name)
            draft.info |= {
                "task": self.task.spec(),
                "config": TrainingConfig().model_dump() | {"max_target_tokens": 8},
                "data": {"base": "google/flan-t5-small", "train_split_examples": 4000},
                "valid": {"f1": 61.0},
            }
        return draft.done()

    def valid(self) -> Artifact:
        """A `valid_split` of some rows, half of them without an answer."""
        facts = {"Rollo": "led the Norse", "Ada": "wrote a program", "The Danube": "flows east"}
        examples = [
            Example(
                id=question,
                group=who,
                inputs={"question": question, "context": f"{who} {done}."},
                references=references,
                extra={"answers": [{"text": text, "answer_start": 0} for text in references]},
            )
            for who, done in facts.items()
            for question, references in ((f"Who {done}?", [who]), (f"Where is {who}?", []))
        ]
        rows = pa.Table.from_pylist([asdict(example) for example in examples])
        with self.store.write("valid_split") as draft:
            (draft.path / "rows").mkdir()
            pq.write_table(rows, draft.path / "rows" / "part.parquet")
        return draft.done()

    def reported(self, figures: Mapping[str, Any] | str) -> Artifact:
        """A `test_report` of the newest candidate beside the champion of now."""
        champion = self.store.find("champion")
        inputs = [self.store.latest("best_model"), *([champion] if champion else [])]
        with self.store.write("test_report", *inputs) as draft:
            text = figures if isinstance(figures, str) else json.dumps(figures)
            (draft.path / "report.json").write_text(text)
            (draft.path / "report.html").write_text("<html></html>")
        return draft.done()
