"""Custom learning rules. A rule in Python builds the same plan as one in Rust, and runs on the CPU and on any GPU.

A rule is a function that builds the plan of one weight update on a chain of layers ``p``. Layer 0 is the output, ``p.lmax`` the
input. docs/rules.md defines the terms. Example: feedback alignment::

    from zilch_pc import Network, rules
    from zilch_pc.rules import s

    @rules.rule("my-fa")
    def my_fa(p):
        p.predict_all()
        p.backward_pass(lambda l: p.op("back", p.backward(l, p.feedback(l)), [(p.eps(l), p.slope(l) * s)]))

    Network([784, 32, 32, 10], rule=my_fa).fit(x, y)

Expressions are evaluated as written. Every operation rounds once, so that ``a * b + c`` rounds twice and ``fma(a, b, c)`` once.
The operations are ``+ - * /``, comparisons (with values 1 and 0), ``abs``, ``.sqrt()``, ``.exp()``, ``.sign()``, ``.min(b)``,
``.max(b)``, ``.f("tanh")`` and ``select(condition, yes, no)``. ``s`` is the input of the op, here the sum Wᵀ ε of ``p.backward``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from . import _core
from ._core import Chain, Expr, Op, constant, fma, select
from .errors import UsageError

__all__ = [
    "Chain",
    "Expr",
    "Locality",
    "Op",
    "Rule",
    "about",
    "constant",
    "fma",
    "locality",
    "names",
    "rule",
    "s",
    "select",
    "unit",
    "weight",
]

#: The input of an op: the result of its matrix product, outer product, reduction or random draw.
s = _core.arriving()
#: The index of a unit within its layer, from 0.
unit = _core.unit()
#: 1 for a weight, 0 for a bias.
weight = _core.weight()


class Verdict(NamedTuple):
    """Whether a plan has a property, and why."""

    holds: bool
    why: str


class Locality(dict[str, Verdict]):
    """The locality properties of a rule, derived from its plan: {property: (holds, why)}.

    It prints as the row of ``zilch rules``, in which ✓ marks what is easier to realise in a brain: for some properties, such as
    ``weight_transport``, that the rule does not have them.
    """

    def __init__(self, rule: str, rows: Sequence[tuple[str, str, str, bool, bool, str]]) -> None:
        super().__init__((name, Verdict(holds, why)) for name, *_, holds, why in rows)
        self.rule = rule
        self._short = [short for _, short, *_ in rows]
        self._columns = [(heading, marked, why) for _, _, heading, marked, _, why in rows]

    def __repr__(self) -> str:
        cells = [self.rule] + ["✓" if marked else "·" for _, marked, _ in self._columns]
        heads = ["rule", *self._short]
        widths = [max(len(a), len(b)) for a, b in zip(heads, cells, strict=True)]
        lines = ("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in (heads, cells))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{escape(heading)}</th>" for heading in ["rule", *(heading for heading, *_ in self._columns)])
        cells = "".join(f'<td title="{escape(why)}">{"✓" if marked else ""}</td>' for _, marked, why in self._columns)
        return f"<table><tr>{heads}</tr><tr><td>{escape(self.rule)}</td>{cells}</tr></table>"


class Rule:
    """A custom rule, for ``Network(rule=…)``. The decorator :func:`rule` turns a function into one."""

    def __init__(
        self,
        name: str,
        plan: Callable[[Chain], Any],
        *,
        title: str | None = None,
        options: Mapping[str, float | tuple[float, float, float]] | None = None,
        takes: Sequence[str] = (),
        gamma: float = 1.0,
    ) -> None:
        if not callable(plan):
            raise UsageError("a rule takes a function of a chain of layers")
        rows = []
        for option, default in (options or {}).items():
            default, least, most = default if isinstance(default, (tuple, list)) else (default, -1e30, 1e30)
            rows.append((option, float(default), float(least), float(most)))
        for shared in takes:
            if shared not in ("gamma", "steps"):
                raise UsageError(f'takes may name "gamma" and "steps", not {shared!r}')
        self.function = plan
        #: The names of the rule's own options.
        self.options = tuple(option.replace("-", "_") for option, *_ in rows)
        self._core = _core.CustomRule(name, title or name, plan, rows, list(takes), float(gamma))
        self.__doc__ = plan.__doc__
        self.__module__ = getattr(plan, "__module__", __name__)
        self.__qualname__ = getattr(plan, "__qualname__", name)

    @property
    def name(self) -> str:
        """The name of the rule."""
        return self._core.name

    def __reduce__(self) -> str:
        # Pickled by its qualified name, as functions are. It must be importable from its module.
        return self.__qualname__

    def __deepcopy__(self, memo: Any) -> Rule:
        return self

    def __copy__(self) -> Rule:
        return self

    def locality(self) -> Locality:
        """The locality properties of the rule."""
        return locality(self)

    def __repr__(self) -> str:
        return f"<rule {self.name}>"


def rule(name: str, **about: Any) -> Callable[[Callable[[Chain], Any]], Rule]:
    """Decorator that turns a function into a custom rule.

    ``options`` declares numeric options of the rule, {name: default} or {name: (default, least, most)}. ``Network(…, name=value)`` sets
    them and ``p.option(name)`` reads them. ``takes`` lists which of ``gamma`` and ``steps`` the rule uses. ``gamma`` is the default of
    that option.
    """
    return lambda plan: Rule(name, plan, **about)


def locality(rule: str | Rule) -> Locality:
    """The locality properties of a rule, derived from its plan, as ``zilch rules`` prints them."""
    rows = _core.locality(rule._core if isinstance(rule, Rule) else rule)
    return Locality(rule.name if isinstance(rule, Rule) else rule, rows)


def names() -> list[str]:
    """The names of the built-in rules."""
    return [entry["name"] for entry in _core.rules()]


def about(name: str) -> dict[str, Any]:
    """The title, the source, and the options of a rule with their defaults."""
    for entry in _core.rules():
        if entry["name"] == name:
            return entry
    raise UsageError(f"there is no rule {name!r}; the rules are {', '.join(names())}")
