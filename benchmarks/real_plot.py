"""Draw accuracy by image, patient and specimen on real images, from real.json.

python benchmarks/real_plot.py
"""

from pathlib import Path

import matplotlib.pyplot as plt

from hf_breakhis.files import read_json

HERE = Path(__file__).parent
COLORS = {"image": "#c0392b", "patient": "#7f8c8d", "specimen": "#1f5f8b"}


def main() -> None:
    """Write docs/real.png."""
    parts = read_json(HERE / "real.json")["parts"]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(parts) + 1), layout="constrained")
    for row, part in enumerate(parts.values()):
        for shift, (level, color) in zip((-0.2, 0, 0.2), COLORS.items(), strict=True):
            if level in part["rows"]:
                score = part["rows"][level]["scores"]["accuracy"]
                axes.plot([score["low"], score["high"]], [row + shift] * 2, color=color)
                axes.plot(score["value"], row + shift, "o", color=color, label=f"by {level}" if row == 0 else None)
    axes.set_yticks(range(len(parts)), list(parts))
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, 95 % confidence interval over specimens")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    figure.savefig(HERE.parent / "docs" / "real.png", dpi=90)
    print(HERE.parent / "docs" / "real.png")


if __name__ == "__main__":
    main()
