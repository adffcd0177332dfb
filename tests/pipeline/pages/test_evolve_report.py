"""The page of the self-evolving loop: every verdict is on it in words and to scale, never as markup."""

import math
import re
import shutil
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pages import evolve_charts
from pipeline.pages.evolve_report import domain_view, evolve_path, evolve_report, generators, write_evolve_report
from pipeline.pages.report import date_report
from pipeline.report.evolution import DomainEvolution, evolution
from pipeline.store.dataset import DataSet
from pipeline.store.registry import Check, DomainRegistry, Variant, next_pointer
from pipeline.store.registry_files import Registry
from tests.factories.command_line import DATE
from tests.factories.evolve.registries import REASONS, variant, verdict, verdicts, write_registry
from tests.factories.pages import MARKUP, Page, plant_verdicts

ENDINGS = st.lists(st.sampled_from(["promoted", "refused", "kept"]), min_size=1, max_size=12)


def text_of(page: str) -> str:
    """What a reader sees: the page without tags, white space joined."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>")[1]))


def test_without_a_verdict_the_page_says_what_makes_one(tmp_path):
    data = DataSet(tmp_path)
    path = write_evolve_report(data)
    assert path == evolve_path(data) == tmp_path / "evolve" / "report.html"
    page = path.read_text("utf-8")
    Page(page)
    assert "gristmill evolve --config" in page
    assert "<svg" not in page


def test_each_kind_of_verdict_is_told_in_words(tmp_path):
    write_registry(tmp_path, verdicts(["refused", "promoted", "promoted", "rolled back", "kept"]))
    page = evolve_report(DataSet(tmp_path), served=False)
    Page(page)
    text = text_of(page)
    first, second, third = (variant(number).id for number in (1, 2, 3))
    assert f"Candidate {first} is refused: 2 of 6 checks failed. Champion as before: the base model." in text
    assert f"Candidate {second} passed all 6 checks and takes the place of the base model." in text
    assert f"Champion {third} is set back to {second}." in text
    assert f"Nothing was compared. Champion as before: {second}." in text
    for reason in REASONS.values():
        assert f"Why: {reason}" in text
    assert page.count("<article") == 5
    assert page.count("<details open>") == 0, "the newest verdict compared nothing"
    assert f"Parents: base model → {second} ." in text
    assert "57.2% 52.4% to 62.0%" in text, "229 of 400 with Wilson's interval"


def test_what_people_decide_by_hand_is_told_as_such(tmp_path):
    registry = Registry(tmp_path)
    write_registry(tmp_path, verdicts(["promoted"]))
    registry.rollback("law", "2026-01-05", "it repeats itself")
    registry.freeze("law", "2026-01-06", "until the sources are clean")
    text = text_of(evolve_report(DataSet(tmp_path), served=False))
    assert f"Champion {variant(1).id} is set back by hand to the base model. Why: it repeats itself" in text
    assert "Frozen. No candidates are made: until the sources are clean" in text
    registry.unfreeze("law", "2026-01-07", "")
    assert "▲ Frozen" not in evolve_report(DataSet(tmp_path), served=False)


def test_failed_checks_come_first_and_say_what_they_mean(tmp_path):
    write_registry(tmp_path, verdicts(["refused"]))
    page = evolve_report(DataSet(tmp_path), served=False)
    rows = re.findall(r"<tr( class=\"failed\")?><th scope=\"row\" class=\"what\">([\w ]+)<br>", page)
    assert [name for failed, name in rows if failed] == ["utility at equal cost", "diversity"]
    assert [bool(failed) for failed, _ in rows] == [True] * 2 + [False] * 4
    assert "Change of distinct 3-grams in texts of equal length." in page
    assert "-1.4% to 0.6%" in page


@given(ENDINGS)
def test_the_table_of_champions_is_the_pointers_history(endings):
    history = verdicts(endings)
    empty = DomainRegistry(domain="law")
    pointers = list(accumulate(history, next_pointer, initial=empty))
    changes = [
        (after.champion.id, after.since) for before, after in pairwise(pointers) if after.champion != before.champion
    ]
    domain = DomainEvolution(pointers[-1], tuple(history))
    rows = generators(domain)
    assert [(row["variant"].id, row["since"].date) for row in reversed(rows)] == changes
    assert [row["until"] is None for row in rows] == [True] * bool(rows) + [False] * (len(rows) - 1)
    assert domain.parents == [each.id for each in pointers[-1].previous]


def test_a_base_model_that_is_champion_is_measured_once_for_both(tmp_path):
    only = verdict(1, "refused", Variant(), variant(1))
    for role in ("base", "champion"):
        arms = {name: arm for name, arm in only.arms.items() if name != role}
        write_registry(tmp_path / role, [only.model_copy(update={"arms": arms})])
        (domain,) = evolution(DataSet(tmp_path / role))[0].values()
        view = domain_view("law", domain)
        shares = {arms["champion" if role == "base" else "base"].accepted / 400}
        assert {*view["rates"]} == shares
        assert [len(series.points) for series in view["accept_chart"].series] == [1, 1, 1]
        assert ">–</td>" not in evolve_report(DataSet(tmp_path / role), served=False).split("<article")[0]


def test_a_long_history_is_cut_to_the_newest_verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.pages.evolve_report.MAX_VERDICTS", 4)
    write_registry(tmp_path, verdicts(["refused"] * 7))
    page = evolve_report(DataSet(tmp_path), served=False)
    assert page.count("<article") == 4
    assert "3 older ones are not shown" in page
    assert 'id="verdict-1-7"' in page
    assert 'id="verdict-1-3"' not in page
    Page(page)


def test_a_damaged_domain_is_named_and_the_others_are_shown(tmp_path):
    write_registry(tmp_path, verdicts(["promoted"]))
    write_registry(tmp_path, verdicts(["refused"]), "medicine")
    Registry(tmp_path).verdict_path("law", 1).write_text("{", "utf-8")
    page = evolve_report(DataSet(tmp_path), served=False)
    assert "0001.json: damaged" in page
    assert ">medicine</h2>" in page


def test_what_verdicts_say_is_text(tmp_path):
    data = DataSet(tmp_path)
    plant_verdicts(data)
    for served in (False, True):
        page = evolve_report(data, served=served)
        parsed = Page(page)
        assert not {"script", "img"} & set(parsed.tags)
        assert MARKUP not in page
        assert page.count("&lt;script&gt;alert(1)") > 20
        links = {value for _, name, value in parsed.attributes if name == "href" and value and value[0] == "#"}
        assert {link[1:] for link in links} <= set(parsed.ids)
        assert len(parsed.ids) == len(set(parsed.ids))


def test_the_report_of_a_date_says_who_wrote_its_rows(finished, tmp_path):
    data = DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))
    assert "no champion had been chosen yet" in date_report(data, DATE, served=False)
    champion = variant(1)
    before = verdict(1, "promoted", Variant(), champion, date="2026-01-01")
    write_registry(data.root, [before, verdict(2, "refused", champion, variant(2), date="2026-02-01")])
    manifest = data.manifest(DATE)
    assert manifest is not None
    data.manifest_path(DATE).write_text(manifest.model_copy(update={"champions": {"law": champion}}).to_json())
    text = text_of(date_report(data, DATE, served=False))
    assert f"law {champion.id} 1 base 65.8% 57.2% 1.0% 1.0% 2026-01-01: promoted" in text
    assert "2026-02-01" not in text, "a later verdict is no part of the date's report"


numbers = st.floats(-1, 1, allow_nan=False) | st.sampled_from([0.0, 1e-9, math.nan, math.inf])


@given(st.lists(st.none() | st.tuples(numbers, st.none() | numbers, st.none() | numbers), min_size=1, max_size=40))
def test_charts_are_to_scale_and_inside_their_area(values):
    dates = [f"2026-01-{number % 28 + 1:02}" for number in range(len(values))]
    figure = evolve_charts.Values("utility", "cost", values, connected=True)
    chart = evolve_charts.chart([figure], dates, ["refused"] * len(values))
    shown = [value for value in values if value is not None and math.isfinite(value[0])]
    if chart is None:
        assert not [n for value in values for n in value or () if n is not None and math.isfinite(n)]
        return
    (series,) = chart.series
    assert len(series.points) == len(shown)
    assert series.line.count("M") == bool(shown)
    ends = [y for point in series.points for y in (point.y, point.low_y, point.high_y) if y is not None]
    assert all(evolve_charts.TOP <= y <= evolve_charts.BOTTOM for y in ends)
    assert all(evolve_charts.LEFT <= point.x <= evolve_charts.RIGHT for point in series.points)
    ticks = [y for y, _ in chart.y_ticks]
    assert ticks == sorted(ticks, reverse=True)
    assert 2 <= len(ticks) <= evolve_charts.MAX_TICKS + 2
    heights = sorted((value[0], -point.y) for value, point in zip(shown, series.points, strict=True))
    assert [y for _, y in heights] == sorted(y for _, y in heights), "larger values are higher"


def test_an_interval_is_drawn_beside_its_limit():
    check = Check(name="gain", passed=False, value=0.0, low=-0.01, high=0.01, limit=0.03)
    drawn = evolve_charts.interval(check)
    assert drawn is not None
    assert (drawn.low_x, drawn.dot_x, drawn.high_x, drawn.limit_x) == (8, 34, 60, 112)
    assert evolve_charts.interval(check.model_copy(update={"value": None})) is None
    assert evolve_charts.interval(Check(name="gain", passed=True, value=1.0)) is None
    assert evolve_charts.interval(Check(name="gain", passed=True, value=1.0, limit=1.0)) is not None
    assert evolve_charts.interval(Check(name="gain", passed=True, value=math.inf, limit=1.0)) is None


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.0, 0.0), (-1e-7, 1e-7), (0.57, 0.67), (-3.0, 250.0)])
def test_axes_have_round_ends_around_the_figures(low, high):
    ticks = evolve_charts._ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert ticks[0] < ticks[-1]
