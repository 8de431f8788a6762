"""Greedy decoding."""

from pathlib import Path

from qa_assets.training import base_model, generation
from qa_assets.training.features import Row


def test_answers_do_not_depend_on_the_batch(babbler: Path, rows: list[Row]) -> None:
    """Sources of different lengths, decoded alone and together, in either order."""
    model, tokenizer = base_model.load(babbler)
    sources = [row["source"] for row in rows[:20]]

    def answers(sources: list[str], batch_size: int) -> list[str]:
        return generation.generate(
            model,
            tokenizer,
            sources,
            max_new_tokens=6,
            batch_size=batch_size,
            precision="fp32",
        )

    alone = answers(sources, 1)
    assert len(set(alone)) > 3  # so that there is something to confuse
    assert answers(sources, 7) == alone
    assert answers(sources[::-1], 20) == alone[::-1]
    assert answers([], 8) == []


def test_greedy_decoding_is_that_of_argmax(babbler: Path, rows: list[Row]) -> None:
    """Without cache and `generate`: one forward call a token."""
    import torch

    model, tokenizer = base_model.load(babbler)
    source = tokenizer(rows[0]["source"], return_tensors="pt")
    decoded = [model.config.decoder_start_token_id]
    with torch.no_grad():
        for _ in range(5):
            logits = model(**source, decoder_input_ids=torch.tensor([decoded])).logits
            decoded.append(int(logits[0, -1].argmax()))
            if decoded[-1] == tokenizer.eos_token_id:
                break
    expected = tokenizer.decode(decoded, skip_special_tokens=True)
    texts = generation.generate(
        model,
        tokenizer,
        [rows[0]["source"]],
        max_new_tokens=5,
        batch_size=1,
        precision="fp32",
    )
    assert texts == [expected]


def test_abstentions_become_empty_answers() -> None:
    texts = ["unavailable", " Unavailable ", "an unavailable town", " 1801 "]
    assert generation.to_answers(texts, "unavailable") == ["", "", "an unavailable town", "1801"]
