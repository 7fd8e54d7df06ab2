"""A process of its own that draws placements: it imports matplotlib while this one imports torch, and then works beside it."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from heschl.types import HeschlError


class Pen:
    """Functions that draw, done one after another in the process at the other end.

    Parameters
    ----------
    end: of the pipe to it.
    """

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._thread = ThreadPoolExecutor(1)  # waits there, so that nobody has to wait here
        self._asked: list[Future[None]] = []

    def __call__(self, draw: Callable[..., None], *arguments: Any) -> None:
        """Asks for draw(*arguments), all of which must pickle; does not wait for it."""
        self._asked.append(self._thread.submit(self._done, draw, arguments))

    def _done(self, draw: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            self._end.send((draw, arguments))
            error: Exception | None = self._end.recv()
        except (EOFError, ConnectionError):
            raise HeschlError(
                "the process that draws was stopped from outside: run the command again"
            ) from None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Until all that was asked for is drawn; raises what was raised there."""
        while self._asked:
            self._asked.pop(0).result()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


@contextlib.contextmanager
def drawing() -> Iterator[Pen]:
    """A pen for commands: a program that imports heschl may not be made to start anew as a child of itself."""
    context = multiprocessing.get_context("spawn")  # which every system has
    near, far = context.Pipe()
    process = context.Process(target=_draw_on, args=(far,), daemon=True)
    process.start()
    far.close()
    pen = Pen(near)
    try:
        yield pen
    finally:
        process.terminate()
        pen.close()


def _draw_on(end: Connection) -> None:
    """Draws what comes along, until the other process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other, which then ends this one
    from heschl.steps.place_show import make_ready

    with contextlib.suppress(HeschlError):  # it is raised again by a picture that needs what is missing
        make_ready()
    with contextlib.suppress(EOFError, ConnectionError):  # the other process is gone
        while True:
            draw, arguments = end.recv()
            try:
                draw(*arguments)
                raised = None
            except Exception as error:  # of whatever kind: it is raised again where the picture was asked for
                raised = _carried(error)
            end.send(raised)


def _carried(error: Exception) -> Exception:
    """The error as it can be sent, or one that says what it was where its kind does not pickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickle raises whatever the error's own code raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
