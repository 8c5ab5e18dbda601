"""HTML report and terminal table of a run."""
