"""Faults at random points of real runs, then the same command again until the date is published: `make chaos`.

    python tests/system/chaos/chaos.py [--faults 200] [--seed 1] [--lanes 2] [--chain K] [--keep DIR] [--record]

A chain makes one date beside a published one, on the echo backend, and is hit again and again until it is done:
processes are killed (supervisor, driver, worker of a Beam pool, engine process), the disk is full or breaks, once or
until the command has ended, the same command runs twice, the clock jumps over midnight. A reader polls `current.json`
all the while. At the end: published files, keys and used seeds are byte for byte those of an undisturbed run,
`gristmill store verify` passes, nothing temporary is left. All else is a loss, and the exit code is 1. `--seed` and
`--chain` repeat one chain's draws.
"""

import argparse
import contextlib
import errno
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.figures import Figures, processor  # noqa: E402
from model.backends.vllm.queue import DEATHS  # noqa: E402
from pipeline.store.dataset import DataSet, named  # noqa: E402
from pipeline.store.maintenance import garbage, verify  # noqa: E402
from tests.factories.documents import write_config, write_documents  # noqa: E402

BEFORE, DATE = "2026-01-02", "2026-01-03"
FLAVOURS = ("threads", "engines", "pool")  # of chains, in turn
STALL_S = 12
LIMIT_S = 240  # of one command
PATIENCE_S = 10  # a fault whose boundary does not come is taken back
MINUTES = 20.0
CLOCK_JUMPS = (30, 86_400, -86_400, -60)  # seconds: over midnight, a day on, a day back, before midnight again


@dataclass
class Fault:
    kind: str
    number: int
    role: str
    at: int  # which boundary of a process of this role
    action: str
    after: bool = False
    errno: int = 0
    seconds: int = 0
    publishing: bool = False  # only boundaries outside the run folder count
    where: str = ""  # the boundary that it fired at

    def __str__(self) -> str:
        how = " after" if self.after and self.action == "kill" else ""
        how += " of publishing" if self.publishing else ""
        how += f" {self.seconds:+d} s" if self.seconds else ""
        how += " until the command ends" if self.action == "broken" else ""
        return f"{self.kind}: {self.role} boundary {self.at}{how}, {self.where}"


@dataclass
class Tally:
    """What all lanes share."""

    target: int
    deadline: float
    faults: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)
    polls: int = 0
    chains: int = 0
    commands: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def open(self) -> bool:
        return self.faults.total() < self.target and time.monotonic() < self.deadline

    def fired(self, chain: int, fault: Fault) -> None:
        with self.lock:
            self.faults[fault.kind] += 1
            print(f"{self.faults.total():4d}  chain {chain}  {fault}", flush=True)

    def lost(self, chain: int, what: str) -> None:
        with self.lock:
            self.losses.append(f"chain {chain}: {what}")
            print(f"LOSS  chain {chain}: {what}", flush=True)


