"""Reads the pictures of a video or a camera one by one, and writes a video, by the ffmpeg of the package
`imageio-ffmpeg`.

ffmpeg is a program of its own: it is started with the name of a file and gives pixels through a pipe, so memory does
not grow with the length. What somebody's file can make it do is held narrow: containers that hold their own pictures
alone (`CONTAINERS`; a playlist could name other files and addresses), no protocol but files, and no picture of more
pixels than Pillow would decode.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from loaders.decoding.pictures import UnreadableError
from loaders.extras import require

ENDINGS = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
    | {".wmv"}
)
"""How names of videos end."""
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,ogg,flv,asf"
"""What ffmpeg calls the kinds of file that it may read."""
USUAL_RATE = 25.0
"""Pictures a second where a file does not say it."""
_ERROR = re.compile(r"^(?:\[[^]]*\] )*?\[(?:error|fatal)\] (.+)$", re.MULTILINE)
_RATE = re.compile(r"Output #0.*?Video:[^\n]* ([0-9.]+) fps", re.DOTALL)

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Frame:
    """Holds a picture of a video."""

    number: int
    """Counted from 0, as the file has them."""
    pixels: Picture
    """Upright, RGB."""
    rate: float
    """Pictures a second of the whole video, on average."""


def is_video(path: Path) -> bool:
    """Tells whether a name ends like a video's."""
    return path.suffix.lower() in ENDINGS


def ffmpeg(where: str) -> str:
    """Finds the program.

    Raises:
        ValueError: The package `imageio-ffmpeg` is missing, or brings no program for this machine; says what to do.
    """
    package = require("imageio_ffmpeg", extra="faces", where=where)
    try:
        program: str = package.get_ffmpeg_exe()
    except RuntimeError as error:
        raise ValueError(
            f"{where}: imageio-ffmpeg has no ffmpeg for this machine ({error}); install ffmpeg, and let the "
            "environment variable IMAGEIO_FFMPEG_EXE name it"
        ) from error
    return program


def frames(path: Path, every: int = 1, *, where: str = "video") -> Generator[Frame, None, None]:
    """Reads each `every`-th picture of a video, from the first on.

    Args:
        path: The file.
        every: 1 or more.
        where: What needs it; begins the error of a missing package.

    Raises:
        UnreadableError: The file is no video, is damaged, or is coded in a way that ffmpeg does not know; pictures that
            could be read have been given before.
        ValueError: A package is missing.
    """
    if path.exists() and not path.is_file():
        raise UnreadableError("not a file", "it is a pipe, a socket or a device")  # which might be waited for
    opened = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    opened += ["-max_pixels", str(2 * (Image.MAX_IMAGE_PIXELS or 0)), "-i", f"file:{path}"]
    yield from _frames(ffmpeg(where), opened, every, lambda: False)


@dataclass(frozen=True, slots=True)
class Camera:
    """Names a camera of this machine.

    Attributes:
        name: Its number, from 0; on Linux also its device, on Windows only the name that the system gives it.
    """

    name: str

    def __str__(self) -> str:
        return f"camera {self.name}"

    def check(self, where: str) -> None:
        """Refuses a camera that is not there, where that can be seen before ffmpeg is started.

        Raises:
            ValueError: It is not there; names those that are.
        """
        if sys.platform != "linux" or Path(_linux_device(self.name)).exists():
            return
        there = sorted(str(device) for device in Path("/dev").glob("video*"))
        raise ValueError(
            f"{where}: camera (={self.name}) must be one of this machine, and {_linux_device(self.name)} is not there; "
            + (f"there are {', '.join(there)}" if there else "no camera is: connect one")
        )

    def frames(self, every: int, stopped: Callable[[], bool], *, where: str) -> Generator[Frame, None, None]:
        """Reads each `every`-th picture of the camera, until that is to end.

        Args:
            every: 1 or more.
            stopped: Asked before each picture.
            where: What needs it; begins errors.

        Raises:
            UnreadableError: The camera gives no picture, or is gone.
            ValueError: A package is missing.
        """
        # Ctrl-C is for us: a session of its own keeps it from ffmpeg, which ends when nobody reads.
        yield from _frames(ffmpeg(where), camera_input(self.name, sys.platform), every, stopped, session=True)


