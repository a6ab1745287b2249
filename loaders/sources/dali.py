"""Opens picture files decoded and resized by NVIDIA DALI, on the GPU where the faces go to one."""

from __future__ import annotations

import itertools
import weakref
from collections import defaultdict, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from loaders.base import By, Draw, Faces, Fit, Plan, Split, augments
from loaders.decoding.pictures import Colour, Form, UnreadableError, decode
from loaders.decoding.reading import cores
from loaders.extras import require
from loaders.feed.streams import draw_tables
from loaders.importers import Importer, pictures_in
from loaders.sources import dali_drawing
from loaders.sources.encoded import Encoded, look_at_all
from loaders.sources.scan import scan

DEPTH = 2  # batches inside DALI: files of one are read while the other is decoded

_Drawn = tuple[NDArray[np.float32], ...]
"""Tables of a batch as `dali_drawing` takes them; none where nothing is augmented."""
_View = tuple[int, bool]
"""Side of an augmented face, and whether any is blurred."""


@dataclass(frozen=True, slots=True)
class DALI:
    """Names picture files, listed by the same importers as `Folder` reads.

    Sample ids, order, labels and mean colours equal those of `Folder` with the same settings, and so do the pixels of
    PNG and JPEG files that need no resizing, on the CPU. Both resize with a Lanczos filter but round differently:
    photographs made up to 4 times smaller differ by 0.3 gray levels on average and 12 at most; where they are made more
    than 6 times smaller Pillow averages boxes first, and they differ by up to 1.5 and 16. The GPU decodes JPEG by
    itself: its tests allow 1 level on average and 12 at most. To know which can be read and their mean colours, the
    first opening decodes every picture once with Pillow, for all splits; what it found is kept (see `kept`).

    Attributes:
        source: A folder with a `manifest.csv` or of class folders, or an importer whose records are picture files.
        size: Side of the square face; None keeps pictures as they are, which then must share one size.
        fit: What happens to pictures that are not square: "crop" (centre square), "stretch" or "pad" (with the
            pixels of their edge).
        colour: "gray", "rgb", or "auto": gray if every picture is gray.
        threads: Threads that decode on the CPU, and prepare what the GPU decodes; None takes one a core.
        hardware: Share, 0 to 1, of the JPEG files that go to the GPU's own JPEG decoder where it has one.
        augment: "loader" augments faces with DALI's own operators where they are decoded, ahead of the step: a face is
            that of "kernel" to within half a gray level, by which it is rounded between the two passes.
    """

    source: str | Path | Importer
    size: int | None = None
    fit: Fit = "crop"
    colour: Colour = "auto"
    threads: int | None = None
    hardware: float = 0.65
    augment: By = "kernel"

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source`.

        Raises:
            ValueError: DALI is not installed, the source is missing, has no readable picture or no such split, or an
                option is out of range. While batches are read: a picture has changed since.
        """
        asked = augments(self)
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"DALI: threads (={self.threads}) must be at least 1; leave it out for one a core")
        if not 0 <= self.hardware <= 1:
            raise ValueError(f"DALI: hardware (={self.hardware}) must be a share of 0 to 1; 0 decodes all on its cores")
        package = require("nvidia.dali", extra="dali", where="DALI")
        form = Form(self.size, self.fit, self.colour)
        source = self.source
        importer = pictures_in(source) if isinstance(source, str | Path) else source
        where = f"dali {importer.source}"
        scanned = scan(importer, form, where)
        part = scanned.manifest.part(split, scanned.shape, where, scanned.prepared)
        looks = look_at_all(scanned, form)
        pictures = [looks[sample] for sample in part.sample.tolist()]
        mean = scanned.manifest.mean[part.sample]
        device = torch.device(device)
        gpu = None
        if device.type == "cuda":
            gpu = torch.cuda.current_device() if device.index is None else device.index
        threads = cores() if self.threads is None else self.threads
        decoders = _Decoders(package, pictures, form, part, mean, gpu, threads, self.hardware)
        return Faces(part, mean, decoders.stream, device, augments=asked, note=scanned.note)


class _Feed:
    """Feeds a DALI pipeline its next batch; an error ends the epoch and is raised after the batches before."""

    def __init__(self, package: Any, pictures: list[Encoded], form: Form) -> None:
        self._tensors, self._pictures, self._form = package.tensors, pictures, form
        self._batches: Iterator[tuple[list[int], _Drawn]] = iter(())
        self.fed: deque[list[int]] = deque()
        """Positions of the batches inside DALI."""
        self.error: ValueError | None = None

    def start(self, batches: Iterator[tuple[list[int], _Drawn]]) -> None:
        """Begins an epoch, given the positions of each batch and the tables drawn for it."""
        self._batches = batches
        self.fed.clear()
        self.error = None

    def __call__(self) -> tuple[Any, ...]:
        """Gives encoded pictures; (top, left) and (bottom, right) of what is shown where they are resized; tables."""
        positions, drawn = next(self._batches)
        chosen = [self._pictures[position] for position in positions]
        try:
            # DALI would make the same of a list of arrays, several times as slowly.
            data = self._tensors.TensorListCPU([self._tensors.TensorCPU(p.read(self._form)) for p in chosen])
        except ValueError as error:
            self.error = error
            raise StopIteration from error
        self.fed.append(positions)
        if self._form.size is None:
            return data, *drawn
        # A finished face has the wanted size already: all of it is shown.
        side = float(self._form.size)
        shown = np.array([picture.shown or (0.0, 0.0, side, side) for picture in chosen], np.float32)
        return data, np.ascontiguousarray(shown[:, 1::-1]), np.ascontiguousarray(shown[:, :1:-1]), *drawn


class _Loans:
    """Keeps DALI's memory from being used again while the GPU still reads a batch that Python let go of.

    DALI takes memory back when the tensor that shares it dies, which is before kernels that were queued on torch's
    stream have read it.
    """

    def __init__(self) -> None:
        self._returned: deque[tuple[torch.cuda.Event, Any]] = deque()

    def lend(self, faces: Tensor, owner: Any) -> None:
        """Keeps `owner` beyond `faces`, until the stream that is current when they die has come that far."""
        weakref.finalize(faces, self._give_back, faces.device, owner).atexit = False

    def _give_back(self, device: torch.device, owner: Any) -> None:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        self._returned.append((event, owner))
        while self._returned and self._returned[0][0].query():
            self._returned.popleft()


@dataclass(frozen=True, slots=True, eq=False)
class _Decoders:
    """Builds the DALI pipelines of one opened split: as many as epochs that run at once, kept for the next epoch."""

    package: Any
    """`nvidia.dali`."""
    pictures: list[Encoded]
    form: Form
    split: Split
    mean: Float32[Tensor, "n 3"]
    gpu: int | None
    """Number of the GPU that decodes; None decodes on the CPU."""
    threads: int
    hardware: float
    idle: dict[tuple[int, _View | None], list[tuple[Any, _Feed]]] = field(default_factory=lambda: defaultdict(list))
    """Pipelines that no epoch uses, by batch size and view."""
    loans: _Loans = field(default_factory=_Loans)

    def stream(self, plan: Plan, draw: Draw | None) -> Generator[UInt8[Tensor, "b h w c"], None, None]:
        """Reads the faces of each batch, on the GPU where the pipeline decodes there; see `loaders.base.Stream`.

        Raises:
            ValueError: A picture has changed since the split was opened.
        """
        batch_size = plan.position.shape[1]
        view = None if draw is None else (draw.size, draw.blurs)
        idle = self.idle[batch_size, view]
        pipeline, feed = idle.pop() if idle else self._build(batch_size, view)
        feed.start(zip(plan.position.tolist(), self._drawn(plan, draw), strict=False))
        pipeline.schedule_run()
        while True:
            try:
                faces, sizes = pipeline.share_outputs()
            except StopIteration:
                break
            except RuntimeError as error:
                raise self._damaged(feed.fed[0], error) from error
            positions = feed.fed.popleft()
            self._check_sizes(sizes, positions)
            taken = self._taken(faces)
            pipeline.release_outputs()
            pipeline.schedule_run()
            yield taken
        if feed.error is not None:
            raise feed.error
        # Only a pipeline that ran to its end can begin again.
        pipeline.reset()
        idle.append((pipeline, feed))

    def _drawn(self, plan: Plan, draw: Draw | None) -> Iterator[_Drawn]:
        if draw is None:
            return itertools.repeat(())
        channels = self.split.shape[2]
        drawn = draw_tables(plan, draw, self.split, self.mean)
        return (dali_drawing.tables_for(tables, channels, blurs=draw.blurs) for tables in drawn)

    def _check_sizes(self, sizes: Any, positions: list[int]) -> None:
        """Refuses a picture of another size than when the split was opened; an augmented face would not show it."""
        wrong = np.flatnonzero((sizes.as_array() != self.split.shape).any(1))
        if len(wrong) > 0:
            raise ValueError(
                f"dali: {self.pictures[positions[int(wrong[0])]].record.path} must stay as it was when it was opened; "
                "it changed, open it again"
            )

    def _taken(self, decoded: Any) -> Tensor:
        owner = decoded.as_tensor()
        faces: Tensor = torch.utils.dlpack.from_dlpack(owner)
        if faces.is_cuda:
            self.loans.lend(faces, owner)
        return faces

    def _damaged(self, positions: list[int], error: RuntimeError) -> ValueError:
        """Says that DALI could not decode a batch, and names the picture where Pillow cannot read it either."""
        for record in (self.pictures[position].record for position in positions):
            try:
                decode(record.picture, self.form, record.box)
            except UnreadableError as found:
                return ValueError(
                    f"dali: {record.path} must stay readable while it is used; {found}, open the split again"
                )
        paths = ", ".join(self.pictures[position].record.path for position in positions[:4])
        return ValueError(
            f"dali: pictures (={paths}{', ...' if len(positions) > 4 else ''}) must be readable by DALI, which says: "
            f"{error}; use Folder, or prepare them and use Packed"
        )

    def _build(self, batch_size: int, view: _View | None) -> tuple[Any, _Feed]:
        """Builds a pipeline of stored faces, or of augmented ones where there is a view."""
        fn, types = self.package.fn, self.package.types
        feed = _Feed(self.package, self.pictures, self.form)
        on_gpu = self.gpu is not None
        pipeline = self.package.Pipeline(
            batch_size=batch_size,
            num_threads=self.threads,
            device_id=self.gpu,
            prefetch_queue_depth=DEPTH,
            exec_dynamic=True,  # its outputs are the consumer's for as long as it keeps them
        )
        with pipeline:
            ndim = [1] if self.form.size is None else [1, 1, 1]
            drawn = [] if view is None else dali_drawing.dimensions(blurs=view[1])
            ndim += drawn
            kinds = [types.UINT8] + [types.FLOAT] * (len(ndim) - 1)
            data, *tables = fn.external_source(source=feed, num_outputs=len(ndim), dtype=kinds, ndim=ndim)
            # The CPU's decoder always interpolates chroma; the GPU's must be told to do the same.
            mixed = {"hw_decoder_load": self.hardware, "jpeg_fancy_upsampling": True} if on_gpu else {}
            # Gray of a colour JPEG is not its luma: that was not clipped to the range of colours.
            as_gray = self.split.shape[2] == 1 and self.form.colour == "auto"
            faces = fn.decoders.image(
                data,
                device="mixed" if on_gpu else "cpu",
                output_type=types.GRAY if as_gray else types.RGB,
                adjust_orientation=False,  # it finds others than we do; only upright pictures come here
                **mixed,
            )
            if self.split.shape[2] == 1 and not as_gray:
                faces = fn.color_space_conversion(faces, image_type=types.RGB, output_type=types.GRAY)
            if self.form.size is not None:
                faces = fn.resize(
                    faces,
                    size=[self.form.size, self.form.size],
                    roi_start=tables[0],
                    roi_end=tables[1],
                    interp_type=types.INTERP_LANCZOS3,
                    antialias=True,
                )
            sizes = faces.shape()
            if view is not None:
                size, blurs = view
                faces = dali_drawing.augmented(self.package, faces, tables[-len(drawn) :], size=size, blurs=blurs)
            pipeline.set_outputs(faces, sizes)
        pipeline.build()
        return pipeline, feed
