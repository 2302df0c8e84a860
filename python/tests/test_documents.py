"""The Python blocks of the README and of the pages that begin with one run, and print what the comments beside them say."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", "docs/quickstart.md", "python/README.md"]


@pytest.mark.parametrize("name", PAGES)
def test_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    source = "\n".join(blocks)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(source, name, "exec"), {})
    assert said.getvalue().splitlines() == re.findall(r"^print\(.*\)\s+# (.*)$", source, re.MULTILINE)
