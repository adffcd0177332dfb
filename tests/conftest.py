"""Fixtures of all tests: a date that the command line finished on a user's own documents."""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from pipeline.cli import WAITING
from tests.factories.command_line import DATE, ONE_ROUND, call, gristmill
from tests.factories.data_sets import FinishedDate
from tests.factories.documents import write_config, write_documents

settings.register_profile("gristmill", deadline=None)  # no test asserts on time
settings.load_profile("gristmill")

for name, value in WAITING.items():  # before a test imports torch, as the command line does
    os.environ.setdefault(name, value)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What the modules of the tests import stays. To look for garbage among it takes a third of their imports' time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedDate:
    """One finished date. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    documents = write_documents(folder / "documents.jsonl", range(100))
    config = write_config(folder, documents)
    result = gristmill("run", "--config", config, "--date", DATE, "--json", measured=True)
    assert result.code == 0, result.err
    return FinishedDate(config, folder / "out", documents, result)


@pytest.fixture(scope="session")
def plain_digest(finished: FinishedDate, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of an undisturbed run without a second round."""
    out = tmp_path_factory.mktemp("plain") / "out"
    result = call("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *ONE_ROUND)
    assert result.code == 0, result.err
    return result.line["digest"]
