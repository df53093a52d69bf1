"""Folders that the machine does not let a process write to, in earnest."""

import contextlib
import os
import resource
import subprocess

import pytest

NOBODY = 65534
ROOM = 64 * 1024  # bytes that still fit
WORDS = {
    "full": "the disk is full; free some space",
    "limit": r"it is larger than a file may be here \(ulimit -f\); raise the limit",
    "read-only": "its file system is read-only; change that, or name another folder",
    "another's": "this user has no permission; change that, or name another folder",
}


@contextlib.contextmanager
def refusing(folder, kind):
    """Makes a folder one that takes no more than ROOM in a file, or on its disk, or nothing.

    Args:
        folder: Exists; what is in it can be read where the disk is not another one.
        kind: One of WORDS. Some need a machine that lets tests mount a disk.
    """
    with {"full": _full, "limit": _limited, "read-only": _read_only, "another's": _anothers}[kind](
        folder
    ):
        yield


@contextlib.contextmanager
def _mounted(folder, *options):
    command = ["mount", *options, str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _full(folder):
    return _mounted(folder, "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs")


def _read_only(folder):
    return _mounted(folder, "-t", "tmpfs", "-o", "ro", "tmpfs")


def _limited(folder):
    return no_file_above(ROOM)


@contextlib.contextmanager
def no_file_above(room):
    """Lets this process write no file of more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def _anothers(folder):
    folder.chmod(0o555)
    user = os.geteuid()
    for parent in folder.parents:  # which another user must pass to see the folder at all
        if parent.stat().st_uid == user:
            parent.chmod(parent.stat().st_mode | 0o011)
    try:
        if user == 0:  # whom permissions do not bind
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
