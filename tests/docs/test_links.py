"""Every file, folder, heading, config key and metric that the documents name exists."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from configs.schema import Config
from configs.schema.training import Training
from filters import FILTERS
from tests.docs.pages import DOCS, PAGES, README, anchors, blocks, code_spans, page_id
from tests.factories.command_line import ROOT

PACKAGES = ("configs", "stages", "filters", "model", "pipeline")
ROOTS = "|".join((*PACKAGES, "tests", "docs", "benchmarks", "deploy"))
# files that the reader is asked to write
EXAMPLES = {"filters/ends_well.py"}
EXAMPLES |= {"deploy/secrets", "deploy/secrets/serve-keys", "deploy/secrets/serve-metrics-key"}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_a_file_and_a_heading(page: Path):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_exist(page: Path):
    text = page.read_text("utf-8")
    named = set(re.findall(rf"(?<![\w/.-])((?:{ROOTS})/[\w./-]*\w)", text))
    for path in named - EXAMPLES:
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (benchmarks[\w.]+)", text):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def test_pages_named_in_code_exist():
    files = [path for name in (*PACKAGES, "benchmarks", "deploy", "tests") for path in (ROOT / name).rglob("*.*")]
    texts = [path for path in files if path.suffix in (".py", ".yaml", ".yml")] + [ROOT / "deploy" / "Dockerfile"]
    named = {name for path in texts for name in re.findall(r"docs/[\w/-]+\.md", path.read_text("utf-8"))}
    assert "docs/tasks-and-filters.md" in named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("folder", [DOCS, DOCS / "lab"], ids=page_id)
def test_the_index_of_a_folder_names_each_page(folder: Path):
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text("utf-8")))
    assert linked == {page.name for page in folder.glob("*.md")} - {"README.md"}


def tree_folders() -> set[str]:
    """The folders of the tree in the page on architecture, as paths."""
    (tree,) = (block for block in blocks(DOCS / "architecture.md", "") if block.startswith("configs/"))
    folders, parents = set(), []
    for line in tree.splitlines():
        match = re.match(r"( *)([\w-]+)/ {2,}\S", line)
        assert match, line
        parents = [*parents[: len(match[1]) // 2], match[2]]
        folders.add("/".join(parents))
    return folders


def test_the_tree_is_the_folders_that_exist():
    packages = {path.parent for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")}
    packages |= {path.parent for path in (ROOT / "configs").rglob("*.yaml")}
    existing = {str(path.relative_to(ROOT)) for path in packages}
    shown = tree_folders()
    assert shown == existing | {"deploy", "benchmarks", "tests", "docs", "docs/lab", "docs/reference"}
    assert all((ROOT / folder).is_dir() for folder in shown)


def has_key(model: Any, keys: list[str]) -> bool:
    """Whether a dotted key leads to a field of a pydantic model; any name fits a mapping of models."""
    if not keys:
        return True
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(keys[0])
        return field is not None and has_key(field.annotation, keys[1:])
    options = get_args(model)
    if getattr(model, "__origin__", None) is dict:
        return has_key(options[1], keys[1:])
    return any(has_key(option, keys) for option in options)


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == DOCS], ids=page_id)
def test_config_keys_exist(page: Path):
    sections = "|".join({*Config.model_fields, *Training.model_fields})
    for span in code_spans(page):
        match = re.fullmatch(rf"((?:{sections})(?:\.[a-z_*0-9]+)+)(?:[:=].*)?", span)
        if match and not re.search(r"\.(json|jsonl|yaml|py|md|safetensors|bin|pt)$", match[1]):
            keys = match[1].split(".")
            assert has_key(Config, keys) or has_key(Training, keys), span
    assert has_key(Config, ["domains", "law", "target_gb"])
    assert not has_key(Config, ["run", "grace"])


def table_names(page: Path, prefix: str) -> set[str]:
    """The names of a prefix in the first cells of the page's tables."""
    return set(re.findall(rf"^\| `({prefix}\w*)`", page.read_text("utf-8"), re.MULTILINE))


def test_the_table_of_filters_has_every_filter_and_reason():
    page = (DOCS / "tasks-and-filters.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]+`) \| ", page, re.MULTILINE)
    assert [name for name, _ in rows if name not in FILTERS] == []
    assert {name for name, _ in rows} == set(FILTERS)
    for name, reasons in rows:
        module = FILTERS[name].partition(":")[0]
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
        assert set(re.findall(r"Verdict\(\s*\"(\w+)\"", source)) <= set(reasons.strip("`").split("` `")), name
        assert all(reason in source for reason in reasons.strip("`").split("` `")), name


def test_metrics_and_alerts_exist():
    page = DOCS / "metrics.md"
    asked = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8")
    asked += "".join(path.read_text("utf-8") for path in (ROOT / "deploy" / "grafana").glob("*.json"))
    # tests/pipeline/report/test_prometheus.py and tests/model/serve/test_metrics.py ask a Prometheus for them
    used = {name.removesuffix("_bucket") for name in re.findall(r"\bgristmill_\w+", asked)}
    assert len(used) > 15
    assert used <= table_names(page, "gristmill_")
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    assert table_names(page, "Gristmill") == {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


def test_the_readme_is_short():
    assert len(README.read_text("utf-8").splitlines()) <= 150


def test_the_glossary_is_in_order():
    terms = re.findall(r"^\| \*\*(.+?)\*\*", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    assert len(terms) > 60
    assert terms == sorted(set(terms), key=str.lower)
