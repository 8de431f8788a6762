"""Weights prepared for int8: SmoothQuant, then GPTQ.

The prepared model is a Hugging Face directory in full precision, with nearly the same outputs as
the original. Its weights lie on the int8 grid of an engine that quantises by output channel.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from qa_assets.deployment.quantization import gptq, smoothquant
from qa_assets.deployment.quantization.activations import activation_statistics
from qa_assets.models import base_model


def prepare_weights(
    model_dir: Path,
    out: Path,
    alphas: Sequence[float],
    sources: Sequence[str],
    *,
    max_new_tokens: int,
) -> dict[float, Path]:
    """Write a Hugging Face directory below `out` for each alpha of `smoothquant.smooth`.

    `sources` are those of prompts to calibrate with. Returns the directories by alpha.
    """
    model, tokenizer = base_model.load(model_dir)
    statistics = activation_statistics(model, tokenizer, sources, max_new_tokens=max_new_tokens)
    directories = {}
    for alpha in alphas:
        model, _ = base_model.load(model_dir)
        scales = smoothquant.smooth(model, statistics.maxima, alpha)
        # X'X of the smoothed model, without decoding again
        xtx = {
            name: matrix / scales[name].outer(scales[name]) if name in scales else matrix
            for name, matrix in statistics.xtx.items()
        }
        gptq.round_weights(model, xtx)
        directories[alpha] = out / f"alpha-{alpha}"
        ignore = shutil.ignore_patterns("*.safetensors*")
        shutil.copytree(model_dir, directories[alpha], ignore=ignore)
        model.save_pretrained(directories[alpha])
    return directories
