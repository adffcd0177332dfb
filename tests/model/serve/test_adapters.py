"""Adapters of a running server: what is loaded under which name, who may use it, and what is refused."""

import asyncio
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from configs.errors import GristmillError, InputError  # noqa: E402
from model.serve.adapters import AdapterConflictError, AdapterRegistry, UnknownModelError  # noqa: E402
from model.serve.embedded import EmbeddedEngine, EmbeddedOptions  # noqa: E402
from model.serve.port import AdapterRef, GenerationRequest, SamplingOptions  # noqa: E402
from model.weights.adapter import CONFIG, WEIGHTS, adapter_sha256, write_adapter  # noqa: E402
from stages.ports import Training  # noqa: E402
from tests.factories.serving.byte_llama import save_adapter  # noqa: E402
from tests.factories.serving.tiny_models import save_llama  # noqa: E402

pytestmark = pytest.mark.weights
PROMPT = (5, 6, 7, 8)
LORA = {"target_modules": ["q_proj", "down_proj"]}


@dataclass(frozen=True)
class Allowed:
    """A client, as the keys of a server know it."""

    models: frozenset[str] | None


class Server:
    """An engine on a tiny model, its event loop, and adapters to load."""

    def __init__(self, folder: Path):
        self.model, self.prepared = folder / "model", folder / "prepared"
        save_llama(self.model)
        for seed in range(4):
            save_adapter(self.model, self.prepared / str(seed), seed=seed, **LORA)
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.engine = EmbeddedEngine(self.model, EmbeddedOptions(slots=4, max_length=64))
        self.run(self.engine.start())
        self.number = 0

    def registry(self, folder: Path | None, **options: Any) -> AdapterRegistry:
        return AdapterRegistry(self.engine, folder, model="base", model_folder=self.model, **options)

    def put(self, folder: Path, seed: int = 0, **options: Any) -> Path:
        """Copies a prepared adapter to a folder; with options, makes another one there."""
        if options:
            save_adapter(self.model, folder, seed=seed, **LORA | options)
        else:
            shutil.copytree(self.prepared / str(seed), folder)
        return folder

    async def answer(self, adapter: AdapterRef | None, count: int = 8) -> tuple[int, ...]:
        self.number += 1
        sampling = SamplingOptions(count, temperature=0, ignore_eos=True)
        request = GenerationRequest(f"r{self.number}", PROMPT, sampling, adapter)
        return tuple([token async for step in await self.engine.submit(request) for token in step.tokens])

    def reference(self, adapter: str) -> tuple[int, ...]:
        """PEFT's greedy answer with the adapter in a folder."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        network: Any = AutoModelForCausalLM.from_pretrained(self.model)
        adapted = PeftModel.from_pretrained(network, adapter).eval()
        out = adapted.generate(input_ids=torch.tensor([PROMPT]), max_new_tokens=8, min_new_tokens=8, do_sample=False)
        return tuple(out[0, len(PROMPT) :].tolist())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("served"))
    yield made
    made.run(made.engine.close())
    made.runner.close()


@pytest.fixture
def adapters(server: Server, tmp_path: Path) -> Iterator[AdapterRegistry]:
    folder = tmp_path / "adapters"
    folder.mkdir()
    registry = server.registry(folder)
    yield registry
    for status in registry.list():
        server.run(registry.unload(status.id))


def folder_of(registry: AdapterRegistry) -> Path:
    assert registry.folder is not None
    return registry.folder


def trained(server: Server, folder: Path, domain: str, seed: int, *, after: float = 1.0, age: int = 0) -> str:
    """Writes an adapter as the data engine does. Returns its public id."""
    training = write_adapter(
        domain,
        folder,
        lambda path: [shutil.copy(server.prepared / str(seed) / name, path) for name in (WEIGHTS, CONFIG)] and None,
        lambda adapter: Training(adapter, 2.0, after, 10, 2, 100, 5, 500),
    )
    os.utime(Path(training.adapter.path, WEIGHTS), (1e9 - age, 1e9 - age))
    return f"{domain}@{training.adapter.sha256[:12]}"


def ids(registry: AdapterRegistry) -> list[str]:
    return [status.id for status in registry.list()]


def test_what_a_run_left_is_served_under_its_domain(server: Server, adapters: AdapterRegistry) -> None:
    folder = folder_of(adapters)
    old = trained(server, folder, "law", 0, age=50)
    new = trained(server, folder, "law", 1, age=10)
    other = trained(server, folder / "medicine", "medicine", 2, age=90)
    trained(server, folder, "finance", 3, after=2.0)  # no better than without it
    server.put(folder / "mine", seed=3)
    server.put(folder / ".being-written" / "x", seed=3)
    (folder / "broken").mkdir()
    (folder / "broken" / CONFIG).write_text("{")
    server.run(adapters.scan())
    mine = f"mine@{adapter_sha256(folder / 'mine')[:12]}"
    assert sorted(ids(adapters)) == sorted([old, new, other, mine])
    assert adapters.models()[0] == "base"
    assert sorted(adapters.models()) == sorted(["base", "law", "medicine", "mine", *ids(adapters)])
    for name, public_id in {"law": new, "medicine": other, "mine": mine}.items():
        with adapters.resolve(name) as choice:
            assert choice.public_id == public_id


def test_more_adapters_than_places_leave_the_oldest_out(server: Server, tmp_path: Path) -> None:
    for seed in range(3):
        trained(server, tmp_path, "law", seed, age=10 * (3 - seed))
    oldest = trained(server, tmp_path, "medicine", 3, age=99)
    registry = server.registry(tmp_path, capacity=3)
    server.run(registry.scan())
    assert len(ids(registry)) == 2  # one place is left for what is loaded next
    assert oldest in ids(registry)  # the only one of its name
    loaded = {status.sha256 for status in registry.list()}
    extra, second = (path for path in sorted(tmp_path.iterdir()) if path.name not in loaded)
    server.run(registry.load(extra, "law"))
    with pytest.raises(AdapterConflictError, match="3 adapters are loaded"):
        server.run(registry.load(second, "law"))
    server.run(registry.unload(oldest))
    server.run(registry.load(second, "law"))
    for public_id in ids(registry):
        server.run(registry.unload(public_id))


def test_names_and_ids_mean_adapters_that_change_the_answers(server: Server, adapters: AdapterRegistry) -> None:
    folder = folder_of(adapters)
    first = server.run(adapters.load(server.put(folder / "a", seed=0), "law"))
    second = server.run(adapters.load("b" if server.put(folder / "b", seed=1) else "", "law"))
    assert server.run(adapters.load(folder / "a", "law")) == dataclasses.replace(first, is_alias=False)
    answers = {}
    for model in ("base", "law", first.id, second.id):
        with adapters.resolve(model) as choice:
            answers[model] = server.run(server.answer(choice.adapter))
    assert answers["law"] == answers[second.id] == server.reference(second.path)
    assert answers[first.id] == server.reference(first.path)
    assert len(set(answers.values())) == 3
    assert adapters.set_alias("law", first.id).is_alias
    with adapters.resolve("law") as choice:
        assert choice.public_id == first.id


@pytest.mark.parametrize(
    ("allowed", "usable"),
    [
        (None, {"base", "law", "law@1", "law@2", "medicine", "medicine@3"}),
        ({"base"}, {"base"}),
        ({"law"}, {"law", "law@1", "law@2"}),
        ({"law@1"}, {"law@1"}),
        ({"law@2"}, {"law", "law@2"}),  # what the name means now
        ({"medicine@3", "base"}, {"base", "medicine", "medicine@3"}),
        (set(), set()),
        ({"la", "law@"}, set()),
    ],
)
def test_clients_find_the_models_that_they_may_use(
    server: Server, adapters: AdapterRegistry, allowed: set[str] | None, usable: set[str]
) -> None:
    statuses = [
        server.run(adapters.load(server.put(folder_of(adapters) / str(seed), seed=seed), name))
        for seed, name in enumerate(("law", "law", "medicine"))
    ]
    public_ids = {f"{status.name}@{number}": status.id for number, status in enumerate(statuses, 1)}
    client = Allowed(None if allowed is None else frozenset(public_ids.get(model, model) for model in allowed))
    names = {public_ids.get(model, model) for model in usable}
    assert set(adapters.models(client)) == names
    for model in ("base", "law", "medicine", *public_ids.values()):
        if model in names:
            with adapters.resolve(model, client) as choice:
                assert (choice.adapter is None) == (model == "base")
        else:
            with pytest.raises(UnknownModelError, match="does not exist"), adapters.resolve(model, client):
                pass


@pytest.mark.parametrize("model", ["", "law", "law@", "law@000000000000", "../a", "Base"])
def test_unknown_models(adapters: AdapterRegistry, model: str) -> None:
    with pytest.raises(UnknownModelError) as refusal, adapters.resolve(model):
        pass
    assert refusal.value.param == "model"


def test_an_adapter_in_use_is_unloaded_when_its_last_request_ends(server: Server, adapters: AdapterRegistry) -> None:
    folder = folder_of(adapters)
    first = server.run(adapters.load(server.put(folder / "a", seed=0), "law"))
    second = server.run(adapters.load(server.put(folder / "b", seed=1), "law"))

    async def unload() -> None:
        with adapters.resolve("law") as outer, adapters.resolve(second.id) as inner:
            assert outer.public_id == inner.public_id == second.id
            unloading = [asyncio.create_task(adapters.unload(second.id)) for _ in range(2)]
            await asyncio.sleep(0)
            status = next(status for status in adapters.list() if status.id == second.id)
            assert (status.state, status.references, status.is_alias) == ("draining", 2, False)
            with pytest.raises(UnknownModelError), adapters.resolve(second.id):
                pass
            with pytest.raises(UnknownModelError):
                adapters.set_alias("law", second.id)
            with pytest.raises(AdapterConflictError, match="is being unloaded"):
                await adapters.load(second.path, "law")
            with adapters.resolve("law") as newer:
                assert newer.public_id == first.id
            assert second.id not in adapters.models()
            unloading[0].cancel()  # whoever asked for it does not wait any more
            assert await server.answer(outer.adapter) == server.reference(second.path)
        await unloading[1]

    server.run(unload())
    assert ids(adapters) == [first.id]
    server.run(adapters.unload(first.id))
    with pytest.raises(UnknownModelError), adapters.resolve("law"):
        pass
    with pytest.raises(UnknownModelError, match="loaded are: none"):
        server.run(adapters.unload(first.id))


def test_adapters_that_are_swapped_under_load_answer_as_themselves(server: Server, adapters: AdapterRegistry) -> None:
    folder = folder_of(adapters)
    for seed in range(4):
        server.put(folder / str(seed), seed=seed)
    paths = [folder / str(seed) for seed in range(4)]
    expected = {f"law@{adapter_sha256(path)[:12]}": server.reference(str(path)) for path in paths}
    seen: set[str] = set()

    async def ask(until: asyncio.Event) -> None:
        while not until.is_set():
            with adapters.resolve("law") as choice:
                seen.add(choice.public_id)
                assert await server.answer(choice.adapter) == expected[choice.public_id]

    async def swap() -> None:
        over = asyncio.Event()
        current = await adapters.load("0", "law")
        clients = [asyncio.create_task(ask(over)) for _ in range(4)]
        for seed in (1, 2, 3, 0):
            former, current = current, await adapters.load(str(seed), "law")
            await adapters.unload(former.id)
        over.set()
        await asyncio.gather(*clients)

    server.run(swap())
    assert seen == set(expected)
    assert len(ids(adapters)) == 1


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    """A fault in the weights of an adapter."""

    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return apply


def settings(**changes: Any) -> Callable[[Path], None]:
    """A fault in the configuration of an adapter."""

    def apply(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return apply


def link_outside(folder: Path) -> None:
    shutil.copy(folder / WEIGHTS, folder.parents[1] / "outside")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder.parents[1] / "outside")


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a module that the model lacks": (
        tensors(lambda found: {name.replace("layers.0", "layers.7"): found[name] for name in found}),
        "is no module of the model",
    ),
    "another model's sizes": (
        tensors(lambda found: {name: t.repeat(1, 2) if "lora_A" in name else t for name, t in found.items()}),
        "the model's is",
    ),
    "half of a pair": (
        tensors(lambda found: {name: t for name, t in found.items() if "layers.0.self_attn.q_proj.lora_B" not in name}),
        "lacks one of its two matrices",
    ),
    "another rank": (settings(r=8), "has rank 4"),
    "a tensor that is not LoRA's": (
        tensors(lambda found: found | {"base_model.model.model.norm.weight": torch.ones(32)}),
        "is no matrix of LoRA",
    ),
    "no tensors": (tensors(lambda found: {}), "has no tensors"),
    "weights that change nothing": (
        tensors(lambda found: {name: t * ("lora_A" in name) for name, t in found.items()}),
        "the same with and without",
    ),
    "weights that are not numbers": (
        tensors(lambda found: {name: t / 0 * 0 for name, t in found.items()}),
        "not finite",
    ),
    "damaged weights": (lambda folder: (folder / WEIGHTS).write_bytes(b"damaged"), "cannot be read"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "does not exist"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), "does not exist"),
    "damaged configuration": (lambda folder: (folder / CONFIG).write_text("[]"), "cannot be read"),
    "another kind of adapter": (settings(peft_type="IA3"), "not of a LoRA adapter"),
    "DoRA": (settings(use_dora=True), "use_dora is set"),
    "ranks by module": (settings(rank_pattern={"q_proj": 2}), "rank_pattern is set"),
    "whole modules": (settings(modules_to_save=["lm_head"]), "modules_to_save is set"),
    "a link to elsewhere": (link_outside, "is a link to outside"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_that_does_not_fit_is_refused(server: Server, adapters: AdapterRegistry, fault: str) -> None:
    folder = server.put(folder_of(adapters) / "law", seed=0)
    spoil, message = FAULTS[fault]
    spoil(folder)
    with pytest.raises(InputError, match=message):
        server.run(adapters.load("law", "law"))
    assert ids(adapters) == []
    assert adapters.models() == ["base"]
    assert len(server.run(server.answer(None))) == 8


@pytest.mark.parametrize(
    "path",
    [
        "..",
        ".",
        "../elsewhere",
        "/etc",
        "link",
        "a/../../elsewhere",
        "missing",
        "a\0b",
        "loop",
        pytest.param("x" * 5000, id="long"),
    ],
)
def test_paths_outside_of_the_folder_are_refused(server: Server, adapters: AdapterRegistry, path: str) -> None:
    folder = folder_of(adapters)
    server.put(folder.parent / "elsewhere", seed=0)
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(InputError):
        server.run(adapters.load(path, "law"))
    with pytest.raises(InputError, match="--adapters"):
        server.run(server.registry(None).load(path, "law"))


@pytest.mark.parametrize(
    "name", ["", "base", "law@1", "a/b", "..", "-law", "la w", pytest.param("x" * 65, id="long"), "law\n"]
)
def test_names_that_would_mean_something_else_are_refused(server: Server, adapters: AdapterRegistry, name: str) -> None:
    server.put(folder_of(adapters) / "a", seed=0)
    with pytest.raises(GristmillError, match="no name for an adapter"):
        server.run(adapters.load("a", name))


def test_a_relative_folder_is_that_of_the_start(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(tmp_path / "adapters" / "law")
    monkeypatch.chdir(tmp_path)
    registry = server.registry(Path("adapters"))
    server.run(registry.scan())
    assert [status.name for status in registry.list()] == ["law"]
    for status in registry.list():
        server.run(registry.unload(status.id))


def test_a_name_means_the_champion_and_not_a_newer_one(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    champion = trained(server, folder, "law", 0, age=100)
    refused = trained(server, folder, "law", 1)
    path = next(path for path in folder.iterdir() if champion.partition("@")[2] in path.name)
    registry = server.registry(folder, named=[path])
    server.run(registry.scan())
    assert {status.id for status in registry.list()} == {champion, refused}
    with registry.resolve("law", Allowed(None)) as chosen:
        assert chosen.public_id == champion
    for status in registry.list():
        server.run(registry.unload(status.id))
