"""Loads each file named on stdin as a model and as a snapshot, in little memory; prints a line of JSON for each.

Run as a program: if a file ends the interpreter, the last line says which one it was.
"""

import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

LIMIT = 4 << 30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    from gptmodel.training.snapshot import SnapshotStore
    from stages.cli import app
    from stages.command import main as command

    for name in sys.stdin.read().split("\0"):
        sys.stdout.write(json.dumps({"name": name}) + "\n")
        sys.stdout.flush()
        output, errors, started = io.StringIO(), io.StringIO(), time.process_time()
        status: object = None
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            sys.argv = ["gptmodel", "sample", "--prompt", "a", "--model", f"{name}/model.pth"]
            try:
                command(app)
            except SystemExit as end:
                status = end.code
            except BaseException as error:
                status = repr(error)
        try:
            snapshot = repr(type(SnapshotStore(Path(name)).load_newest()))
        except BaseException as error:
            snapshot = repr(error)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        seconds = round(time.process_time() - started, 1)
        values = {"status": status, "stdout": output.getvalue(), "stderr": errors.getvalue(), "snapshot": snapshot}
        sys.stdout.write(json.dumps({"name": name, "peak": peak, "seconds": seconds, **values}) + "\n")


if __name__ == "__main__":
    main()
