"""With which exit status every command of `loaders` and `engine` ends, so that scripts can tell whose turn it is.

0    done
1    it failed at work: a full disk, a folder that cannot be written, a loss that is not finite, a run of a table or
     all of them for lack of data, pictures that `hmtl predict` could not read, or a mistake of ours, which shows a
     traceback
2    bad input, refused with what to do: an argument, a file, a recipe, a data set
130  interrupted by Ctrl-C, and by SIGTERM once training or the runs of a table have begun; training keeps a checkpoint

Bad input is what raises ValueError, and a failure at work what raises OSError: a mistake of ours that raises one of
them reads as that does, without a traceback. Before the first step and in all other commands SIGTERM ends the process
as it does any, which a shell shows as 143. The programs of `benchmarks/` are not held to this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from loaders.terminal import Terminal, escape_what_cannot_be_shown

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


@contextmanager
def exit_status(*failures: type[Exception], speaks: Callable[[], str | None] = lambda: "") -> Iterator[None]:
    """Ends the command with one line and its exit status where the block raises what a person can do something about.

    Args:
        failures: What tells that the work failed, beside OSError.
        speaks: Gives the words before the error, None where another process tells of it.

    Raises:
        typer.Exit: With 2 for a ValueError, with 1 for a failure. Anything else goes on: typer ends with 130 after
            Ctrl-C, Python with 1.
    """
    escape_what_cannot_be_shown()
    failed: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        yield
    except ValueError as error:
        raise _said(error, BAD_INPUT, speaks()) from error
    except failed as error:
        raise _said(error, FAILED, speaks()) from error


def _said(error: Exception, status: int, words: str | None) -> typer.Exit:
    if words is not None:
        Terminal(stderr=True).print(f"error: {words}{error}", style="red")
    return typer.Exit(status)
