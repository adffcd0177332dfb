"""How often the gate is wrong.

    python -m benchmarks.evolve aa 200
    python -m benchmarks.evolve inject all [DRAWS]
    python -m benchmarks.evolve planted 50

aa: challengers that are the champion's writer with another seed, through the gate, the vault and the registry's count
of its openings. inject: each collapse of `collapses`. planted: challengers that know a part of what the held-out texts
say; the true gain is the mean over all of them. A core does 200 verdicts in half an hour or so; figures go to
benchmarks/results/evolve.json.
"""

import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from benchmarks.evolve.collapses import COLLAPSES
from benchmarks.evolve.texts import CORPORA, Texts, clauses_of, read
from benchmarks.evolve.trial import Day
from benchmarks.evolve.writer import Writer
from benchmarks.figures import Figures, processor
from pipeline.evolve.gate import Decision

NULLS_OF_A_DATE = 10  # all pairs of five writings
INSIGHT = {"law": 0.9, "medicine": 0.6}  # share of a writer's clauses from held-out texts that gains about 3 %


def aa(texts: dict[str, Texts], figures: Figures, count: int) -> None:
    """`count` challengers that are no better."""
    promoted = first = 0
    failed, seconds = Counter[str](), 0.0
    for domain, of_domain in texts.items():
        openings = 0
        for number in range(count // len(texts)):
            date, pair = divmod(number, NULLS_OF_A_DATE)
            if pair == 0:
                day = Day(of_domain, f"aa {date}")
                written = [day.written(Writer(of_domain, f"{date} {n}")) for n in range(5)]
                pairs = [(one, two) for two in range(5) for one in range(two)]
            champion, challenger = random.Random(number).sample(pairs[pair], 2)
            judged = replace(day)
            judged.__dict__ |= {"champion": written[champion], "base": day.base, "passages": day.passages}
            started = time.perf_counter()
            decision = judged.decide(judged.measured(written[challenger]), openings)
            seconds += time.perf_counter() - started
            first += decision.alpha is not None
            openings += decision.alpha is not None
            promoted += decision.passed
            failed.update(names(decision))
            print(domain, number, decision.reason[:160], flush=True)
    print("checks that failed:", dict(failed.most_common()))
    figures.put(f"aa: promoted of {count} null challengers", promoted, 10, "lower")
    figures.put("aa: share that passes the first test", first / count, 0.025, "lower")
    for name in sorted(failed):
        if not name.startswith(("utility", "vault")):
            figures.put(f"aa: share of nulls that the guard refuses, {name}", failed[name] / count, None, "lower")
    figures.put("seconds a verdict, students included", seconds / count, None, "lower")


def inject(texts: dict[str, Texts], figures: Figures, kinds: str, draws: int) -> None:
    """Each collapse `draws` times."""
    refused = intended = guarded = trials = 0
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for number in range(draws):
        of_domain = list(texts.values())[number % len(texts)]
        day = Day(of_domain, f"inject {number}")
        for collapse in COLLAPSES:
            if kinds not in ("all", collapse.name):
                continue
            answers = collapse.answers(day, Writer(of_domain, f"{collapse.name} {number}"))
            decision = day.decide(day.measured(answers, collapse.training), 0)
            failing = names(decision)
            by_kind[collapse.name].update(failing)
            trials += 1
            refused += not decision.passed
            guarded += any(not name.startswith(("utility", "yield", "vault")) for name in failing)
            seen = bool(failing & set(collapse.guards))
            intended += seen
            by_kind[collapse.name]["(intended guard)"] += seen
            print(of_domain.domain, number, collapse.name, sorted(failing), flush=True)
    for name, counts in by_kind.items():
        print(f"{name}: {dict(counts.most_common())}")
        figures.put(f"inject: {name}, seen by the intended guard, of {draws}", counts["(intended guard)"], draws)
    figures.put(f"inject: refused of {trials} collapses", refused, trials)
    figures.put(f"inject: refused by guards alone, of {trials}", guarded, trials)
    figures.put(f"inject: seen by the intended guard, of {trials}", intended, trials)


def planted(texts: dict[str, Texts], figures: Figures, count: int) -> None:
    """`count` challengers with a gain of about 3 % at equal cost."""
    failed, gains, promoted = Counter[str](), defaultdict(list), Counter[str]()
    for number in range(count):
        domain = list(texts)[number % len(texts)]
        day = Day(texts[domain], f"planted {number}")
        known = clauses_of([*day.passages["held-out"], *day.passages["vault"]])
        writer = Writer(texts[domain], f"planted {number}", known=known, insight=INSIGHT[domain])
        decision = day.decide(day.measured(day.written(writer)), 0)
        gains[domain].append(next(check.value for check in decision.checks if check.name == "utility at equal cost"))
        promoted[domain] += decision.passed
        failed.update(names(decision))
        print(domain, number, decision.reason[:200], flush=True)
    print("checks that failed:", dict(failed.most_common()))
    for domain, values in gains.items():
        figures.put(f"planted: mean gain at equal cost, {domain}", float(np.mean(values)))
        figures.put(f"planted: promoted, {domain}", promoted[domain] / len(values), 0.9)
    figures.put(f"planted: promoted of {count}", promoted.total() / count, 0.9)


def names(decision: Decision) -> set[str]:
    """The checks that failed."""
    return {check.name for check in decision.checks if not check.passed}


def main() -> int:
    what, arguments = sys.argv[1], sys.argv[2:]
    figures = Figures("evolve", f"python -m benchmarks.evolve {' '.join(sys.argv[1:])}", processor())
    texts = {domain: read(domain) for domain in CORPORA}
    match what:
        case "aa":
            aa(texts, figures, int(arguments[0]))
        case "inject":
            inject(texts, figures, arguments[0], int(arguments[1]) if len(arguments) > 1 else 25)
        case "planted":
            planted(texts, figures, int(arguments[0]))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
