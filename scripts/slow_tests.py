"""Run the slow tests of what a change touches, within a time limit.

    python scripts/slow_tests.py [BASE]

A change is everything since BASE, by default since where the branch left main, or on main itself
the last commit. `src/holoprop/NAME/` is tested by `tests/NAME/`, and everything in `src` by the
tests of the entry points as well, `tests/*.py`; `docs/` by `tests/docs/`. What is not run for lack
of time is a failure.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECONDS = 540
NO_TESTS = 5  # pytest's exit status where a folder has no slow tests


def git(*arguments: str, check: bool = False) -> str:
    """Output of a git command; empty where it fails, if it may."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check).stdout.strip()


def default_base() -> str:
    """Where the branch left main, or the last commit's parent; empty if there is neither."""
    head, parent = git("rev-parse", "HEAD"), git("rev-parse", "--verify", "--quiet", "HEAD~1")
    mains = git(
        "for-each-ref", "--format=%(refname)", "refs/remotes/origin/main", "refs/heads/main"
    )
    left = (git("merge-base", "HEAD", main) for main in mains.splitlines())
    return next((commit for commit in left if commit not in ("", head)), parent)


def folders(changed: list[str]) -> list[str]:
    """Folders of tests, from the names of changed files; "." for the tests of entry points."""
    found = set()
    for name in changed:
        match Path(name).parts:
            case ("src", "holoprop", package, _, *_):
                found |= {".", package}
            case ("docs", *_):
                found.add("docs")
            case ("tests", package, _, *_):
                found.add(package)
            case ("src" | "tests", *_):
                found.add(".")
    return sorted(folder for folder in found if (ROOT / "tests" / folder).is_dir())


def named(folders: list[str]) -> str:
    """For people to read."""
    return ", ".join(str(Path("tests", folder)) for folder in folders)


def main() -> int:
    """Exit status: 0 if all that there are passed."""
    base = sys.argv[1] if len(sys.argv) > 1 else default_base()
    if not base:
        print("No earlier commit to compare with, so no slow tests are run: see `make test-slow`.")
        return 0
    left = folders(git("diff", "--name-only", base, check=True).splitlines())
    print(f"Slow tests since {base[:12]}: {named(left) or 'none'}.", flush=True)
    status, end = 0, time.monotonic() + SECONDS
    while left:
        tests = ROOT / "tests" / left[0]
        paths = sorted(map(str, tests.glob("test_*.py"))) if left[0] == "." else [str(tests)]
        command = [sys.executable, "-m", "pytest", "-m", "slow", *paths]
        run = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            code = run.wait(timeout=max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            print(f"Not finished in {SECONDS} s: {named(left)}; run `make test-slow`.")
            return 1
        status = status or (0 if code == NO_TESTS else code)
        left = left[1:]
    return status


if __name__ == "__main__":
    sys.exit(main())
