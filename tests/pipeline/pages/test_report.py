"""The report: its figures balance, its pictures stand for them, its samples are fair, and data is never markup."""

import json
import shutil
from dataclasses import asdict, fields
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import InputError, StoreError
from pipeline import cli, exit_codes
from pipeline.pages import charts, figures, samples, template
from pipeline.pages.report import date_report, report_path, write_report
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Diversity
from stages.dedup.drop import Drop
from stages.dedup.sign import Sign
from stages.generate import Generate
from stages.pack import Pack
from stages.record import content_id
from stages.screen import Screen
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.documents import write_config
from tests.factories.manifests import domain_figures, manifest_of
from tests.factories.pages import Page, plant_markup


@pytest.fixture
def data(finished, tmp_path) -> DataSet:
    """A copy of a finished data set."""
    return DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))


def test_a_run_leaves_a_page_that_asks_for_nothing(finished):
    path = finished.out / "runs" / DATE / "report.html"
    text = path.read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    links = [value or "" for _, name, value in page.attributes if name in ("href", "src", "action")]
    assert {link for link in links if link[:1] != "#"} == {"data:,"}
    assert {link[1:] for link in links if link[:1] == "#"} <= set(page.ids)
    assert "url(" not in template.style()
    assert "@import" not in template.style()
    for row in finished.manifest["domains"]["law"]["rejected"]:
        assert row in text
    assert text.count("<article") == 10


STEPS = ("generate", "screen", "dedup", "shards")
KINDS = {kind.name: kind for kind in (Generate.kind, Screen.kind, Sign.kind, Drop.kind, Pack.kind)}


def test_the_flow_in_the_manifest_balances(finished):
    manifest = finished.parsed_manifest
    law = manifest.domains["law"]
    steps = figures.steps(manifest, law)
    assert tuple(step.name for step in steps) == STEPS
    assert steps[0].rows_in == law.generated
    assert steps[-1].kept == law.accepted
    for step in steps:
        assert step.rows_in == step.kept + sum(step.lost.values())
    for step, following in pairwise(steps):
        assert step.kept == following.rows_in
    assert figures.seeds_flow(manifest, law).rows_in >= law.generated
    assert manifest.tasks.keys() == {"explain", "question-answer"}
    assert sum(manifest.languages.values()) == manifest.accepted
    (whole,) = figures.steps(manifest, law.model_copy(update={"flow": None}))
    assert (whole.rows_in, whole.kept, whole.lost) == (law.generated, law.accepted, law.rejected)


def test_rows_that_were_quarantined_are_lost_in_their_stage():
    counts = {"in": 10, "kept": 7, "rejected": {"copy": 1}, "quarantined": 2}
    signed = {"in": 3, "kept": 0, "rejected": {}, "quarantined": 3}
    domain = domain_figures(quarantined=5, flow={"screen": counts, "dedup-sign": signed})
    manifest = manifest_of(stages=KINDS, domains={"law": domain})
    screen, dedup = figures.steps(manifest, domain)
    assert screen.lost == {"quarantined": 2, "copy": 1}
    assert (dedup.name, dedup.rows_in, dedup.lost) == ("dedup", 3, {"quarantined": 3})
    assert [row["stage"] for row in figures.rounds(manifest, domain)] == ["screen"]


losses = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 10**6), max_size=12)


@given(st.integers(0, 10**6), st.lists(losses, min_size=4, max_size=4))
def test_the_picture_is_to_scale_and_loses_no_row(accepted: int, lost: list[dict[str, int]]):
    rows = accepted + sum(sum(of.values()) for of in lost)
    made, left = [], rows
    for name, of in zip(STEPS, lost, strict=True):
        made.append(figures.Step(name, left, left - sum(of.values()), of))
        left -= sum(of.values())
    picture = charts.flow(made, rows)
    for level, step in zip(picture.levels, made, strict=True):
        assert sum(ribbon.count for ribbon in level.ribbons) == sum(step.lost.values())
        assert len(level.ribbons) <= charts.MAX_REASONS_PER_STAGE + 1
        assert level.band_width == pytest.approx(charts.MAX_BAND_WIDTH * step.kept / max(rows, 1))
        places = [ribbon.label_y for ribbon in level.ribbons]
        assert places == sorted(places)
        assert all(b - a >= charts.LABEL_HEIGHT - 1e-6 for a, b in pairwise(places)), "labels have room"
    assert picture.accepted == accepted
    assert picture.end_y < picture.height


