"""The files of which a date's passages are, recorded in its run folder when they are listed."""

import json

from configs.schema import Config
from pipeline.store.dataset import DataSet
from pipeline.store.run_record import RunRecord
from stages.seeds import SourceList, list_sources
from stages.storage.atomic import write_text

NAME = "sources.json"


def sources_of_date(data: DataSet, record: RunRecord, config: Config) -> SourceList:
    """Lists the files of a date's sources.

    A date that has chosen its passages and is not finished goes on with them: it gets the list of the start that chose
    them, whatever was added to the folders or removed since. Raises ConfigError or InputError as `list_sources`.
    """
    path = data.run_folder(record.date) / NAME
    if data.reserved(record.date) and not data.manifest_path(record.date).exists():
        try:
            content = json.loads(path.read_text("utf-8"))
            if content.pop("fingerprint") == record.fingerprint:
                return SourceList.from_json(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # a date of an earlier version: its files are listed again
    sources = list_sources(config)
    write_text(path, json.dumps({"fingerprint": record.fingerprint, **sources.to_json()}))
    return sources
