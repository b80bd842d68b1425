"""A thread without root's power to read and write whatever it likes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION = 0x20080522  # of the structures below: _LINUX_CAPABILITY_VERSION_3
DAC_OVERRIDE, DAC_READ_SEARCH = 1 << 1, 1 << 2
GET_SECUREBITS, SET_SECUREBITS = 27, 28  # of prctl
NO_SETUID_FIXUP = 1 << 2  # without it access(2) gives root its powers back


@contextmanager
def permissions_hold() -> Iterator[None]:
    """File permissions hold for this thread, also where root runs the tests.

    Threads that it starts obey them, too; a program that it starts as root does not.

    Source: capget(2), prctl(2), capabilities(7); access_override_creds of Linux' fs/open.c.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable of capabilities 0 to 31, then of 32 to 63
    _check(libc.capget(header, sets))
    kept, bits = sets[0], libc.prctl(GET_SECUREBITS, 0, 0, 0, 0)
    _check(libc.prctl(SET_SECUREBITS, bits | NO_SETUID_FIXUP, 0, 0, 0))
    sets[0] = kept & ~(DAC_OVERRIDE | DAC_READ_SEARCH)
    _check(libc.capset(header, sets))
    try:
        yield
    finally:
        sets[0] = kept
        _check(libc.capset(header, sets))
        _check(libc.prctl(SET_SECUREBITS, bits, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
