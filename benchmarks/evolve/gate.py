"""How often the gate is wrong: challengers of which it is known whether they are better.

aa: challengers that are the champion's writer with another seed, through the gate, the vault and the registry's count
of its openings. inject: each collapse of `collapses`. planted: challengers that know a part of what the held-out texts
say; the true gain is the mean over all of them. A core does 200 verdicts in ten
minutes or so.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from benchmarks.evolve.collapses import COLLAPSES
from benchmarks.evolve.texts import CORPORA, OPTIONS, Texts, clauses_of, read
from benchmarks.evolve.trial import Day
from benchmarks.evolve.writer import Writer
from benchmarks.figures import Figures, processor
from pipeline.evolve.gate import Decision

Rows = Iterator[tuple[str, float, float | None, str]]  # name, value, aim, better
PROBES = OPTIONS.probes
NULLS_OF_A_DATE = 10  # all pairs of five writings
PLANTED = {"law": (1.0, 0.05), "medicine": (0.75, 0.1)}  # share of clauses from held-out texts; of answers cut off


def aa(texts: dict[str, Texts], count: int) -> Rows:
    """`count` challengers that are no better."""
    promoted = first = 0
    failed, seconds = Counter[str](), 0.0
    for domain, of_domain in texts.items():
        openings = 0
        for date in range(count // len(texts) // NULLS_OF_A_DATE):
            day = Day(of_domain, f"aa {date}")
            written = [day.written(Writer(of_domain, f"{date} {n}")) for n in range(5)]
            for pair in combinations(written, 2):
                champion, challenger = random.Random(f"{date} {first} {promoted}").sample(pair, 2)
                judged = replace(day)
                vars(judged).update(champion=champion, base=day.base, passages=day.passages)
                started = time.perf_counter()
                decision = judged.decide(judged.measured(challenger), openings)
                seconds += time.perf_counter() - started
                first += decision.alpha is not None
                openings += decision.alpha is not None
                promoted += decision.passed
                failed.update(names(decision))
                print(domain, date, decision.reason[:160], flush=True)
    print("checks that failed:", dict(failed.most_common()))
    yield f"aa: promoted of {count} null challengers", promoted, 10, "lower"
    yield "aa: share that passes the first test", first / count, 0.025, "lower"
    for name in sorted(failed):
        if not name.startswith("vault"):
            yield f"aa: share of nulls that fail, {name}", failed[name] / count, None, "lower"
    yield "seconds a verdict, students included", seconds / count, None, "lower"


def inject(texts: dict[str, Texts], kinds: str, draws: int) -> Rows:
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
        yield f"inject: {name}, seen by the intended guard, of {draws}", counts["(intended guard)"], draws, "higher"
    yield f"inject: refused of {trials} collapses", refused, trials, "higher"
    yield f"inject: refused by guards alone, of {trials}", guarded, trials, "higher"
    yield f"inject: seen by the intended guard, of {trials}", intended, trials, "higher"


def planted(texts: dict[str, Texts], count: int) -> Rows:
    """`count` challengers with a gain of about 3 % at equal cost."""
    failed, gains, promoted = Counter[str](), defaultdict(list), Counter[str]()
    for number in range(count):
        domain = list(texts)[number % len(texts)]
        day = Day(texts[domain], f"planted {number}")
        known = clauses_of([*day.passages["held-out"], *day.passages["vault"]])
        random.Random(number).shuffle(known)
        parts = {passage.id: known[place::PROBES] for place, passage in enumerate(day.passages["probe"])}
        insight, refused = PLANTED[domain]
        # real clauses alone in all arms: words in random order are more diverse than any text
        plain = Writer(texts[domain], f"champion {number}", knowledge=1.0)
        vars(day).update(champion=day.written(plain), base=day.written(replace(plain, seed=f"base {number}")))
        writer = replace(plain, seed=f"planted {number}", known=parts, insight=insight, refused=refused)
        decision = day.decide(day.measured(day.written(writer)), 0)
        gains[domain].append(next(check.value for check in decision.checks if check.name == "utility at equal cost"))
        promoted[domain] += decision.passed
        failed.update(names(decision))
        print(domain, number, decision.reason[:200], flush=True)
    print("checks that failed:", dict(failed.most_common()))
    for domain, values in gains.items():
        yield f"planted: mean gain at equal cost, {domain}", float(np.mean(values)), None, "higher"
        yield f"planted: promoted, {domain}", promoted[domain] / len(values), 0.9, "higher"
    yield f"planted: promoted of {count}", promoted.total() / count, 0.9, "higher"


def names(decision: Decision) -> set[str]:
    """The checks that failed."""
    return {check.name for check in decision.checks if not check.passed}


def main(arguments: list[str]) -> int:
    """Measures, and writes the figures once all of them are known. Returns the exit code."""
    texts = {domain: read(domain) for domain in CORPORA}
    match arguments:
        case ["aa", count]:
            rows = list(aa(texts, int(count)))
        case ["inject", kinds, *draws]:
            rows = list(inject(texts, kinds, int(draws[0]) if draws else 25))
        case ["planted", count]:
            rows = list(planted(texts, int(count)))
        case _:
            return 2
    figures = Figures("evolve", f"python -m benchmarks.evolve {' '.join(arguments)}", processor())
    for name, value, target, better in rows:
        figures.put(name, value, target, better)
    return 0
