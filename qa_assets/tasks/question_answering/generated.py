"""The quickstart's data set: questions on made-up people and towns, in the schema of SQuAD v2.

The vocabulary is small and every statement is made from a template, so that a tiny model learns to
read it within two minutes on a CPU. No fact can be known without its context: subjects and values
are combined by chance, and no subject of dev occurs in train. A third of the questions ask for a
relation that their context does not state.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.core.files import replacing

_FIRST = [
    "Ada", "Bela", "Cora", "Dario", "Edda", "Falk", "Greta", "Hugo", "Ines", "Joris", "Kaia",
    "Levin", "Mara", "Nilo", "Orla", "Pavel", "Runa", "Silas", "Tessa", "Viggo",
]  # fmt: skip
_LAST = [
    "Alder", "Brandt", "Castell", "Dunmore", "Everly", "Farrow", "Galloway", "Hartwig", "Ibsen",
    "Jansen", "Kestrel", "Lindqvist", "Moreau", "Norcross", "Oakes", "Petrov", "Quill", "Rowan",
    "Sorensen", "Thorne",
]  # fmt: skip
_TOWN_FIRST = [
    "Amber", "Cedar", "Copper", "Falcon", "Heron", "Ivory", "Maple", "Raven", "Silver", "Winter",
]  # fmt: skip
_TOWN_LAST = [
    "Bay", "Bridge", "Cross", "Falls", "Gate", "Harbor", "Hill", "Market", "Point", "Springs",
]  # fmt: skip
_CITIES = [
    "Arvale", "Belmora", "Corvinia", "Dunhaven", "Elstow", "Fenwick", "Glimmerton", "Hollin",
    "Irongate", "Jorvik", "Kelmar", "Lorne", "Marlow", "Norfell", "Ostrand", "Pellam",
    "Quarmby", "Redmere", "Selby", "Tarn",
]  # fmt: skip
_JOBS = [
    "baker", "carpenter", "dentist", "engineer", "farmer", "gardener", "judge", "librarian",
    "miner", "nurse", "painter", "pilot", "sailor", "surgeon", "tailor", "teacher",
]  # fmt: skip
_FOODS = [
    "apples", "bread", "carrots", "cheese", "cherries", "dumplings", "figs", "honey", "lentils",
    "mushrooms", "noodles", "olives", "pancakes", "plums", "rice", "walnuts",
]  # fmt: skip
_HOBBIES = [
    "archery", "chess", "cycling", "dancing", "fencing", "juggling", "knitting", "origami",
    "photography", "pottery", "rowing", "sailing", "singing", "skiing", "swimming", "yoga",
]  # fmt: skip
_PETS = [
    "cat", "dog", "ferret", "goat", "hamster", "hedgehog", "horse", "lizard", "parrot", "pony",
    "rabbit", "tortoise",
]  # fmt: skip
_YEARS = [str(year) for year in range(1801, 1900, 6)]
_RIVERS = [
    "Arn", "Bree", "Calder", "Dove", "Esk", "Finn", "Gade", "Hull", "Isle", "Kenn", "Lyde",
    "Medway", "Nene", "Ouse",
]  # fmt: skip
_GOODS = [
    "bells", "boats", "bricks", "candles", "carpets", "clocks", "glass", "hats", "lace",
    "paper", "pianos", "ropes", "salt", "silk", "tea", "wine",
]  # fmt: skip
_REMARKS = (
    "The records are kept in the archive.",
    "Much has been written about this.",
    "Few visitors know this.",
    "Old letters tell the story.",
)
_PER_PARAGRAPH = 3
_PER_ARTICLE = 9
_REMARK_SHARE = 0.25


@dataclass(frozen=True)
class _Relation:
    """What can be said and asked of a subject: `{s}` is the subject, `{v}` the value."""

    values: list[str]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


_OF_PEOPLE: tuple[_Relation, ...] = (
    _Relation(
        _CITIES,
        ("{s} was born in {v}.", "The birthplace of {s} is {v}."),
        ("Where was {s} born?", "What is the birthplace of {s}?"),
    ),
    _Relation(
        _CITIES,
        ("{s} lives in {v}.", "The home of {s} is in {v}."),
        ("Where does {s} live?", "In which town is the home of {s}?"),
    ),
    _Relation(
        _JOBS,
        ("{s} works as a {v}.", "{s} earns a living as a {v}."),
        ("What does {s} work as?", "What is the job of {s}?"),
    ),
    _Relation(
        _FOODS,
        ("{s} likes to eat {v}.", "The favourite food of {s} is {v}."),
        ("What does {s} like to eat?", "What is the favourite food of {s}?"),
    ),
    _Relation(
        _HOBBIES,
        ("In the evening {s} enjoys {v}.", "The hobby of {s} is {v}."),
        ("What does {s} enjoy in the evening?", "Which hobby does {s} have?"),
    ),
    _Relation(
        _PETS,
        ("{s} owns a {v}.", "The pet of {s} is a {v}."),
        ("Which animal does {s} own?", "What kind of pet does {s} have?"),
    ),
)
_OF_TOWNS: tuple[_Relation, ...] = (
    _Relation(
        _YEARS,
        ("{s} was founded in {v}.", "Settlers founded {s} in {v}."),
        ("When was {s} founded?", "In which year did settlers found {s}?"),
    ),
    _Relation(
        [f"{first} {last}" for first, last in zip(_FIRST, _LAST, strict=True)],
        ("The mayor of {s} is {v}.", "{s} is led by {v}."),
        ("Who is the mayor of {s}?", "By whom is {s} led?"),
    ),
    _Relation(
        _RIVERS,
        ("{s} lies on the river {v}.", "The river {v} runs through {s}."),
        ("On which river does {s} lie?", "Which river runs through {s}?"),
    ),
    _Relation(
        _GOODS,
        ("{s} is known for its {v}.", "The workshops of {s} make {v}."),
        ("What is {s} known for?", "What do the workshops of {s} make?"),
    ),
)


def generate(out: Path, examples: int = 4000, seed: int = 13) -> list[Path]:
    """Write `train-v2.0.json` and `dev-v2.0.json` into `out`; returns both.

    An article is about one subject of its own, in paragraphs of two or three statements with three
    questions each, of which the third cannot be answered. A seventh of the articles are dev.

    `out` is made if it is not there. The same seed writes the same bytes.

    Raises:
        ValueError: more questions than there are subjects for, or too few for two files.
    """
    subjects = [(f"{a} {b}", _OF_PEOPLE) for a in _FIRST for b in _LAST]
    subjects += [(f"{a} {b}", _OF_TOWNS) for a in _TOWN_FIRST for b in _TOWN_LAST]
    most = len(subjects) * _PER_ARTICLE
    if not 2 * _PER_ARTICLE <= examples <= most:
        raise ValueError(f"questions: {2 * _PER_ARTICLE} to {most}, not {examples}")
    rng = random.Random(seed)  # noqa: S311
    rng.shuffle(subjects)
    articles = [
        _article(rng, f"{number:04d}", *subjects[number], min(examples - start, _PER_ARTICLE))
        for number, start in enumerate(range(0, examples, _PER_ARTICLE))
    ]
    dev = max(1, len(articles) // 7)
    out.mkdir(parents=True, exist_ok=True)
    train_path, dev_path = out / "train-v2.0.json", out / "dev-v2.0.json"
    for path, part in ((dev_path, articles[:dev]), (train_path, articles[dev:])):
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps({"version": "v2.0", "data": part}), encoding="utf-8")
    return [train_path, dev_path]


def _article(
    rng: random.Random, key: str, subject: str, relations: tuple[_Relation, ...], questions: int
) -> dict[str, Any]:
    """One subject with one value for each relation, of which a paragraph states two or three."""
    values = [rng.choice(relation.values) for relation in relations]
    paragraphs = []
    for first in range(0, questions, _PER_PARAGRAPH):
        order = rng.sample(range(len(relations)), len(relations))
        stated = order[: rng.choice((2, 3))]
        statements = {
            i: rng.choice(relations[i].statements).format(s=subject, v=values[i]) for i in stated
        }
        sentences = list(statements.values())
        if rng.random() < _REMARK_SHARE:
            sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(_REMARKS))
        context = " ".join(sentences)
        qas = []
        asked = [*rng.sample(stated, 2), order[len(stated)]]
        for number, i in enumerate(asked[: questions - first], first):
            qa: dict[str, Any] = {
                "id": f"generated-{key}-{number:02d}",
                "question": rng.choice(relations[i].questions).format(s=subject),
                "is_impossible": i not in stated,
                "answers": [],
            }
            known = i if i in stated else stated[0]
            start = context.index(statements[known]) + statements[known].index(values[known])
            answers = "answers" if i in stated else "plausible_answers"
            qa[answers] = [{"text": values[known], "answer_start": start}]
            qas.append(qa)
        rng.shuffle(qas)
        paragraphs.append({"context": context, "qas": qas})
    return {"title": subject.replace(" ", "_"), "paragraphs": paragraphs}
