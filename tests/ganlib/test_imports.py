"""The ground floor stands by itself: no Ray, no MLflow, no command line, nothing of the floors above."""

import ast
from pathlib import Path

import ganlib

ABOVE = {"ray", "mlflow", "typer", "rich", "pipelines", "tuning", "tests"}


def test_ganlib_imports_nothing_from_above() -> None:
    files = list(Path(ganlib.__file__).parent.rglob("*.py"))
    assert len(files) > 30
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            assert not ABOVE & {name.split(".")[0] for name in names}, path
