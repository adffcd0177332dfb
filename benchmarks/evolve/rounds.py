"""Several dates of the loop with a real model: `gristmill run` and `gristmill evolve`, a data set for each arm.

    python -m benchmarks.evolve rounds 3 [--out DIR] [--model M] [--backend B] [--per-day N] [--probes N] [--arms A,B]
        [--together] [--eager]

Arms: `sft` tries rejection sampling alone, `dpo` rejection sampling and preferences in turn, `naive` promotes whatever
was trained, as a loop without a gate does. The base model, which every verdict measures beside the champion, is the
frozen arm. The arms run one after the other, or all at once on one GPU (`--together`; then their times say little).
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import Figures
from pipeline.exit_codes import DRIFTED, EMPTY, QUARANTINED
from pipeline.store.registry import EvolveVerdict
from pipeline.store.registry_files import Registry

FIRST_DATE = date(2026, 1, 1)
FILTERS = """
secrets privacy safety length truncation refusal rules repetition prompt_echo language support citations doses domain
grounded
""".split()  # noqa: SIM905 - reads as a list
GOES_ON = (QUARANTINED, DRIFTED, EMPTY)  # exit codes of dates that are published
CANDIDATES = {"sft": ["sft"], "dpo": ["sft", "dpo"], "naive": ["sft"]}


def configuration(arguments: argparse.Namespace, arm: str) -> dict[str, Any]:
    """The configuration of an arm."""
    evolve: dict[str, Any] = {
        "candidates": CANDIDATES[arm],
        "probes": arguments.probes,
        "held_out": 250,
        "core": 400,
        "draws": 16,
        "max_cost_share": None,
        "lora": {"max_tokens": arguments.train_tokens, "epochs": 2, "batch_rows": 16, "learning_rate": 3.0e-4},
    }
    return {
        "name": arm,
        "out": str(arguments.out / arm),
        "domains": ["law", "medicine"],
        "generator": {
            "backend": arguments.backend,
            "model": arguments.model,
            "vllm": {
                "engines_per_gpu": 1,
                "gpu_memory_utilization": arguments.gpu_memory,
                "kv_cache_gib": arguments.kv_cache,
                "enforce_eager": True if arguments.eager else None,
                "max_num_seqs": 256,
                "per_request_seeds": False,
                "max_lora_rank": 64,
            },
        },
        "generate": {"samples": 4, "shard_rows": 256, "max_attempts": 1},
        "screen": {
            "encoder": {"model": "all-minilm-l6-v2"},
            "filters": [{"name": name} | ({"min_score": 0.0} if name == "grounded" else {}) for name in FILTERS],
        },
        "adapt": {"enabled": False},
        "evolve": evolve,
        "run": {"in_flight": 2, "stall_timeout_s": 900},
    }


def run_arm(arguments: argparse.Namespace, arm: str) -> dict[str, float]:
    """Runs all dates of an arm. Returns the seconds of all runs and of all evolutions."""
    path = arguments.out / f"{arm}.yaml"
    path.write_text(yaml.safe_dump(configuration(arguments, arm)))
    sets = [f"domains.{name}.per_day={arguments.per_day}" for name in ("law", "medicine")]
    sets += [f"domains.{name}.tasks=[explain,summary]" for name in ("law", "medicine")]
    flags = ["--config", str(path), *(word for text in sets for word in ("--set", text))]
    seconds = {"run": 0.0, "evolve": 0.0}
    for number in range(arguments.rounds):
        day = str(FIRST_DATE + timedelta(days=number))
        for command in seconds:
            began = time.perf_counter()
            line = [sys.executable, "-m", "pipeline", command, *flags, "--date", day]
            with (arguments.out / f"{arm}.log").open("ab") as log:
                code = subprocess.run(line, stdout=log, stderr=log, check=False).returncode
            seconds[command] += time.perf_counter() - began
            print(f"{arm}: {command} {day} ended with {code} after {time.perf_counter() - began:.0f} s", flush=True)
            if code not in (0, *GOES_ON):
                return seconds
        if arm == "naive":
            promote_whatever_was_trained(Registry(arguments.out / arm))
    return seconds


def promote_whatever_was_trained(registry: Registry) -> None:
    """What a loop without a gate does: the newest candidate is the next date's generator."""
    for domain in registry.domains():
        last = registry.history(domain)[-1]
        if last.status == "refused" and last.challenger:
            changes = {"number": last.number + 1, "status": "promoted", "reason": "naive: no gate", "checks": ()}
            registry.commit(last.model_copy(update=changes))


