"""A reader that polls a data set while it is made: `python reader.py ROOT EXPECTED`, until its standard input closes.

EXPECTED: a JSON file; `dates`: of each the digest of an undisturbed run; `pointers`: of each domain of the registry the
hashes of its pointers in their order. At its end it prints JSON: `polls`, `dates` seen, and `faults`, what a reader
must never see. It knows `current.json` and the registry's files, and nothing of the engine.
"""

import json
import select
import sys
import time
from hashlib import sha256
from pathlib import Path

MIN_PAUSE_S = 0.02
LOOKING_SHARE = 0.1  # of the time: whoever hashes all the while takes a core from those that write


def look(root: Path, expected: dict[str, str], seen: set[str]) -> list[str]:
    """What is wrong with the data set as a reader finds it now; adds to `seen` the dates that are there."""
    try:
        dates = json.loads((root / "current.json").read_text("utf-8"))["dates"]
    except FileNotFoundError:
        return ["current.json is gone"] if seen else []
    except (ValueError, KeyError) as error:
        return [f"current.json is torn: {error!r}"]
    faults = [f"{date} is gone" for date in seen - dates.keys()]
    for date, entry in dates.items():
        hashes = []
        for shard in entry["shards"]:
            try:
                content = (root / shard["file"]).read_bytes()
            except FileNotFoundError:
                faults.append(f"{date}: {shard['file']} is missing")
                continue
            hashes.append(f"{sha256(content).hexdigest()} {shard['rows']}")
        if sha256("\n".join(sorted(hashes)).encode()).hexdigest() != expected.get(date):
            faults.append(f"{date}: its files are not those of the undisturbed run")
        if sum(shard["rows"] for shard in entry["shards"]) != entry["rows"]:
            faults.append(f"{date}: {entry['rows']} rows, and its files have others")
        seen.add(date)
    return faults


def look_at_registry(root: Path, pointers: dict[str, list[str]], seen: dict[str, int]) -> list[str]:
    """What is wrong with the registry as a reader finds it now; `seen`: of each domain the place of its pointer."""
    faults = []
    for domain, hashes in pointers.items():
        try:
            content = (root / "registry" / f"{domain}.json").read_bytes()
            number = json.loads(content)["last_verdict"]
        except FileNotFoundError:
            faults.append(f"the pointer of {domain} is gone")
            continue
        except (ValueError, KeyError) as error:
            faults.append(f"the pointer of {domain} is torn: {error!r}")
            continue
        if (digest := sha256(content).hexdigest()) not in hashes:
            faults.append(f"the pointer of {domain} is none of the undisturbed loop")
            continue
        place = hashes.index(digest)
        if place < seen.get(domain, 0):
            faults.append(f"the pointer of {domain} went back")
        seen[domain] = place
        try:
            verdict = json.loads((root / "registry" / "history" / domain / f"{number:04d}.json").read_bytes())
        except (OSError, ValueError) as error:
            faults.append(f"{domain}: the pointer names verdict {number}, which cannot be read: {error!r}")
            continue
        if verdict["number"] != number:
            faults.append(f"{domain}: the pointer names verdict {number}, and the file has {verdict['number']}")
    return faults


def main() -> None:
    root, expected = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text("utf-8"))
    seen: set[str] = set()
    places: dict[str, int] = {}
    faults: dict[str, int] = {}
    polls = 0
    pause_s = MIN_PAUSE_S
    while not select.select([sys.stdin], [], [], pause_s)[0]:
        started = time.process_time()
        found = look(root, expected["dates"], seen) + look_at_registry(root, expected["pointers"], places)
        for fault in found:
            faults[fault] = faults.get(fault, 0) + 1
        polls += 1
        pause_s = max(MIN_PAUSE_S, (time.process_time() - started) / LOOKING_SHARE)
    print(json.dumps({"polls": polls, "dates": sorted(seen), "faults": faults}))


if __name__ == "__main__":
    main()
