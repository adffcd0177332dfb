"""One date, published under faults, and the checks of what it left."""

import contextlib
import errno
import fcntl
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.backends.vllm.queue import MAX_ENGINE_DEATHS
from pipeline.store import registry_check
from pipeline.store.dataset import DataSet
from pipeline.store.maintenance import garbage, verify
from tests.system.chaos.fault import Fault, Tally
from tests.system.chaos.reference import (
    BEFORE,
    DATE,
    DRIVER,
    EVOLVE_DRIVER,
    SUPERVISOR,
    Reference,
    differences,
    environment,
    registry_content,
)
from tests.system.chaos.workers import DaskCluster, Pool, end

FLAVOURS = ("threads", "engines", "pool", "dask", "loop", "loop", "loop on a pool")  # of chains, in turn
LIMIT_S = 900  # of one command: a loop on a pool starts workers for twenty stages, on a loaded machine for long
PATIENCE_S = 10  # a fault whose boundary does not come is taken back
REGISTRY_BOUNDARIES = 30  # in the registry, of an evolution's driver, about
CLOCK_JUMPS = (240, 86_400, -86_400, -300)  # seconds: over midnight, a day on, a day back, before midnight again
ARMED = ("number", "role", "at", "action", "after", "errno", "seconds", "publishing")


