"""Passes over prompts, and decode steps, give what the network's own give, in a bounded number of operations.

Long prompts let others decode.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from model.attention import decode  # noqa: E402
from model.serve.embedded import generation, prompt_graphs, prompt_pass  # noqa: E402
from model.serve.embedded.dsa_slots import DsaSlots  # noqa: E402
from model.serve.embedded.generation import Generation  # noqa: E402
from model.serve.embedded.sampling import Draws  # noqa: E402
from model.serve.embedded.scheduler import LiveSequence  # noqa: E402
from model.serve.port import GenerationRequest, SamplingOptions  # noqa: E402
from tests.factories.serving.tiny_models import VOCABULARY, save_dsa  # noqa: E402

pytestmark = pytest.mark.weights
MAX_OPERATIONS = 18  # of a layer; on a GPU, where RoPE and each gate are one, 10
MAX_DECODE_OPERATIONS = 10  # of a layer, attention left out; on a GPU, where each gate is one, 8


class Operations(TorchDispatchMode):
    """Counts operations that write something: on a GPU each is a launch."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if func._can_decompose() and name not in (
            "aten::linear",
            "aten::rms_norm",
            "aten::scaled_dot_product_attention",
        ):
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        result = func(*args, **(kwargs or {}))
        given, returned = (
            {tensor.untyped_storage().data_ptr() for tensor in tree_leaves(tensors) if isinstance(tensor, torch.Tensor)}
            for tensors in ((args, kwargs), result)
        )
        is_view = returned <= given and not func._schema.is_mutable
        if returned and not is_view and "empty" not in name and name != "aten::detach_":
            self.counts[name] += 1
        return result


