"""Scores of a candidate by the generator's own likelihood: how much the row's texts say about each other.

For an answer: `log_p`, log P(answer | prompt); `pmi`, the same less log P(answer), per token; and `gain`,
log P(passage | answer) less log P(passage), per token. For a question: `gain`, of the sentence that it asks about; for
a definition the same, of the meaning after the question what the term means. For a distractor: `plausibility`,
log P(distractor) less log P(the real sentence), per token. All in nats. What a passage says is better predicted after a
text with its facts; an invented text does not help.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stages.ports import Completion, Generator, Request
from stages.record import Candidate

# what a text is asked for with where nothing is known of it
_NEUTRAL = {"en": "Write a text.", "es": "Escribe un texto.", "zh": "请写一段文字。"}


def with_scores(generator: Generator, answered: Sequence[tuple[Candidate, Request, Completion]]) -> Iterator[Candidate]:
    """The candidates with their scores. All texts that have to be scored go to the generator in one call."""
    asked = [scored_requests(candidate, request) for candidate, request, _ in answered]
    completions = iter(generator.generate([request for by_name in asked for request in by_name.values()]))
    for (candidate, _, completion), by_name in zip(answered, asked, strict=True):
        scored = {name: next(completions) for name in by_name}
        yield replace(candidate, scores=likelihood_scores(candidate, completion, scored))


def scored_requests(candidate: Candidate, request: Request) -> dict[str, Request]:
    """The texts whose likelihood is asked for, by name. `request`: the one that the candidate answers."""
    evidence = candidate.target or candidate.passage
    scored = replace(request, begin="", json_schema=None, likelihood=False, scored=evidence)
    if candidate.writes == "distractor":  # after the task's own prompt, which names the subject
        return {"evidence": scored, "written alone": replace(scored, scored=candidate.reply)}
    neutral = _user(_NEUTRAL.get(candidate.language, _NEUTRAL["en"]))
    alone = replace(scored, messages=neutral)
    if candidate.writes == "nothing":  # after the task's own prompt, which asks for it
        return {"evidence": scored, "evidence alone": alone}
    asked = {"evidence": replace(scored, messages=_user(candidate.reply)), "evidence alone": alone}
    if candidate.writes != "question":
        asked["written alone"] = replace(scored, messages=neutral, scored=candidate.answer)
    return asked


def likelihood_scores(
    candidate: Candidate, completion: Completion, scored: Mapping[str, Completion]
) -> list[dict[str, str | float]]:
    """The scores that follow from a candidate's completion and the answers to its `scored_requests`.

    Those whose texts the generator refused are left out.
    """
    log_p = {name: row.log_probability for name, row in scored.items() if row.log_probability is not None}
    tokens = {name: max(1, row.output_tokens) for name, row in scored.items()}
    scores: dict[str, float] = {}
    written, written_tokens = completion.log_probability, max(1, completion.output_tokens)
    if candidate.writes == "distractor":
        if len(log_p) == 2:
            difference = log_p["written alone"] - log_p["evidence"]
            scores["plausibility"] = difference / tokens["evidence"]
        return [{"filter": name, "score": score} for name, score in scores.items()]
    if written is not None and "written alone" in log_p:
        scores["log_p"] = written
        scores["pmi"] = written / written_tokens - log_p["written alone"] / tokens["written alone"]
    if "evidence" in log_p and "evidence alone" in log_p:
        scores["gain"] = (log_p["evidence"] - log_p["evidence alone"]) / tokens["evidence"]
    return [{"filter": name, "score": score} for name, score in scores.items()]


def _user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)
