"""Comparison of rules and devices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from . import _core
from ._arrays import whole
from .rules import Rule


class Comparison:
    """The result of :func:`compare`: one row per rule, schedule and device.

    It prints as a text table and renders as an HTML table in notebooks. :meth:`to_pandas` converts it to a data frame.
    """

    _HEADS = ("device", "rule", "schedule", "time", "quartiles", "× BP", "launches", "update against BP's")

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def to_pandas(self) -> Any:
        """All measured values as a pandas.DataFrame."""
        import pandas

        return pandas.json_normalize(self.rows)

    def _table(self) -> list[tuple[str, ...]]:
        bp = {row["device_name"]: row["median_us"] for row in self.rows if row["rule"] == "bp"}
        table: list[tuple[str, ...]] = []
        for row in self.rows:
            far = row["divergence"]
            against = "the same bits" if far["bit_identical"] else f"{far['relative']:.1e} off"
            ratio = f"{row['median_us'] / bp[row['device_name']]:.2f}" if row["device_name"] in bp else "–"
            device = row["device_name"] + (" (software)" if row["software"] else "")
            spread = f"{_time(row['q1_us'])}–{_time(row['q3_us'])}"
            time = _time(row["median_us"])
            table.append((device, row["rule"], row["schedule"], time, spread, ratio, str(row["dispatches"]), against))
        return table

    def __repr__(self) -> str:
        table = [self._HEADS, *self._table()]
        widths = [max(len(row[i]) for row in table) for i in range(len(self._HEADS))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table)

    def _repr_html_(self) -> str:
        body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in self._table())
        return f"<table><thead><tr>{_cells(self._HEADS, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: tuple[str, ...], tag: str) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)


def _time(microseconds: float) -> str:
    return f"{microseconds:.3g} µs" if microseconds < 1000 else f"{microseconds / 1000:.3g} ms"


def compare(
    layers: Sequence[int] | str = (784, 32, 32, 32, 10),
    rules: Sequence[str | Rule] | str | Rule = ("bp", "il", "zil", "fazil"),
    *,
    devices: Sequence[str] | str = ("cpu",),
    batch: int = 20,
    seconds: float = 1.0,
    seed: int = 0,
) -> Comparison:
    """Times one weight update of each rule on each device, interleaved, and compares the result with backpropagation's.

    ``seconds`` is the measuring time per rule, schedule and device; ``layers`` and ``devices`` are as in :class:`~zilch_pc.Network`.
    """
    rules = [rules] if isinstance(rules, (str, Rule)) else rules
    devices = [devices] if isinstance(devices, str) else list(devices)
    layers = layers if isinstance(layers, str) else [whole(n, "a layer size") for n in layers]
    cores = [rule._core if isinstance(rule, Rule) else rule for rule in rules]
    batch, seed = whole(batch, "batch", least=1), whole(seed, "seed")
    return Comparison(json.loads(_core.compare(layers, cores, devices, batch, float(seconds), seed)))


def devices() -> list[dict[str, Any]]:
    """The GPU adapters of this machine: name, driver, and whether it is a software GPU."""
    return [{"name": name, "driver": driver, "software": software} for name, driver, software in _core.devices()]
