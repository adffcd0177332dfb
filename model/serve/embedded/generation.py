"""`Generation`: what the engine's thread does. It reads prompts and decodes tokens, a step at a time."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch

from configs.errors import GristmillError
from model.serve.embedded import sampling
from model.serve.embedded.scheduler import LiveSequence, Scheduler
from model.serve.embedded.slot_model import SlotModel
from model.serve.port import FinishReason, GenerationStep, TokenLogprob

PREFILL_SHARE = 2.0  # time for prompts between two decode steps, in decode steps
STEPS_REMEMBERED = 15  # decode steps whose median is the time of a step
MAX_CHUNK_PARTS = 8  # into which a chunk is cut while others generate
# A layer of half a chunk that takes more than this share of the whole one's time is bound by its launches.
LAUNCH_BOUND = 0.75


class Generation:
    """Sequences over the slots of a model.

    Args:
        model: the model.
        prefill_tokens: tokens of prompts that are read at once, fewer while others generate and a layer takes too long.
        on_step: is called after each chunk and each decode step, also of those between the layers of a chunk.
    """

    def __init__(self, model: SlotModel, prefill_tokens: int, on_step: Callable[[], None]) -> None:
        self.model, self.scheduler, self._on_step = model, Scheduler(model.slots), on_step
        self._prefill_tokens = prefill_tokens
        self.prompt_tokens = self.generated_tokens = self.sparse_steps = self.dense_steps = 0
        self._start_clock()

    def _start_clock(self) -> None:
        """Forgets how long steps took."""
        self._chunk_tokens = self._prefill_tokens
        self._last_step = 0.0  # when the last decode step ended, seconds
        # How long the last decode steps took, seconds. One of them may have waited for another thread.
        self._step_times = deque[float](maxlen=STEPS_REMEMBERED)
        self._layer_times: list[float] = []  # of the chunk's layers, seconds
        self._layer_time_of: dict[int, float] = {}  # by the tokens of a chunk of this prompt, the median
        self._least_chunk = 1
        self._layer_began = 0.0

    def warm_up(self) -> None:
        """Reads meaningless chunks of many lengths into slot 0, which must be free.

        A GPU's libraries load kernels when they first see a length: a layer then takes 10 ms, in which all wait.
        """
        least = max(self._prefill_tokens // (2 * MAX_CHUNK_PARTS), 1)
        for tokens in range(least, min(self._prefill_tokens, self.model.max_length) + 1, least):
            self.model.prefill(0, [[0] * tokens], 0, [None], lambda: None)
        self.model.wait()

    @property
    def has_work(self) -> bool:
        """Whether a sequence waits or runs."""
        return bool(self.scheduler.waiting or self.scheduler.running)

    @property
    def _longest_wait(self) -> float:
        """Seconds between two decode steps that may go to prompts."""
        return PREFILL_SHARE * statistics.median(self._step_times) if self._step_times else 0.0

    def step(self) -> None:
        """Reads one chunk of prompts, then decodes one token of each sequence that generates."""
        self.scheduler.admit()
        budget = self._chunk_tokens if self.scheduler.decoding() else self._prefill_tokens
        if group := self.scheduler.next_prefill(budget):
            is_cut = bool(group[0].cached)
            self._read(group, budget)
            self._on_step()  # a first token does not wait for the decode step
            self._choose_chunk_tokens(budget)
            if is_cut and not group[0].unread:
                # What made layers slow in this prompt may be over, so the next one tries larger chunks.
                self._chunk_tokens = min(2 * self._chunk_tokens, self._prefill_tokens)
        self._decode()

    def _decode_meanwhile(self) -> None:
        """Between two layers of a prefill: a decode step, if those that generate cannot wait for the next layer."""
        if not self.scheduler.decoding():
            return
        self.model.wait()
        now = time.perf_counter()
        if self._layer_began:
            self._layer_times.append(now - self._layer_began)
        next_layer = self._layer_times[-1] if self._layer_times else 0.0
        if now + next_layer - self._last_step > self._longest_wait:
            self._decode()
        self._layer_began = time.perf_counter()

    def _choose_chunk_tokens(self, read: int) -> None:
        """Sets how many tokens are read next while others generate: these wait at least as long as a layer takes.

        Smaller chunks are no use where a layer takes nearly as long for half of the tokens: the prompt would only wait.
        `read`: tokens of the chunk that was read.
        """
        if not self._layer_times:
            return
        layer, wait = statistics.median(self._layer_times), self._longest_wait
        self._layer_time_of[read] = layer
        if layer > LAUNCH_BOUND * self._layer_time_of.get(2 * read, float("inf")):
            self._chunk_tokens = self._least_chunk = 2 * read
        elif layer > wait:
            least = max(self._least_chunk, self._prefill_tokens // MAX_CHUNK_PARTS, 1)
            self._chunk_tokens = max(read // 2, least)
        elif layer < wait / 4:
            self._chunk_tokens = min(read * 2, self._prefill_tokens)

    def fail_all(self, error: GristmillError) -> None:
        """Ends all sequences with an error and frees their slots."""
        for request_id in [*self.scheduler.running, *self.scheduler.waiting]:
            if sequence := self.scheduler.remove(request_id):
                sequence.deliver(error)

    def restart(self) -> None:
        """Begins again after a step that failed, with free slots and a model that makes steps. Raises what it raises.

        All sequences must have been ended.
        """
        self.scheduler = Scheduler(self.model.slots)
        self._start_clock()
        self.model.restart()

    def _read(self, group: list[LiveSequence], budget: int) -> None:
        first = group[0]
        self._layer_times, self._layer_began = [], 0.0
        offset = first.cached
        if not offset:
            self._layer_time_of, self._least_chunk = {}, 1
        longest = budget if len(group) == 1 else max(sequence.unread for sequence in group)
        chunks = [sequence.request.prompt[offset : offset + longest] for sequence in group]
        asked = first.request.sampling.prompt_logprobs
        adapters = [sequence.request.adapter for sequence in group]
        for sequence, chunk in zip(group, chunks, strict=True):
            sequence.reading = len(chunk)
        logits = self.model.prefill(
            first.slot, chunks, offset, adapters, self._decode_meanwhile, all_logits=asked is not None
        )
        for sequence in group:
            sequence.cached += sequence.reading
            self.prompt_tokens += sequence.reading
            sequence.reading = 0
        if asked is not None:
            self._score_prompt(first, logits, offset, asked)
            logits = logits[-1:]
        if read := [index for index, sequence in enumerate(group) if not sequence.unread]:
            self._advance([group[index] for index in read], logits if len(read) == len(group) else logits[read])

    def _score_prompt(self, sequence: LiveSequence, logits_TV: torch.Tensor, offset: int, count: int) -> None:
        """Adds the log-probabilities of the prompt's tokens that these logits predict."""
        if not offset:
            sequence.prompt_logprobs.append(None)
        following = list(sequence.request.prompt[offset + 1 : offset + 1 + len(logits_TV)])
        if following:
            counts = [count] * len(following)
            sequence.prompt_logprobs += sampling.logprobs(logits_TV[: len(following)], following, counts)

    def _decode(self) -> None:
        """Decodes one token of each sequence that generates."""
        decoding, begin = self.scheduler.decoding(), time.perf_counter()
        if not decoding:
            return
        rows = [self.scheduler.by_slot(slot) for slot in range(decoding[-1].slot + 1)]
        # A free slot, or one that is being read, gets a token that the next write to it overwrites.
        tokens = [row.tokens[-1] if row is not None and not row.unread else 0 for row in rows]
        positions = [row.cached + row.reading if row is not None else 0 for row in rows]
        adapters = [row.request.adapter if row is not None else None for row in rows]
        logits_BV = self.model.decode(tokens, positions, adapters)
        if self.model.dense_below is not None and max(positions) >= self.model.dense_below:
            self.sparse_steps += 1
        else:
            self.dense_steps += 1
        for sequence in decoding:
            sequence.cached += 1
        slots = [sequence.slot for sequence in decoding]
        self._advance(decoding, logits_BV if len(slots) == len(rows) else logits_BV[slots])
        self._last_step = time.perf_counter()
        self._step_times.append(self._last_step - begin)
        self._on_step()

    def _advance(self, sequences: list[LiveSequence], logits_BV: torch.Tensor) -> None:
        """Draws the next token of each sequence, and hands out what is due."""
        live = [index for index, sequence in enumerate(sequences) if sequence.request.sampling.max_tokens]
        for sequence in sequences:
            if not sequence.request.sampling.max_tokens:
                self._hand_out(sequence, "length", None)
        if len(live) < len(sequences):
            if not live:
                return
            sequences, logits_BV = [sequences[index] for index in live], logits_BV[live]
        tokens = sampling.draw(logits_BV, [sequence.draws for sequence in sequences])
        self.generated_tokens += len(tokens)
        asked = [index for index, sequence in enumerate(sequences) if sequence.request.sampling.logprobs is not None]
        entries: Sequence[TokenLogprob] = ()
        if asked:
            counts = [sequences[index].request.sampling.logprobs or 0 for index in asked]
            entries = sampling.logprobs(logits_BV[asked], [tokens[index] for index in asked], counts)
        for index, entry in zip(asked, entries, strict=True):
            sequences[index].logprobs.append(entry)
        for sequence, token in zip(sequences, tokens, strict=True):
            sequence.tokens.append(token)
            sequence.undelivered += 1
            reason, ended_by = _ending(sequence, token)
            if reason or sequence.undelivered >= sequence.request.tokens_per_step:
                self._hand_out(sequence, reason, ended_by)

    def _hand_out(self, sequence: LiveSequence, reason: FinishReason | None, ended_by: int | None) -> None:
        """Delivers the tokens that were not delivered yet; a finished sequence leaves its slot."""
        begin = len(sequence.tokens) - sequence.undelivered
        is_first, options = not begin, sequence.request.sampling
        sequence.undelivered = 0
        sequence.deliver(
            GenerationStep(
                tuple(sequence.tokens[begin:]),
                tuple(sequence.logprobs[begin:]) if options.logprobs is not None else None,
                tuple(sequence.prompt_logprobs) if is_first and options.prompt_logprobs is not None else None,
                reason,
                ended_by,
            )
        )
        if reason:
            self.scheduler.remove(sequence.request.id)


def _ending(sequence: LiveSequence, token: int) -> tuple[FinishReason | None, int | None]:
    """Returns why the sequence is complete after this token, and the token if it ended it."""
    options = sequence.request.sampling
    is_end = token in sequence.draws.end_tokens and not options.ignore_eos
    if is_end or token in options.stop_token_ids:
        return "stop", token
    return ("length", None) if len(sequence.tokens) >= options.max_tokens else (None, None)