def camera_input(name: str, platform: str) -> list[str]:
    """Writes what ffmpeg opens a camera by on a platform, as `sys.platform` names it."""
    if platform == "darwin":
        return ["-f", "avfoundation", "-framerate", "30", "-i", f"{name}:none"]
    if platform == "win32":
        return ["-f", "dshow", "-i", f"video={name}"]
    return ["-f", "v4l2", "-i", _linux_device(name)]


def _linux_device(name: str) -> str:
    return f"/dev/video{name}" if name.isdecimal() else name


def _frames(
    program: str, opened: Sequence[str], every: int, stopped: Callable[[], bool], *, session: bool = False
) -> Generator[Frame, None, None]:
    """Reads each `every`-th picture of what ffmpeg opens; `session` keeps it from signals of the terminal."""
    command = [program, "-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info", *opened]
    # V: not the picture on the cover of a song.
    command += ["-map", "0:V:0", "-vf", rf"select=not(mod(n\,{every}))", "-fps_mode", "passthrough"]
    command += ["-c:v", "ppm", "-f", "image2pipe", "pipe:1"]
    with (
        tempfile.TemporaryFile() as told,
        _running(command, told, stdout=subprocess.PIPE, session=session) as process,
    ):
        assert process.stdout is not None
        count, rate = 0, USUAL_RATE
        while not stopped():
            if (pixels := _read_ppm(process.stdout)) is None:
                break
            if count == 0:
                match = _RATE.search(_text(told))
                rate = float(match[1]) if match else USUAL_RATE
            yield Frame(count * every, pixels, rate)
            count += 1
        else:
            return
        process.wait()
        error = _ERROR.search(_text(told))
        if error or process.returncode or count == 0:
            reason = error[1] if error else "it holds no picture"
            raise UnreadableError("unreadable video", f"{reason}; {count:,} pictures of it were read")


@contextmanager
def video_writer(
    path: Path, width: int, height: int, rate: float, *, where: str
) -> Iterator[Callable[[Picture], None]]:
    """Writes a video without sound (H.264 in MP4); give each picture to what it gives.

    A side of an odd number of pixels gets one more, which is black.

    Args:
        path: The file, whatever it is called.
        width: Of each picture, pixels.
        height: The same.
        rate: Pictures a second.
        where: What needs it; begins errors.

    Raises:
        ValueError: A package is missing.
        OSError: The disk is full, or ffmpeg failed.
    """
    command = [ffmpeg(where), "-hide_banner", "-nostats", "-loglevel", "level+error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", f"{rate:.6f}"]
    command += ["-i", "pipe:0", "-an", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    command += ["-preset", "veryfast", "-crf", "20", "-f", "mp4", f"file:{path}"]
    with tempfile.TemporaryFile() as told, _running(command, told, stdin=subprocess.PIPE) as process:
        stream = process.stdin
        assert stream is not None

        def write(picture: Picture) -> None:
            assert picture.shape == (height, width, 3)
            try:
                stream.write(np.ascontiguousarray(picture).data)
            except BrokenPipeError:
                _refuse_failure(process, told, path, where)

        yield write
        with suppress(BrokenPipeError):  # of what was buffered
            stream.close()
        _refuse_failure(process, told, path, where)


@contextmanager
def _running(
    command: list[str],
    told: IO[bytes],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    session: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program while the block does, and ends it with the block."""
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=told, start_new_session=session)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # of what was buffered
                    stream.close()


def _refuse_failure(process: subprocess.Popen[bytes], told: IO[bytes], path: Path, where: str) -> None:
    """Waits for the end of a program that writes; refuses one that failed."""
    if process.wait() == 0:
        return
    error = _ERROR.search(_text(told))
    said = error[1] if error else f"it ended with status {process.returncode}"
    full = "No space left on device" in _text(told)
    raise OSError(errno.ENOSPC if full else errno.EIO, f"{where}: ffmpeg could not write the video {path} ({said})")


def _read_ppm(stream: IO[bytes]) -> Picture | None:
    """Reads a picture as ffmpeg writes it, P6 of 8 bits; None where the stream ends, also inside one."""
    header = [stream.readline().split() for _ in range(3)]
    if header[2] != [b"255"]:
        return None
    width, height = map(int, header[1])
    data = stream.read(width * height * 3)
    if len(data) < width * height * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _text(told: IO[bytes]) -> str:
    """Reads what a program has said so far, without moving where it goes on writing."""
    return os.pread(told.fileno(), 1 << 20, 0).decode("utf-8", "replace")