def test_histograms_and_lines_are_drawn_to_one_scale():
    bars = charts.bars("quality", {"9": 3, "0": 1}, {"0": 4})
    assert [round(h, 1) for *_, h in bars.rects] == [17.5, *[0] * 8, 52.5]
    assert bars.outline.startswith(f"M0 {charts.AXIS_Y}V6.0")
    assert [text for _, text in bars.ticks] == ["0", "0.5", "1"]
    assert [text for _, text in charts.bars("length", {"18": 1, "20": 1}).ticks] == ["512", "1,024"]
    assert [text for _, text in charts.bars("length", {"18": 1, "23": 1}).ticks] == ["512", "1,448", "2,896"]
    assert charts.bars("length", {}).rows == 0
    line = charts.line([1.0, None, 3.0, 2.0])
    assert line is not None
    assert line.path.count("M") == 2
    assert (line.low, line.high, len(line.points)) == (1, 3, 3)
    assert charts.line([None, float("nan")]) is None
    assert figures.median("quality", {"2": 1, "7": 1, "9": 1}) == "0.7 to 0.8"
    assert figures.median("quality", {"9": 1}) == "0.9 or more"
    assert figures.median("length", {"20": 1}) == "861 to 1,218"
    assert figures.median("quality", {}) == "none"


def rows(number: int, path, domain: str, group: int = 64) -> None:
    """A Parquet file of bare rows."""
    ids = [content_id(domain, str(n)) for n in range(number)]
    table = pa.table({"id": ids, "domain": [domain] * number, "text": [f"text {n}" for n in range(number)]})
    pq.write_table(table, path, row_group_size=group)


def test_samples_are_the_smallest_ids_however_rows_are_grouped(tmp_path):
    rows(500, tmp_path / "a", "law", 64)
    rows(500, tmp_path / "b", "law", 500)
    one = samples.smallest([tmp_path / "a"], ["domain"], 5)["law",]
    other = samples.smallest([tmp_path / "b"], ["domain"], 5)["law",]
    wanted = sorted(content_id("law", str(n)) for n in range(500))[:5]
    assert [place.id for place in one] == [place.id for place in other] == wanted
    found = samples.fetch(one)
    assert [found[place]["id"] for place in one] == wanted
    assert samples.smallest([tmp_path / "a"], [], 3)[()] == one[:3]


def test_reasons_without_end_are_cut_off(tmp_path):
    count = samples.MAX_GROUPS + 50
    table = pa.table({"id": [f"{n:05}" for n in range(count)], "reason": [f"reason {n}" for n in range(count)]})
    pq.write_table(table, tmp_path / "r")
    assert len(samples.smallest([tmp_path / "r"], ["reason"], 3)) == samples.MAX_GROUPS


def test_rejects_are_shown_as_long_as_the_run_folder_is_there(data):
    manifest = data.manifest(DATE)
    assert manifest is not None
    found = samples.sample_rejects(data, manifest, 2)
    assert {reason for _, reason in found} == set(manifest.rejected)
    for some in found.values():
        assert len(some) <= 2
        assert all((row["text"] is None) == row["stage"].endswith("generate") for row in some)
    other = manifest.model_copy(update={"run_id": "another configuration's"})
    assert samples.sample_rejects(data, other, 2) == {}
    shutil.rmtree(data.run_folder(DATE))
    text = date_report(data, DATE, served=False)
    assert "the run folder was deleted" in text
    assert text.count("<article") == 10
    assert write_report(data, DATE) == report_path(data, DATE)


