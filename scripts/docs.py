"""Gathers what the site of `make docs` is made of in one folder: python3 scripts/docs.py FOLDER RUSTDOC.

The pages of docs/ come first. Pages link to files of the repository that are no pages of docs/, such as `../CHANGELOG.md` or
`../benches/peers/README.md`. These are put beside the pages, with the files that they link to in turn, and the links are changed to
where the files lie on the site. The reference of the Rust crate, made by `cargo doc`, goes to `rust/`.
"""

import posixpath
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where files of the repository lie on the site; others lie in repository/.
PLACES = {"CHANGELOG.md": "changelog.md", "assets/logo.svg": "logo.svg"}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def place(path: str) -> str:
    """Where a file of the repository lies on the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else PLACES.get(path, f"repository/{path}")


def linked(page: str, target: str) -> str | None:
    """The file of the repository that a link of a page leads to; None for other hosts, and for what is not there."""
    if "://" in target or target.startswith(("mailto:", "/")):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
    return path if not path.startswith("..") and (ROOT / path).is_file() else None


def put(path: str, folder: Path) -> set[str]:
    """Puts a file where it lies on the site. Returns the files that it links to."""
    to = folder / place(path)
    to.parent.mkdir(parents=True, exist_ok=True)
    if not path.endswith(".md"):
        shutil.copyfile(ROOT / path, to)
        return set()
    found = set()

    def moved(link: re.Match[str]) -> str:
        target = linked(path, link[2])
        if target is None:
            return link[0]
        found.add(target)
        return link[1] + posixpath.relpath(place(target), posixpath.dirname(place(path)) or ".") + link[3]

    to.write_text(LINK.sub(moved, (ROOT / path).read_text(encoding="utf-8")), encoding="utf-8")
    return found


def main(folder: Path, rust: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    done, waiting = set(), pages | set(PLACES)
    while waiting:
        path = waiting.pop()
        done.add(path)
        waiting |= put(path, folder) - done
    shutil.copytree(rust, folder / "rust", ignore=shutil.ignore_patterns(".lock"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
