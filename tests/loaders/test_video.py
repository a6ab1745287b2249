"""Videos: each picture as it was written, upright, in constant memory, and nothing of a file leads out of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from loaders.decoding import video
from loaders.decoding.pictures import UnreadableError
from loaders.decoding.video import Camera, Frame, camera_input, ffmpeg, frames, is_video, video_writer


@pytest.fixture(autouse=True)
def _needs_ffmpeg(faces_extra: None) -> None:
    """Skips where imageio-ffmpeg is not installed."""


def shade(number: int) -> int:
    """A gray that tells the number of a picture, up to 20."""
    return 20 + 11 * number


def write(path: Path, count: int = 10, *, width: int = 64, height: int = 48, rate: float = 12.5) -> Path:
    """A video whose pictures are gray, with a white left half above."""
    with video_writer(path, width, height, rate, where="test") as add:
        for number in range(count):
            picture = np.full((height, width, 3), shade(number % 20), np.uint8)
            picture[: height // 2, : width // 2] = 255
            add(picture)
    return path


def copied(path: Path, out: Path, *before: str, after: tuple[str, ...] = ("-c", "copy")) -> Path:
    """Another file of the same pictures."""
    command = [ffmpeg("test"), "-v", "error", "-y", *before, "-i", str(path), *after, str(out)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return out


def grays(read: list[Frame]) -> list[int]:
    return [round(float(frame.pixels[-8:, -8:].mean())) for frame in read]


def test_each_picture_is_read_as_it_was_written(tmp_path: Path) -> None:
    read = list(frames(write(tmp_path / "clip.mp4")))
    assert [frame.number for frame in read] == list(range(10))
    assert {frame.rate for frame in read} == {12.5}
    assert {(frame.pixels.shape, frame.pixels.dtype) for frame in read} == {((48, 64, 3), np.dtype(np.uint8))}
    assert grays(read) == pytest.approx([shade(number) for number in range(10)], abs=3)
    assert all(frame.pixels[:20, :28].min() > 240 for frame in read)


@pytest.mark.parametrize(("every", "numbers"), [(3, [0, 3, 6, 9]), (100, [0])])
def test_each_nth_picture_keeps_its_number(tmp_path: Path, every: int, numbers: list[int]) -> None:
    read = list(frames(write(tmp_path / "clip.mp4"), every))
    assert [frame.number for frame in read] == numbers
    assert grays(read) == pytest.approx([shade(number) for number in numbers], abs=3)
    assert {frame.rate for frame in read} == {12.5}


@pytest.mark.parametrize("kind", ["mkv", "avi", "mov", "ts", "flv"])
def test_other_containers_are_read(tmp_path: Path, kind: str) -> None:
    after = ("-c:v", "mpeg4", "-q:v", "1") if kind == "avi" else ("-c", "copy")
    file = copied(write(tmp_path / "clip.mp4"), tmp_path / f"clip.{kind}", after=after)
    assert grays(list(frames(file))) == pytest.approx([shade(number) for number in range(10)], abs=4)


def test_a_video_of_a_phone_is_turned_upright(tmp_path: Path) -> None:
    file = copied(write(tmp_path / "clip.mp4"), tmp_path / "phone.mp4", "-display_rotation", "-90")
    (first, *_) = frames(file)
    assert first.pixels.shape == (64, 48, 3)
    assert first.pixels[:28, 28:].min() > 240  # left above is right above now
    assert first.pixels[36:].max() < 100


def test_pictures_of_odd_sides_are_written(tmp_path: Path) -> None:
    (first, *_) = frames(write(tmp_path / "odd.mp4", 3, width=33, height=17))
    assert first.pixels.shape == (18, 34, 3)


def test_the_writer_takes_any_name(tmp_path: Path) -> None:
    path = tmp_path / "-i http:x%d'.partial"
    assert len(list(frames(write(path)))) == 10
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    assert len(list(frames(next(tmp_path.iterdir())))) == 10


# --- what cannot be read ------------------------------------------------------------------------------------------


def refused(path: Path) -> tuple[list[Frame], UnreadableError]:
    read: list[Frame] = []
    with pytest.raises(UnreadableError) as error:
        read.extend(frames(path))
    assert "\n" not in str(error.value)
    return read, error.value


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x20ftypisom" + bytes(500)])
def test_what_is_no_video_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    _, error = refused(tmp_path / "clip.mp4")
    assert error.reason == "unreadable video"
    assert error.detail.endswith("; 0 pictures of it were read")


def test_a_codec_that_is_not_known_is_named(tmp_path: Path) -> None:
    file = copied(write(tmp_path / "clip.mp4"), tmp_path / "clip.avi", after=("-c:v", "mjpeg", "-q:v", "2"))
    file.write_bytes(file.read_bytes().replace(b"MJPG", b"ZZZZ"))
    _, error = refused(file)
    assert "ecoder" in error.detail or "codec" in error.detail


def test_of_a_video_that_is_cut_the_pictures_before_are_given(tmp_path: Path) -> None:
    file = copied(write(tmp_path / "clip.mp4", 60), tmp_path / "clip.avi", after=("-c:v", "mjpeg", "-q:v", "2"))
    content = bytearray(file.read_bytes())
    middle = content.index(b"00dc", len(content) // 2)
    content[middle + 200 : middle + 2000] = bytes(1800)
    file.write_bytes(content)
    read, error = refused(file)
    assert len(read) > 20
    assert error.detail.endswith(f"; {len(read)} pictures of it were read")


def test_damage_ends_in_pictures_or_in_a_sentence(tmp_path: Path) -> None:
    good, draw, ends = write(tmp_path / "clip.mp4").read_bytes(), np.random.default_rng(0), set()
    for _ in range(30):
        bad = bytearray(good)
        for place in draw.integers(0, len(good), draw.integers(1, 5)):
            bad[place] = draw.integers(256)
        (tmp_path / "bad.mp4").write_bytes(bad[: draw.integers(1, len(good) + 1)] if draw.random() < 0.3 else bad)
        try:
            ends.add({frame.pixels.shape for frame in frames(tmp_path / "bad.mp4")} == {(48, 64, 3)})
        except UnreadableError as error:
            ends.add(f"{error.reason} {len(str(error).splitlines())}")
    assert {True, "unreadable video 1"} <= ends <= {True, False, "unreadable video 1"}


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    made = [ffmpeg("test"), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "song.mp4")]
    subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    _, error = refused(tmp_path / "song.mp4")
    assert "matches no streams" in error.detail


def test_what_is_missing_or_might_be_waited_for_is_refused(tmp_path: Path) -> None:
    _, error = refused(tmp_path / "nowhere.mp4")
    assert "No such file" in error.detail
    os.mkfifo(tmp_path / "pipe.mp4")
    _, error = refused(tmp_path / "pipe.mp4")
    assert error.reason == "not a file"


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    """ffmpeg would ask the address, or read the other file, also where a list is called like a video."""
    secret = write(tmp_path / "secret.mp4")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        for name, content in (
            ("list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"),
            ("list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"),
            ("clip.mp4", f"ffconcat version 1.0\nfile {secret.name}\n"),
        ):
            (tmp_path / name).write_text(content)
            read, error = refused(tmp_path / name)
            assert read == []
            assert "Format not on whitelist" in error.detail
        with pytest.raises(TimeoutError):
            server.accept()


def test_an_address_is_a_name_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, error = refused(Path("http://127.0.0.1:9/clip.mp4"))
    assert "No such file" in error.detail


# --- resources ----------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 400):
        file = write(tmp_path / f"{count}.mp4", count, width=320, height=240)
        tracemalloc.start()
        assert sum(1 for _ in frames(file)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 320 * 240 * 3, peaks


def children() -> set[str]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return set(listed.read_text().split()) if listed.exists() else set()


def test_a_video_that_is_left_early_ends_its_program(tmp_path: Path) -> None:
    file = write(tmp_path / "clip.mp4", 200, width=320, height=240)
    before = children()
    read = frames(file)
    assert [frame.number for frame in islice(read, 2)] == [0, 1]
    if Path("/proc").is_dir():
        assert children() - before
    read.close()
    assert children() <= before


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match=r"test: ffmpeg could not write the video /dev/full \(.+\)"):
        write(Path("/dev/full"), 200, width=320, height=240)


def test_without_a_program_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import imageio_ffmpeg

    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    said = (
        r"here: imageio-ffmpeg has no ffmpeg for this machine \(No ffmpeg exe could be found\); install ffmpeg, and let"
    )
    with pytest.raises(ValueError, match=said):
        ffmpeg("here")


def test_names_of_videos_are_known() -> None:
    assert is_video(Path("a/CLIP.MP4"))
    assert not is_video(Path("mp4"))
    assert not is_video(Path("clip.jpg"))


# --- a camera -----------------------------------------------------------------------------------------------------

DRAWN = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10"]
"""What stands for a camera: pictures without end that ffmpeg draws."""


@pytest.mark.parametrize(
    ("name", "platform", "words"),
    [
        ("0", "linux", ["-f", "v4l2", "-i", "/dev/video0"]),
        ("/dev/v4l/by-id/x", "linux", ["-f", "v4l2", "-i", "/dev/v4l/by-id/x"]),
        ("1", "darwin", ["-f", "avfoundation", "-framerate", "30", "-i", "1:none"]),
        ("HD Camera", "win32", ["-f", "dshow", "-i", "video=HD Camera"]),
    ],
)
def test_each_platform_has_its_own_cameras(name: str, platform: str, words: list[str]) -> None:
    assert camera_input(name, platform) == words


def test_a_camera_gives_pictures_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "camera_input", lambda name, platform: DRAWN)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **how: started.append(popen(*words, **how)) or started[-1])
    read: list[Frame] = []
    for frame in Camera("0").frames(3, lambda: len(read) == 4, where="test"):
        read.append(frame)
        assert os.getsid(started[0].pid) != os.getsid(0)  # Ctrl-C of the terminal is not for it
    assert [frame.number for frame in read] == [0, 3, 6, 9]
    assert {(frame.pixels.shape, frame.rate) for frame in read} == {((48, 64, 3), 10.0)}
    assert started[0].poll() is not None


def test_a_camera_that_ends_or_gives_nothing_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video7").write_bytes(b"no device")
    read: list[Frame] = []
    with pytest.raises(UnreadableError, match=r"^unreadable video: .*; 0 pictures of it were read$"):
        read.extend(Camera(str(tmp_path / "video7")).frames(1, lambda: False, where="test"))
    monkeypatch.setattr(video, "camera_input", lambda name, platform: [*DRAWN[:-1], f"{DRAWN[-1]}:duration=0.5"])
    read.extend(Camera("0").frames(1, lambda: False, where="test"))
    assert len(read) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ffmpeg finds cameras")
def test_a_camera_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"here: camera \(=97\) must be one of this machine, and /dev/video97 is not "):
        Camera("97").check("here")
    (tmp_path / "video7").touch()
    Camera(str(tmp_path / "video7")).check("here")
