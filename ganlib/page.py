"""Reports as one HTML page that needs nothing else: no script, no outside resource; light, dark, and on a phone."""

from __future__ import annotations

from typing import Any


def render(package: str, template: str, **values: Any) -> str:
    """The page of a template that lies in `package` and extends `page.html.jinja`, which has the style of them all.

    In templates the filter `number` writes numbers as `number` below does. Raises jinja2.UndefinedError for a name that
    the template asks for and `values` has not.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("ganlib", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(**values)


def number(value: Any) -> str:
    """Four significant digits; whole numbers with commas; words as they are."""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
