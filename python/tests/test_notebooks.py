"""The notebooks run from top to bottom, in a quick form: on few digits. `make notebooks` runs them as they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

imread = pytest.importorskip("matplotlib.image").imread

FOLDER = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))
GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
# Those with data of their own.
OWN = {"7_own_data"}
DIGITS = "(x, y), (x_test, y_test) = digits()"
# What is written otherwise, so that it is over in seconds.
QUICK = {
    "0_one_update": [],
    "1_equals_backprop": [("seconds=0.3", "seconds=0.02")],
    "2_beats_backprop": [("SEEDS = 12", "SEEDS = 2"), ("rounds=20", "rounds=2"), ("arange(1, 21)", "arange(1, 3)"),
                         ("RATES = [0.025, 0.05, 0.1, 0.2, 0.4]", "RATES = [0.05, 0.1]"), ("epochs=20", "epochs=2")],
    "3_own_rule": [("epochs=8", "epochs=1")],
    "4_which_rule": [('["bp", "il", "fa", "dfa", "kp", "usf"], 16', '["bp", "fa"], 4'), ("Classifier(400", "Classifier(20")],
    "5_looking_inside": [("EPOCHS = 6", "EPOCHS = 1")],
    "6_callbacks": [("EPOCHS = 8", "EPOCHS = 2")],
    "7_own_data": [("cv=4", "cv=2"), ("[0.001, 0.005]", "[0.005]")],
}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_in_its_quick_form(source, tmp_path):
    text = source.read_text(encoding="utf-8")
    few = [] if source.stem in OWN else [(DIGITS, f"{DIGITS}; x, y = x[:700], y[:700]")]
    for written, quick in [*QUICK[source.stem], *few]:
        assert written in text, written
        text = text.replace(written, quick)
    program = tmp_path / "notebook.py"
    program.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "error::SyntaxWarning", program], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "MPLBACKEND": "agg"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # It writes its picture, which is not blank.
    picture = imread(tmp_path / f"{source.stem}.png")
    assert picture.shape[0] > 200 and picture.shape[1] > 300 and picture[..., :3].std() > 0.05
    assert GALLERY.joinpath(f"{source.stem}.png").is_file()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_is_what_its_source_says(source):
    notebook = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    shown = ["".join(cell["source"]) for cell in notebook["cells"]]
    parts = [part.partition("\n") for part in source.read_text(encoding="utf-8").split("# %%")[1:]]
    text = lambda line: line.removeprefix("#").removeprefix(" ")  # noqa: E731
    assert shown == ["\n".join(map(text, body.strip().splitlines())) if "[markdown]" in head else body.strip() for head, _, body in parts]
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    assert outputs and not [out for out in outputs if out["output_type"] == "error"]


def test_there_are_eight():
    assert len(SOURCES) == 8
    assert [source.stem for source in SOURCES] == list(QUICK) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))
