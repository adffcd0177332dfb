"""Faults at random points of real runs, then the same command again until the date is published: `make chaos`.

    python tests/system/chaos/chaos.py [--faults 200] [--seed 1] [--lanes 2] [--chain K] [--only loop] [--keep DIR]
        [--record]

A chain makes one date beside a published one, on the echo backend, and is hit again and again until it is done:
processes are killed (supervisor, driver, worker of a Beam pool, engine process), the disk is full or breaks, once or
until the command has ended, the same command runs twice, the clock jumps over midnight. Every second chain runs
`--evolve`, and most of their faults fall into the loop and its registry. A reader polls `current.json` and the
registry's pointers all the while. At the end: published files, keys, used seeds, kept answers and pointers are byte for
byte those of an undisturbed run, verdicts but for their times, `gristmill store verify` and `registry verify` pass,
nothing temporary is left. All else is a loss, and the exit code is 1. `--seed` and `--chain` repeat one chain's draws.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.figures import Figures, processor  # noqa: E402
from tests.system.chaos.chain import FLAVOURS, Chain  # noqa: E402
from tests.system.chaos.fault import Tally  # noqa: E402
from tests.system.chaos.reference import Reference  # noqa: E402

MINUTES = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="chains at a time")
    parser.add_argument("--chain", type=int, help="only this one")
    parser.add_argument("--only", default="", metavar="WORD", help="only chains with it in their name: loop, pool")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no fault is armed after so long")
    parser.add_argument("--keep", type=Path, help="a folder to work in, and to leave")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/chaos.json")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.faults} faults, {options.lanes} lanes", flush=True)
    began = time.monotonic()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="gristmill-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    flavours = [flavour for flavour in FLAVOURS if options.only in flavour]
    references: dict[bool, Reference] = {}  # the first chain of each kind makes its own
    making = threading.Lock()
    tally = Tally(options.faults, began + options.minutes * 60)
    numbers = iter([options.chain] if options.chain is not None else range(10_000))

    def lane() -> None:
        while tally.open:
            with tally.lock:
                number = next(numbers, None)
            if number is None:
                return
            flavour = flavours[number % len(flavours)]
            loop = "loop" in flavour
            with making:
                if loop not in references:
                    references[loop] = Reference(folder / ("loop" if loop else "run"), loop=loop)
            Chain(references[loop], flavour, number, options.seed, tally, options.keep).run()

    lanes = [threading.Thread(target=lane) for _ in range(options.lanes)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    minutes = (time.monotonic() - began) / 60
    for kind, count in sorted(tally.faults.items()):
        print(f"{kind:<24}{count:>5}")
    print(
        f"{tally.faults.total()} faults in {tally.chains} runs of a date ({tally.commands} commands), "
        f"{tally.polls} reads meanwhile, {minutes:.1f} minutes; losses: {len(tally.losses)}"
    )
    for loss in tally.losses:
        print(f"loss: {loss}")
    if options.record:
        record(tally, options.seed, options.only, minutes)
    if not tally.losses and not options.keep:
        shutil.rmtree(folder)
    elif tally.losses:
        print(f"see {folder}")
    return 1 if tally.losses or (options.chain is None and tally.faults.total() < options.faults) else 0


def record(tally: Tally, seed: int, only: str, minutes: float) -> None:
    flags = f"--faults {tally.target} --seed {seed}" + (f" --only {only}" if only else "")
    figures = Figures("chaos", f"python tests/system/chaos/chaos.py {flags} --record", processor())
    chains = f"{only}: " if only else ""
    for kind, count in sorted(tally.faults.items()):
        figures.put(f"{chains}faults: {kind}", count)
    figures.put(f"{chains}faults", tally.faults.total(), tally.target)
    figures.put(f"{chains}losses", len(tally.losses), 0, "lower")
    figures.put(f"{chains}reads meanwhile", tally.polls)
    figures.put(f"{chains}minutes", minutes, MINUTES, "lower")


if __name__ == "__main__":
    sys.exit(main())
