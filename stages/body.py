"""The body of a stage, which `execute` runs on each shard, and the models that a process keeps for it."""

import gc
import threading
import uuid
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.writer import ShardWriter

T = TypeVar("T")


class StageBody(Protocol):
    """A stage: its kind, and its work on one shard. It is pickled and sent to workers."""

    kind: StageKind

    def load(self) -> None:
        """Loads models and other heavy things, before the first shard."""
        ...

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        """Reads the inputs that the payload names; writes rows, rejects and figures to `out`."""
        ...


class PerProcess(Generic[T]):
    """A value that is created once in a process and shared by its worker threads.

    A process keeps one such value, the last that was loaded, for the stage's next shard: a worker may have a new copy
    of the body for each. The value before it is closed first, once no shard uses it any more, so that two engines do
    not meet on one GPU.
    """

    def __init__(self, name: str, create: Callable[[], T], close: Callable[[T], None] = lambda value: None) -> None:
        self._key = f"{name}-{uuid.uuid4().hex}"  # the same in all pickled copies
        self._create = create
        self._close = close

    def load(self) -> None:
        with _kept.lock:
            if _kept.key != self._key:
                _kept.drop()
                _kept.holder = _Holder(self._create(), self._close)
                _kept.key = self._key
            self._holder: _Holder[T] = _kept.holder

    @property
    def value(self) -> T:
        return self._holder.value


class _Holder(Generic[T]):
    def __init__(self, value: T, close: Callable[[T], None]) -> None:
        self.value = value
        self._close = close

    def __del__(self) -> None:
        self._close(self.value)


class _Kept:
    """The value that this process keeps."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.key, self.holder = "", None

    key: str
    holder: Any

    def drop(self) -> None:
        self.key, self.holder = "", None
        gc.collect()


_kept = _Kept()


def release() -> None:
    """Frees the models and engines that this process keeps, as far as no shard uses them."""
    with _kept.lock:
        _kept.drop()
