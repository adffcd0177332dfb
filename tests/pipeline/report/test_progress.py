"""What a person sees while it runs: plain lines in a log, bars in a terminal."""

import io
import json
import re
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.report.progress import RunProgress
from stages.storage.progress_note import NoteWriter, ShardProgress

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def record(ended, seconds, rows=10, tokens=0.0):
    return {
        "number": 0, "fingerprint": "", "rows_in": rows, "kept": ["f", "", rows - 1, 5], "rejects": None, "sides": {},
        "rejected": {"bad": 1}, "quarantined": 0, "schema": "",
        "stats": {"ended": ended, "seconds": seconds, "output_tokens": tokens},
    }  # fmt: skip


class Clock:
    """Seconds that pass when the test says so: by default as many as make the next call draw."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += self.step


class Screen:
    """A stream, and the run folder's states shown on it one after the other."""

    def __init__(self, *, live: bool, clock: Clock | None = None) -> None:
        self.stream = io.StringIO()
        self.clock = clock or Clock()
        self.progress = RunProgress(self.stream, live=live, clock=self.clock)

    def shown(self, folder: Path) -> str:
        """What the stream got for this state after its last return to a line's start, without colours."""
        before = len(self.stream.getvalue())
        self.progress(folder)
        self.clock.tick()
        return CONTROL.sub("", self.stream.getvalue()[before:].rpartition("\r")[2])


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")


def folder_with(tmp_path, done, notes=None, rows=10):
    """`done`: by shard, when it ended after two seconds of work; `notes`: by marker, rows, tokens, seconds, when."""
    stage = tmp_path / "stages" / "generate"
    stage.mkdir(parents=True, exist_ok=True)
    (stage / "plan.json").write_text(json.dumps({"fingerprint": "", "shards": [["a", rows], ["b", rows], ["c", rows]]}))
    for name, ended in done.items():
        (stage / f"{name}.json").write_text(json.dumps(record(ended, 2.0, tokens=50)))
    for name, note in (notes or {}).items():
        (stage / name).write_text(json.dumps(asdict(ShardProgress(*note))) if note else "")
    return tmp_path


def test_plain_lines_say_what_changed_once(tmp_path):
    screen = Screen(live=False)
    assert screen.shown(folder_with(tmp_path, {})).split() == ["generate", "0/3", "shards"]
    assert screen.shown(folder_with(tmp_path, {})) == ""
    done = {"a": 102.0, "b": 104.0, "c": 106.0}
    line = screen.shown(folder_with(tmp_path, done))
    assert "3/3 shards  30 rows  5.0 rows/s  25 tokens/s  kept 90%\n" in line
    assert screen.shown(folder_with(tmp_path, done)) == ""


def test_plain_lines_come_every_ten_seconds(tmp_path):
    screen = Screen(live=False, clock=Clock(step=9))
    screen.shown(folder_with(tmp_path, {}))
    assert screen.shown(folder_with(tmp_path, {"a": 102.0})) == ""
    assert "1/3 shards  ETA 0:04  10 rows" in screen.shown(folder_with(tmp_path, {"a": 102.0}))


def test_a_long_shard_has_a_plain_line_each_minute_in_which_it_moves(tmp_path):
    screen = Screen(live=False, clock=Clock(step=35))
    lines = [
        screen.shown(folder_with(tmp_path, {}, {"a.attempt-1": (rows, 0, 35.0 * at, 35.0 * at)}, rows=900))
        for at, rows in enumerate([0, 100, 200, 200, 200, 300])
    ]
    assert [line[24:].split("  ")[2:3] for line in lines] == [[], [], ["200 rows"], [], [], ["300 rows"]]


def test_bars_move_inside_a_shard(tmp_path):
    screen = Screen(live=True)
    assert "0/3 shards  starting" in screen.shown(folder_with(tmp_path, {}))
    begun = screen.shown(folder_with(tmp_path, {}, {"a.attempt-1": None}))
    assert "0/3 shards" in begun
    assert "starting" not in begun
    first = screen.shown(folder_with(tmp_path, {}, {"a.attempt-1": (0, 40, 2.0, 102.0)}))
    assert "0/3 shards  0 rows 0.0/s  40 tokens 20/s" in first
    second = screen.shown(folder_with(tmp_path, {}, {"a.attempt-1": (5, 90, 4.0, 104.0)}))
    assert "0/3 shards  ETA 0:20  5 rows 1.2/s  90 tokens 22/s" in second
    third = screen.shown(folder_with(tmp_path, {"a": 106.0}, {"b.attempt-1": (5, 20, 2.0, 108.0)}))
    assert "1/3 shards  ETA 0:04  15 rows 3.8/s  70 tokens 18/s  kept 90%" in third


