"""The two ends of `make docs`: python3 scripts/docs.py gather RUSTDOC, and after the site is built, python3 scripts/docs.py check.

`gather` puts what the site is made of into target/docs. The pages of docs/ come first. Pages link to files of the repository that are no pages of docs/, such as `../CHANGELOG.md` or
`../benches/peers/README.md`. These are put beside the pages, with the files that they link to in turn, and the links are changed to
where the files lie on the site. The reference of the Rust crate, made by `cargo doc`, goes to `rust/`.

`check` holds the built site to what it promises: a page loads nothing from other hosts, and every link within the site leads to a file
and to a place in it.
"""

import posixpath
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
PAGES, SITE = ROOT / "target/docs", ROOT / "target/site"
# Zensical loads this for search in pages that are opened as files; docs/search-offline.js does it instead.
SHIM = '<script src="https://unpkg.com/iframe-worker/shim" type="text/javascript"></script>'
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


def gather(rust: Path) -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    done, waiting = set(), pages | set(PLACES)
    while waiting:
        path = waiting.pop()
        done.add(path)
        waiting |= put(path, PAGES) - done
    shutil.copytree(rust, PAGES / "rust", ignore=shutil.ignore_patterns(".lock"))


class Page(HTMLParser):
    """What a page loads, where its links lead, and the places that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        target = given.get("src") or given.get("href") or ""
        if tag in ("script", "img", "iframe", "source") or (tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload")):
            self.loads.append(target)
        elif tag == "a":
            self.links.append(target)


def local(path: Path) -> None:
    """Search without a server is done by the site's own script, and not by one from another host."""
    text = path.read_text(encoding="utf-8")
    depth = "../" * (len(path.relative_to(SITE).parts) - 1)
    path.write_text(text.replace(SHIM, f'<script src="{depth}search-offline.js"></script>'), encoding="utf-8")


def check() -> None:
    # rustdoc checks its own links.
    paths = sorted(path for path in SITE.rglob("*.html") if path.relative_to(SITE).parts[0] != "rust" and path.name != "404.html")
    for path in paths:
        local(path)
    pages = {path: Page(path) for path in paths}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(SITE)
        wrong += [f"{name} loads {target}" for target in page.loads if "://" in target or target.startswith("//")]
        for target in page.links + page.loads:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not target or target == "#":
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            if not to.is_file():
                wrong.append(f"{name} links to {target}, which is not there")
            elif to in pages and parts.fragment and unquote(parts.fragment) not in pages[to].places | {"__top"}:
                wrong.append(f"{name} links to {target}, which has no such place")
    if wrong or len(pages) < 20:
        sys.exit("\n".join(wrong) or f"the site has {len(pages)} pages only")
    print(f"{len(pages)} pages load nothing from other hosts, and their links lead somewhere: {SITE / 'index.html'}")


if __name__ == "__main__":
    gather(Path(sys.argv[2])) if sys.argv[1] == "gather" else check()
