"""Predictions that need no fine-tuning: the majority, and TF-IDF with logistic regression."""

from collections import Counter
from collections.abc import Sequence

from qa_assets.core.examples import Example, Prediction

MAJORITY, TF_IDF = "majority", "TF-IDF with logistic regression"


def predict(
    examples: Sequence[Example], train: Sequence[Example], separator: str
) -> dict[str, list[Prediction]]:
    """The baselines' predictions, by name.

    Several labels of a text are one class of their own here.

    Args:
        examples: to predict.
        train: to learn from.
        separator: between the labels of a prediction.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classes = [separator.join(example.references) for example in train]
    (most_common, count), *_ = Counter(classes).most_common(1)
    result = {MAJORITY: [Prediction(most_common, count / len(classes))] * len(examples)}
    if len(set(classes)) < 2:
        return result
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=20, max_iter=300),
    )
    model.fit([example.inputs["text"] for example in train], classes)
    probabilities = model.predict_proba([example.inputs["text"] for example in examples])
    result[TF_IDF] = [
        Prediction(str(model.classes_[row.argmax()]), float(row.max())) for row in probabilities
    ]
    return result
