"""The shards that `--data` of `train` and `evaluate` names."""

from collections.abc import Sequence
from pathlib import Path

from configs.errors import ConfigError


def find_shards(paths: Sequence[str]) -> list[Path]:
    """The Parquet files to train on.

    Args:
        paths: data sets, of which the published shards are taken (one at a URL is fetched into the cache); other
            folders, of which every Parquet file is taken; or Parquet files.

    Raises: ConfigError, InputError, StoreError.
    """
    from model.data.shards import published_shards
    from stages.storage import snapshot
    from stages.storage.bucket import is_url

    shards: list[Path] = []
    for given in paths:
        place = Path(given)
        if is_url(given):
            shards += sorted(snapshot.fetch(given))
        elif (place / "manifests").is_dir():
            shards += published_shards(place)
        elif place.is_dir():
            shards += sorted(place.rglob("*.parquet"))
        elif place.is_file():
            shards.append(place)
        else:
            raise ConfigError(f"--data: no such file or folder {str(place)!r}; name a data set that gristmill run made")
    if not shards:
        raise ConfigError(f"--data: no Parquet files in {', '.join(paths)}; name a data set that gristmill run made")
    return shards
