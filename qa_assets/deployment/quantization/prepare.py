"""Weights made ready for eight bits: smoothed, then rounded.

What comes of it computes nearly what the model did, in full precision too; an engine that quantises
weights by output channel adds no error of its own to them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from qa_assets.deployment.quantization import gptq, smoothquant
from qa_assets.deployment.quantization.activations import linear_inputs
from qa_assets.models import base_model


def make_ready(
    model_dir: Path,
    out: Path,
    alphas: Sequence[float],
    sources: Sequence[str],
    *,
    max_new_tokens: int,
) -> dict[float, Path]:
    """Write a Hugging Face directory below `out` for each strength of smoothing.

    Args:
        model_dir: a Hugging Face directory.
        out: gets a directory for each alpha.
        alphas: see `smoothing.smooth`.
        sources: to see what goes into linear layers.
        max_new_tokens: longest answer, in tokens.

    Returns:
        The directories by alpha.
    """
    model, tokenizer = base_model.load(model_dir)
    inputs = linear_inputs(model, tokenizer, sources, max_new_tokens=max_new_tokens)
    made = {}
    for alpha in alphas:
        model, _ = base_model.load(model_dir)
        scales = smoothquant.smooth(model, inputs.maxima, alpha)
        moments = {
            name: moment / scales[name].outer(scales[name]) if name in scales else moment
            for name, moment in inputs.moments.items()
        }
        gptq.round_weights(model, moments)
        made[alpha] = out / f"alpha-{alpha}"
        shutil.copytree(model_dir, made[alpha], ignore=shutil.ignore_patterns("*.safetensors*"))
        model.save_pretrained(made[alpha])
    return made