def report(figures: Figures, arm: str, root: Path, model: str) -> None:
    """Prints and saves what the verdicts of an arm say."""
    registry = Registry(root)
    for domain in registry.domains():
        name = f"evolve, {model}, {arm}, {domain}"
        for number, verdict in enumerate((v for v in registry.history(domain) if v.checks), 1):
            print(f"{name}: {number} {verdict.date} {verdict.kind} {verdict.status}: {verdict.reason[:400]}")
            _verdict(figures, f"{name}, round {number}", verdict)
        champion = registry.read(domain).champion
        last = next((v for v in reversed(registry.history(domain)) if "base" in v.arms), None)
        if last is None:
            continue
        best = next((arm for arm in last.arms.values() if arm.variant == champion.id), last.arms["base"])
        base = last.arms["base"]
        gain = 100 * (best.accepted / max(best.answers, 1) - base.accepted / max(base.answers, 1))
        figures.put(f"{name}: accept rate of the champion at the end, points above base", gain, 10)


def _verdict(figures: Figures, name: str, verdict: EvolveVerdict) -> None:
    for arm, each in verdict.arms.items():
        figures.put(f"{name}: {arm} accepts, %", 100 * each.accepted / max(each.answers, 1))
        if each.rightness is not None:
            figures.put(f"{name}: {arm} right by the verifier, %", 100 * each.rightness)
    for check in verdict.checks:
        if check.value is not None and "utility" in check.name:
            figures.put(f"{name}: {check.name}, %", 100 * check.value)
            figures.put(f"{name}: {check.name}, lower bound, %", 100 * (check.low or 0.0), 100 * (check.limit or 0.0))
    failed = [check.name for check in verdict.checks if not check.passed]
    print(f"{name}: checks failed: {', '.join(failed) or 'none'}", flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evolve rounds")
    parser.add_argument("rounds", type=int)
    parser.add_argument("--out", type=Path, default=Path("data/evolve"))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--per-day", type=int, default=1000)
    parser.add_argument("--probes", type=int, default=600)
    parser.add_argument("--train-tokens", type=int, default=400_000)
    parser.add_argument("--arms", default="sft,dpo,naive")
    parser.add_argument("--together", action="store_true", help="run all arms at once")
    parser.add_argument("--eager", action="store_true", help="without compilation and CUDA graphs: starts sooner")
    parser.add_argument("--machine", default="")
    parser.add_argument("--commit", default="")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    arms = arguments.arms.split(",")
    arguments.gpu_memory = 0.5 / len(arms) if arguments.together else 0.5
    arguments.kv_cache = 8 if arguments.together else None  # arms start engines while others end
    line = f"python -m benchmarks.evolve rounds {' '.join(argv)}"
    figures = Figures("evolve", line, arguments.machine, arguments.commit)
    with ThreadPoolExecutor(len(arms) if arguments.together else 1) as pool:
        times = list(pool.map(partial(run_arm, arguments), arms))
    for arm, seconds in zip(arms, times, strict=True):
        report(figures, arm, arguments.out / arm, arguments.model)
        share = 100 * seconds["evolve"] / max(seconds["run"], 1e-9)
        figures.put(f"evolve, {arguments.model}, {arm}: time of evolve to that of run, %", share, None, "lower")
    return 0
