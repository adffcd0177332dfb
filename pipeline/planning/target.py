"""What a target takes: so many GB of accepted UTF-8 text, in passages, machines or GPUs, hours and money."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import yaml

from configs.errors import ConfigError
from configs.schema import Config
from pipeline.run.dates import deadline
from pipeline.store.manifest import Manifest

GB = 1e9


@dataclass(frozen=True, slots=True)
class Target:
    """`text_bytes` of accepted text, until a time if there is one. `keep`: the share of text that is accepted, where
    no finished date shows it."""

    text_bytes: float
    by: datetime | None = None
    keep: float | None = None


def target_from_flags(gb: float | None, by: str | None, keep: float | None, now: datetime) -> Target | None:
    """What the flags of `plan` ask for. Raises ConfigError naming the flag."""
    if gb is None:
        if by or keep is not None:
            raise ConfigError(f"{'--by' if by else '--keep'}: it goes with --target-gb; add that, or leave it out")
        return None
    if not 0 < gb < 1e9:
        raise ConfigError(f"--target-gb: {gb:g} is no amount; write the GB of accepted text, as 200")
    if keep is not None and not 0 < keep <= 1:
        raise ConfigError(f"--keep: {keep:g} is no share; write a number above 0 and at most 1")
    return Target(gb * GB, deadline(by, now, "--by") if by else None, keep)


def from_date(config: Config, wanted: Target, past: Manifest, now: datetime) -> dict[str, Any]:
    """By a finished date's rates, with machines like the one that made it. Raises ConfigError where none can do."""
    domains = past.domains
    each = {
        name: domains[name].text_bytes / domains[name].generated
        for name in config.domains
        if name in domains and domains[name].generated
    }
    answers = config.generate.answers_per_passage
    a_day = sum(config.domains[name].per_day * answers * rate for name, rate in each.items())
    if not a_day:
        raise ConfigError(f"--target-gb: {past.date} accepted nothing in this config's domains; find out why first")
    times = wanted.text_bytes / a_day
    passages = {name: math.ceil(config.domains[name].per_day * times) for name in each}
    generated = sum(domains[name].generated for name in each)
    loading = past.seconds.get("loading", 0.0)
    busy = (sum(past.seconds.values()) - loading) * answers * sum(passages.values()) / generated
    estimate = _machines(wanted, busy, loading, now)
    tokens = {
        key: sum(getattr(domains[name], key) * answers * passages[name] / domains[name].generated for name in each)
        for key in ("prompt_tokens", "output_tokens")
    }
    service = (
        tokens["prompt_tokens"] * config.price.prompt_million + tokens["output_tokens"] * config.price.output_million
    )
    return estimate | {
        "rates": f"of {past.date}, on {past.machine}",
        "unit": "machines like that",
        "passages": passages,
        "cost": round(estimate["hours_in_all"] * config.price.machine_hour + service / 1e6, 2),
    }


def from_table(config: Config, wanted: Target, parameters: int, now: datetime) -> dict[str, Any]:
    """GPUs by the rates of configs/catalogue/rates.yaml; passages and the time of the screen are not known.

    Raises ConfigError where the table has no such model, or `wanted.keep` is None.
    """
    table = yaml.safe_load(resources.files("configs").joinpath("catalogue/rates.yaml").read_text("utf-8"))
    larger = [size for size in table["tokens_per_second"] if size >= parameters]
    if not parameters or not larger:
        raise ConfigError(
            "--target-gb: no finished date used this model, nor has the table its size: run a small day first"
        )
    if wanted.keep is None:
        raise ConfigError(
            "--target-gb: no finished date shows what share is accepted: run a small day first, or say --keep 0.5"
        )
    rate = table["tokens_per_second"][min(larger)]
    busy = wanted.text_bytes / wanted.keep / table["bytes_per_token"] / rate
    estimate = _machines(wanted, busy, 0.0, now)
    return estimate | {
        "rates": f"{rate} tokens/s, of {min(larger) / 1e6:.0f} M parameters on one {table['gpu']} (docs/gpus.md)",
        "unit": "GPUs",
        "passages": None,
        "cost": round(estimate["hours_in_all"] * config.price.machine_hour, 2),
    }


def _machines(wanted: Target, busy: float, loading: float, now: datetime) -> dict[str, Any]:
    estimate = {
        "gb": wanted.text_bytes / GB,
        "hours_in_all": round((busy + loading) / 3600, 2),
        "machines": 1,
        "hours": None,
    }
    if wanted.by is None:
        return estimate | {"hours": estimate["hours_in_all"]}
    left = (wanted.by - now).total_seconds() - loading
    if left <= 0:
        raise ConfigError(
            f"--by: {wanted.by:%Y-%m-%dT%H:%M} leaves no time beside {loading:.0f} s of loading; give a later time"
        )
    machines = max(math.ceil(busy / left), 1)
    hours = busy / machines + loading
    return estimate | {
        "machines": machines,
        "hours": round(hours / 3600, 2),
        "by": wanted.by.isoformat(timespec="minutes"),
    }


def describe_target(estimate: Mapping[str, Any], currency: str) -> str:
    """One line for people."""
    until = (
        f" by {datetime.fromisoformat(estimate['by']).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if "by" in estimate else ""
    )
    passages = ", ".join(f"{name} {count:,}" for name, count in (estimate["passages"] or {}).items())
    return (
        f"{estimate['gb']:g} GB of accepted text{until}: "
        f"{estimate['machines']:,} {estimate['unit']} for {estimate['hours']:,} h, "
        f"{estimate['hours_in_all']:,} h in all, {estimate['cost']:,} {currency}"
        + (f"; passages: {passages}" if passages else "")
        + f"; rates {estimate['rates']}"
    )
