"""Measures the self-evolving loop; figures go to benchmarks/results/evolve.json.

python -m benchmarks.evolve aa 200              of challengers that are no better, how many are promoted?
python -m benchmarks.evolve inject all [DRAWS]  eight ways to collapse, 25 times each: are all of them refused?
python -m benchmarks.evolve planted 50          of challengers that gain about 3 %, how many are promoted?
python -m benchmarks.evolve attribute           does attribution name the groups that help?
python -m benchmarks.evolve rounds 3            several dates with a real model
python -m benchmarks.evolve worth DATA DATE     of such a date: what are the rows worth beside other texts?
"""

import sys


def main() -> int:
    match sys.argv[1:]:
        case [("aa" | "inject" | "planted"), _, *_] as arguments:
            from benchmarks.evolve.gate import main as run
        case ["attribute", *arguments]:
            from benchmarks.evolve.attribute import main as run
        case ["worth", _, _, *_] as arguments:
            from benchmarks.evolve.worth import main as run

            arguments = arguments[1:]
        case ["rounds", *arguments]:
            from benchmarks.evolve.rounds import main as run
        case _:
            print(__doc__)
            return 2
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
