"""The text that a model reads for a question, and what it should say: change the prompt here."""

from qa_assets.core.examples import Budget, Example, Prompt
from qa_assets.tasks.question_answering.windows import Window, windows


def source_text(question: str, context: str) -> str:
    """The model's input for one question; it ends with the context, which windows cut."""
    return f"question: {question} context: {context}"


def prompts(example: Example, no_answer: str, budget: Budget | None) -> list[Prompt]:
    """One prompt, or one for each window of a context that is too long for the budget.

    The target of a whole context is its first reference; that of a window the first answer that it
    holds whole; `no_answer` where there is none.
    """
    context = example.inputs["context"]
    head = source_text(example.inputs["question"], "")
    parts = windows(head, context, budget) if budget else [Window(head + context, 0, len(context))]
    if len(parts) == 1:
        return [Prompt(parts[0].source, (*example.references, no_answer)[:1])]
    answers = example.extra.get("answers", ())
    return [
        Prompt(part.source, (*(a["text"] for a in answers if part.holds(a)), no_answer)[:1])
        for part in parts
    ]
