"""What ends a command from outside: recognised by the words of the libraries that meet it, told in one line."""

import errno
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        words: any of them in an error's text names the fault; torch and safetensors tell it in words only.
        line: what happened and what to do.
        numbers: of the system, for an OSError.
        code: exit code; 2 where the user has to change something.
    """

    words: tuple[str, ...]
    line: str
    numbers: tuple[int, ...] = ()
    code: int = 1


FAULTS = (
    Fault(
        ("No space left", "File too large", "quota exceeded", "PytorchStreamWriter failed writing", "unexpected pos "),
        "the disk is full ({error}); make room, and the same command continues.",
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        code=2,
    ),
    Fault(
        ("Connection closed by peer", "Connection reset by peer", "remote process exited"),
        "another process of this run ended, so this one ends too; the same commands continue.",
    ),
    Fault(
        ("DataLoader worker",),
        "a process that loads images ended (killed, or out of memory); the same command continues, "
        "--dataloader_num_workers 0 goes without.",
    ),
)


def fault_of(error: BaseException) -> Fault | None:
    """Return the fault that an error of any library tells of; None for an error of our own."""
    for fault in FAULTS:
        if isinstance(error, OSError) and error.errno in fault.numbers:
            return fault
        if any(word in str(error) for word in fault.words):
            return fault
    return None
