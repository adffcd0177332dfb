"""Puts a server together and runs it: model, engine, keys, policies, adapters, metrics, HTTP."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, GristmillError
from model.serve.access import Admission, KeyRing, Quotas, check_bind
from model.serve.api.server import ApiServer
from model.serve.api.serving import Limits, Serving
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.listening import address, is_loopback, listen
from model.serve.metrics import ServeMetrics
from model.serve.port import Engine
from model.serve.sandbox import PolicySet
from model.weights.resolve import resolve_model
from pipeline.serving.champions import champion_folders
from pipeline.serving.options import ServeOptions
from pipeline.serving.policies import load_policies
from stages.ports import ModelCard

SHIPPED_POLICY = "default"  # as --policy
THREAD_SWITCH_INTERVAL_S = 0.0005  # Python's own is 0.005: tokens would wait that long for the engine's thread

DSA_MODEL_TYPE = "gristmill-dsa"  # `model.lm.DsaConfig.model_type`, which imports torch


def serve(options: ServeOptions, notify: Callable[[str], None]) -> None:
    """Serves until it is stopped by SIGTERM or Ctrl-C. `notify` is called with what an operator should know.

    Raises GristmillError: it cannot start, or its engine cannot.
    """
    _check(options)
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    keys = KeyRing.from_file(options.api_key_file) if options.api_key_file else KeyRing()
    check_bind(options.host, keys)
    policies = _policies(options.policy, keys)
    with listen(options.host, options.port) as listener:  # before the model is loaded, which takes a while
        card = _resolve(options.model)
        tokenizer = Tokenizer.from_folder(card.path)
        asyncio.run(_run(options, card, tokenizer, keys, policies, listener, notify))


async def _run(
    options: ServeOptions,
    card: ModelCard,
    tokenizer: Tokenizer,
    keys: KeyRing,
    policies: PolicySet,
    listener: socket.socket,
    notify: Callable[[str], None],
) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)  # until the server has a way to stop
    name = options.served_name or _public_name(options.model, card)
    engine = _create_engine(options, card)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        await engine.start()
        adapters = await _adapters(options, engine, name, card, stack)
        admission = Admission(engine.info.slots, options.max_waiting, quotas=Quotas())
        serving = Serving(
            engine=engine,
            tokenizer=tokenizer,
            model_name=name,
            adapters=adapters,
            keys=keys,
            admission=admission,
            policies=policies,
            metrics=ServeMetrics(engine, admission),
            limits=Limits(request_s=options.timeout_s, max_tokens=options.max_tokens),
            loopback_only=not keys.has_keys and is_loopback(listener.getsockname()[0]),
        )
        server = ApiServer(serving, options.grace_s, lambda: notify("stopping; answers that are being written may end"))
        loop.remove_signal_handler(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGHUP, _reload, keys, notify)
        if not tokenizer.has_chat_template:
            notify(f"{name} has no chat template: /v1/completions only")
        what = f"{engine.info.name} engine, {engine.info.slots} at once, {engine.info.max_length} tokens"
        notify(f"serving {name} on {address(listener)}/v1 ({what}; press Ctrl-C to stop)")
        await server.serve([listener])


def _check(options: ServeOptions) -> None:
    """Raises ConfigError for numbers that make no server, and for flags that need others."""
    least = {"--max-length": options.max_length, "--slots": options.slots, "--max-tokens": options.max_tokens}
    for flag, value in least.items():
        if value is not None and value < 1:
            raise ConfigError(f"{flag}: {value}; give 1 or more")
    if options.max_waiting < 0:
        raise ConfigError(f"--max-waiting: {options.max_waiting}; give 0 or more")
    if not options.timeout_s > 0:
        raise ConfigError(f"--timeout-s: {options.timeout_s:g}; give more than 0")
    if not options.grace_s >= 0:
        raise ConfigError(f"--grace-s: {options.grace_s:g}; give 0 or more")
    if options.adapters is not None and not Path(options.adapters).is_dir():
        raise ConfigError(f"--adapters: no such folder {options.adapters!r}; name one, it may be empty")
    if options.admin_socket is not None and options.adapters is None:
        raise ConfigError("--admin-socket: manages adapters; add --adapters DIR, or leave it out")


def _policies(policy: str | None, keys: KeyRing) -> PolicySet:
    """The policies. Raises ConfigError: the file is wrong, or lacks one that a key names."""
    policies = PolicySet() if policy is None else load_policies("" if policy == SHIPPED_POLICY else policy)
    named = {client.policy for client in keys.clients if client.policy}
    if missing := policies.missing(named):
        raise ConfigError(
            f"--policy: the key file names the policy {missing[0]!r}, which the policy file does not have; "
            "add it there, or change the key's policy"
        )
    return policies


def _resolve(model: str) -> ModelCard:
    try:
        return resolve_model(model, "serve", None, "serve")
    except ConfigError as error:
        raise ConfigError(str(error).replace("serve.model:", "--model:", 1)) from None


def _public_name(model: str, card: ModelCard) -> str:
    """The model's name; of a folder `model`, as `gristmill train` writes it, that of the training."""
    path = Path(model).expanduser()
    return path.resolve().parent.name if path.is_dir() and path.resolve().name == "model" else card.name


def _create_engine(options: ServeOptions, card: ModelCard) -> Engine:
    kind, folder = options.engine, Path(card.path)
    if kind == "auto":
        kind = "vllm" if find_spec("vllm") is not None and _has_gpu() and not _is_dsa(folder) else "embedded"
    if kind == "embedded":
        from model.serve.embedded import EmbeddedEngine, EmbeddedOptions

        return EmbeddedEngine(folder, EmbeddedOptions(options.dtype, options.slots, options.max_length))
    from model.serve.vllm_child import VllmChildEngine, VllmChildOptions

    chosen: dict[str, Any] = {"dtype": options.dtype, "max_model_len": options.max_length}
    if options.slots is not None:
        chosen["max_num_seqs"] = options.slots
    if options.adapters is None:
        chosen["max_adapters"] = 0
    return VllmChildEngine(folder, VllmChildOptions(**chosen))


def _is_dsa(folder: Path) -> bool:
    """Whether it is the project's own model, which the embedded engine serves faster (docs/lab/serving.md)."""
    return json.loads((folder / "config.json").read_text("utf-8")).get("model_type") == DSA_MODEL_TYPE


def _has_gpu() -> bool:
    from model.device import choose_device

    return choose_device("auto")[0].type == "cuda"


async def _adapters(options: ServeOptions, engine: Engine, name: str, card: ModelCard, stack: AsyncExitStack) -> Any:
    """The adapters of the folder, and the socket on which they are managed; None without a folder."""
    if options.adapters is None:
        return None
    from model.serve.adapters import AdapterRegistry
    from model.serve.admin import AdminServer

    folder = Path(options.adapters)
    champions = champion_folders(folder.resolve().parent)
    registry = AdapterRegistry(engine, folder, model=name, model_folder=Path(card.path), named=champions)
    await registry.scan()
    if options.admin_socket is not None:
        admin = AdminServer(registry, Path(options.admin_socket))
        await admin.start()
        stack.push_async_callback(admin.close)
    return registry


def _reload(keys: KeyRing, notify: Callable[[str], None]) -> None:
    """On SIGHUP, the key file is read again."""
    try:
        keys.reload()
    except GristmillError as error:
        notify(f"the keys are as before: {error}")
    else:
        notify("the keys were read again")
