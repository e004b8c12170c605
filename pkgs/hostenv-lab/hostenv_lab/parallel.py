"""Work that several threads do, and work that no signal may cut in two."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_parallel(function: Callable[[T], None], items: Sequence[T]) -> list[tuple[T, Exception]]:
    """Call a function for each item in a thread of its own; returns the items that failed, and how.

    A KeyboardInterrupt is raised when all of them have ended, so that none goes on unseen.
    """
    failed: list[tuple[T, Exception]] = []

    def call(item: T) -> None:
        try:
            function(item)
        except Exception as error:
            failed.append((item, error))

    threads = [threading.Thread(target=call, args=(item,)) for item in items]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        with undisturbed():
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        raise
    return failed


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP have no effect while the block runs: it already does what they ask for."""
    # Python hands signals to its main thread only, whatever threads' masks say.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ignored(_number: int, _frame: FrameType | None) -> None:
        pass

    previous = {number: signal.signal(number, ignored) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
