"""The functions behind the metrics. They do without `evaluate`, whose import takes seconds."""
