from __future__ import annotations

import asyncio
import signal
import stat
import sys
from pathlib import Path

from rbcluster.lab.scratch import ScratchDirectory
from rbcluster.lab.waiting import wait_for

_OWNER = """
import signal
from rbcluster.lab.scratch import ScratchDirectory
scratch = ScratchDirectory()
(scratch.path / "deep").mkdir()
(scratch.path / "deep" / "file").write_text("x")
print(scratch.path, flush=True)
signal.pause()
"""


def is_gone(path: Path) -> bool:
    return not path.exists()


def test_a_scratch_directory_is_its_owners_alone() -> None:
    scratch = ScratchDirectory()

    assert stat.S_IMODE(scratch.path.stat().st_mode) == 0o700
    scratch.remove()


def test_removing_takes_everything_in_it_along_and_may_be_repeated() -> None:
    scratch = ScratchDirectory()
    (scratch.path / "deep").mkdir()
    (scratch.path / "deep" / "file").write_text("x")
    scratch.remove()
    scratch.remove()

    assert not scratch.path.exists()


async def test_it_disappears_with_an_owner_that_is_killed() -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    path = Path((await owner.stdout.readline()).decode().strip())
    owner.send_signal(signal.SIGKILL)
    await owner.communicate()

    async def look() -> bool | None:
        return True if is_gone(path) else None

    assert await wait_for(look, "the end of the directory", limit_s=10)
