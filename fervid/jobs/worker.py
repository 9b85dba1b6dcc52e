"""One worker process: the side that watches it, and the loop that runs in it."""

import ctypes
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep

from fervid.config import Config
from fervid.errors import FervidError, RunError
from fervid.jobs.job import Job, Outcome
from fervid.pipeline import Models
from fervid.types import Progress

__all__ = ["Work", "Worker", "serve"]

Work = Callable[[Job, Config, Models, Callable[[Progress], None]], Outcome]

_PROGRAM = "import sys; from fervid.jobs.worker import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
_TELL_S = 0.25
#: Bytes that a worker may read beside the video before that stops to count as getting on.
_READ_BESIDE = 2**26
_WORDS = 400
_DEATH_S = 5.0


class Worker:
    """A process that does one job after another, seen from outside. Nothing is shared with it but one pipe."""

    def __init__(self, config: Config, load: Callable[[Config], Models], work: Work) -> None:
        self.pipe, theirs = Pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker, in kill()
        paths = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": paths} | threads,
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
        )
        theirs.close()
        self.job: Job | None = None
        self.ready = False
        self.since = self._alive = monotonic()
        self._read = self._read_before = 0
        self._moved, self._words = False, b""
        with suppress(OSError):  # it is dead already, which the pipe will tell
            self.pipe.send_bytes(pickle.dumps((config, load, work)))

    def begin(self, job: Job) -> None:
        """Hand a job to a worker that is ready."""
        self.job, self.since, self._moved = job, monotonic(), False
        self._alive = self.since
        self._read = self._read_before = self._proc("io", "rchar:")
        with suppress(OSError):
            self.pipe.send(job)

    def receive(self) -> tuple | None:
        """The next message; None if the worker is dead."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        self.ready = self.ready or message[0] == "ready"
        self._alive = monotonic()
        self._moved = self._moved or message[0] == "moved"
        if message[0] == "done":
            self.job = None
        return message

    def alive_at(self) -> float:
        """When it last got on. Until it has seen the first frame, reading the file is getting on, within reason."""
        if not self._moved and self.job is not None:
            read = self._proc("io", "rchar:")
            if self._read < read < self._read_before + 4 * self.job.bytes + _READ_BESIDE:
                self._alive = monotonic()
            self._read = max(read, self._read)
        return self._alive

    def memory_bytes(self) -> int:
        """Its resident memory now."""
        return 1024 * self._proc("status", "VmRSS:")

    def _proc(self, name: str, key: str) -> int:
        """One number from /proc (Linux); 0 when the process is gone."""
        try:
            text = Path(f"/proc/{self._process.pid}/{name}").read_text("ascii", "replace")
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(key)), 0)

    def cause_of_death(self) -> tuple[str, str]:
        """Why the process ended: reason and sentence."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DEATH_S)
        code = self._process.returncode
        if code is None:
            return "crashed", "the worker closed its pipe and went on"
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return "killed", f"the worker was killed from outside ({signal.Signals(-code).name}; out of memory?)"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "crashed", f"the worker died ({how})"

    def last_words(self) -> str:
        """The end of what it wrote to stderr, where a crash says what it was."""
        words = self._words.decode("utf-8", "replace").strip()
        return f"; its last words: {words}" if words else ""

    def kill(self) -> None:
        """End the process at once, and let go of all that belongs to it."""
        if self._stderr.closed:
            return
        self._process.kill()
        self._process.wait()
        self.pipe.close()
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - _WORDS))
        self._words = self._stderr.read()
        self._stderr.close()


# -- in the worker ----------------------------------------------------------------------------------------


def serve(handle: int, parent: int) -> None:
    """The worker's life: load the models, then job after job until its parent closes the pipe, kills it, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    faulthandler.enable()
    _die_with(parent)
    pipe = Connection(handle)
    try:
        config, load, work = pickle.loads(pipe.recv_bytes())
        models = load(config)
        pipe.send(("ready",))
        while True:
            job = pipe.recv()
            pipe.send(("done", work(job, config, models, _Teller(pipe))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the parent is gone
    except FervidError as e:
        _send_error(pipe, e)
    except Exception:  # noqa: BLE001 - a fault of fervid, not of a file: tell it whole
        _send_error(pipe, RunError(f"a worker failed; please report this:\n{traceback.format_exc()}"))


def _send_error(pipe: Connection, error: FervidError) -> None:
    """Errors that stop the run cross the pipe as they are."""
    with suppress(OSError):
        pipe.send(("stop", error))


class _Teller:
    """Tells the parent how far the job is, a few times a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._told = pipe, 0.0

    def __call__(self, progress: Progress) -> None:
        if monotonic() - self._told >= _TELL_S:
            self._told = monotonic()
            self._pipe.send(("moved", progress.done_s, progress.end_s))


def _die_with(parent: int) -> None:
    """Leave no orphan: the kernel kills this process with its parent, prctl(2); elsewhere a thread looks."""
    if sys.platform.startswith("linux"):
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_look_for, args=(parent,), name="parent", daemon=True).start()


def _look_for(parent: int) -> None:
    while os.getppid() == parent:
        sleep(1)
    os._exit(1)
