"""What a run's files add up to: the numbers, their uncertainty, and whether they can be believed."""