class Reference:
    """A data set with one published date, and what an undisturbed run makes of the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_config(folder, write_documents(folder / "documents.jsonl", range(40)))
        self.out = folder / "out"
        self._run(BEFORE)
        whole = folder / "whole"
        shutil.copytree(self.out, whole)
        self.boundaries: dict[str, int] = {}
        self._run(DATE, whole)
        data = DataSet(whole)
        manifests = {date: data.manifest(date) or {} for date in (BEFORE, DATE)}
        self.named = sorted(named(manifests[DATE]))
        self.expected = folder / "expected.json"
        self.expected.write_text(json.dumps({date: manifest["digest"] for date, manifest in manifests.items()}))

    def line(self, out: Path, *flags: str, date: str = DATE) -> list[str]:
        sets = ["domains.law.per_day=12", "generate.shard_rows=4", "adapt.min_rows=4", f"run.stall_timeout_s={STALL_S}"]
        sets += ["run.attempts=50"]  # a shard that is killed by chance, again and again, is not to be quarantined
        line = [sys.executable, "-m", "pipeline", "run", "--config", str(self.config), "--date", date, "--json"]
        return [*line, "--out", str(out), *(part for each in sets for part in ("--set", each)), *flags]

    def _run(self, date: str, out: Path | None = None) -> None:
        out = out or self.out
        chaos = self.folder / f"chaos-{date}"
        chaos.mkdir()
        for role in ("driver", "supervisor"):
            (chaos / f"boundaries-{role}").touch()
        subprocess.run(self.line(out, date=date), env=environment(chaos, out), check=True, capture_output=True)
        self.boundaries = {
            role: len((chaos / f"boundaries-{role}").read_text().splitlines()) for role in ("driver", "supervisor")
        }


def environment(chaos: Path, out: Path, **more: str) -> dict[str, str]:
    paths = [ROOT / "tests" / "system" / "chaos", ROOT]
    known = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "CHAOS": str(chaos), "CHAOS_ROOT": str(out)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a pool starts workers as `python`
    return os.environ | known | {"OMP_NUM_THREADS": "1", "PATH": path} | more


class Chain:
    """One date, made under faults."""

    def __init__(self, reference: Reference, number: int, seed: int, tally: Tally, keep: Path | None) -> None:
        self.reference, self.number, self.tally, self.keep = reference, number, tally, keep
        self.draw = random.Random(f"{seed}:{number}")
        self.flavour = FLAVOURS[number % len(FLAVOURS)]
        self.folder = Path(tempfile.mkdtemp(prefix=f"chain-{number}-", dir=reference.folder))
        self.out, self.chaos = self.folder / "out", self.folder / "chaos"
        shutil.copytree(reference.out, self.out)
        self.chaos.mkdir()
        more = {"CHAOS_ENGINES": "1"} if self.flavour == "engines" else {}
        self.environment = environment(self.chaos, self.out, **more)
        self.port = free_port()
        self.pool: subprocess.Popen[bytes] | None = None
        self.faults = 0
        self.engines_killed = 0  # by the command at work
        self.said: list[str] = []

    def run(self) -> None:
        reader = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("reader.py")), str(self.out), str(self.reference.expected)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        before = len(self.tally.losses)
        try:
            self._until_done()
            self._check()
        except Exception as error:
            self.tally.lost(self.number, f"{type(error).__name__}: {error}")
        finally:
            end(self.pool)
            report, _ = reader.communicate("\n", timeout=60)
        seen = json.loads(report)
        for fault, count in seen["faults"].items():
            self.tally.lost(self.number, f"the reader saw, {count} times: {fault}")
        with self.tally.lock:
            self.tally.polls += seen["polls"]
            self.tally.chains += 1
        if len(self.tally.losses) == before and not self.keep:
            shutil.rmtree(self.folder)

    def _until_done(self) -> None:
        """Starts the command until it ends well, with one fault after another armed."""
        while True:
            code = self._command(at_midnight=self.flavour == "threads" and self.draw.random() < 0.4)
            (self.chaos / "broken").unlink(missing_ok=True)
            if code == 0:
                return
            self._whole("after a fault")
            self._wait_for_lock()

    def _command(self, *, at_midnight: bool) -> int:
        """One start of the command, under faults. Returns the exit code.

        `at_midnight`: for `--date today`, a moment before the day ends; the clock jumps, and nothing else happens.
        """
        flags, known = [], self.environment
        if self.flavour == "pool":
            self._keep_pool()
            flags = ["--pool", f"localhost:{self.port}", "--workers", "2"]
        date = DATE
        if at_midnight:
            eve = datetime.fromisoformat(DATE).replace(hour=23, minute=59, second=45, tzinfo=UTC)
            (self.chaos / "clock").write_text(str(eve.timestamp() - time.time()))
            known, date = known | {"CHAOS_CLOCK": "1"}, "today"
        line = self.reference.line(self.out, *flags, date=date)
        errors = (self.folder / "errors.txt").open("ab")
        started = time.monotonic()
        process = subprocess.Popen(line, env=known, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        with self.tally.lock:
            self.tally.commands += 1
        rivals: list[subprocess.Popen[bytes]] = []
        fault: Fault | None = None
        armed, self.engines_killed = started, 0
        while process.poll() is None:
            if fault is None and self.tally.open and not any(rival.poll() is None for rival in rivals):
                fault, armed = self._arm(at_midnight, early=time.monotonic() - started < 0.3), time.monotonic()
            if fault is not None and fault.action == "broken" and (self.chaos / "broken").exists():
                pass  # until the command ends
            elif fault is not None and time.monotonic() - armed > PATIENCE_S and self._taken_back():
                fault = None
            elif fault is not None and (self.chaos / "fired").exists():
                if fault.kind == "two runs":
                    rivals.append(subprocess.Popen(line, env=known, stdout=subprocess.DEVNULL, stderr=errors))
                self._settle(fault)
                fault = None
            if self.flavour == "pool":
                self._keep_pool()
            if time.monotonic() - started > LIMIT_S:
                self._end_all(process)
                raise RuntimeError(f"the command hung for {LIMIT_S} s")
            time.sleep(0.02)
        printed = process.stdout.read().decode() if process.stdout else ""
        if fault is not None:
            if (self.chaos / "fired").exists():
                self._settle(fault)
            (self.chaos / "armed").unlink(missing_ok=True)
        for rival in rivals:
            if rival.wait(LIMIT_S) not in (0, 5):
                self.tally.lost(self.number, f"a second run of the date ended with {rival.returncode}")
        (self.chaos / "clock").unlink(missing_ok=True)
        self._judge(process.returncode, printed)
        return process.returncode

    def _arm(self, at_midnight: bool, *, early: bool) -> Fault:
        """The chain's next random fault. `early`: the supervisor has not started the driver yet."""
        draw, last = self.draw, self.reference.boundaries["driver"]
        late = draw.random() < 0.6 * self._at("shards")  # the end of a run
        deep = 1 + draw.randrange(60 if late else last // 10 if self.flavour == "pool" else last // 6)
        kinds = {"supervisor killed": 5, "driver killed": 4, "ENOSPC": 4, "EIO": 4, "two runs": 3}
        writing = self._at("adapt") - self._at("adapt-screen") or not self._at("screen")
        # a prompt that is open at three deaths of one command is poison by design, and costs its row
        engines = self.flavour == "engines" and writing and self.engines_killed < DEATHS - 1
        kinds |= {"engine killed": 15} if engines else {}
        kinds |= {"worker killed": 25} if self.flavour == "pool" else {}
        kind = "clock jumped" if at_midnight else draw.choices(list(kinds), list(kinds.values()))[0]
        self.faults += 1
        fault = Fault(kind, self.faults, "driver", deep, "kill", after=draw.random() < 0.5, publishing=late)
        own = 1 + draw.randrange(self.reference.boundaries["supervisor"])
        match kind:
            case "supervisor killed":
                itself = draw.random() < 0.4 and early
                fault.action = "kill" if itself else "kill parent"
                fault.role, fault.at = ("supervisor", own) if itself else ("driver", deep)
            case "ENOSPC" | "EIO":
                fault.errno = errno.ENOSPC if kind == "ENOSPC" else errno.EIO
                fault.action = draw.choice(["once", "broken"])
                role = draw.choices(["driver", "supervisor", "worker"], [6, 3 * early, 6 * (self.flavour == "pool")])[0]
                fault.role, fault.at = role, {"supervisor": own, "driver": deep}.get(role, 1 + draw.randrange(30))
            case "two runs":
                fault.action = "tell"
                if draw.random() < 0.5 and early:  # a moment before the first has taken hold
                    fault.role, fault.at = "supervisor", 1
            case "worker killed":
                fault.role, fault.at = "worker", 1 + draw.randrange(8)
            case "engine killed":
                fault.role, fault.at = "engine", 1 + draw.randrange(8)
            case "clock jumped":
                fault.action, fault.seconds = "clock", draw.choice(CLOCK_JUMPS)
                fault.at = 1 + draw.randrange(last // 3)  # a jump ends nothing: few fit into a run
        (self.chaos / "fired").unlink(missing_ok=True)
        fault.publishing &= fault.role == "driver"
        part = self.chaos / "arming"
        part.write_text(json.dumps({key: getattr(fault, key) for key in ARMED}))
        part.rename(self.chaos / "armed")
        return fault

    def _at(self, stage: str) -> bool:
        """Whether the run has come to this stage."""
        return (self.out / "runs" / DATE / "stages" / stage).exists()

    def _taken_back(self) -> bool:
        """Whether the armed fault is none any more; it may be firing at this moment."""
        try:
            (self.chaos / "armed").rename(self.chaos / "late")
        except FileNotFoundError:
            return False
        return True

    def _settle(self, fault: Fault) -> None:
        self.engines_killed += fault.kind == "engine killed"
        fault.where = (self.chaos / "fired").read_text().replace("\n", " ")
        (self.chaos / "fired").unlink()
        self.said.append(str(fault))
        self.tally.fired(self.number, fault)

    def _judge(self, code: int, printed: str) -> None:
        """A command succeeds, is killed, or says what to fix; it never ends in a traceback."""
        if code not in (0, 1, 5, -signal.SIGKILL):
            self.tally.lost(self.number, f"exit code {code}: {printed[-300:]}")
        if "Traceback" in (errors := (self.folder / "errors.txt").read_text("utf-8", "replace")):
            self.tally.lost(self.number, f"a traceback for the user: {errors[-1500:]}")
            (self.folder / "errors.txt").write_text("")

    def _whole(self, when: str) -> None:
        _, _, faults = verify(DataSet(self.out))
        for fault in faults:
            self.tally.lost(self.number, f"{when}: {fault.file} is {fault.what}")

    def _check(self) -> None:
        """The date is that of an undisturbed run, whole, and alone."""
        data = DataSet(self.out)
        manifest = data.manifest(DATE)
        if manifest is None or sorted(named(manifest)) != self.reference.named:
            self.tally.lost(self.number, "the published files are not those of the undisturbed run")
        if data.dates() != [BEFORE, DATE] or data.begun() != [BEFORE, DATE]:
            self.tally.lost(self.number, f"dates {data.dates()}, begun {data.begun()}")
        known = self.environment | {"CHAOS": ""}
        line = [sys.executable, "-m", "pipeline", "store", "verify", "--out", str(self.out)]
        result = subprocess.run(line, env=known, capture_output=True, text=True, check=False)
        if result.returncode:
            self.tally.lost(self.number, f"store verify: {result.stdout}{result.stderr}")
        line = self.reference.line(self.out)  # with nothing to do it repairs what was killed after the commit
        again = subprocess.run(line, env=known, capture_output=True, text=True, check=False)
        if again.returncode or json.loads(again.stdout)["status"] != "nothing":
            self.tally.lost(self.number, f"a start of the finished date: {again.stdout}{again.stderr}")
        if not (data.run_folder(DATE) / "report.html").exists():
            self.tally.lost(self.number, "no report.html")
        left = [*self.out.rglob(".*"), *self.out.rglob("*.attempt-*"), *self.out.rglob("*.error"), *garbage(data, None)]
        if left:
            self.tally.lost(self.number, f"left over: {', '.join(str(path.relative_to(self.out)) for path in left)}")

    def _keep_pool(self) -> None:
        """The pool's own keeper: a worker that died is started again."""
        if self.pool is None or self.pool.poll() is not None:
            line = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={self.port}"]
            with (self.folder / "pool.txt").open("ab") as log:
                self.pool = subprocess.Popen(line, env=self.environment, stdout=log, stderr=log)

    def _wait_for_lock(self) -> None:
        """A driver outlives its supervisor by moments."""
        path = self.out / "runs" / "lock"
        for _ in range(600):
            with path.open() as stream, contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.1)
        raise RuntimeError("the data set was still held a minute after its supervisor had died")

    def _end_all(self, process: subprocess.Popen[Any]) -> None:
        end(process)
        self._wait_for_lock()


ARMED = ("number", "role", "at", "action", "after", "errno", "seconds", "publishing")


def end(process: subprocess.Popen[Any] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="chains at a time")
    parser.add_argument("--chain", type=int, help="only this one")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no fault is armed after so long")
    parser.add_argument("--keep", type=Path, help="a folder to work in, and to leave")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/chaos.json")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.faults} faults, {options.lanes} lanes", flush=True)
    began = time.monotonic()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="gristmill-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    reference = Reference(folder)
    tally = Tally(options.faults, began + options.minutes * 60)
    numbers = iter([options.chain] if options.chain is not None else range(10_000))

    def lane() -> None:
        while tally.open:
            with tally.lock:
                number = next(numbers, None)
            if number is None:
                return
            Chain(reference, number, options.seed, tally, options.keep).run()

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
        record(tally, options.seed, minutes)
    if not tally.losses and not options.keep:
        shutil.rmtree(folder)
    elif tally.losses:
        print(f"see {folder}")
    return 1 if tally.losses or (options.chain is None and tally.faults.total() < options.faults) else 0


def record(tally: Tally, seed: int, minutes: float) -> None:
    figures = Figures("chaos", f"python tests/system/chaos/chaos.py --seed {seed} --record", processor())
    for kind, count in sorted(tally.faults.items()):
        figures.put(f"faults: {kind}", count)
    figures.put("faults", tally.faults.total(), 200)
    figures.put("losses", len(tally.losses), 0, "lower")
    figures.put("reads meanwhile", tally.polls)
    figures.put("minutes", minutes, MINUTES, "lower")


if __name__ == "__main__":
    sys.exit(main())
