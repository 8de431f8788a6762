"""The model card: a README.md in the format of the Hugging Face hub, written from the metadata.

Nothing of this machine goes into it: the base model and the data are named without their paths.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MEASURES = {"exact": "EM", "f1": "F1", "HasAns_f1": "HasAns F1", "NoAns_f1": "NoAns F1"}
_LEAST_QUESTIONS = 50  # of a slice that is shown
_SHOWN_SLICES = 10
_OFFICIAL, _GENERATED = "official", "generated"


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Attributes:
        name: of the model, as people call it; its repository on the hub if there is one.
        license: of the model, by the hub's name.
        config: the hyperparameters of the training.
        data: what it was made of: `base`, data versions, and counts where they are known.
        valid: scores in percent on valid.
        report: the figures of `test_report`, see `gate`.
        calibration: what `calibration.json` holds.
        data_version: of the model.
        example: a source as the model reads it, such as a question with its context.
    """

    name: str
    license: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    valid: Mapping[str, float]
    report: Mapping[str, Any]
    calibration: Mapping[str, Any]
    data_version: str
    example: str

    @property
    def source(self) -> str:
        """Where the questions come from."""
        return str(self.data.get("raw_squad_source", "unknown"))

    @property
    def data_name(self) -> str:
        """The data set, in words."""
        if self.source == _OFFICIAL:
            return "SQuAD v2.0"
        return "generated questions" if self.source == _GENERATED else Path(self.source).name

    @property
    def base(self) -> str:
        """The model that training started from, without a path of this machine."""
        base = str(self.data.get("base", "unknown"))
        return base if _on_hub(base) else Path(base).name


def write(path: Path, facts: CardFacts) -> None:
    """Write the card to `path`."""
    from huggingface_hub import ModelCard

    header = _header(facts).to_yaml(line_break="\n")
    body = "\n\n".join(
        [
            f"# {facts.name}",
            _summary(facts),
            "## Use\n\n" + _use(facts),
            "## Scores\n\n" + _scores(facts),
            "## Training\n\n" + _training(facts),
            "## Abstention\n\n" + _abstention(facts),
            "## Limits\n\n" + _limits(facts),
            "## Licence\n\n" + _licence(facts),
        ]
    )
    ModelCard(f"---\n{header}\n---\n\n{body}\n").save(path)


def _on_hub(base: str) -> bool:
    return base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).exists()


def _header(facts: CardFacts) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    scores = facts.report["scores"]["candidate"]
    english = facts.source in (_OFFICIAL, _GENERATED)
    return ModelCardData(
        model_name=facts.name,
        language="en" if english else None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=["text2text-generation", "question-answering", "t5", "squad_v2", "qa_assets"],
        datasets=["rajpurkar/squad_v2"] if facts.source == _OFFICIAL else None,
        base_model=facts.base if _on_hub(facts.base) else None,
        metrics=["squad_v2"],
        eval_results=[
            EvalResult(
                task_type="question-answering",
                dataset_type="squad_v2" if facts.source == _OFFICIAL else "squad_v2_format",
                dataset_name=facts.data_name,
                dataset_split="validation" if facts.source == _OFFICIAL else "test",
                metric_type=measure.lower(),
                metric_name=name,
                metric_value=round(scores[measure], 2),
            )
            for measure, name in _MEASURES.items()
            if measure in scores
        ],
    )


def _summary(facts: CardFacts) -> str:
    return (
        f"Answers a question from a context, or says that the context has no answer. "
        f"Fine-tuned from {facts.base} on {facts.data_name} by qa_assets; "
        f"data version `{facts.data_version[:12]}`."
    )


def _use(facts: CardFacts) -> str:
    null_text, tokens = facts.calibration["null_text"], facts.config["max_target_tokens"]
    return f"""```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

name = {facts.name!r}
tokenizer = AutoTokenizer.from_pretrained(name, use_fast=False, legacy=True)
model = AutoModelForSeq2SeqLM.from_pretrained(name)
source = {facts.example!r}
output = model.generate(**tokenizer(source, return_tensors="pt"), max_new_tokens={tokens})
answer = tokenizer.decode(output[0], skip_special_tokens=True)
print(None if answer == {null_text!r} else answer)
```

Decode greedily: the calibrated abstention is part of `generation_config.json`."""


