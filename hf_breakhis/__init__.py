"""Fine-tune image classifiers on BreakHis, and tell the truth about the score."""

__version__ = "0.1.0"
