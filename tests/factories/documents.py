"""A user's own documents and a config over them."""

import json
import random
from pathlib import Path

WORDS = [
    "court",
    "contract",
    "party",
    "claim",
    "duty",
    "notice",
    "breach",
    "damages",
    "lease",
    "tenant",
    "owner",
    "judge",
    "appeal",
    "statute",
    "clause",
    "consent",
    "witness",
    "hearing",
    "order",
    "remedy",
    "term",
    "rent",
    "deposit",
    "repair",
    "sale",
    "buyer",
    "seller",
    "title",
    "deed",
    "trust",
    "agent",
    "bond",
    "lien",
]


VERBS = [
    "requires",
    "permits",
    "forbids",
    "ends",
    "follows",
    "limits",
    "secures",
    "binds",
    "covers",
    "names",
    "moves",
    "grants",
]
FACTUAL_TEXTS = [  # three sentences each, with parties, numbers, dates and negations
    "The controller shall notify the breach to the authority within 72 hours. The processor shall inform the controller"
    " without undue delay after becoming aware of it. The authority may order the controller to erase the records.",
    "Patients in the treatment group took 20 mg of the drug daily for six weeks. The control group did not receive any"
    " medication during the trial. Mortality was higher in the control group after 12 months.",
    "The court granted the motion of the plaintiffs on May 2, 2010. Judge Miller dismissed the claims against the city"
    " because they were filed too late. The defendants appealed the order to the Second Circuit.",
]


def passage(number: int) -> str:
    """A paragraph of ten plain sentences; other numbers give other words."""
    rng = random.Random(number)

    def sentence() -> str:
        a, b, c, d = rng.sample(WORDS, 4)
        return f"The {a} of the {b} {rng.choice(VERBS)} the {c} when a {d} is given to the {rng.choice(WORDS)}."

    return " ".join([f"Case {number} is about the following.", *(sentence() for _ in range(10))])


def write_documents(path: Path, numbers: range, extra: tuple[str, ...] = ()) -> Path:
    """A JSONL file of passages; `extra` texts are put into one document each."""
    texts = [passage(number) for number in numbers]
    for place, text in enumerate(extra):
        texts.append(f"{passage(10_000 + place)} {text} stands here as well.")
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def write_config(folder: Path, documents: Path, **changes: str) -> Path:
    """A config of one domain over the documents, on echo."""
    config = folder / "mine.yaml"
    config.write_text(
        f"""
name: mine
out: {folder / "out"}
domains:
  law:
    seeds: [{{path: "{documents}", licence: CC0-1.0}}]
    tasks: [explain, question-answer]
    per_day: 40
    passages: {{min_chars: 100, max_chars: 3000}}
generator: {{backend: echo, model: echo}}
generate: {{shard_rows: 8}}
screen: {{filters: [{{name: length}}, {{name: refusal}}, {{name: truncation}}]}}
adapt: {{min_rows: 8}}
run: {{stall_timeout_s: 60, in_flight: 1, max_quarantined: 0.5}}
""",
        "utf-8",
    )
    return config
