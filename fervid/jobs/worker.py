"""One worker process of the local engine: the handle that supervises it, and the loop that runs inside it.

A worker shares one pipe with its parent and nothing else. Library pools do not fit here: Pebble and concurrent.futures
share queues and locks between workers, so a worker that is killed while it holds one blocks the whole pool; neither
reports progress within a task, which the stall limit needs; and both start workers through the caller's `__main__`,
which fails for scripts without an `if __name__ == "__main__"` guard.
"""

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
from fervid.models import Models
from fervid.types import Progress

__all__ = ["Work", "Worker", "serve"]

#: Signature of `fervid.jobs.job.run_job`.
Work = Callable[[Job, Config, Models, Callable[[Progress], None]], Outcome]

_PROGRAM = "import sys; from fervid.jobs.worker import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_REPORT_INTERVAL_S = 0.25
#: Bytes that a worker may read in addition to the video before reading no longer counts as progress.
_EXTRA_READ_BYTES = 2**26
_STDERR_TAIL_BYTES = 400
_EXIT_TIMEOUT_S = 5.0


class Worker:
    """Handle of a worker process that runs one job at a time.

    Parameters
    ----------
    config : Config
        Options of the pipeline.
    load : callable
        Loads the models, once, in the worker. A function of a module that the worker can import.
    work : callable
        Runs one job. A function of a module that the worker can import.

    Attributes
    ----------
    pipe : multiprocessing.connection.Connection
        Readable when a message has arrived or the worker has died.
    job : Job or None
        The job that the worker is running.
    ready : bool
        Whether the models are loaded.
    since : float
        When the process or its current job was started, by the monotonic clock.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(self, config: Config, load: Callable[[Config], Models], work: Work) -> None:
        self.pipe, remote = Pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker, in kill()
        paths = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(remote.fileno()), str(os.getpid())],
            pass_fds=[remote.fileno()],
            env=os.environ | {"PYTHONPATH": paths} | dict.fromkeys(_THREAD_VARIABLES, "1"),
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
        )
        remote.close()
        self.job: Job | None = None
        self.ready = False
        self.since = self._progress_at = monotonic()
        self._bytes_read = self._bytes_read_before = 0
        self._has_progressed, self._stderr_tail = False, b""
        with suppress(OSError):  # a worker that died already is noticed when its pipe is read
            self.pipe.send_bytes(pickle.dumps((config, load, work)))

    def start_job(self, job: Job) -> None:
        """Send a job to a worker that is ready.

        Parameters
        ----------
        job : Job
            The job to run.
        """
        self.job, self.since, self._has_progressed = job, monotonic(), False
        self._progress_at = self.since
        self._bytes_read = self._bytes_read_before = self._read_proc("io", "rchar:")
        with suppress(OSError):
            self.pipe.send(job)

    def receive(self) -> tuple | None:
        """Return the next message.

        Returns
        -------
        tuple or None
            The kind of message (ready, progress, done or error) and its content; None if the worker is dead.
        """
        try:
            message = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        self.ready = self.ready or message[0] == "ready"
        self._progress_at = monotonic()
        self._has_progressed = self._has_progressed or message[0] == "progress"
        if message[0] == "done":
            self.job = None
        return message

    def last_progress_at(self) -> float:
        """Return when the worker last made progress.

        Until the first frame is processed, reading the file counts as progress, up to a few times its size.

        Returns
        -------
        float
            Time by the monotonic clock.
        """
        if not self._has_progressed and self.job is not None:
            read = self._read_proc("io", "rchar:")
            if self._bytes_read < read < self._bytes_read_before + 4 * self.job.bytes + _EXTRA_READ_BYTES:
                self._progress_at = monotonic()
            self._bytes_read = max(read, self._bytes_read)
        return self._progress_at

    def memory_bytes(self) -> int:
        """Return the current resident memory of the process.

        Returns
        -------
        int
            Bytes; 0 if the process is gone.
        """
        return 1024 * self._read_proc("status", "VmRSS:")

    def _read_proc(self, name: str, key: str) -> int:
        """Return a number from /proc (Linux); 0 if the process is gone."""
        try:
            text = Path(f"/proc/{self._process.pid}/{name}").read_text("ascii", "replace")
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(key)), 0)

    def cause_of_death(self) -> tuple[str, str]:
        """Return why the process ended.

        Returns
        -------
        reason : str
            crashed or killed.
        message : str
            The exit code or the signal, in a sentence.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_TIMEOUT_S)
        code = self._process.returncode
        if code is None:
            return "crashed", "the worker closed its pipe but kept running"
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return "killed", f"another process killed the worker ({signal.Signals(-code).name}; out of memory?)"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "crashed", f"the worker died ({how})"

    def stderr_tail(self) -> str:
        """Return the end of what a killed worker wrote to stderr, to be appended to a message.

        Returns
        -------
        str
            Empty if the worker wrote nothing.
        """
        tail = self._stderr_tail.decode("utf-8", "replace").strip()
        return f"; its last output: {tail}" if tail else ""

    def kill(self) -> None:
        """Kill the process and release its pipe and its log."""
        if self._stderr.closed:
            return
        self._process.kill()
        self._process.wait()
        self.pipe.close()
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - _STDERR_TAIL_BYTES))
        self._stderr_tail = self._stderr.read()
        self._stderr.close()


# -- in the worker ----------------------------------------------------------------------------------------


def serve(fd: int, parent: int) -> None:
    """Run the loop of a worker: load the models, then run jobs until the parent closes the pipe or exits.

    Parameters
    ----------
    fd : int
        File descriptor of the worker's end of the pipe.
    parent : int
        Process id of the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    faulthandler.enable()
    _exit_with(parent)
    pipe = Connection(fd)
    try:
        config, load, work = pickle.loads(pipe.recv_bytes())
        models = load(config)
        pipe.send(("ready",))
        while True:
            job = pipe.recv()
            pipe.send(("done", work(job, config, models, _ProgressReporter(pipe))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the parent is gone
    except FervidError as e:
        _send_error(pipe, e)
    except Exception:  # noqa: BLE001 - a bug of fervid, not of a file: report the traceback
        _send_error(pipe, RunError(f"a worker failed; please report this:\n{traceback.format_exc()}"))


def _send_error(pipe: Connection, error: FervidError) -> None:
    """Send an error that stops the run to the parent, which raises it."""
    with suppress(OSError):
        pipe.send(("error", error))


class _ProgressReporter:
    """Sends progress to the parent a few times per second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._sent_at = pipe, 0.0

    def __call__(self, progress: Progress) -> None:
        if monotonic() - self._sent_at >= _REPORT_INTERVAL_S:
            self._sent_at = monotonic()
            self._pipe.send(("progress", progress.done_s, progress.end_s))


def _exit_with(parent: int) -> None:
    """Exit when the parent does: the kernel sends a signal, see prctl(2), and a thread checks where it cannot."""
    if sys.platform.startswith("linux"):
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch_parent, args=(parent,), name="parent", daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        sleep(1)
    os._exit(1)