def _scores(facts: CardFacts) -> str:
    scores, intervals = facts.report["scores"], facts.report.get("intervals", {})
    total = scores["candidate"].get("total", "?")
    names = {"candidate": "this model"}
    rows = [
        [names.get(model, model)]
        + [_figure(values.get(key), intervals.get(model, {}).get(key)) for key in _MEASURES]
        for model, values in scores.items()
    ]
    told = (
        f"On the test split of {total} questions, in percent, by the official metric of SQuAD "
        "v2.0; 95 % intervals by bootstrap over articles."
    )
    return f"{told}\n\n{_table(['model', *_MEASURES.values()], rows)}"


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return ""
    text = f"{value:.2f}"
    return f"{text} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else text


def _training(facts: CardFacts) -> str:
    counts = [
        [
            name.removesuffix("_split"),
            facts.data[f"{name}_questions"],
            facts.data.get(name, "")[:12],
        ]
        for name in ("train_split", "valid_split")
        if f"{name}_questions" in facts.data
    ]
    parts = []
    if counts:
        parts.append(_table(["split", "questions", "data version"], counts))
    parts.append(_table(["hyperparameter", "value"], [[k, v] for k, v in facts.config.items()]))
    valid = ", ".join(
        f"{name} {facts.valid[key]:.2f}" for key, name in _MEASURES.items() if key in facts.valid
    )
    parts.append(f"On valid, which it was chosen and calibrated by: {valid}.")
    return "\n\n".join(parts)


def _abstention(facts: CardFacts) -> str:
    found = facts.calibration
    told = (
        f"The model says `{found['null_text']}` where there is no answer. The bias of that word's "
        f"logit, {found['bias']:+.3f}, was chosen on {found['rows']} questions of valid"
    )
    held_out = found.get("held_out")
    gain = (
        f"; on articles held out in turn it is worth {held_out['gain']:+.2f} F1" if held_out else ""
    )
    return (
        f"{told}{gain}. With m the word's logit less the best other one at the first place, "
        f"sigmoid((m {found['bias']:+.3f}) / {found['temperature']:.3f}) is the probability that "
        "there is no answer; above one half the model abstains."
    )


def _limits(facts: CardFacts) -> str:
    limits = [
        f"Trained on {facts.data_name}: no other subjects, languages or styles were measured.",
        "It writes its answers rather than pointing at them: one may not stand in the context. "
        "It does not know what is true, only what a context says.",
        f"Contexts longer than {facts.config['max_source_tokens']} tokens were cut in training.",
    ]
    if facts.source == _GENERATED:
        limits.insert(0, "**It knows some 300 words of made-up texts and is of no other use.**")
    worst = _worst_slices(facts.report.get("slices", []))
    if worst:
        told = _table(["slice", "questions", "F1"], worst)
        return "\n".join(f"- {limit}" for limit in limits) + f"\n\nWeakest on:\n\n{told}"
    return "\n".join(f"- {limit}" for limit in limits)


def _worst_slices(slices: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    rows = [
        row for row in slices if row["questions"] >= _LEAST_QUESTIONS and row["slice"] != "article"
    ]
    rows.sort(key=lambda row: float(row["f1"]["candidate"]))
    return [
        [f"{row['slice']}: {row['value']}", row["questions"], f"{row['f1']['candidate']:.2f}"]
        for row in rows[:_SHOWN_SLICES]
    ]


def _licence(facts: CardFacts) -> str:
    told = f"`{facts.license}`."
    if facts.source == _OFFICIAL:
        told += " SQuAD v2.0 is CC BY-SA 4.0 (Rajpurkar, Jia and Liang, 2018)."
    if facts.base.startswith("google/flan-t5"):
        told += " Flan-T5 is Apache 2.0."
    return told


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells
    )
