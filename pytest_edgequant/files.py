"""Files that users name, opened so that nothing waits for a pipe that nobody writes to."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotAFileError(OSError):
    """A pipe, a socket or a device in the place of a file: reading it may never end."""

    def __init__(self) -> None:
        super().__init__(0, "it is a pipe, a socket or a device, not a file")


def open_file(path: Path) -> BinaryIO:
    """The file, opened for reading; raises `OSError`, of which `NotAFileError` is one."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except ValueError as error:  # a null byte in a name
        raise FileNotFoundError(0, str(error)) from None
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(0, "it is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise NotAFileError
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path) -> bytes:
    """All of a file; raises `OSError`, of which `NotAFileError` is one."""
    with open_file(path) as stream:
        return stream.read()
