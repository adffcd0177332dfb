"""Signed URLs: their query is a key to the documents, so no file of a run has it.

The driver gets it in its environment. A later start takes it from the config again, which may have a new one.
"""

import json
import os

from configs.schema import Config
from stages.sources.opening import without_secrets

VARIABLE = "GRISTMILL_SIGNED_URLS"


def hidden(config: Config) -> Config:
    """The config without the queries of its sources' URLs, as it is saved."""
    return _with_paths(config, {place: without_secrets(path) for place, path in _signed(config).items()})


def environment(config: Config) -> dict[str, str]:
    """The variable for the driver; empty if no URL is signed."""
    signed = _signed(config)
    return {VARIABLE: json.dumps(signed)} if signed else {}


def restored(config: Config) -> Config:
    """The saved config with the URLs that this process got in its environment."""
    return _with_paths(config, json.loads(os.environ.pop(VARIABLE, "{}")))


def _signed(config: Config) -> dict[str, str]:
    """The signed URLs by domain and place of their source: `law 0`."""
    return {
        f"{name} {place}": source.path
        for name, domain in config.domains.items()
        for place, source in enumerate(domain.seeds)
        if source.path and without_secrets(source.path) != source.path
    }


def _with_paths(config: Config, paths: dict[str, str]) -> Config:
    domains = {
        name: domain.model_copy(
            update={
                "seeds": tuple(
                    source.model_copy(update={"path": paths.get(f"{name} {place}", source.path)})
                    for place, source in enumerate(domain.seeds)
                )
            }
        )
        for name, domain in config.domains.items()
    }
    return config.model_copy(update={"domains": domains}) if paths else config
