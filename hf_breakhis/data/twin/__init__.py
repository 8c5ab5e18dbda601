"""Generate the synthetic twin of BreakHis."""