def test_a_report_is_the_same_for_the_same_data(data, finished):
    path = report_path(data, DATE)
    before = path.read_text("utf-8")
    assert cli.main(["report", DATE, "--out", str(data.root), "--json"]) == 0
    assert path.read_text("utf-8").replace(data.root.name, finished.out.name) == before


def test_what_data_says_is_text(data):
    plant_markup(data)
    for served in (False, True):
        text = date_report(data, DATE, served=served)
        page = Page(text)
        assert not {"script", "img"} & set(page.tags)
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
        assert text.count("&lt;script&gt;alert(1)") > 60
        assert "49" not in text.split("<h2 id=")[0].split("{{")[0].split("</style>")[1]
        assert "{{ 7 * 7 }}" in text


def test_damage_and_dates_that_are_not_there_are_named(data, capsys):
    assert cli.main(["report", "2020-01-01", "--out", str(data.root)]) == exit_codes.FAILED
    assert f"not a finished date of {data.root}" in capsys.readouterr().err
    assert cli.main(["report", "../../etc/passwd", "--out", str(data.root)]) == exit_codes.FAILED
    assert cli.main(["report", DATE, "--out", str(data.root), "--port", "1"]) == exit_codes.USAGE
    assert cli.main(["report", "serve", "--out", str(data.root / "none")]) == exit_codes.USAGE
    with pytest.raises(InputError, match="it has none"):
        date_report(DataSet(data.root / "none"), DATE, served=False)
    manifest = json.loads(data.manifest_path(DATE).read_text("utf-8"))
    shard = manifest["shards"][0]
    shard["file"] = "../../elsewhere.parquet"
    data.manifest_path(DATE).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="is outside of"):
        date_report(data, DATE, served=False)


@pytest.mark.slow
def test_a_report_that_cannot_be_made_ends_no_run(tmp_path, finished):
    """A run whose page cannot be written is finished all the same, and the log says why."""
    config = write_config(tmp_path, finished.documents)
    (tmp_path / "out" / "runs" / DATE / "report.html").mkdir(parents=True)
    done = call("run", "--config", config, "--date", DATE, "--json", *ONE_ROUND)
    assert (done.code, done.line["status"]) == (0, "done")
    assert "report.html" in (tmp_path / "out" / "runs" / DATE / "log.txt").read_text("utf-8")


def test_trends_and_distances_leave_out_what_is_not_there(finished):
    newest = finished.parsed_manifest
    law = newest.domains["law"]
    empty = {"rows": 0, "compression_ratio": 1.0, "distinct_3": 1.0, "shared_8": 0.0}
    few = law.model_copy(update={"accepted": 3, "diversity": Diversity(**empty)})
    first = newest.model_copy(update={"date": "2026-01-01", "domains": {"law": few}})
    (accepted, *_, cost) = figures.trends([first, newest])
    assert accepted.values == [3, law.accepted]
    assert cost.values[1] == 0
    ratio = figures.trends([first, newest])[2]
    assert ratio.values[0] is None
    assert ratio.values[1] == law.diversity.compression_ratio
    assert all(row.index is None for row in figures.distances(newest, first))
    other = newest.model_copy(update={"domains": {"medicine": law}})
    assert list(figures.distances(newest, other)) == []
    same = list(figures.distances(newest, newest))
    assert [row.index for row in same] == [0] * len(same) != []
    assert {field.name for field in fields(same[0])} == set(asdict(same[0]))


def test_numbers_and_long_texts_are_written_for_people():
    assert template.figure(None, "count") == template.percent(None) == template.count(None) == "–"
    assert template.figure(1234.5, "count") == "1,234"
    assert template.figure(0.123, "percent") == "12.3%"
    assert template.figure(2.5, "ratio") == "2.50"
    assert template.clip("a" * 10, 4) == "aaaa … (10 characters)"
    assert template.clip(None, 4) == ""
    assert "?" in template.render("problem.html", title="\ud800", here="", text="")
