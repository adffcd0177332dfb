"""`MixedAdapters`: LoRA adapters of a network, a different one for each row of a batch, by PEFT."""

from collections.abc import Sequence
from typing import Any

import torch

from configs.errors import ConfigError
from model.serve.port import AdapterRef

BASE = "__base__"  # PEFT's name for rows without an adapter


class MixedAdapters:
    """Calls a network with the adapter of each row. Without adapters it calls the network as it is."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self._peft: Any = None
        self._names: set[str] = set()

    def __call__(self, adapters: Sequence[AdapterRef | None], **inputs: Any) -> Any:
        """Returns the network's output. `adapters`: one for each row."""
        if self._peft is None:
            return self.network(**inputs)
        names = [BASE if adapter is None else _name(adapter) for adapter in adapters]
        return self._peft(adapter_names=names, **inputs)

    def load(self, adapter: AdapterRef) -> None:
        """Loads an adapter; once is enough. Raises ConfigError: it cannot be read or does not fit."""
        from peft import PeftModel

        name = _name(adapter)
        if name in self._names:
            return
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self.network, adapter.path, adapter_name=name).eval()
            else:
                self._peft.load_adapter(adapter.path, adapter_name=name)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ConfigError(
                f"adapter {adapter.name}: cannot be loaded ({str(error).splitlines()[0]}); train it for this model"
            ) from None
        self._names.add(name)
        for parameter_name, parameter in self._peft.named_parameters():
            if name in parameter_name:
                parameter.data = parameter.data.to(self.network.dtype)
                parameter.requires_grad_(False)

    def unload(self, adapter: AdapterRef) -> None:
        """Frees an adapter's weights."""
        name = _name(adapter)
        if name in self._names:
            self._names.remove(name)
            if self._names:
                # PEFT fails in all later calls if the adapter that it calls active is gone; each row names its own
                self._peft.set_adapter(next(iter(self._names)))
                self._peft.delete_adapter(name)
                self._peft.requires_grad_(False)
            else:
                self._peft.unload()
                self._peft = None
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()


def _name(adapter: AdapterRef) -> str:
    """PEFT uses names as names of modules: no dots."""
    return f"sha_{adapter.sha256}"
