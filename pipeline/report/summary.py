"""Figures of a run from its stage manifests, and the last screen that shows them."""

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from configs.schema import Config
from pipeline.report.terminal import shown
from stages.histograms import profile
from stages.storage.records import Manifest, ShardRecord, stage_kind


def busy_seconds(records: Iterable[ShardRecord], *, loading: bool = False) -> float:
    """Length of the union of the shards' work intervals: restarts and pauses between runs do not count.

    `loading`: of models and engines as well, before a worker's first shard.
    """
    spans = []
    for stats in (record.stats for record in records):
        if "ended" in stats:
            before = stats.get("loading", 0.0) if loading else 0.0
            spans.append((stats["ended"] - stats["seconds"] - before, stats["ended"]))
    return union_seconds(spans)


def union_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals, each given as its start and end in seconds."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


def summarise(config: Config, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Per domain and in all: generated, accepted, rejected by reason, bytes, tokens/s, seconds a stage, cost.

    What loads models and engines is none of the stages' seconds: it is `loading`, and part of the cost.

    Raises StoreError when a domain's counts do not balance: no row may be lost between stages.
    """
    everything = [record for manifest in manifests for record in manifest.records]
    busy = busy_seconds(everything, loading=True)  # of the machines: two domains' shards at once are paid for once
    work = {
        name: sum(record.stats.get("seconds", 0.0) for record in everything if record.label == name)
        for name in config.domains
    }
    worked = sum(work.values())
    domains: dict[str, dict[str, Any]] = {}
    for name in config.domains:
        rejected: Counter[str] = Counter()
        figures: Counter[str] = Counter()
        found: Counter[str] = Counter()
        making: list[ShardRecord] = []
        packed: list[ShardRecord] = []
        for manifest in manifests:
            records = [record for record in manifest.records if record.label == name]
            if manifest.stage.endswith("generate"):
                making += records
                figures["generated"] += sum(record.rows_in for record in records)
                for key in ("prompt_tokens", "output_tokens"):
                    figures[key] += int(sum(record.stats.get(key, 0) for record in records))
            if manifest.stage == "shards":
                packed += records
                figures["accepted"] = sum(record.kept.rows for record in records if record.kept)
                figures["text_bytes"] = int(sum(record.stats.get("text_bytes", 0) for record in records))
                figures["shard_bytes"] = sum(record.kept.bytes for record in records if record.kept)
            if on_the_way(manifest.stage):
                figures["quarantined"] += sum(record.quarantined for record in records)
                for record in records:
                    rejected.update(record.rejected)
                    found.update({key[6:]: int(n) for key, n in record.stats.items() if key.startswith("found ")})
        if figures["generated"] != figures["accepted"] + rejected.total() + figures["quarantined"]:
            raise StoreError(
                f"domains.{name}: rows were lost between stages: {dict(figures)}, rejected {dict(rejected)}"
            )
        seconds = busy_seconds(making)
        names = ("generated", "accepted", "quarantined", "text_bytes", "shard_bytes", "prompt_tokens", "output_tokens")
        domains[name] = {key: figures[key] for key in names} | {
            "rejected": dict(rejected.most_common()),
            "found": dict(found.most_common()),
            "flow": flow(manifests, name),
            "profile": profile(record.stats for record in packed),
            "tokens_per_second": round(figures["output_tokens"] / seconds, 1) if seconds else 0.0,
            "cost": cost(config, busy * work[name] / worked if worked else 0.0, figures),
        }
    screened = [record.stats for manifest in manifests if manifest.stage == "screen" for record in manifest.records]
    seeds = next((manifest for manifest in manifests if manifest.stage == "seeds"), None)
    unread: Counter[str] = Counter()
    for record in seeds.records if seeds else ():
        unread.update(record.rejected)
    rejected = Counter[str]()
    for domain in domains.values():
        rejected.update(domain["rejected"])
    return {
        "accepted": sum(domain["accepted"] for domain in domains.values()),
        "bytes": sum(domain["shard_bytes"] for domain in domains.values()),
        "rejected": dict(rejected.most_common()),
        "quarantined": sum(domain["quarantined"] for domain in domains.values()),
        "seeds_passed_over": dict(unread.most_common()),
        "canary": {key[7:]: of for stats in screened for key, of in stats.items() if key.startswith("canary ")},
        "domains": domains,
        "engines": engines(manifests),
        "seconds": {"loading": round(busy - busy_seconds(everything), 2)}
        | {manifest.stage: round(busy_seconds(manifest.records), 2) for manifest in manifests},
        "cost": round(sum(domain["cost"] for domain in domains.values()), 6),
        "annotation_cost": round(sum(annotation_cost(config, domain) for domain in domains.values()), 2),
        "currency": config.price.currency,
        "machine": f"{platform.node()}: {os.cpu_count()} cores, {platform.machine()}",
    }


def engines(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """The account of the generator's engines and GPUs over all rounds; {} where it keeps none.

    `each`: prompt and output tokens, seconds generating and waiting, pre-emptions and restarts of each engine.
    """
    records = [r for manifest in manifests if manifest.stage.endswith("generate") for r in manifest.records]
    total: Counter[str] = Counter()
    for record in records:
        total.update({key: value for key, value in record.stats.items() if key.startswith(("engine ", "gpu ", "kv "))})
    each: dict[str, dict[str, float]] = {}
    for key, value in total.items():
        if key.startswith("engine "):
            _, number, name = key.split(" ")
            each.setdefault(number, {})[name] = round(value, 2)
    if not each:
        return {}
    of = {name: sum(engine[name] for engine in each.values()) for name in next(iter(each.values()))}
    busy, alive = busy_seconds(records), of["generating"] + of["waiting"]
    samples, counted = total["gpu samples"], total["gpu sm samples"]
    return {
        "tokens_per_second": round(of["output_tokens"] / busy, 1) if busy else 0.0,
        "waiting": round(of["waiting"] / alive, 4) if alive else 0.0,
        "gpu_utilisation": round(total["gpu percent"] / samples / 100, 4) if samples else None,
        "sm_activity": round(total["gpu sm percent"] / counted / 100, 4) if counted else None,
        "gpu_watts": round(total["gpu watts"] / samples, 1) if samples else None,
        "kv_usage": round(total["kv usage"] / total["kv samples"], 4) if total["kv samples"] else None,
        "preemptions": round(of["preemptions"]),
        "restarts": round(of["restarts"]),
        "each": each,
    }


def flow(manifests: Iterable[Manifest], domain: str) -> dict[str, dict[str, Any]]:
    """A domain's rows through the stages, in order: `in`, `kept`, `rejected` by reason, `quarantined`."""
    stages: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        if manifest.stage == "seeds" or on_the_way(manifest.stage):
            records = [record for record in manifest.records if record.label == domain]
            rejected = sum((Counter(record.rejected) for record in records), Counter[str]())
            lost = sum(record.quarantined for record in records)
            of = {"in": sum(record.rows_in for record in records), "kept": sum(r.kept.rows for r in records if r.kept)}
            if manifest.stage.endswith("dedup-sign"):  # it makes keys: only what it lost are rows
                of = {"in": lost, "kept": 0}
            stages[manifest.stage] = of | {"rejected": dict(rejected.most_common()), "quarantined": lost}
    return stages


def on_the_way(stage: str) -> bool:
    """Whether rows end in this stage: sign and match see copies, training ends none."""
    return stage_kind(stage) in ("shards", "generate", "screen", "dedup", "dedup-sign")


def cost(config: Config, seconds: float, figures: Mapping[str, float]) -> float:
    """Machine time and a service's tokens, at the config's prices."""
    price = config.price
    tokens = figures["prompt_tokens"] * price.prompt_million + figures["output_tokens"] * price.output_million
    return round(seconds / 3600 * price.machine_hour + tokens / 1e6, 6)


def annotation_cost(config: Config, figures: Mapping[str, float]) -> float:
    """What people would ask for as many tokens as were accepted: of those written, the share of rows that was."""
    tokens = figures["output_tokens"] * figures["accepted"] / max(figures["generated"], 1)
    return tokens / 1000 * config.price.annotation_thousand


def prices(manifest: Mapping[str, Any]) -> str:
    """The run's cost, that of a GB of accepted text, and people's beside it; "" where nothing has a price."""
    text, spent = sum(of["text_bytes"] for of in manifest["domains"].values()), manifest["cost"]
    if not spent or not text:
        return ""
    currency, people = manifest["currency"], manifest.get("annotation_cost")
    told = f"{spent:,.2f}" if spent >= 1 else f"{spent:.2g}"
    told += f" {currency}, {spent / text * 1e9:,.0f} {currency} a GB of accepted text"
    return told + (
        f"; annotated by people {people:,.2f} {currency}, {people / spent:,.0f} times as much" if people else ""
    )


def show(manifest: dict[str, Any], root: str, samples: Sequence[dict[str, Any]]) -> None:
    """Prints the last screen: a table a domain, seconds a stage, where the shards are, sampled rows."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(title=f"{manifest['date']}  run {manifest['run_id']}", title_justify="left")
    for name in ("domain", "made", "accepted", "dropped", "text", "Parquet", "tok/s", manifest["currency"]):
        table.add_column(name, justify="left" if name == "domain" else "right", no_wrap=True)
    for name, of in manifest["domains"].items():
        accepted = f"{of['accepted']} ({of['accepted'] / max(of['generated'], 1):.0%})"
        rejected = str(sum(of["rejected"].values()))
        sizes = size(of["text_bytes"]), size(of["shard_bytes"])
        speed, cost = f"{of['tokens_per_second']:.0f}", f"{of['cost']:.4f}"
        table.add_row(name, str(of["generated"]), accepted, rejected, *sizes, speed, cost)
    console.print(table)
    for name, of in manifest["domains"].items():
        reasons = [f"{reason} {count}" for reason, count in of["rejected"].items()]
        reasons += [f"quarantined {of['quarantined']}"] if of["quarantined"] else []
        console.print(Text(f"dropped   {name}: {', '.join(reasons) or 'none'}"))
        if found := ", ".join(f"{what} {count}" for what, count in of.get("found", {}).items()):
            console.print(Text(f"found     {name}: {found}"))
        if diversity := of.get("diversity"):
            told = f"diversity {name}: compresses {diversity['compression_ratio']:.2f} times"
            told += (
                f", {diversity['distinct_3']:.0%} of 3-grams distinct, {diversity['shared_8']:.1%} of 8-grams shared"
            )
            console.print(Text(told))
    if run := manifest.get("engines"):
        told = f"engines   {len(run['each'])}: {run['tokens_per_second']:.0f} tok/s, waiting {run['waiting']:.0%}"
        if run["gpu_utilisation"] is not None:
            told += f", GPU {run['gpu_utilisation']:.0%}, {run['gpu_watts']:.0f} W"
        if run.get("sm_activity") is not None:
            told += f", multiprocessors {run['sm_activity']:.0%}"
        if run["kv_usage"] is not None:
            told += f", KV cache {run['kv_usage']:.0%}"
        console.print(Text(f"{told}, pre-emptions {run['preemptions']}, restarts {run['restarts']}"))
    times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in manifest["seconds"].items())
    console.print(Text(f"seconds   {times}"))
    if told := prices(manifest):
        console.print(Text(f"cost      {told}"))
    for row in manifest["adapters"]:
        state = "used" if row["used"] else "not used"
        console.print(Text(f"adapter   {row['domain']}: {state}; {row['reason']}"))
    for note in manifest["notes"]:
        console.print(Text(shown(f"note      {note}")))
    for alarm in manifest.get("alarms", ()):
        console.print(Text(f"alarm     {alarm}", style="yellow"))
    for shard in manifest["shards"]:
        console.print(
            Text(f"shard     {root}/{shard['file']}  {shard['rows']} rows, {size(shard['bytes'])}"), soft_wrap=True
        )
    if (page := Path(root, "runs", manifest["date"], "report.html")).exists():
        console.print(Text(f"report    {page}"), soft_wrap=True)
    for row in samples:
        scores = "  ".join(f"{s['filter']} {s['score']:.2f}" for s in row["scores"])
        title = f"{row['domain']} · {row['task']} · {row['language']} · {row['source']} · {row['id'][:12]}"
        text = Text(shown(row["messages"][-1]["content"]))
        console.print(Panel(text, title=Text(shown(title)), subtitle=scores, title_align="left"))


def size(count: float) -> str:
    """Bytes for people: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
