"""docs/scheduler.md does not promise what is not so."""

import re
from pathlib import Path

DOCUMENT = (Path(__file__).parent.parent / "docs" / "scheduler.md").read_text()


def test_the_example_is_so() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    for expression, expected in re.findall(r"^(decision\.[^#\n]*?) +# (.*)$", code, re.MULTILINE):
        value = eval(expression, names)
        text = getattr(value, "text", repr(value))
        begin, _, end = expected.partition(": gone")[0].partition(": by")[0].partition(", …")
        assert text.startswith(begin)
        assert text.endswith(end.removeprefix("; ") if end else begin)
