"""Which adapters of a data set are its champions: the server's names mean them."""

from pathlib import Path

from pipeline.store.registry_files import Registry


def champion_folders(root: Path) -> list[Path]:
    """The folders of the adapters that write the next date's rows, a domain each.

    Empty where `root` is no data set that evolves, or has promoted none. Raises StoreError if the registry is damaged.
    """
    registry = Registry(root)
    champions = [registry.read(domain).champion for domain in registry.domains()]
    return [root / champion.adapter.path for champion in champions if champion.adapter]
