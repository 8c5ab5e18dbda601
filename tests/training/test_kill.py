"""A run that is killed at any moment gives the same result after it is started again."""


def test_twenty_kills_change_nothing(gives_the_same_result, fields):
    """Images are augmented at random by another process, which is killed too."""
    gives_the_same_result(fields | {"dataloader_num_workers": 1}, "kills", 20, 7)  # number and seed


def test_kills_within_an_ensemble_change_nothing(gives_the_same_result, fields):
    gives_the_same_result(fields | {"num_train_epochs": 1, "members": 3}, "kills", 4, 3)
