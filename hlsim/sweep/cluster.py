"""The runs of a sweep on a cluster, by dask.distributed: one that is there, or one started here.

The package is imported where it is needed, as it comes with the extra ``cluster``.
"""

import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import ModuleType, TracebackType
from typing import Any, Self

from hlsim.errors import ExperimentError
from hlsim.sweep.workers import Lost, News, Results, Work

LOCAL = "local"
# For this machine alone; dask's own default lets everybody look who can reach it.
DASHBOARD = "127.0.0.1:8787"
REACHED_WITHIN = 5.0  # seconds
# How often a run may lose its worker before it counts as what kills it. Dask's own default of 3 is soon used
# up: it counts for every run that a worker had, whichever of them took its memory.
LOSSES = 20
# Nannies start workers anew, but give up on one that dies while it starts: seconds between two looks, and
# for which a local cluster may be without any worker before it gets new ones.
LOOK, BEREFT = 2.0, 20.0
# Ctrl-C reaches all processes of a terminal; those that we start are ended by us.
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
_STOPPED: set[str] = set()  # on a worker: names of sweeps that were stopped
_ALONE = threading.Lock()  # a process does one run at a time: threads of torch and compiled loops are its own


class Cluster:
    """Workers of a dask cluster; a context manager.

    Parameters
    ----------
    address : str
        Of a scheduler, ``tcp://HOST:8786``; or "local": scheduler and workers are processes of this machine,
        and end with it.
    processes : int
        Workers of a local cluster.
    dashboard : str, optional
        Address of a local cluster's dashboard, ``127.0.0.1:8787``.

    Raises
    ------
    ExperimentError
        dask.distributed is not installed, or there is no scheduler at the address.
    """

    elsewhere = True

    def __init__(self, address: str, processes: int = 1, dashboard: str | None = None) -> None:
        distributed = _distributed()
        with ExitStack() as open_:
            scheduler: Any = address
            self._local: Any = None
            if address == LOCAL:
                scheduler = open_.enter_context(_local(distributed, processes, dashboard or DASHBOARD))
                self._local = scheduler
            self._processes = processes
            self._client = open_.enter_context(_client(distributed, address, scheduler))
            _allow_losses(self._client)
            self._open = open_.pop_all()

    @property
    def at_once(self) -> int:
        """Return how many items are worked on at the same time, once there are workers."""
        return max(1, self.workers)

    @property
    def workers(self) -> int:
        """Return how many workers there are now; they come and go."""
        return len(self._client.nthreads())

    @property
    def dashboard(self) -> str:
        """Return where one can look at the cluster."""
        return str(self._client.dashboard_link)

    def outcomes(self, work: Work, items: Sequence[Any], news: News) -> Results:
        """Yield index and result of every item as they come; of what goes on in between there is no news."""
        distributed = _distributed()
        name = f"hlsim-{uuid.uuid4()}"
        version = _version()
        futures = {
            self._client.submit(_do, work, item, name, version, key=f"{name}-{index}", pure=False): index
            for index, item in enumerate(items)
        }
        pending, over = set(futures), False
        try:
            while pending:
                done = self._done(distributed, pending)
                pending -= done
                for future in sorted(done, key=lambda future: futures[future]):
                    yield futures[future], _result(distributed, future)
            over = True
        finally:
            if not over:  # what waits is not begun, and what is under way ends at its next look
                self._client.cancel(list(futures))
                self._client.run(_stop, name, on_error="ignore")

    def _done(self, distributed: ModuleType, pending: set[Any]) -> set[Any]:
        """Wait for some to be done and return these; a local cluster without workers gets new ones."""
        bereft = time.monotonic()
        while True:
            try:
                with self._client.as_current():
                    done = distributed.wait(pending, timeout=LOOK, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                done = set()
            if done:
                return set(done)
            if self._local is None or self.workers:
                bereft = time.monotonic()
            elif time.monotonic() - bereft > BEREFT:
                self._local.scale(0)
                self._local.scale(self._processes)
                bereft = time.monotonic()

    def close(self) -> None:
        """Let go of the cluster; a local one ends."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _distributed() -> ModuleType:
    try:
        import distributed
    except ImportError:
        raise ExperimentError(
            "a cluster needs the package distributed: pip install 'hlsim[cluster]'"
        ) from None
    return distributed


def _local(distributed: ModuleType, processes: int, dashboard: str) -> Any:
    try:
        return distributed.LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            dashboard_address=dashboard,
            preload=[DEAF],
            memory_limit=None,  # what a run may take is for the machine to say, as without a cluster
        )
    except (OSError, ValueError) as error:
        raise ExperimentError(f"--scheduler local: cannot start: {_line(error)}") from None


def _client(distributed: ModuleType, address: str, scheduler: Any) -> Any:
    try:
        return distributed.Client(scheduler, timeout=REACHED_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExperimentError(f"--scheduler {address}: cannot be reached: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _allow_losses(client: Any) -> None:
    """Let runs lose their worker more often, whoever started the scheduler; never less often than it does."""
    losses = LOSSES

    # a function within a function travels as code: the scheduler's machine may be without hlsim
    def allow(dask_scheduler: Any) -> None:
        dask_scheduler.allowed_failures = max(dask_scheduler.allowed_failures, losses)

    client.run_on_scheduler(allow)


def _result(distributed: ModuleType, future: Any) -> Any:
    try:
        return future.result()
    except distributed.KilledWorker:
        return Lost(f"its worker died more than {LOSSES} times, for want of memory maybe")
    except distributed.client.FutureCancelledError:
        return Lost("the scheduler has dropped it, or is gone")
    except Exception as error:  # noqa: BLE001 - of the worker, which hands on whatever went wrong there
        return Lost(f"its worker: {type(error).__name__}: {_line(error)}")


# ---- on a worker


def _version() -> str:
    return str(sys.modules["hlsim"].__version__)


def _do(work: Work, item: Any, name: str, version: str) -> Any:
    if version != _version():
        return Lost(f"its worker has hlsim {_version()}, this is {version}")
    with _ALONE:
        return work(item, _heed(name))


class _StoppedError(Exception):
    """The sweep that this belongs to was stopped."""


def _heed(name: str) -> Callable[[Any], None]:
    """Return a function to call now and then, which ends what goes on once its sweep was stopped."""

    def look(_: Any) -> None:
        if name in _STOPPED:
            raise _StoppedError(name)

    return look


def _stop(name: str) -> None:
    _STOPPED.add(name)
