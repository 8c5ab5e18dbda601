"""What the metrics compute, for the package itself: importing `evaluate` takes seconds."""
