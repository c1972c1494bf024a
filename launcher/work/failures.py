"""What an exception of a trainer says: of the trial, of the device's memory, or of the disk."""

import errno

from sweeps.record import Outcome, Progress, Status

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)
"""What a full or vanished disk answers: no fault of the trial."""
_NO_ROOM_WORDS = ("No space left on device", "Disk quota exceeded")
_OUT_OF_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "OutOfMemoryError")


def failed(error: str, last: Progress | None, *, is_out_of_memory: bool = False) -> Outcome:
    """Returns the outcome of an attempt that raised, after its `last` report."""
    return Outcome(
        status=Status.OUT_OF_MEMORY if is_out_of_memory else Status.FAILED,
        steps=last.step if last else 0,
        shared_steps=last.shared_steps if last else 0,
        val_loss=None,
        selection_loss=None,
        train_loss=last.train_loss if last else None,
        wall_s=last.wall_s if last else 0.0,
        compile_s=0.0,
        error=error,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception says that the device or the machine has too little memory for the trial."""
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY_WORDS)


def is_disk_trouble(error: BaseException) -> bool:
    """Returns whether an exception, or one that led to it, says that the disk is full or gone."""
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in NO_ROOM) or any(words in str(seen) for words in _NO_ROOM_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def last_line(error: BaseException) -> str:
    """Returns the last line of what an exception says, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
