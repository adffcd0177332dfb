"""A fault that is drawn for a chain, and the tally that all chains share."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field


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
    publishing: bool = False  # only boundaries outside the run's or evolution's folder count
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