@pytest.fixture(scope="module", params=["sparse", "dense"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return save_dsa(tmp_path_factory.mktemp("dsa"), attention=request.param)


def tokens(lengths: Sequence[int]) -> list[list[int]]:
    return [torch.randint(1, VOCABULARY, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in lengths]


@pytest.mark.parametrize(
    ("lengths", "chunk"),
    [((1, 7, 20), 64), ((4, 8, 3, 9), 64), ((20, 20), 64), ((90,), 128), ((90,), 30), ((90,), 7), ((41, 64, 13), 128)],
)
def test_a_pass_gives_the_logits_and_the_cache_of_the_networks_own(
    network: Any, lengths: tuple[int, ...], chunk: int
) -> None:
    slots, prompts, first = DsaSlots(network, 6, 128), tokens(lengths), 1
    logits = None
    for offset in range(0, max(lengths), chunk):
        chunks = [prompt[offset : offset + chunk] for prompt in prompts]
        logits = slots.prefill(first, chunks, offset, [None] * len(prompts), lambda: None)
    assert logits is not None
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            expected = network(input_ids=torch.tensor([prompt]), use_cache=True)
        torch.testing.assert_close(logits[row], expected.logits[0, -1], atol=1e-4, rtol=1e-4)
        S, end = network.config.block, len(prompt)
        for layer, expected_layer in zip(slots._cache.layers, expected.past_key_values.layers, strict=True):
            pages: Any = layer.pages  # pyright: ignore
            own = expected_layer.pages
            assert not pages.keys[first + row, end + chunk :].any()
            pairs = [
                (pages.keys[first + row, :end], own.keys[0, :end]),
                (pages.values[first + row, :end], own.values[0, :end]),
                (pages.tail[first + row, : end % S], own.tail[0, : end % S]),
            ]
            complete = end // S
            for mine, theirs in zip(pages.levels, own.levels, strict=False):
                pairs.append((mine[first + row, :complete], theirs[0, :complete]))
                complete //= network.config.fanout
            for mine, theirs in pairs:
                torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_all_logits_are_those_of_one_pass(network: Any) -> None:
    (prompt,) = tokens((60,))
    slots = DsaSlots(network, 2, 64)
    parts = [slots.prefill(1, [prompt[a : a + 20]], a, [None], lambda: None, all_logits=True) for a in (0, 20, 40)]
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([prompt])).logits[0]
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lengths", [(20,), (20, 20, 20), (13, 20, 4, 1)])
def test_a_layer_of_short_prompts_is_few_operations_however_many_they_are(
    network: Any, lengths: tuple[int, ...]
) -> None:
    slots, begins, prompts = DsaSlots(network, 4, 128), [], tokens(lengths)
    with Operations() as operations:
        slots.prefill(0, prompts, 0, [None] * len(prompts), lambda: begins.append(sum(operations.counts.values())))
    assert 0 < begins[1] - begins[0] <= MAX_OPERATIONS, operations.counts


@pytest.mark.parametrize("lengths", [(20,), (9, 4, 90, 1), (70, 31, 80)])
def test_decode_steps_give_the_logits_of_the_network(network: Any, lengths: tuple[int, ...]) -> None:
    check_decode_steps(network, lengths, 1e-4)


def check_decode_steps(network: Any, lengths: tuple[int, ...], tolerance: float) -> None:
    """Steps of texts of several lengths, through the ends of blocks, against the network's own steps of each text."""
    slots, prompts, adapters = DsaSlots(network, 4, 128), tokens(lengths), [None] * len(lengths)
    caches = []
    for row, prompt in enumerate(prompts):
        slots.prefill(row, [prompt], 0, [None], lambda: None)
        with torch.no_grad():
            caches.append(network(input_ids=torch.tensor([prompt]).to(network.device), use_cache=True).past_key_values)
    for step in range(20):
        following = [(step * 7 + row) % VOCABULARY for row in range(len(lengths))]
        logits = slots.decode(following, [length + step for length in lengths], adapters).clone()
        for row, token in enumerate(following):
            # Beside a long text a short one attends by the gate too, whose blocks are then all that there are.
            with torch.no_grad():
                ids = torch.tensor([[token]]).to(network.device)
                expected = network(input_ids=ids, past_key_values=caches[row]).logits[0, -1]
            torch.testing.assert_close(logits[row], expected, atol=tolerance, rtol=tolerance)


def test_a_layer_of_a_decode_step_is_few_operations_beside_attention(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = DsaSlots(network, 2, 128)
    monkeypatch.setattr(decode, "step", lambda q_BHD, *_: q_BHD)
    with Operations() as operations, torch.inference_mode():
        slots._decode_pass.run(torch.tensor([1, 2]), torch.tensor([3, 9], dtype=torch.int32), is_sparse=False)
    around = {"aten::embedding": 1, "aten::index_select": 2, "aten::rms_norm": 1, "aten::linear": 1}
    in_layers = operations.counts - Counter(around)
    assert 0 < sum(in_layers.values()) <= MAX_DECODE_OPERATIONS * len(network.layers), operations.counts


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("lengths", [(20,), (9, 4, 90, 1), (70, 31, 80)])
def test_decode_steps_on_a_gpu_give_the_logits_of_the_network(
    lengths: tuple[int, ...], dtype: torch.dtype, tmp_path: Path
) -> None:
    network: Any = save_dsa(tmp_path, hidden_size=64, block=16, gate_dim=16).to("cuda", dtype)
    check_decode_steps(network, lengths, 0.05 if dtype == torch.bfloat16 else 1e-3)


class UncapturedGraphs:
    """`PromptGraphs` on a CPU: the same shapes and padding, but the pass itself instead of its graph."""

    def __init__(self, prompts: prompt_pass.PromptPass, shapes: list[tuple[int, int]]) -> None:
        self.shapes, self._prompts = shapes, prompts
        self.used: list[tuple[int, int]] = []

    def read(self, shape: tuple[int, int], rows: list[list[int]]) -> torch.Tensor:
        self.used.append(shape)
        assert len(rows) == shape[0]
        return self._prompts._short_pass(torch.tensor(rows), lambda: None)


@pytest.mark.parametrize(
    ("lengths", "shapes"), [((20,), [(1, 32)]), ((9, 4, 20, 1, 7), [(4, 32), (1, 32)]), ((3, 2, 1), [(4, 8)])]
)
def test_padded_prompts_give_the_same_logits_and_answers(
    network: Any, lengths: tuple[int, ...], shapes: list[tuple[int, int]]
) -> None:
    prompts, adapters = tokens(lengths), [None] * len(lengths)
    plain, padded = DsaSlots(network, 5, 64), DsaSlots(network, 5, 64)
    graphs = UncapturedGraphs(padded._prompt_pass, [(1, 8), (1, 32), (4, 8), (4, 32)])
    padded._prompt_pass._graphs = graphs  # type: ignore[assignment]
    first = plain.prefill(0, prompts, 0, adapters, lambda: None)
    torch.testing.assert_close(padded.prefill(0, prompts, 0, adapters, lambda: None), first, atol=1e-4, rtol=1e-4)
    assert graphs.used == shapes
    for step in range(40):  # through blocks that the padding has been in, and beyond `dense_below`
        read = [length + step for length in lengths]
        following = [(step * 7 + row) % VOCABULARY for row in range(len(lengths))]
        expected, found = (slots.decode(following, read, adapters) for slots in (plain, padded))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("lengths", [(20,), (9, 4, 20, 1, 7), (70, 31, 80)])
def test_prompts_on_a_gpu_give_the_logits_of_the_network(
    lengths: tuple[int, ...], dtype: torch.dtype, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 64, "block": 16, "gate_dim": 16}
    network: Any = save_dsa(tmp_path, **sizes).to("cuda", dtype)
    slots, prompts = DsaSlots(network, 5, 128), tokens(lengths)
    assert (slots._prompt_pass._graphs is not None) == (dtype == torch.bfloat16)  # float32 has no kernels
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-3
    for _ in range(2):
        logits = slots.prefill(0, prompts, 0, [None] * len(lengths), lambda: None)
        for row, prompt in enumerate(prompts):
            with torch.no_grad():
                expected = network(input_ids=torch.tensor([prompt], device="cuda")).logits[0, -1]
            torch.testing.assert_close(logits[row], expected, atol=tolerance, rtol=tolerance)


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 300), st.data())
def test_a_shape_holds_the_prompts_or_as_many_as_any_does(longest: int, more: int, count: int, data: st.DataObject):
    shapes = prompt_graphs.shapes(longest, longest + more)
    length = data.draw(st.integers(1, longest))
    chosen = prompt_graphs.smallest(shapes, count, length)
    assert chosen in shapes
    assert length <= chosen[1] <= longest
    assert chosen[0] * chosen[1] <= longest + more
    for other in shapes:
        if other[1] >= length:
            assert min(other[0], count) <= chosen[0]
            if other[0] >= min(chosen[0], count):
                assert other[0] * other[1] >= chosen[0] * chosen[1]


def test_many_short_prompts_are_read_in_several_passes(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = tokens((9, 4, 20, 1, 7))
    first = DsaSlots(network, 5, 64).prefill(0, prompts, 0, [None] * 5, lambda: None)
    monkeypatch.setattr(prompt_pass, "MAX_TOKENS_PER_PASS", 45)
    second = DsaSlots(network, 5, 64).prefill(0, prompts, 0, [None] * 5, lambda: None)
    torch.testing.assert_close(second, first, atol=1e-5, rtol=1e-5)


class SlowLayers:
    """A model whose layers and decode steps take known times of a clock of its own."""

    slots, max_length, vocab_size, end_tokens, dense_below = 4, 10_000, 3, frozenset[int](), None
    layers, step_s = 5, 1.0

    def __init__(self, layer_s_per_token: float, launches_s: float = 0.0) -> None:
        self.now, self.layer_s_per_token, self.launches_s = 100.0, layer_s_per_token, launches_s
        self.decoded_at: list[float] = []
        self.chunks: list[int] = []

    def prefill(self, first_slot: int, chunks: Any, offset: int, adapters: Any, between_layers: Any, **_: Any) -> Any:
        self.chunks.append(len(chunks[0]))
        for _layer in range(self.layers):
            between_layers()
            self.now += max(self.layer_s_per_token * len(chunks[0]), self.launches_s)
        return torch.zeros(len(chunks), self.vocab_size)

    def decode(self, tokens: Any, positions: Any, adapters: Any) -> Any:
        self.now += self.step_s
        self.decoded_at.append(self.now)
        return torch.zeros(len(tokens), self.vocab_size)

    def wait(self) -> None: ...


def _sequence(name: str, prompt: int, output: int) -> LiveSequence:
    options = SamplingOptions(max_tokens=output, temperature=0.0, ignore_eos=True)
    request = GenerationRequest(name, (1,) * prompt, options)
    return LiveSequence(request, lambda _: None, Draws(options, frozenset(), request.prompt))


@pytest.mark.parametrize("layer_s", [0.4, 1.5, 6.0])
def test_others_wait_for_a_long_prompt_at_most_their_share(layer_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of a chunk of 800 tokens takes `layer_s`, a decode step takes 1: tokens come at most 2 + 1 apart."""
    model = SlowLayers(layer_s / 800)
    monkeypatch.setattr(generation.time, "perf_counter", lambda: model.now)
    engine: Any = Generation(model, 800, lambda: None)  # pyright: ignore[reportArgumentType]
    engine.scheduler.add(_sequence("a", 3, 5000))
    for _ in range(5):
        engine.step()
    engine.scheduler.add(_sequence("b", 8000, 1))
    begin = len(model.decoded_at) - 1
    while "b" in engine.scheduler.running or "b" in engine.scheduler.waiting:
        engine.step()
    gaps = [
        after - before for before, after in zip(model.decoded_at[begin:], model.decoded_at[begin + 1 :], strict=False)
    ]
    settled = gaps if layer_s <= 2 else gaps[2 * model.layers :]  # two chunks are too long, then they are short enough
    assert max(settled) <= generation.PREFILL_SHARE + 1 + 1e-9
    assert set(model.chunks[1:]) == ({800} if layer_s <= 2 else {800, 400, 200})


def test_a_step_that_was_held_up_does_not_hold_up_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop reads a long request while a token is decoded, which takes ten times as long for once."""
    model = SlowLayers(1.5 / 800)
    monkeypatch.setattr(generation.time, "perf_counter", lambda: model.now)
    engine: Any = Generation(model, 800, lambda: None)  # pyright: ignore[reportArgumentType]
    engine.scheduler.add(_sequence("a", 3, 5000))
    for _ in range(5):
        engine.step()
    model.step_s = 10.0
    engine.step()
    model.step_s = 1.0
    engine.scheduler.add(_sequence("b", 1600, 1))
    begin = len(model.decoded_at)
    while "b" in engine.scheduler.running or "b" in engine.scheduler.waiting:
        engine.step()
    times = model.decoded_at[begin:]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) <= generation.PREFILL_SHARE + 1 + 1e-9


@pytest.mark.parametrize(
    ("launches_s", "expected"),
    [
        (0.0, [800, 400, 200]),
        (2.5, [800, 400, 200, 400]),  # a layer of 200 takes as long as one of 400
        (5.0, [800, 400, 800]),
    ],
)
def test_chunks_are_not_cut_smaller_than_helps(
    launches_s: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SlowLayers(6.0 / 800, launches_s)
    monkeypatch.setattr(generation.time, "perf_counter", lambda: model.now)
    engine: Any = Generation(model, 800, lambda: None)  # pyright: ignore[reportArgumentType]
    engine.scheduler.add(_sequence("a", 3, 5000))
    for _ in range(5):
        engine.step()
    model.chunks.clear()
    engine.scheduler.add(_sequence("b", 8000, 1))
    while "b" in engine.scheduler.running or "b" in engine.scheduler.waiting:
        engine.step()
    assert model.chunks[: len(expected)] == expected
    assert set(model.chunks[len(expected) : -1]) == {expected[-1]}


def test_after_a_slow_prompt_chunks_grow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what held up a server's first prompt would cut all later ones into small chunks."""
    model = SlowLayers(6.0 / 800)
    monkeypatch.setattr(generation.time, "perf_counter", lambda: model.now)
    engine: Any = Generation(model, 800, lambda: None)  # pyright: ignore[reportArgumentType]
    engine.scheduler.add(_sequence("a", 3, 5000))
    for _ in range(5):
        engine.step()
    chunks = []
    for name in ("slow", "b", "c"):
        model.chunks.clear()
        engine.scheduler.add(_sequence(name, 8000, 1))
        while name in engine.scheduler.running or name in engine.scheduler.waiting:
            engine.step()
        chunks.append(model.chunks[:3])
        model.layer_s_per_token = 1.8 / 800  # a layer of any chunk is fast enough, that of 400 by less than four times
    assert chunks == [[800, 400, 200], [400, 400, 400], [800, 800, 800]]


@pytest.mark.parametrize(("max_length", "longest"), [(10_000, 800), (500, 500)])
def test_at_the_start_chunks_of_all_lengths_are_read(max_length: int, longest: int) -> None:
    model = SlowLayers(1.0)
    model.max_length = max_length
    engine: Any = Generation(model, 800, lambda: None)  # pyright: ignore[reportArgumentType]
    engine.warm_up()
    assert model.chunks == list(range(50, longest + 1, 50))
    assert (engine.has_work, engine.prompt_tokens) == (False, 0)


def test_alone_a_prompt_is_read_in_full_chunks() -> None:
    model = SlowLayers(1.0)
    engine: Any = Generation(model, 800, lambda: None)  # pyright: ignore[reportArgumentType]
    engine.scheduler.add(_sequence("b", 2400, 1))
    while engine.has_work:
        engine.step()
    assert model.chunks == [800, 800, 800]
    assert not model.decoded_at
