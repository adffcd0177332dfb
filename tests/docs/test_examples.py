"""The examples work: rows, configs, tasks, policies, Python, and the guides' commands on the preset `echo`."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs.load import load, load_policy, load_serving_policy, parse_key_file
from configs.schema import Evolve, Generate, Screen
from filters.build import check_screen
from stages.prompt import check
from stages.record import ROW, content_id
from tests.docs.pages import DOCS, PAGES, README, blocks, page_id, shell_lines
from tests.factories.candidates import candidate
from tests.factories.command_line import ROOT, TIMEOUT_S, call, environment

NEEDS_A_PERSON = {"serve", "--terminal", "--import", "--export"}  # the last two: the labels of a reader
GUIDES = ["audit.md", "getting-started.md", "daily-operation.md", "tasks-and-filters.md", "reports.md"]


def test_the_readmes_row_is_a_row():
    """The ids are hashes of what the row is made of, so they prove that the row was not edited."""
    (text,) = blocks(README, "json")
    row = json.loads(text)
    assert list(row) == [name for name in ROW.names if name != "text"]
    passage = row["messages"][0]["content"].partition("\n\nWhich of these")[0]
    assert row["seed_id"] == content_id(row["domain"], row["language"], passage)
    origin = [row[name] for name in ("seed_id", "prompt_hash", "generator_sha256")]
    assert row["output_tokens"] == 0  # the edit came from a table, so the raw answer is empty
    assert row["id"] == content_id(*origin, row["adapter"] or "", row["sampling"], str(row["seed"]), "")


def test_the_readmes_table_has_every_column():
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(name for cell in cells for name in re.findall(r"\w+", cell)) == sorted(ROW.names)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=page_id)
def test_yaml_examples_are_read(page: Path, tmp_path: Path):
    for number, text in enumerate(blocks(page, "yaml")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, "utf-8")
        match yaml.safe_load(text):
            case {"domains": _, "generator": _}:
                config = load(str(path))
                for name in {task for domain in config.domains.values() for task in domain.tasks}:
                    check(config.tasks[name])
                check_screen(config.screen)
            case {"classes": classes}:
                assert set(load_policy(str(path)).classes) == set(classes)
            case {"screen": screen}:
                check_screen(Screen(**screen))
            case {"evolve": options}:
                Evolve.model_validate(options)
                Generate.model_validate(yaml.safe_load(text).get("generate", {}))
            case {"generate": options}:
                Generate.model_validate(options)
            case {"filters": _}:
                load_serving_policy(str(path))
            case {"clients": _}:
                parse_key_file(text, page.name)
            case {"prompt": _}:
                check_task(tmp_path, text)
            case example:
                pytest.fail(f"no test reads this example: {example}")


def check_task(folder: Path, text: str) -> None:
    """A task in `tasks/define.yaml` beside the config is found by its name."""
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "define.yaml").write_text(text, "utf-8")
    config = folder / "config.yaml"
    config.write_text((ROOT / "configs" / "presets" / "echo.yaml").read_text("utf-8"), "utf-8")
    check(load(str(config), ["domains.law.tasks=[define]"]).tasks["define"])


def test_the_example_filter_filters(monkeypatch: pytest.MonkeyPatch):
    (text,) = blocks(DOCS / "tasks-and-filters.md", "python")
    monkeypatch.setitem(sys.modules, "example", types.ModuleType("example"))  # dataclasses look their module up
    space: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, "example", "exec"), space)
    ends_well = space["EndsWell"]()
    assert [verdict.reason for verdict in ends_well([candidate("Is it?"), candidate("It is.")])] == ["question", None]


def run(words: list[str], folder: Path) -> str:
    """Runs a command in a folder. Returns what it printed on standard output."""
    settings = environment() | {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        words, cwd=folder, env=settings, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
    return done.stdout


def an_id(out: Path, *, is_dropped: bool) -> str:
    """The short id of a published or a dropped row, as a run's last screen or its report names it."""
    pattern = "runs/*/stages/screen/*.rejects.parquet" if is_dropped else "data/*/*/*.parquet"
    ids = [id for path in sorted(out.glob(pattern)) for id in pq.ParquetFile(path).read(["id"])["id"].to_pylist()]
    reports = "".join(page.read_text("utf-8") for page in out.glob("runs/*/report.html"))
    return next(id[:12] for id in ids if id[:8] in reports)


