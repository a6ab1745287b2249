"""One picture to one face: every kind of picture, and what cannot be one."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import jpeg_draft
from loaders.decoding.pictures import Form, UnreadableError, decode, mean_colour, plain
from loaders.decoding.reading import CHUNK, Face, read_faces
from loaders.importers import Record, Skipped
from tests.loaders.data_sets import picture
from tests.loaders.odd_pictures import HEADER, LONG, ODD, ORIENTED, ROWS, encoded, exif, jpeg_with, png, turned

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
RGB = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)


def test_gray_and_rgb_keep_their_bytes() -> None:
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RAMP)), Form()), RAMP[:, :, None])
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB)), Form()), RGB)
    np.testing.assert_array_equal(decode(RAMP, Form()), RAMP[:, :, None])
    np.testing.assert_array_equal(decode(RGB, Form()), RGB)


def test_a_path_and_its_bytes_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RGB)))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", Form(3)), decode(encoded(Image.fromarray(RGB)), Form(3)))


def test_colour_is_made_gray_and_gray_colour_on_demand() -> None:
    gray = np.asarray(Image.fromarray(RGB).convert("L"))
    for source in (encoded(Image.fromarray(RGB)), RGB):
        np.testing.assert_array_equal(decode(source, Form(colour="gray"))[:, :, 0], gray)
    for source in (encoded(Image.fromarray(RAMP)), RAMP):
        np.testing.assert_array_equal(decode(source, Form(colour="rgb")), np.repeat(RAMP[:, :, None], 3, axis=2))


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    wide = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(wide)), Form())[0, :, 0], [0, 0, 1, 1, 128, 255])


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    np.testing.assert_array_equal(decode(encoded(bits), Form())[0, :, 0], [0, 255])


def test_palettes_become_rgb() -> None:
    image = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    np.testing.assert_array_equal(decode(encoded(image), Form())[0], [[10, 20, 30], [200, 100, 0], [200, 100, 0]])


@pytest.mark.parametrize("format", ["TIFF", "PNG", "GIF", "BMP"])
def test_a_palette_of_grays_is_gray(format: str) -> None:
    image = Image.fromarray(np.array([[0, 2, 1, 2]], dtype=np.uint8), mode="P")
    image.putpalette([10, 10, 10, 200, 200, 200, 77, 77, 77, 1, 2, 3])  # the last colour is not used
    file = io.BytesIO()
    image.save(file, format)
    np.testing.assert_array_equal(decode(file.getvalue(), Form()), np.array([[[10], [77], [200], [77]]]))
    image.putpixel((0, 0), 3)
    file = io.BytesIO()
    image.save(file, format)
    np.testing.assert_array_equal(decode(file.getvalue(), Form())[0, :2], [[1, 2, 3], [77] * 3])


def test_a_palette_of_grays_with_a_clear_one_is_gray_over_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    image.putpalette([10, 10, 10, 90, 90, 90])
    np.testing.assert_array_equal(decode(encoded(image, transparency=1), Form()), np.array([[[10], [255]]]))


def test_transparent_parts_lie_over_white() -> None:
    rgba = np.array([[[9, 8, 7, 255], [9, 8, 7, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(rgba)), Form())[0], [[9, 8, 7], [255] * 3, [204] * 3])
    la = Image.fromarray(np.array([[[9, 255], [9, 0], [0, 51]]], dtype=np.uint8), mode="LA")
    np.testing.assert_array_equal(decode(encoded(la), Form())[0], [[9], [255], [204]])
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 100, 0])
    np.testing.assert_array_equal(decode(encoded(palette, transparency=1), Form())[0], [[10, 20, 30], [255] * 3])


@pytest.mark.parametrize(
    ("depth", "kind", "clear", "rows", "face"),
    [
        (1, 0, (1,), b"\0\x40", [[0], [255], [0]]),
        (1, 0, (0,), b"\0\x40", [[255], [255], [255]]),
        (2, 0, (2,), b"\0\x18", [[0], [85], [255]]),
        (4, 0, (3,), b"\0\x13\xf0", [[17], [255], [255]]),
        (8, 0, (7,), b"\0\x06\x07\x08", [[6], [255], [8]]),
        (16, 0, (0x0701,), b"\0\x07\x00\x07\x01\x80\x00", [[7], [255], [128]]),
        (8, 2, (1, 2, 3), b"\0\1\2\3\1\2\4\3\2\1", [[255] * 3, [1, 2, 4], [3, 2, 1]]),
        (16, 2, (256, 512, 768), b"\0\1\0\2\0\3\0\1\0\2\0\4\0\0\0\0\0\0\0", [[255] * 3, [1, 2, 4], [0, 0, 0]]),
    ],
)
def test_the_clear_colour_of_a_png_lies_over_white_at_every_depth(
    depth: int, kind: int, clear: tuple[int, ...], rows: bytes, face: list[list[int]]
) -> None:
    header = struct.pack(">IIBBBBB", 3, 1, depth, kind, 0, 0, 0)
    data = png(header, (b"tRNS", struct.pack(f">{len(clear)}H", *clear)), rows=rows)
    np.testing.assert_array_equal(decode(data, Form())[0], face)


@pytest.mark.parametrize("clear", [{"L": 9}, {"P": 9}, {"RGBA": None}])
def test_clear_parts_of_a_gif_lie_over_white(clear: dict[str, int | None]) -> None:
    ((mode, transparency),) = clear.items()
    gray = Image.fromarray(np.array([[40, 9]], np.uint8))
    if mode == "RGBA":
        gray.putalpha(Image.fromarray(np.array([[255, 0]], np.uint8)))
    options = {} if transparency is None else {"transparency": transparency}
    face = decode(encoded(gray.convert(mode), "gif", **options), Form(colour="rgb"))
    np.testing.assert_array_equal(face, [[[40] * 3, [255] * 3]])


@pytest.mark.parametrize(("ending", "mode"), [("webp", "RGBA"), ("tiff", "RGBA"), ("tiff", "LA"), ("jpeg2000", "RGBA")])
def test_clear_parts_of_other_formats_lie_over_white(ending: str, mode: str) -> None:
    half = Image.fromarray(np.full((8, 8, 4), (40, 40, 40, 255), np.uint8))
    half.paste((40, 40, 40, 0), (4, 0, 8, 8))
    face = decode(encoded(half.convert(mode), ending, **({"lossless": True} if ending == "webp" else {})), Form())
    np.testing.assert_array_equal(face[0, ::4, 0], [40, 255])


def test_cmyk_becomes_rgb() -> None:
    ink = np.zeros((8, 8, 4), dtype=np.uint8)
    ink[:, :, 0] = 255  # all cyan
    face = decode(encoded(Image.fromarray(ink, mode="CMYK"), "jpeg", quality=100, subsampling=0), Form())
    assert np.abs(face.astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(RGB)
    # What each value says about the stored rows and columns (Exif 2.3, tag 274).
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    np.testing.assert_array_equal(decode(encoded(stored, exif=exif), Form()), upright)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about the damage
@pytest.mark.parametrize("name", ODD)
def test_damaged_exif_keeps_no_picture_from_being_read(name: str) -> None:
    segments, way = ODD[name]
    image = Image.fromarray(picture(0, 0, 16, 16))
    with Image.open(io.BytesIO(jpeg_with(segments, image))) as opened:
        stored = np.asarray(opened)
        assert plain(opened) == (way == 1)
    np.testing.assert_array_equal(
        decode(jpeg_with(segments, image), Form()), stored if way == 1 else np.rot90(stored, -1)
    )


@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "avif"])
def test_other_formats_are_turned_too(ending: str) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :8] = 255
    options = {"lossless": True} if ending == "webp" else {"quality": 100} if ending == "avif" else {}
    face = decode(encoded(Image.fromarray(wide), ending, exif=tags, **options), Form())
    assert face.shape == (32, 16, 3)
    assert face[:6].min() > 200
    assert face[10:].max() < 50


@pytest.mark.parametrize(
    ("chunks", "is_turned"),
    [
        ([(b"zTXt", b"history\0\0" + LONG)], False),
        ([(b"iTXt", b"history\0\1\0\0\0" + LONG)], False),
        ([(b"iCCP", b"profile\0\0" + LONG)], False),
        ([(b"tEXt", b"history\0" + b"x" * (1 << 20))] * 65, False),
        ([(b"zTXt", b"history\0\0" + LONG), (b"iTXt", ORIENTED)], True),
        ([(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG)], False),
        ([(b"zTXt", b"history\0\0" + LONG), (b"eXIf", exif(turned(6))[6:])], True),
    ],
)
def test_long_texts_keep_no_png_from_being_read(chunks: list[tuple[bytes, bytes]], is_turned: bool) -> None:
    stored = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    face = decode(png(HEADER, *chunks, rows=ROWS), Form())
    np.testing.assert_array_equal(face[:, :, 0], np.rot90(stored, -1) if is_turned else stored)


def test_a_damaged_png_with_texts_is_still_refused() -> None:
    data = png(HEADER, (b"zTXt", b"history\0\0" + LONG), rows=ROWS)
    with pytest.raises(UnreadableError, match="unreadable picture"):
        decode(data.replace(b"IDAT", b"IDAX"), Form())


def test_a_centre_square_of_the_right_size_is_copied() -> None:
    wide = picture(0, 0, 6, 11)
    np.testing.assert_array_equal(decode(wide, Form(6)), wide[:, 2:8])
    np.testing.assert_array_equal(decode(wide.transpose(1, 0, 2).copy(), Form(6)), wide.transpose(1, 0, 2)[2:8])


def test_stretch_shows_the_whole_picture_and_crop_its_middle() -> None:
    sides = np.full((8, 24, 3), 100, dtype=np.uint8)
    sides[:, :4], sides[:, -4:] = 0, 255
    assert set(np.unique(decode(sides, Form(8)))) == {100}
    stretched = decode(sides, Form(8, fit="stretch"))
    assert stretched.shape == (8, 8, 3)
    assert stretched[0, 0, 0] < 20
    assert stretched[0, -1, 0] > 235


@pytest.mark.parametrize(("height", "width"), [(8, 24), (24, 8), (30, 41), (41, 30), (1, 500), (500, 1), (23, 24)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pad_shows_the_whole_picture_in_proportion_between_pixels_of_its_edge(
    height: int, width: int, channels: int
) -> None:
    whole = picture(2, 5, height, width)[:, :, :channels]
    given = whole[:, :, 0] if channels == 1 else whole
    face = decode(given, Form(12, fit="pad")).astype(int)
    inner = [max(1, round(12 * side / max(height, width))) for side in (height, width)]
    resized = Image.fromarray(given).resize((inner[1], inner[0]), Image.Resampling.LANCZOS, reducing_gap=3.0)
    wanted = np.asarray(resized).reshape(*inner, channels)
    first = [(12 - side) // 2 for side in inner]
    for y, x in np.ndindex(12, 12):  # each pixel is that of the resized picture, or the nearest one of it
        near = [min(max(at - begin, 0), side - 1) for at, begin, side in zip((y, x), first, inner, strict=True)]
        assert face[y, x].tolist() == wanted[near[0], near[1]].tolist()


def test_pad_leaves_square_pictures_as_they_are_and_keeps_a_box_to_itself() -> None:
    square = picture(0, 0, 30, 30)
    np.testing.assert_array_equal(decode(square, Form(12, fit="pad")), decode(square, Form(12)))
    whole = picture(0, 0, 20, 30)
    alone = decode(np.ascontiguousarray(whole[4:9, 3:23]), Form(20, fit="pad"))
    np.testing.assert_array_equal(decode(whole, Form(20, fit="pad"), (3, 4, 23, 9)), alone)
    np.testing.assert_array_equal(alone[7:12], whole[4:9, 3:23])
    assert (alone[:8] == alone[7]).all()
    assert (alone[11:] == alone[11]).all()


def test_a_box_cuts_and_is_cut_off_at_the_edges() -> None:
    whole = picture(0, 0, 20, 30)
    np.testing.assert_array_equal(decode(whole, Form(5), (3, 4, 8, 9)), whole[4:9, 3:8])
    np.testing.assert_array_equal(decode(whole, Form(5), (25, -7, 99, 5)), whole[0:5, 25:30])
    with pytest.raises(UnreadableError, match=r"box outside the picture: box \(40, 0, 50, 10\) of a 30 x 20 picture"):
        decode(whole, Form(5), (40, 0, 50, 10))
    with pytest.raises(ValueError, match=r"size \(=None\) must be given where faces are cut from boxes; pass --size"):
        decode(whole, Form(), (3, 4, 8, 9))


def test_shrinking_averages_and_does_not_alias() -> None:
    fine = np.indices((96, 96)).sum(0) % 2 * 255
    face = decode(fine.astype(np.uint8), Form(12))
    assert np.abs(face.astype(int) - 127).max() <= 2


def damaged() -> dict[str, tuple[bytes, str]]:
    noise = Image.fromarray(picture(0, 0, 40, 40))
    deep = Image.fromarray(np.zeros((2, 2), dtype=np.int32))
    real = Image.fromarray(np.zeros((2, 2), dtype=np.float32))
    return {
        "empty": (b"", "unreadable picture"),
        "text": (b"no picture at all", "unreadable picture"),
        "cut png": (encoded(noise)[:900], "unreadable picture"),
        "cut jpeg": (encoded(noise, "jpeg")[:500], "unreadable picture"),
        "cut header": (encoded(noise)[:20], "unreadable picture"),
        "broken png": (encoded(noise).replace(b"IDAT", b"IDAX"), "unreadable picture"),
        "32-bit integers": (encoded(deep, "tiff"), "no defined range"),
        "floats": (encoded(real, "tiff"), "no defined range"),
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_pictures_say_what_is_wrong(name: str, tmp_path: Path) -> None:
    data, reason = damaged()[name]
    (tmp_path / "x").write_bytes(data)
    for where in (data, tmp_path / "x"):
        with pytest.raises(UnreadableError) as error:
            decode(where, Form())
        assert error.value.reason == reason
        assert error.value.detail


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no such file"):
        decode(tmp_path / "none.png", Form())


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableError, match="not a file: it is a pipe, a socket or a device"):
        decode(tmp_path / "pipe.png", Form())


def test_running_out_of_files_is_no_damaged_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **named: Any) -> None:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        decode(tmp_path / "x.png", Form())


def test_the_mean_of_gray_is_three_times_the_same() -> None:
    faces: NDArray[np.uint8] = np.stack([RAMP, RAMP // 2])[:, :, :, None]
    np.testing.assert_array_equal(mean_colour(faces), [[RAMP.mean()] * 3, [(RAMP // 2).mean()] * 3])
    np.testing.assert_allclose(mean_colour(RGB[None]), [RGB.mean((0, 1))], rtol=1e-6)


# --- reading many ------------------------------------------------------------------------------------------------


def records(count: int, bad: int) -> list[Record | Skipped]:
    good = encoded(Image.fromarray(RAMP))
    listed: list[Record | Skipped] = [
        Record("train", str(i), {}, b"broken" if i == bad else good if i % 2 else RAMP) for i in range(count)
    ]
    return [*listed, Skipped("readme", "not a picture")]


@pytest.mark.parametrize("workers", [1, 4])
def test_faces_come_in_order_with_the_skipped_ones_in_place(workers: int) -> None:
    count = 5 * CHUNK + 3
    chunks = list(read_faces(records(count, bad=40), Form(), workers=workers))
    flat = [face for chunk in chunks for face in chunk]
    assert [f.record.path if isinstance(f, Face) else f.path for f in flat] == [*map(str, range(count)), "readme"]
    assert [f.path for f in flat if isinstance(f, Skipped)] == ["40", "readme"]


def test_only_a_bounded_number_is_in_flight() -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield Record("train", str(taken), {}, RAMP)

    faces = read_faces(endless(), Form(), workers=2)
    next(faces)
    assert taken <= 6 * CHUNK
    faces.close()


def test_different_sizes_without_a_size_are_refused() -> None:
    mixed = [Record("train", "a.png", {}, RAMP), Record("train", "b.png", {}, RAMP.T.copy())]
    with pytest.raises(
        ValueError,
        match=r"a.png is 6 x 4 and b.png is 4 x 6 \(width x height\); give --size N \(size=N\) to make all N x N",
    ):
        list(read_faces(mixed, Form()))
    assert [face.pixels.shape for face in next(read_faces(mixed, Form(3))) if isinstance(face, Face)] == [(3, 3, 1)] * 2


def test_an_error_of_the_importer_reaches_the_reader() -> None:
    def broken() -> Any:
        yield from records(3, bad=-1)
        raise ValueError("row 4 is wrong")

    with pytest.raises(ValueError, match="row 4 is wrong"):
        list(read_faces(broken(), Form()))


def test_what_scaled_decoding_would_change_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(0, 0, 80, 100)).resize((400, 320), Image.Resampling.LANCZOS).save(tmp_path / "photo.png")
    sizes = {Image.open(io.BytesIO(data)).size for data in jpeg_draft.squares(tmp_path / "photo.png", 64)}
    assert sizes == {(64, 64)}
    jpeg_draft.main([str(tmp_path / "photo.png"), "--size", "32", "--sides", "64", "--rounds", "1"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "64 to 32" in line]
    assert [" ".join(row[3:-4]) for row in rows][1:3] == ["ours", "draft to the size"]
    once, twice = ([float(cell) for cell in row[-2:]] for row in rows[2:])
    assert once[0] > 0.5
    assert twice == [0, 0]
