"""What is wrong with a registry: damaged files, a history with gaps, adapters that are gone, training on lost rows."""

from collections.abc import Iterator

from configs.errors import InputError, StoreError
from model.weights.adapter import adapter_sha256
from pipeline.store.dataset import DataSet
from pipeline.store.registry import DomainRegistry, EvolveVerdict, VariantAdapter, replay
from pipeline.store.registry_files import Registry, rollback_command


def verify(data: DataSet) -> list[str]:
    """Every problem of the data set's registry, a sentence each with what to do about it; empty if there is none.

    All files are read and the adapters of champions and earlier champions hashed again. Adapters of refused candidates
    may be gone: nothing can make them a champion.
    """
    registry = Registry(data.root)
    return [problem for domain in registry.domains() for problem in _problems(data, registry, domain)]


def _problems(data: DataSet, registry: Registry, domain: str) -> Iterator[str]:
    history: list[EvolveVerdict] = []
    broken: list[str] = []
    numbers = registry.numbers(domain)
    for number in range(1, max(numbers, default=0) + 1):
        try:
            if number not in numbers:
                path = registry.verdict_path(domain, number)
                raise StoreError(f"{path}: missing; restore it from a copy of the data set")
            history.append(registry.verdict(domain, number))
        except StoreError as error:
            broken.append(str(error))
    yield from broken
    try:
        pointer = registry.read(domain)
    except StoreError as error:
        if str(error) not in broken:
            yield str(error)
        return
    if pointer.last_verdict > max(numbers, default=0):
        first = registry.verdict_path(domain, max(numbers, default=0) + 1)
        yield (
            f"{first}: missing, although the pointer names verdict {pointer.last_verdict}; restore it from a copy of "
            "the data set"
        )
    elif not broken and (difference := _difference(pointer, replay(DomainRegistry(domain=domain), history))):
        path = registry.pointer_path(domain)
        yield f"{path}: not what the history leads to ({difference}); remove it: it is rebuilt from the history"
    yield from _adapter_problems(data, pointer)
    yield from _training_problems(data, pointer)


def _difference(pointer: DomainRegistry, replayed: DomainRegistry) -> str:
    """The first field in which two pointers differ, in words; fields of newer versions do not count."""
    for name in DomainRegistry.model_fields:
        if getattr(pointer, name) != getattr(replayed, name):
            if name == "champion":
                return f"champion {pointer.champion.id}, in the history {replayed.champion.id}"
            return name
    return ""


def _adapter_problems(data: DataSet, pointer: DomainRegistry) -> Iterator[str]:
    variants = {pointer.champion.id: (pointer.champion, "the champion")}
    for variant in reversed(pointer.previous):
        variants.setdefault(variant.id, (variant, "an earlier champion"))
    for identity, (variant, role) in variants.items():
        if variant.adapter and (fault := adapter_fault(data, variant.adapter)):
            fix = "restore it from a copy of the data set"
            if role == "the champion":
                fix += f", or go back: {rollback_command(pointer.domain, data.root)}"
            yield f"{pointer.domain}: {variant.adapter.path}, the adapter of {role} {identity}, is {fault}; {fix}"


def adapter_fault(data: DataSet, adapter: VariantAdapter) -> str:
    """What is wrong with an adapter's folder: `missing`, `incomplete (…)` or `damaged`; "" if it is as trained."""
    folder = (data.root / adapter.path).resolve()
    if not folder.is_relative_to(data.root.resolve()):
        return "outside of the data set"
    if not folder.is_dir():
        return "missing"
    try:
        return "" if adapter_sha256(folder) == adapter.sha256 else "damaged"
    except InputError as error:
        return f"incomplete ({str(error).partition(';')[0]})"


def _training_problems(data: DataSet, pointer: DomainRegistry) -> Iterator[str]:
    """Dates whose rows trained the champion and are not published any more, or with other rows."""
    fix = f"if those rows were wrong, go back: {rollback_command(pointer.domain, data.root)}"
    for date, digest in sorted(pointer.champion.trained_on.items()):
        try:
            manifest = data.manifest(date)
        except StoreError as error:
            yield str(error)
            continue
        if manifest and manifest.digest == digest:
            continue
        if manifest:
            since = "has been published again since, with other rows"
        else:
            since = "was withdrawn" if data.withdrawn_path(date).exists() else "is not published any more"
        yield f"{pointer.domain}: {date}, whose rows trained the champion {pointer.champion.id}, {since}; {fix}"