def test_the_guides_commands_and_python_run_on_echo(tmp_path: Path):
    """Every command that names the preset or its data set, page by page in one folder, as a reader would type them."""
    ran = 0
    for name in GUIDES:
        for words in shell_lines(DOCS / name):
            is_echo = words[0] == "gristmill" and {"echo", "data/echo"} & set(words)
            if is_echo and not NEEDS_A_PERSON & set(words):
                if "ROW_ID" in words:
                    words[words.index("ROW_ID")] = an_id(tmp_path / "data" / "echo", is_dropped="explain" in words)
                done = call(*words[1:], cwd=tmp_path)
                assert done.code == 0, f"{words}: {done.err}"
                ran += 1
    assert ran > 12
    (read_rows,) = blocks(DOCS / "getting-started.md", "python")
    assert int(run([sys.executable, "-c", read_rows], tmp_path).split()[0]) > 200
    (glob,) = blocks(README, "python")
    assert "data/laptop/" in glob
    glob = glob.replace("data/laptop/", "data/echo/") + "\nprint(len(rows))"
    assert int(run([sys.executable, "-c", glob], tmp_path)) > 200
    (bucket,) = blocks(DOCS / "object-stores.md", "python")
    bucket = bucket.replace("s3://my-bucket/sets/mine", (tmp_path / "data" / "echo").as_uri()) + "\nprint(*files)"
    assert all(
        os.path.exists(url.removeprefix("file://")) for url in run([sys.executable, "-c", bucket], tmp_path).split()
    )


@pytest.mark.weights
def test_the_language_models_python_loads_a_trained_model(tmp_path: Path):
    from model.data.tokenizer_training import train_tokenizer
    from model.lm import DsaConfig, DsaForCausalLM

    rows = [{"text": f"The tenant of case {n} pays.", "seed_id": str(n)} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    folder = train_tokenizer([tmp_path / "a.parquet"], 300, 0.1, tmp_path / "data" / "train" / "laptop" / "model")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "gate_dim": 8}
    DsaForCausalLM(DsaConfig(vocab_size=320, eos_token_id=0, **sizes)).save_pretrained(folder)
    generated, loaded = blocks(DOCS / "language-model.md", "python")
    # The .pth file that an installation has, which PYTHONPATH alone does not.
    installed = f"import site; site.addsitedir({str(ROOT / 'deploy' / 'site-packages')!r})\n"
    script = f"{installed}{loaded}\nprint(type(language_model).__name__)\n{generated}\nprint('END')"
    printed = run([sys.executable, "-c", script], tmp_path)
    assert printed.startswith("DsaForCausalLM\n")
    assert printed.endswith("END\n")


def test_the_serving_guides_python_asks_a_server(capsys: pytest.CaptureFixture[str]):
    from tests.factories.serving.servers import running, scripted

    (text,) = blocks(DOCS / "serving.md", "python")
    with running(scripted("A contract.", model_name="smollm2-135m-instruct")) as server:
        exec(compile(text.replace("http://127.0.0.1:8000", server.url), "serving.md", "exec"), {})
    assert capsys.readouterr().out == "A contract.\n"


def test_every_python_example_has_a_test():
    tested = {"getting-started.md", "language-model.md", "object-stores.md", "serving.md", "tasks-and-filters.md"}
    assert {page for page in PAGES if blocks(page, "python")} == {README, *(DOCS / name for name in tested)}
