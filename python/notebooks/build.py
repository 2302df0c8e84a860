"""Makes the notebooks of the .py files beside this, runs them, and keeps what they show. Their pictures go to docs/gallery.

    python python/notebooks/build.py [NAME ...]

A cell begins with a line `# %%`, one of text with `# %% [markdown]`.
"""

import sys
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).parent
GALLERY = FOLDER.parent.parent / "docs" / "gallery"


def cells(text):
    for part in text.split("# %%")[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()]
            yield nbformat.v4.new_markdown_cell("\n".join(lines))
        else:
            yield nbformat.v4.new_code_cell(body.strip())


def build(source):
    notebook = nbformat.v4.new_notebook(cells=list(cells(source.read_text(encoding="utf-8"))))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(GALLERY)}}).execute()
    for i, cell in enumerate(notebook.cells):
        # The same file for the same outputs.
        cell["id"] = f"cell-{i}"
        cell.get("metadata", {}).pop("execution", None)
    notebook.metadata.pop("language_info", None)
    path = source.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    GALLERY.mkdir(exist_ok=True)
    for source in sorted(FOLDER.glob("[0-9]*.py")):
        if not sys.argv[1:] or source.stem in sys.argv[1:]:
            build(source)
