"""A real PostgreSQL on a unix socket, where one is installed. Knows nothing of pinclip."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


@contextmanager
def running(folder_of_programs: Path) -> Iterator[str]:
    """Yield the address of a started server over an empty folder; stop and remove it at the end."""
    # Not pytest's tmp_path: a unix socket's path must be shorter than 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    data = folder / "data"
    data.mkdir(0o700)
    as_whom = _not_root(folder, data)

    def run(*words: str) -> None:
        subprocess.run([*as_whom, *words], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    ctl = str(folder_of_programs / "pg_ctl")
    run(str(folder_of_programs / "initdb"), "-D", str(data), "-U", "pinclip", "-A", "trust", "-N")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    try:
        run(ctl, "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
        yield f"postgresql://pinclip@/postgres?host={folder}"
    finally:
        run(ctl, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _not_root(*folders: Path) -> list[str]:
    """Give the folders to a user under whom PostgreSQL agrees to run; return how to become it."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("nobody")
    for folder in folders:
        os.chown(folder, user.pw_uid, user.pw_gid)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids]