def test_bars_are_redrawn_in_place_and_fill(tmp_path):
    screen = Screen(live=True)
    states = ({}, {"a": 102.0}, {"a": 102.0, "b": 104.0})
    filled = [re.split("[╸╺]", screen.shown(folder_with(tmp_path, done)))[0].count("━") for done in states]
    assert filled == [20, 6, 13]  # at first there is no tip, only the bar's whole width
    assert "\x1b[2K" in screen.stream.getvalue()


def test_a_stage_that_ends_becomes_a_line_and_is_drawn_once(tmp_path):
    screen = Screen(live=True)
    screen.shown(folder_with(tmp_path, {"a": 102.0}))
    done = {"a": 102.0, "b": 104.0, "c": 106.0}
    shown = screen.shown(folder_with(tmp_path, done))
    assert "3/3 shards  30 rows  5.0 rows/s  25 tokens/s  kept 90%" in shown
    assert "━" not in shown
    assert "shards" not in screen.shown(folder_with(tmp_path, done))


def test_of_several_attempts_the_last_one_counts(tmp_path):
    notes = {"a.attempt-1": (9, 900, 9.0, 109.0), "a.attempt-2": (1, 10, 1.0, 120.0)}
    assert "1 rows 1.0/s  10 tokens 10/s" in Screen(live=True).shown(folder_with(tmp_path, {}, notes))


def test_the_marker_of_a_committed_shard_does_not_count_again(tmp_path):
    folder = folder_with(tmp_path, {"a": 102.0}, {"a.attempt-1": (9, 900, 9.0, 109.0)})
    assert "10 rows 5.0/s  50 tokens 25/s" in Screen(live=True).shown(folder)


def test_what_a_worker_notes_is_what_is_shown(tmp_path):
    folder = folder_with(tmp_path, {}, {"a.attempt-1": None})
    clock = Clock()
    notes = NoteWriter(folder / "stages" / "generate" / "a.attempt-1", clock)
    clock.now = 2.0
    notes.write(4, 100)
    assert "4 rows 2.0/s  100 tokens 50/s" in Screen(live=True).shown(folder)


def test_the_eta_counts_shards_and_worked_time(tmp_path):
    """Seeds plan no rows and sign counts keys; a pause between two starts is not work."""
    folder = folder_with(tmp_path, {"a": 102.0, "b": 9000.0}, {"c.attempt-1": (7, 0, 2.0, 9002.0)}, rows=0)
    assert "2/3 shards  ETA 0:03  27 rows 4.5/s" in Screen(live=True).shown(folder)


@pytest.mark.parametrize(("committed", "eta"), [(1, "2:47:00"), (167, "1:00")])
def test_long_times_are_told_in_hours(tmp_path, committed, eta):
    stage = tmp_path / "stages" / "generate"
    stage.mkdir(parents=True)
    names = [f"s{number}" for number in range(168)]
    (stage / "plan.json").write_text(json.dumps({"fingerprint": "", "shards": [[name, 1] for name in names]}))
    for number, name in enumerate(names[:committed]):
        (stage / f"{name}.json").write_text(json.dumps(record(60.0 * (number + 1), 60.0)))
    assert f"ETA {eta}" in Screen(live=True).shown(tmp_path)


def test_bars_fit_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen(live=True)
    line = screen.shown(folder_with(tmp_path, {"a": 102.0}))
    assert line.startswith("generate ━━╸━━━━━ 1/3 shards")
    assert len(line) == 40


def test_it_draws_twice_a_second_at_most_and_once_more_at_the_end(tmp_path):
    screen = Screen(live=False, clock=Clock(step=0.4))
    with screen.progress:
        screen.shown(folder_with(tmp_path, {}))
        assert screen.shown(folder_with(tmp_path, {"a": 102.0, "b": 104.0, "c": 106.0})) == ""
    assert "3/3 shards" in screen.stream.getvalue()


def test_the_cursor_is_back_at_the_end(tmp_path):
    screen = Screen(live=True)
    with screen.progress:
        screen.shown(folder_with(tmp_path, {"a": 102.0}))
    assert screen.stream.getvalue().endswith("\x1b[?25h")


def test_a_reader_that_went_away_does_not_stop_the_run(tmp_path):
    class Closed(io.StringIO):
        def write(self, text):
            raise self.error

    for live in (True, False):
        for error in (BrokenPipeError(), OSError(5, "Input/output error")):
            stream = Closed()
            stream.error = error
            with RunProgress(stream, live=live, clock=time.monotonic) as progress:
                progress(folder_with(tmp_path, {"a": 102.0}))


def test_a_terminal_that_cannot_redraw_gets_plain_lines(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for term, redraws in (("dumb", False), ("xterm", True)):
        monkeypatch.setenv("TERM", term)
        stream = Terminal()
        RunProgress.on(stream)(folder_with(tmp_path, {"a": 102.0}))
        assert ("\x1b[" in stream.getvalue()) == redraws
