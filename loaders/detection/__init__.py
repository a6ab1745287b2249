"""Finds faces in pictures: where they stand, how sure it is, and five landmarks of each."""

from __future__ import annotations

from loaders.detection.centerface import Detection, FaceDetector

__all__ = ["Detection", "FaceDetector"]
