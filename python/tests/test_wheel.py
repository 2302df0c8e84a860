"""What is installed: the licences, the types, and nothing of the machine that built it."""

import os
from importlib import metadata
from pathlib import Path

import pytest
import zilch_pc

FILES = metadata.files("zilch-pc") or []
# An editable install lies where it was built.
pytestmark = pytest.mark.skipif(not any(path.suffix in (".so", ".pyd") for path in FILES), reason="it was not installed from a wheel")


def test_it_names_no_folder_of_its_builder():
    here = Path(__file__).resolve().parents[2]
    for path in FILES:
        # What pip made here names this place: the script's first line is its interpreter.
        if path.suffix in (".pyc", ".exe") or path.name in ("direct_url.json", "RECORD") or path.parent.name == "bin":
            continue
        found = path.locate().read_bytes()
        for folder in {str(here), os.path.expanduser("~"), "/home/", "/root/", "/Users/"}:
            assert folder.encode() not in found, (str(path), folder)


def test_it_has_licences_and_types():
    names = [path.name for path in FILES]
    for name in ("LICENSE-MIT", "LICENSE-APACHE", "py.typed", "_core.pyi"):
        assert name in names
    about = metadata.metadata("zilch-pc")
    assert about["License-Expression"] == "MIT OR Apache-2.0" and about["Version"] == zilch_pc.__version__
