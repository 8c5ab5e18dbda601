"""Faults from outside, such as a full disk: recognised by the error texts of libraries, reported in one line."""

import errno
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        words: texts that identify the fault; torch and safetensors raise errors without a number.
        line: what happened and what to do.
        numbers: error numbers of the system, for an OSError.
        of_a_file: whether such an OSError has to name a file.
        code: exit code; 2 if the user has to change something.
    """

    words: tuple[str, ...]
    line: str
    numbers: tuple[int, ...] = ()
    of_a_file: bool = False
    code: int = 1


FAULTS = (
    Fault(
        (),
        "A file or folder cannot be used: {error}. Check its name and permissions, or give another one.",
        (errno.EACCES, errno.ENAMETOOLONG, errno.EIO, errno.EROFS),
        of_a_file=True,
        code=2,
    ),
    Fault(
        ("No space left", "File too large", "quota exceeded", "PytorchStreamWriter failed writing", "unexpected pos "),
        "The disk is full ({error}). Free some space and run the same command again to resume.",
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        code=2,
    ),
    Fault(
        ("out of memory. Tried to allocate", "can't allocate memory", "Unable to allocate"),
        "There is not enough memory ({error}). End other programs that use it, or use smaller batches: for training "
        "add --gradient_accumulation_steps 2, which divides the batch_size of the recipe; for predictions give a "
        "smaller --batch_size.",
        (errno.ENOMEM,),
        code=2,
    ),
    Fault(
        ("Connection closed by peer", "Connection reset by peer", "remote process exited"),
        "Another process of this run has exited. Run the same command again to resume.",
    ),
    Fault(
        ("DataLoader worker",),
        "A data loading process has exited (killed or out of memory). Run the same command again to resume, or set "
        "--dataloader_num_workers 0.",
    ),
)


def fault_of(error: BaseException) -> Fault | None:
    """Return the fault behind an error of a library; None for any other error."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    for fault in FAULTS:
        named = not fault.of_a_file or getattr(error, "filename", None) is not None
        if isinstance(error, OSError | MemoryError) and number in fault.numbers and named:
            return fault
        if any(word in str(error) for word in fault.words):
            return fault
    return None
