"""A tiny model for all tests here, and what transformers predicts with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_assets.core.examples import Example, Prediction
from qa_assets.deployment.engines.onnx_export import export
from qa_assets.deployment.engines.spark_nlp import import_onnx
from qa_assets.models import tiny_t5
from qa_assets.models.base_model import save
from qa_assets.models.ctranslate2 import convert
from qa_assets.models.logit_bias import token_bias
from qa_assets.tasks.question_answering import TASK

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

QA = TASK()
MAX_NEW_TOKENS = 8
UNUSED_IDS = 3
"""Rows of the vocabulary without a piece, as Flan-T5 has 128."""

_FACTS = [
    ("Ada Lovelace", "wrote the first program in 1843"),
    ("The Danube", "flows through Vienna, Budapest and Belgrade"),
    ("Marie Curie", "won the Nobel Prize twice (physics, chemistry)"),
    ("The heron", "eats fish, frogs & insects; it weighs 1.5 kg"),
    ("Zoë Müller", "naïvely paid €3.20 for a café crème"),
    ("İstanbul", "lies on both sides of the Bosphorus"),
]
_QUESTIONS = [
    *((f"Who {done}?", f"{who} {done}.") for who, done in _FACTS),
    *((f"What of {who}?", f"{done}.") for who, done in _FACTS),
    *(("Why?", f"{a} {b}. {c} {d}.") for (a, d), (c, b) in pairwise(_FACTS)),
    # looks like special tokens
    ("what is </s>?", "<pad> <unk> <extra_id_0> </s> is plain text"),
    # space of all sorts
    ("lines?", "one\ntwo\r\n\r\nthree\tfour  five\u00a0six\u3000seven"),
    ("blank context?", " "),
    # more than 512 tokens
    ("long?", " ".join(f"{a} {b} again." for a, b in _FACTS * 12)),
]
EXAMPLES = [
    Example(str(number), f"group {number % 7}", {"question": question, "context": context})
    for number, (question, context) in enumerate(_QUESTIONS)
]
_KNOWN = [
    *(QA.prompts(example)[0].source for example in EXAMPLES),
    "  question: around?   context: spaces on both sides \n",
    "context",
]
STRANGE = "question: 誰? context: 日本語 テキスト 😀 and ﬁve ½ ①"
"""Pieces that the vocabulary does not know, and characters that NFKC changes."""
SOURCES = [*_KNOWN, STRANGE]
"""Those of EXAMPLES first."""
BLANK = ["", " ", "\n\t\u00a0\u3000"]


@dataclass(frozen=True)
class Reference:
    """What transformers says to SOURCES: with the biases of the generation config, and without."""

    texts: list[str]
    tokens: list[list[int]]
    unbiased: list[str]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 with random weights: each source gets other words, with no ties between them.

    Biases on the end, the unknown and the no-answer token make texts of different lengths that
    hold all three. The rows without a piece have the highest logits.
    """
    import torch
    from transformers import T5ForConditionalGeneration, T5Tokenizer

    out = tmp_path_factory.mktemp("model") / "tiny"
    tiny_t5.create(_KNOWN, out, words=["unavailable"], seed=1)
    tokenizer = T5Tokenizer.from_pretrained(out)
    config = T5ForConditionalGeneration.config_class.from_pretrained(out)
    config.vocab_size = len(tokenizer) + UNUSED_IDS
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight[len(tokenizer) :] = 3 * model.lm_head.weight[10 : 10 + UNUSED_IDS]
    abstention = tokenizer("unavailable").input_ids[0]
    model.generation_config.sequence_bias = [[[1], 16.0], [[2], 16.0], [[abstention], 22.0]]
    return save(model, tokenizer, out)


@pytest.fixture(scope="session")
def reference(model_dir: Path) -> Reference:
    """What transformers says to SOURCES, one by one."""
    from transformers import AutoModelForSeq2SeqLM, T5Tokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(model_dir)
    tokenizer = T5Tokenizer.from_pretrained(model_dir, split_special_tokens=True)
    unused = list(range(len(tokenizer), model.config.vocab_size))

    def generate(source: str, **options: object) -> list[int]:
        inputs = tokenizer(source, return_tensors="pt", verbose=False)
        tokens: list[int] = model.generate(
            **inputs, max_new_tokens=MAX_NEW_TOKENS, suppress_tokens=unused, **options
        )[0].tolist()
        return tokens

    def text(tokens: list[int]) -> str:
        decoded: str = tokenizer.decode(tokens, skip_special_tokens=True)
        return decoded.strip()

    tokens = [generate(source) for source in SOURCES]
    model.generation_config.sequence_bias = None
    unbiased = [text(generate(source)) for source in SOURCES]
    return Reference([text(row) for row in tokens], tokens, unbiased)


def transformers_outputs(
    model: Any, tokenizer: Any, sources: Sequence[str], max_new_tokens: int = MAX_NEW_TOKENS
) -> list[Prediction]:
    """What transformers says to each source, and how probable that is."""
    outputs = []
    for source in sources:
        result = model.generate(
            **tokenizer(source, return_tensors="pt", verbose=False),
            max_new_tokens=max_new_tokens,
            output_scores=True,
            return_dict_in_generate=True,
        )
        scores = model.compute_transition_scores(
            result.sequences, result.scores, normalize_logits=True
        )
        text = tokenizer.decode(
            result.sequences[0], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        outputs.append(Prediction(text.strip(), float(scores.sum().exp())))
    return outputs


@pytest.fixture(scope="session")
def onnx_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, exported."""
    out = tmp_path_factory.mktemp("onnx") / "exported"
    export(model_dir, out, max_new_tokens=MAX_NEW_TOKENS)
    return out


@pytest.fixture(scope="session")
def ctranslate2_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, converted in full precision."""
    out = tmp_path_factory.mktemp("ctranslate2") / "converted"
    convert(model_dir, out, token_bias=token_bias(model_dir), quantization="float32")
    return out


@pytest.fixture(scope="session")
def pipeline_dir(
    spark: "SparkSession", onnx_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The pipeline, imported once: a session can import no other."""
    out = tmp_path_factory.mktemp("pipeline") / "saved"
    import_onnx(spark, onnx_dir, out, max_new_tokens=MAX_NEW_TOKENS)
    return out
