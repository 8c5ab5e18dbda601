"""A run that is killed at any moment and is started again ends as one that was left alone."""


def test_twenty_kills_change_nothing(ends_as_if_left_alone, fields):
    """The pictures of an epoch are turned at random, by another process that is killed too."""
    ends_as_if_left_alone(fields | {"dataloader_num_workers": 1}, "kills", 20, 7)  # number and seed
