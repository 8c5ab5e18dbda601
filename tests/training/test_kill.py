"""A run that is killed at any moment and is started again ends as one that was left alone."""


def test_twenty_kills_change_nothing(ends_as_if_left_alone, fields):
    ends_as_if_left_alone(fields, "kills", 20, 7)  # number and seed
