"""Packed batches from token files: shuffled, each document once an epoch, resumed exactly by any number of ranks.

A lane is an endless stream of whole documents; a batch takes the next `length` tokens of each lane, so nothing is
cropped or padded and a document goes on in the lane's next sequence. Lane l belongs to rank l mod world. Lanes run
through the epochs by themselves: one whose documents are short begins the next epoch earlier. A lane's place follows
from the number of batches drawn, so the state is that number, whichever rank gives it, and whatever the next world.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.errors import ConfigError, InputError
from model.data.epoch_plan import Deal, Documents, Split
from stages.storage.checksum import sha256_file

IGNORED = -100  # a label that no loss counts


class Batch(NamedTuple):
    """B = this rank's lanes, in order; T = `length`."""

    tokens_BT: np.ndarray  # int64
    labels_BT: np.ndarray  # int64: the token after it in its document, also past the sequence's end; else IGNORED
    starts_BT: np.ndarray  # int32: where in the sequence the token's document begins; 0 where that was before it


class Loader:
    """An iterator of Batch: endless, or over `epochs` with the lanes that end first padded.

    `lanes` is the global batch in sequences. `tokenizer` (a tokenizer.json), where given, must be the files' own.
    Memory: about `window` row groups (64k tokens of 2 or 4 bytes) for each of this rank's lanes. Raises ConfigError
    for numbers that do not fit, InputError for files that cannot be read together and for a state of another stream.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        length: int,
        lanes: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        split: Split = "train",
        window: int = 8,
        epochs: int | None = None,
        tokenizer: Path | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, least in (
            ("length", length, 1),
            ("lanes", lanes, 1),
            ("seed", seed, 0),
            ("window", window, 1),
            ("epochs", 1 if epochs is None else epochs, 1),
            ("world", world, 1),
        ):
            if value < least:
                raise ConfigError(f"{name}: {value} is too small; give at least {least}")
        if lanes % world:
            raise ConfigError(f"lanes: {lanes} lanes cannot be dealt evenly to {world} ranks; use a divisor of {lanes}")
        if not 0 <= rank < world:
            raise ConfigError(f"rank: {rank} is none of {world} ranks; give 0 to {world - 1}")
        self.length, self.epochs = length, epochs
        self._deal = Deal(files, split=split, seed=seed, lanes=lanes, window=window)
        self.header = self._deal.header
        if tokenizer is not None:
            _check_tokenizer(Path(tokenizer), self.header.tokenizer_sha256, files)
        self._stream = {
            "files": self._deal.digest,
            "split": split,
            "seed": seed,
            "lanes": lanes,
            "length": length,
            "window": window,
        }
        self.step = 0 if state is None else _step(state, self._stream)
        self._numbers = np.arange(rank, lanes, world)
        self._lanes = [_Lane(self._deal, number, epochs) for number in self._numbers.tolist()]
        self.steps = self._count_steps()
        if self.step:
            self._seek()

    @property
    def tokens(self) -> int:
        """Tokens of an epoch over all lanes."""
        return self._deal.tokens

    @property
    def documents(self) -> int:
        """Documents of an epoch over all lanes."""
        return self._deal.documents

    @property
    def epoch(self) -> float:
        """How many epochs all lanes together have delivered; single lanes are a little ahead or behind."""
        return self.step * self.length * self._deal.lanes / self.tokens

    def state(self) -> dict[str, Any]:
        """What `Loader(..., state=…)` needs to go on after the batches drawn so far: JSON, the same on every rank."""
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
        """Batches until the longest lane's last epoch is over: all ranks stop together."""
        if self.epochs is None:
            return None
        lanes = np.arange(self._deal.lanes)
        tokens = sum((self._deal.sizes(epoch, lanes) for epoch in range(self.epochs)), np.zeros(len(lanes), np.int64))
        return -(-int(tokens.max()) // self.length)

    def _seek(self) -> None:
        """Moves the lanes to where `step` batches have brought them, by the sizes that the footers give."""
        left = np.full(len(self._lanes), self.step * self.length, np.int64)
        seeking = np.ones(len(self._lanes), bool)
        epoch = 0
        while seeking.any() and epoch != self.epochs:
            sizes = self._deal.sizes(epoch, self._numbers)
            for row in np.flatnonzero(seeking & (left < sizes)).tolist():
                self._lanes[row].open(epoch, int(left[row]))
                seeking[row] = False
            left -= sizes
            epoch += 1
        for row in np.flatnonzero(seeking).tolist():
            self._lanes[row].finish()


class _Lane:
    """A place in a lane's stream: the token `at` of a window of an epoch."""

    def __init__(self, deal: Deal, number: int, epochs: int | None) -> None:
        self._deal, self._number, self._epochs = deal, number, epochs
        self._epoch, self._window, self._at = 0, -1, 0
        self._documents = Documents(np.empty(0, np.uint16), np.zeros(1, np.int64))

    def open(self, epoch: int, token: int) -> None:
        """Goes to a token of the lane's share of an epoch."""
        self._epoch = epoch
        self._window, self._at = self._deal.place(epoch, self._number, token)
        documents = self._deal.documents_of(epoch, self._number, self._window)
        assert documents is not None
        self._documents = documents

    def finish(self) -> None:
        """Goes to the end of a finite stream."""
        assert self._epochs is not None
        self._epoch = self._epochs

    def fill(self, tokens_T: np.ndarray, labels_T: np.ndarray, starts_T: np.ndarray) -> None:
        """Writes the next tokens of the stream; what lies behind its end is end-of-sequence tokens without labels."""
        done, length = 0, len(tokens_T)
        while done < length:
            tokens, bounds = self._documents
            if self._at == len(tokens):
                if self._turn():
                    continue
                tokens_T[done:], labels_T[done:], starts_T[done:] = self._deal.header.eos, IGNORED, done
                return
            begin, end = self._at, min(self._at + length - done, len(tokens))
            stop = done + end - begin
            tokens_T[done:stop] = tokens[begin:end]
            following = tokens[begin + 1 : end + 1]  # one too few at the window's end, where a document ends as well
            labels_T[done : done + len(following)] = following
            first = int(np.searchsorted(bounds, begin, side="right")) - 1
            edges = bounds[first : int(np.searchsorted(bounds, end)) + 1]  # of the documents that lie in begin…end
            ends = edges[1:] if edges[-1] <= end else edges[1:-1]
            labels_T[ends - (1 + begin - done)] = IGNORED
            edges = np.clip(edges, begin, end) - (begin - done)
            starts_T[done:stop] = np.repeat(edges[:-1], np.diff(edges))
            self._at, done = end, stop

    def _turn(self) -> bool:
        """Opens the next window, of the next epoch where this one's are over; False at the end of a finite stream."""
        while self._epoch != self._epochs:
            documents = self._deal.documents_of(self._epoch, self._number, self._window + 1)
            if documents is not None:
                self._window, self._at, self._documents = self._window + 1, 0, documents
                return True
            self._epoch, self._window = self._epoch + 1, -1
        return False


def _step(state: Mapping[str, Any], stream: Mapping[str, Any]) -> int:
    for name, ours in stream.items():
        if name not in state:
            raise InputError(f"loader state: damaged, it has no {name!r}; take an older checkpoint, or start anew")
        if state[name] != ours:
            raise InputError(
                f"loader state: made with {name} {state[name]}, now {ours}; go on with the same {name}, or start anew"
            )
    step = state.get("step")
    if type(step) is not int or step < 0:
        raise InputError(f"loader state: damaged, its step is {step!r}; take an older checkpoint, or start anew")
    return step


def _check_tokenizer(path: Path, expected: str, files: Sequence[Path]) -> None:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file; name the tokenizer.json that the token files were made with")
    found = sha256_file(file)
    if found != expected:
        raise InputError(
            f"{files[0]}: made with another tokenizer (sha256 {expected[:12]}) than {file} ({found[:12]}); "
            "tokenize the shards with it, or train with theirs"
        )
