"""Draw the accuracies on real images; `python benchmarks/tables.py` calls it."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from real_tables import is_in_short

HERE = Path(__file__).parent
LEVEL_COLORS = {"image": "#c0392b", "patient": "#7f8c8d", "specimen": "#1f5f8b"}


def draw_real(found: dict[str, Any]) -> None:
    """Draw the accuracies of the table in the README by image, patient and specimen to docs/real.png."""
    parts = {title: part for title, part in found["parts"].items() if is_in_short(title)}
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(parts) + 0.9), layout="constrained")
    for row, part in enumerate(parts.values()):
        for shift, (level, color) in zip((-0.2, 0, 0.2), LEVEL_COLORS.items(), strict=True):
            score = part["rows"][level]["scores"]["accuracy"]
            axes.plot([score["low"], score["high"]], [row + shift] * 2, color=color)
            axes.plot(score["value"], row + shift, "o", color=color, label=f"split by {level}" if row == 0 else None)
    axes.set_yticks(range(len(parts)), list(parts))
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, with 95 % confidence interval over specimens")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    figure.savefig(HERE.parent / "docs" / "real.png", dpi=90, metadata={"Software": None})
    plt.close(figure)
