"""Charts as SVG, drawn by matplotlib without a screen."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from io import BytesIO

# Its parts are not made for several threads at once.
_LOCK = threading.Lock()


def lines(title: str, unit: str, at: Sequence[datetime], values: Mapping[str, Sequence[Decimal]]) -> bytes:
    """Lines over time, by their names, as an SVG document."""
    # Here, since it takes a second and most processes never draw.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with _LOCK, rc_context({"svg.fonttype": "none", "svg.hashsalt": "provision"}):
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.add_subplot()
        for name, each in values.items():
            axes.plot(list(at), [float(value) for value in each], label=name)  # type: ignore[arg-type]
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        figure.autofmt_xdate()
        document = BytesIO()
        figure.savefig(document, format="svg", metadata={"Date": None})
    return document.getvalue()
