"""One fixed five-fold split of BreakHis by specimen, the same for everybody and with every version of this package.

It is what `split_by: specimen`, `num_folds: 5` and `split_seed: 42` give on all 7,909 images.
"""

SEED = 42
NUM_FOLDS = 5

# The specimens of folds 0 to 4, in the order of their numbers; 3 or 4 of each fold are benign.
_SPECIMENS = (
    "14-3411 14-4372 14-5694 14-11031 14-14134 14-15687 14-15704 14-16336 14-16716 14-17901 14-17915 14-19440 "
    "14-19979 14-23222 14-25197",
    "14-2985 14-3909 14-5287 14-9461 14-11520 14-12204 14-15696 14-15792 14-16448 14-16456 14-18842 14-22704 "
    "14-23060 14-29960",
    "14-2980 14-5695 14-8168 14-10926 14-11951 14-12312 14-12465 14-13412 14-13418 14-15275 14-15572 14-18650 "
    "14-21998 14-29315",
    "14-2773 14-4364 14-9146 14-10147 14-12773 14-13200 14-13413 14-14015 14-14946 14-16188 14-16196 14-19854 "
    "14-20629 14-22549",
    "14-2523 14-6241 14-9133 14-13993 14-14926 14-15570 14-16184 14-16601 14-16875 14-17614 14-20636 14-21978 15-190",
)
SPECIMEN_FOLDS = {specimen: fold for fold, line in enumerate(_SPECIMENS) for specimen in line.split()}
