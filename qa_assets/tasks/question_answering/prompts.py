"""The text that a model reads for a question, and what it should say: change the prompt here."""

from qa_assets.core.examples import Budget, Example, Prompt
from qa_assets.tasks.question_answering.windows import windows


def source_text(question: str, context: str) -> str:
    """The model's input for one question; it ends with the context, which windows cut."""
    return f"question: {question} context: {context}"


def prompts(example: Example, no_answer: str, budget: Budget | None) -> list[Prompt]:
    """One prompt, or one for each window of a context that is too long for the budget.

    The target of a whole context is its first reference; that of a window the first answer that it
    holds whole; `no_answer` where there is none.
    """
    question, context = example.inputs["question"], example.inputs["context"]
    if budget is None:
        return [Prompt(source_text(question, context), (*example.references, no_answer)[:1])]
    made = windows(source_text(question, ""), context, budget)
    if len(made) == 1:
        return [Prompt(made[0].source, (*example.references, no_answer)[:1])]
    answers = example.extra.get("answers", ())
    return [
        Prompt(
            window.source,
            (*(answer["text"] for answer in answers if window.holds(answer)), no_answer)[:1],
        )
        for window in made
    ]
