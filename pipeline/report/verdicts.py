"""Asks every filter about one candidate, including the filters after the first one that drops it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

from configs.schema import Config
from filters.build import INJECTED, build_filters
from model.encoder import open_encoder, open_verifier
from stages.ports import Filter, Verdict, judged_by
from stages.record import Candidate
from stages.screen import judge_all

MAX_SENTENCES_PER_SIDE = 3  # that lower the score, and that raise it


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """What one filter says about one row."""

    filter: str
    verdict: str  # kept | masked | error | the reason why the row is dropped
    score: float | None = None
    detail: str = ""
    findings: list[str] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)  # the filter's options, and the limits it has learned
    sentences: list[dict[str, Any]] = field(default_factory=list)  # those that move the score most, with their change

    @property
    def keeps(self) -> bool:
        """Whether the filter keeps the row, changed or not."""
        return self.verdict in ("kept", "masked")

    def to_json(self) -> dict[str, Any]:
        """The verdict for machines. `findings` is called `found`, as in data sets."""
        return {"found" if name == "findings" else name: value for name, value in asdict(self).items()}


def open_filters(config: Config) -> list[tuple[str, Filter]]:
    """Opens the configured filters in order, and the encoder if one of them needs it."""
    encoder = partial(open_encoder, config.screen.encoder, 0) if config.screen.encoder else None
    return build_filters(config.screen.filters, encoder, open_verifier=partial(open_verifier, threads=0))


def verdicts(filters: Sequence[tuple[str, Filter]], row: Candidate) -> Iterator[FilterVerdict]:
    """Asks each filter that judges such rows, in order. Where one masks the row, the next ones see the masked row."""
    for name, judge in filters:
        if row.writes not in judged_by(judge):
            continue
        (verdict,) = judge_all(judge, [row])
        if isinstance(verdict, Exception):
            yield FilterVerdict(name, "error", detail=repr(verdict))
            continue
        yield FilterVerdict(
            filter=name,
            verdict=verdict.reason or ("masked" if verdict.row else "kept"),
            score=verdict.score,
            detail=verdict.detail,
            findings=list(verdict.findings),
            limits=_limits(judge, row),
            sentences=_sentences(judge, row, verdict),
        )
        row = verdict.row or row


def _limits(judge: Filter, row: Candidate) -> dict[str, Any]:
    settings: Any = judge
    options = {
        option.name: getattr(settings, option.name)
        for option in fields(settings)
        if option.init and option.name not in INJECTED
    }
    learned = getattr(judge, "limits", None)
    return options | (learned(row.domain, row.language) if learned else {})


def _sentences(judge: Filter, row: Candidate, verdict: Verdict) -> list[dict[str, Any]]:
    pull = getattr(judge, "pull", None)
    if pull is None or verdict.score is None:
        return []
    changes = sorted(pull(row), key=lambda pair: pair[1])
    worst = [pair for pair in changes if pair[1] < 0][:MAX_SENTENCES_PER_SIDE]
    best = [pair for pair in changes if pair[1] > 0][-MAX_SENTENCES_PER_SIDE:]
    return [{"sentence": sentence, "change": round(change, 4)} for sentence, change in (*worst, *best)]
