"""`Loader`: packed batches from token files, shuffled, each document once an epoch, with exact resume on any ranks.

A lane is an endless stream of whole documents, one for each sequence of the global batch. A batch takes the next
`length` tokens of each lane: nothing is cropped or padded, and a document that does not fit goes on in the lane's next
sequence. Lane l belongs to rank l mod world_size. Each lane goes through the epochs by itself: one with short documents
begins the next epoch earlier. A lane's place follows from the number of batches drawn, so the whole state is that
number: it is the same on every rank, and any number of ranks may resume from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.errors import ConfigError, InputError
from model.data.epoch_plan import Documents, EpochPlan, Split
from stages.storage.checksum import sha256_file

IGNORED_LABEL = -100  # PyTorch's cross-entropy leaves it out


class Batch(NamedTuple):
    """One batch of a rank: B = the rank's lanes in order, T = `length`."""

    tokens_BT: np.ndarray  # int64
    labels_BT: np.ndarray  # int64: the next token of the document, also beyond the sequence's end, else IGNORED_LABEL
    starts_BT: np.ndarray  # int32: where in the sequence the token's document begins; 0 if in an earlier sequence


class Loader:
    """An iterator of batches: endless, or over `epochs`, where lanes that end early are padded.

    Memory: about `window` row groups (64k tokens of 2 or 4 bytes) for each of this rank's lanes.

    Args:
        files: token files, in any order.
        length: tokens of a sequence.
        lanes: sequences of the global batch, over all ranks.
        seed: of the document order.
        rank, world_size: which of how many processes this is.
        split: which documents.
        window: units whose documents are shuffled together (see `epoch_plan`).
        epochs: how many epochs; None: endless.
        tokenizer: a tokenizer.json or its folder that the files must have been made with; None: any.
        state: what `state()` returned, to go on after the batches drawn until then.

    Raises:
        ConfigError: a number is too small, or the lanes cannot be divided among the ranks.
        InputError: the files cannot be read together, or `state` is damaged or belongs to other files or options.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        length: int,
        lanes: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        split: Split = "train",
        window: int = 8,
        epochs: int | None = None,
        tokenizer: Path | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, minimum in (
            ("length", length, 1),
            ("lanes", lanes, 1),
            ("seed", seed, 0),
            ("window", window, 1),
            ("epochs", 1 if epochs is None else epochs, 1),
            ("world_size", world_size, 1),
        ):
            if value < minimum:
                raise ConfigError(f"{name}: {value} is too small; give at least {minimum}")
        if lanes % world_size:
            raise ConfigError(
                f"lanes: {lanes} lanes cannot be divided evenly among {world_size} ranks; use a divisor of {lanes}"
            )
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank: {rank} is not one of {world_size} ranks; give 0 to {world_size - 1}")
        self.length, self.epochs = length, epochs
        self._plan = EpochPlan(files, split=split, seed=seed, lanes=lanes, window=window)
        self.header = self._plan.header
        if tokenizer is not None:
            _check_tokenizer(Path(tokenizer), self.header.tokenizer_sha256, files)
        self._stream = {
            "files": self._plan.digest,
            "split": split,
            "seed": seed,
            "lanes": lanes,
            "length": length,
            "window": window,
        }
        self.step = 0 if state is None else _step_of(state, self._stream)
        self._lane_numbers = np.arange(rank, lanes, world_size)
        self._lanes = [_Lane(self._plan, number, epochs) for number in self._lane_numbers.tolist()]
        self.steps = self._count_steps()
        if self.step:
            self._seek()

    @property
    def tokens(self) -> int:
        """Tokens of an epoch over all lanes."""
        return self._plan.tokens

    @property
    def documents(self) -> int:
        """Documents of an epoch over all lanes."""
        return self._plan.documents

    @property
    def epoch(self) -> float:
        """How many epochs all lanes together have delivered. A single lane is a little ahead or behind."""
        return self.step * self.length * self._plan.lanes / self.tokens

    def state(self) -> dict[str, Any]:
        """Returns what `Loader(…, state=…)` needs to go on after the batches drawn so far, as JSON types."""
        return {"step": self.step, **self._stream}

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.step == self.steps:
            raise StopIteration
        shape = len(self._lanes), self.length
        batch = Batch(np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.int32))
        for lane, *rows in zip(self._lanes, *batch, strict=True):
            lane.fill(*rows)
        self.step += 1
        return batch

    def _count_steps(self) -> int | None:
        """Returns the batches until the longest lane has ended, so that all ranks stop together."""
        if self.epochs is None:
            return None
        lanes = np.arange(self._plan.lanes)
        tokens = np.zeros(len(lanes), np.int64)
        for epoch in range(self.epochs):
            tokens += self._plan.lane_tokens(epoch, lanes)
        return -(-int(tokens.max()) // self.length)

    def _seek(self) -> None:
        """Moves each lane to its place after `step` batches, by the token counts in the footers."""
        tokens_left = np.full(len(self._lanes), self.step * self.length, np.int64)
        is_seeking = np.ones(len(self._lanes), bool)
        epoch = 0
        while is_seeking.any() and epoch != self.epochs:
            lane_tokens = self._plan.lane_tokens(epoch, self._lane_numbers)
            for row in np.flatnonzero(is_seeking & (tokens_left < lane_tokens)).tolist():
                self._lanes[row].seek(epoch, int(tokens_left[row]))
                is_seeking[row] = False
            tokens_left -= lane_tokens
            epoch += 1
        for row in np.flatnonzero(is_seeking).tolist():
            self._lanes[row].finish()


class _Lane:
    """A lane's documents and the place in them: token `_at` of window `_window` of epoch `_epoch`."""

    def __init__(self, plan: EpochPlan, number: int, epochs: int | None) -> None:
        self._plan, self._number, self._epochs = plan, number, epochs
        self._epoch, self._window, self._at = 0, -1, 0
        self._documents = Documents(np.empty(0, np.uint16), np.zeros(1, np.int64))

    def seek(self, epoch: int, token: int) -> None:
        """Goes to token number `token` of the lane's part of an epoch."""
        self._epoch = epoch
        self._window, self._at = self._plan.locate(epoch, self._number, token)
        documents = self._plan.read_window(epoch, self._number, self._window)
        assert documents is not None
        self._documents = documents

    def finish(self) -> None:
        """Goes to the end of the last epoch."""
        assert self._epochs is not None
        self._epoch = self._epochs

    def fill(self, tokens_T: np.ndarray, labels_T: np.ndarray, starts_T: np.ndarray) -> None:
        """Writes the next T tokens with labels and starts; after the last epoch, end-of-sequence ids without labels."""
        filled, length = 0, len(tokens_T)
        while filled < length:
            tokens, bounds = self._documents
            if self._at == len(tokens):
                if self._next_window():
                    continue
                tokens_T[filled:], labels_T[filled:], starts_T[filled:] = self._plan.header.eos, IGNORED_LABEL, filled
                return
            begin, end = self._at, min(self._at + length - filled, len(tokens))
            stop = filled + end - begin
            shift = begin - filled  # from a place in the window to one in the sequence
            tokens_T[filled:stop] = tokens[begin:end]
            next_tokens = tokens[begin + 1 : end + 1]  # one less at the window's end, where a document ends as well
            labels_T[filled : filled + len(next_tokens)] = next_tokens
            first = int(np.searchsorted(bounds, begin, side="right")) - 1
            edges = bounds[first : int(np.searchsorted(bounds, end)) + 1]  # of the documents within begin … end
            document_ends = edges[1:] if edges[-1] <= end else edges[1:-1]
            labels_T[document_ends - 1 - shift] = IGNORED_LABEL
            edges = np.clip(edges, begin, end) - shift
            starts_T[filled:stop] = np.repeat(edges[:-1], np.diff(edges))
            self._at, filled = end, stop

    def _next_window(self) -> bool:
        """Opens the lane's next window, in the next epoch after an epoch's last; False after the last epoch."""
        while self._epoch != self._epochs:
            documents = self._plan.read_window(self._epoch, self._number, self._window + 1)
            if documents is not None:
                self._window, self._at, self._documents = self._window + 1, 0, documents
                return True
            self._epoch, self._window = self._epoch + 1, -1
        return False


def _step_of(state: Mapping[str, Any], stream: Mapping[str, Any]) -> int:
    """Returns the step of a loader's state after checking that it belongs to the same stream."""
    for name, value in stream.items():
        if name not in state:
            raise InputError(f"loader state: damaged, it has no {name!r}; use an older checkpoint, or start a new run")
        if state[name] != value:
            raise InputError(
                f"loader state: made with {name} {state[name]}, now {value}; "
                f"go on with the same {name}, or start a new run"
            )
    step = state.get("step")
    if type(step) is not int or step < 0:
        raise InputError(f"loader state: damaged, its step is {step!r}; use an older checkpoint, or start a new run")
    return step


def _check_tokenizer(path: Path, expected: str, files: Sequence[Path]) -> None:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file; name the tokenizer.json that the token files were made with")
    sha256 = sha256_file(file)
    if sha256 != expected:
        raise InputError(
            f"{files[0]}: made with another tokenizer (sha256 {expected[:12]}) than {file} ({sha256[:12]}); "
            "tokenize the shards with it, or train with the tokenizer that they were made with"
        )