class Chain:
    """One date, made under faults."""

    def __init__(
        self, reference: Reference, flavour: str, number: int, seed: int, tally: Tally, keep: Path | None
    ) -> None:
        self.reference, self.number, self.tally, self.keep = reference, number, tally, keep
        self.draw = random.Random(f"{seed}:{number}")
        self.flavour, self.loop = flavour, reference.loop
        self.patience_s = LIMIT_S if self.loop else PATIENCE_S
        self.folder = Path(tempfile.mkdtemp(prefix=f"chain-{number}-", dir=reference.folder))
        self.out, self.chaos = self.folder / "out", self.folder / "chaos"
        shutil.copytree(reference.out, self.out)
        self.chaos.mkdir()
        more = {"CHAOS_ENGINES": "1"} if self.flavour == "engines" else {}
        self.environment = environment(self.chaos, self.out, **more)
        kind = Pool if "pool" in flavour else DaskCluster if flavour == "dask" else None
        self.workers = kind and kind(self.folder, self.environment)
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
            if self.workers:
                self.workers.end()
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
            code = self._command(at_midnight=self.flavour in ("threads", "loop") and self.draw.random() < 0.4)
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
        if self.workers:
            self.workers.keep()
            flags = self.workers.flags
        date = DATE
        if at_midnight:
            eve = datetime.fromisoformat(DATE).replace(hour=23, minute=57, tzinfo=UTC)  # a loaded machine starts slowly
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
            elif fault is not None and time.monotonic() - armed > self.patience_s and self._taken_back():
                fault = None
            elif fault is not None and (self.chaos / "fired").exists():
                if fault.kind == "two runs":
                    rivals.append(subprocess.Popen(line, env=known, stdout=subprocess.DEVNULL, stderr=errors))
                self._settle(fault)
                fault = None
            if self.workers:
                self.workers.keep()
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
        draw = self.draw
        driver = self._driver(draw)
        last = self.reference.boundaries[driver]
        if driver == EVOLVE_DRIVER:
            late = draw.random() < 0.5 * self._at("probe-screen", "evolve")  # the verdicts and the registry
            end = REGISTRY_BOUNDARIES
        else:
            late, end = draw.random() < 0.6 * self._at("shards"), 60  # the end of a run
        parts = 15 if self.loop else 10 if self.workers else 6  # a command of the loop takes the longest to start
        deep = 1 + draw.randrange(end if late else last // parts)
        kinds = {"supervisor killed": 5, "driver killed": 10 if self.loop else 4, "ENOSPC": 4, "EIO": 4, "two runs": 3}
        writing = self._at("adapt") - self._at("adapt-screen") or not self._at("screen")
        # a prompt that is open at three deaths of one command is poison by design, and costs its row
        engines = self.flavour == "engines" and writing and self.engines_killed < MAX_ENGINE_DEATHS - 1
        kinds |= {"engine killed": 15} if engines else {}
        kinds |= {"worker killed": 8 if self.loop else 25} if self.workers else {}
        kind = "clock jumped" if at_midnight else draw.choices(list(kinds), list(kinds.values()))[0]
        self.faults += 1
        fault = Fault(kind, self.faults, driver, deep, "kill", after=draw.random() < 0.5, publishing=late)
        own = 1 + draw.randrange(self.reference.boundaries[SUPERVISOR])
        match kind:
            case "supervisor killed":
                itself = draw.random() < 0.4 and early
                fault.action = "kill" if itself else "kill parent"
                fault.role, fault.at = (SUPERVISOR, own) if itself else (driver, deep)
            case "ENOSPC" | "EIO":
                fault.errno = errno.ENOSPC if kind == "ENOSPC" else errno.EIO
                fault.action = draw.choice(["once", "broken"])
                role = draw.choices([driver, SUPERVISOR, "worker"], [6, 3 * early, 6 * bool(self.workers)])[0]
                fault.role, fault.at = role, {SUPERVISOR: own, driver: deep}.get(role, 1 + draw.randrange(30))
            case "two runs":
                fault.action = "tell"
                if draw.random() < 0.5 and early:  # a moment before the first has taken hold
                    fault.role, fault.at = SUPERVISOR, 1
            case "worker killed":
                fault.role, fault.at = "worker", 1 + draw.randrange(8)
            case "engine killed":
                fault.role, fault.at = "engine", 1 + draw.randrange(8)
            case "clock jumped":
                fault.action, fault.seconds = "clock", draw.choice(CLOCK_JUMPS)
                fault.at = 1 + draw.randrange(
                    last // (6 if self.loop else 3)
                )  # a jump ends nothing: few fit into a run
        (self.chaos / "fired").unlink(missing_ok=True)
        fault.publishing &= fault.role == driver
        part = self.chaos / "arming"
        part.write_text(json.dumps({key: getattr(fault, key) for key in ARMED}))
        part.rename(self.chaos / "armed")
        return fault

    def _driver(self, draw: random.Random) -> str:
        """Whose boundaries the next fault is at: those of the loop, once the date is published, mostly before too."""
        if self.loop and (DataSet(self.out).manifest_path(DATE).exists() or draw.random() < 0.6):
            return EVOLVE_DRIVER
        return DRIVER

    def _at(self, stage: str, work: str = "runs") -> bool:
        """Whether the run, or the evolution, has come to this stage."""
        return (self.out / work / DATE / "stages" / stage).exists()

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
        for problem in registry_check.verify(DataSet(self.out)):
            self.tally.lost(self.number, f"{when}: {problem}")

    def _check(self) -> None:
        """The date is that of an undisturbed run, whole, and alone."""
        data = DataSet(self.out)
        manifest = data.manifest(DATE)
        if manifest is None or sorted(manifest.published_files) != self.reference.named:
            self.tally.lost(self.number, "the published files are not those of the undisturbed run")
        if data.dates() != [BEFORE, DATE] or data.started() != [BEFORE, DATE]:
            self.tally.lost(self.number, f"dates {data.dates()}, begun {data.started()}")
        known = self.environment | {"CHAOS": ""}
        line = self.reference.line(self.out)  # with nothing to do it repairs what was killed after the commit
        again = subprocess.run(line, env=known, capture_output=True, text=True, check=False)
        if again.returncode or {json.loads(each)["status"] for each in again.stdout.splitlines()} != {"nothing"}:
            self.tally.lost(self.number, f"a start of the finished date: {again.stdout}{again.stderr}")
        for command in (("store", "verify"), ("registry", "verify")):
            line = [sys.executable, "-m", "pipeline", *command, "--out", str(self.out)]
            result = subprocess.run(line, env=known, capture_output=True, text=True, check=False)
            if result.returncode:
                self.tally.lost(self.number, f"{' '.join(command)}: {result.stdout}{result.stderr}")
        if files := differences(registry_content(self.out), self.reference.registry):
            self.tally.lost(self.number, f"not as in the undisturbed loop: {', '.join(files)}")
        if self.loop and not (self.out / "evolve" / "report.html").exists():
            self.tally.lost(self.number, "no evolve/report.html")
        if not (data.run_folder(DATE) / "report.html").exists():
            self.tally.lost(self.number, "no report.html")
        left = [*self.out.rglob(".*"), *self.out.rglob("*.attempt-*"), *self.out.rglob("*.error"), *garbage(data, None)]
        if left:
            self.tally.lost(self.number, f"left over: {', '.join(str(path.relative_to(self.out)) for path in left)}")

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
