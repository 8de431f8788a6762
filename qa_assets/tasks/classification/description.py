"""What classification says of itself: words, measures, message fields, raw data, model card."""

from qa_assets.core.descriptions import CardTexts, Messages, Metrics, RawData, Words
from qa_assets.data.records import DUPLICATE_ID

WORDS = Words(raw="raw_texts", request="text", response="label", group="text")

METRICS = Metrics(
    shown={
        "accuracy": "accuracy",
        "in_scope_accuracy": "in-scope accuracy",
        "out_of_scope_recall": "out-of-scope recall",
        "macro_f1": "macro-F1",
        "calibration_error": "calibration error",
    },
    primary="accuracy",
    exact="accuracy",
    note="Accuracy is the share of texts whose label is right, to abstain where no label fits "
    "included; in scope are the texts that a label fits. Macro-F1 is the mean of the labels' F1, "
    "and calibration error the expected one over ten bins of confidence.",
    floors={"in_scope_accuracy": 50, "out_of_scope_recall": 20},
    figures=[
        "accuracy",
        "in_scope_accuracy",
        "out_of_scope_recall",
        "macro_f1",
        "calibration_error",
        "total",
    ],
)

MESSAGES = Messages(
    inputs={
        "text": {
            "description": "The text to classify. Holds a letter or a digit.",
            "type": "string",
            "pattern": r"[\p{L}\p{N}]",
            "maxLength": 6000,
        },
    },
    outputs={
        "label": {
            "description": "null: none fits.",
            "type": ["string", "null"],
            "minLength": 1,
        },
        "confidence": {
            "description": "Of the label, or of none fitting; null: not known.",
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
        },
        "probabilities": {
            "description": "By label; null where the model gives none.",
            "type": ["object", "null"],
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
        },
    },
    kept_inputs=("text",),
    sample={"text": "set an alarm for seven"},
)

REASONS = {
    "malformed": "the record is no pair of label and text, no JSON object, or a row of CSV with "
    "more or fewer cells than the first",
    "text_missing": "there is no text",
    "text_not_text": "the text is a number, true or false, a list or an object",
    "text_blank": "the text is empty or blank",
    "text_too_long": "the text is longer than the task's max_chars",
    "control_characters": "the text or a label holds control characters",
    "label_missing": "there is no label, or it is an object",
    "label_with_separator": "a label holds the task's separator",
    "several_labels": "there are several labels, and the task's multi_label is false",
    "in_another_split": "the same text stands in a split that models are measured on",
    "label_not_in_train": "no good record of train has a label of this one",
    DUPLICATE_ID: "a record before it in the file has the same id",
}
RAW = RawData(
    columns={
        "id": ("string", "Unique in its file; made from the line where there is none."),
        "text": ("string", "What is classified."),
        "label": ("string", "Its label, or several."),
    },
    lineage={
        "id": ("id",),
        "group": ("text",),
        "inputs": ("text",),
        "references": ("label",),
        "record": ("id", "text", "label"),
    },
    reasons=REASONS,
    official={
        "https://raw.githubusercontent.com/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/"
        "data/data_full.json": ("36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"),
    },
    title="CLINC150",
    hub_name="clinc/clinc_oos",
    credit="CLINC150 is CC BY 3.0 (Larson et al., 2019).",
)

_ENCODER = """```python
from transformers import pipeline

classify = pipeline("text-classification", model={name!r})
print(classify({text!r}))
```"""
_SEQ2SEQ = """```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name!r})
model = AutoModelForSeq2SeqLM.from_pretrained({name!r})
output = model.generate(**tokenizer({text!r}, return_tensors="pt"), max_new_tokens={tokens})
print(tokenizer.decode(output[0], skip_special_tokens=True))
```"""


def card(kind: str, source: str, out_of_scope: str | None) -> CardTexts:
    """The model card's texts; `use` still has the fields `name` and `tokens`."""
    use = (_ENCODER if kind == "encoder" else _SEQ2SEQ).replace("{text!r}", repr(source))
    abstains = (
        (f"The label `{out_of_scope}` stands for texts that no label fits.",)
        if out_of_scope
        else ()
    )
    return CardTexts(
        pipeline_tag="text-classification",
        tags=("text-classification", "intent-detection", "qa_assets"),
        metric="accuracy",
        summary="Gives a text its label, or says that none fits.",
        use=use,
        limits=(
            "It knows the labels that it was trained on and no others.",
            *abstains,
        ),
    )
