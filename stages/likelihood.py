"""Scores of a candidate by the generator's own likelihood: how much the row's texts say about each other.

For an answer: `log_p`, log P(answer | prompt); `pmi`, the same less log P(answer), a token; and `gain`, log P(passage |
answer) less log P(passage), a token. For a question: `gain`, of the sentence that it asks about. For a distractor:
`fluency`, log P(distractor | prompt), a token. All in nats. What a passage says is better predicted after a text with
its facts; an invented text does not help.
"""

from collections.abc import Mapping
from dataclasses import replace

from stages.ports import Completion, Request
from stages.record import Candidate

# what a text is asked for with where nothing is known of it
_NEUTRAL = {"en": "Write a text.", "es": "Escribe un texto.", "zh": "请写一段文字。"}


def scored_requests(candidate: Candidate, request: Request) -> dict[str, Request]:
    """The texts whose likelihood is asked for, by name. `request`: the one that the candidate answers."""
    neutral = _user(_NEUTRAL.get(candidate.language, _NEUTRAL["en"]))
    written = replace(request, scored=candidate.answer, json_schema=None)
    if candidate.writes == "distractor":
        return {"written": written}
    evidence = candidate.target or candidate.passage
    alone = replace(written, messages=neutral, begin="")
    asked = {
        "evidence": replace(alone, messages=_user(candidate.reply), scored=evidence),
        "evidence alone": replace(alone, scored=evidence),
    }
    if candidate.writes in ("answer", "extract"):
        asked |= {"written": written, "written alone": alone}
    return asked


def likelihood_scores(completions: Mapping[str, Completion]) -> list[dict[str, str | float]]:
    """The scores that follow from the answers to `scored_requests`. Those whose texts were refused are left out."""
    log_p = {name: row.log_probability for name, row in completions.items() if row.log_probability is not None}
    tokens = {name: max(1, row.output_tokens) for name, row in completions.items()}
    scores: dict[str, float] = {}
    if "written alone" in log_p and "written" in log_p:
        scores["log_p"] = log_p["written"]
        scores["pmi"] = (log_p["written"] - log_p["written alone"]) / tokens["written"]
    elif "written" in log_p and len(completions) == 1:
        scores["fluency"] = log_p["written"] / tokens["written"]
    if "evidence" in log_p and "evidence alone" in log_p:
        scores["gain"] = (log_p["evidence"] - log_p["evidence alone"]) / tokens["evidence"]
    return [{"filter": name, "score": score} for name, score in scores.items()]


def _user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)
