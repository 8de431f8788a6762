"""What question answering says of itself: words, measures, message fields, raw data, model card."""

from qa_assets.core.descriptions import CardTexts, Messages, Metrics, RawData, Words
from qa_assets.data.records import DUPLICATE_ID

WORDS = Words(raw="raw_squad", request="question", response="answer", group="article")

METRICS = Metrics(
    shown={"exact": "EM", "f1": "F1", "HasAns_f1": "HasAns F1", "NoAns_f1": "NoAns F1"},
    primary="f1",
    exact="exact",
    note="Exact match (EM) and F1 as the official evaluation of SQuAD 2.0 has them. HasAns are the "
    "questions that have an answer, NoAns those that have none: there, to abstain is right.",
    floors={"HasAns_f1": 20, "NoAns_f1": 20},
    figures=[
        f"{part}{name}" for part in ("", "HasAns_", "NoAns_") for name in ("exact", "f1", "total")
    ],
)

_LETTER = r"[\p{L}\p{N}]"
MESSAGES = Messages(
    inputs={
        "question": {
            "description": "Holds a letter or a digit.",
            "type": "string",
            "pattern": _LETTER,
            "maxLength": 1000,
        },
        "context": {
            "description": "The text to look in. Holds a letter or a digit.",
            "type": "string",
            "pattern": _LETTER,
            "maxLength": 6000,
        },
    },
    outputs={
        "answer": {
            "description": "null: the context does not hold it.",
            "type": ["string", "null"],
            "minLength": 1,
        },
        "confidence": {
            "description": "Of the answer, or of there being none; null: not known.",
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
        },
    },
    kept_inputs=("question",),
    sample={"question": "Who led the Norse?", "context": "The Norse leader was Rollo."},
)

REASONS = {
    "article_without_paragraphs": "the article is no object, or has no list of paragraphs",
    "paragraph_without_qas": "the paragraph is no object, or has no list of qas",
    "not_an_object": "the record is not one JSON object",
    "id_missing": "the id is missing or blank",
    "question_missing": "there is no question",
    "question_not_text": "the question is a number, true or false, a list or an object",
    "question_blank": "the question is empty or blank",
    "question_too_long": "the question is longer than the task's max_question_chars",
    "context_missing": "there is no context",
    "context_not_text": "the context is a number, true or false, a list or an object",
    "context_blank": "the context is empty or blank",
    "context_too_long": "the context is longer than the task's max_context_chars",
    "control_characters": "id, title, question, context or an answer hold control characters",
    "answers_missing": "the answers are missing, or not a list of {text, answer_start}",
    "answer_blank": "the text of an answer is missing, empty or blank",
    "answer_not_in_context": "the text of an answer occurs nowhere in the context",
    "is_impossible_not_boolean": "is_impossible is neither true nor false",
    "unanswerable_with_answers": "is_impossible is true, and there are answers",
    "answerable_without_answers": "is_impossible is false, and there are no answers",
    DUPLICATE_ID: "a record before it in the file has the same id",
}
RAW = RawData(
    columns={
        "id": ("string", "Unique in its file."),
        "title": ("string", "The article; made from the context where there is none."),
        "context": ("string", "The text in which the answer is looked for."),
        "question": ("string", "What is asked."),
        "answers": ("list of {text, answer_start}", "Texts, and where they begin in the context."),
        "is_impossible": ("bool", "Whether the context lacks the answer; else by answers."),
    },
    lineage={
        "id": ("id",),
        "group": ("title", "context"),
        "inputs": ("question", "context"),
        "references": ("answers",),
        "extra": ("answers", "context"),
        "record": ("id", "title", "context", "question", "answers", "is_impossible"),
    },
    reasons=REASONS,
    official={
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v2.0.json": (
            "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002"
        ),
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/dev-v2.0.json": (
            "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8"
        ),
    },
    title="SQuAD v2.0",
    hub_name="rajpurkar/squad_v2",
    credit="SQuAD v2.0 is CC BY-SA 4.0 (Rajpurkar, Jia and Liang, 2018).",
)

_USE = """```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

name = {name!r}
tokenizer = AutoTokenizer.from_pretrained(name, use_fast=False, legacy=True)
model = AutoModelForSeq2SeqLM.from_pretrained(name)
source = {source!r}
output = model.generate(**tokenizer(source, return_tensors="pt"), max_new_tokens={tokens})
answer = tokenizer.decode(output[0], skip_special_tokens=True)
print(None if answer == {no_answer!r} else answer)
```

Decode greedily: the calibrated abstention is part of `generation_config.json`."""


def card(no_answer: str, source: str) -> CardTexts:
    """The model card's texts; `use` still has the fields `name` and `tokens`."""
    use = _USE.replace("{source!r}", repr(source)).replace("{no_answer!r}", repr(no_answer))
    return CardTexts(
        pipeline_tag="question-answering",
        tags=("text2text-generation", "question-answering", "t5", "squad_v2", "qa_assets"),
        metric="squad_v2",
        summary="Answers a question from a context, or says that the context has no answer.",
        use=use,
        limits=(
            "It writes its answers rather than pointing at them: one may not stand in the context. "
            "It does not know what is true, only what a context says.",
            "Contexts that are too long for one source become overlapping windows; the surest "
            "answer of these is taken.",
        ),
    )
