"""Asks an exported model about faces, with NumPy and onnxruntime alone: python onnx_answers.py model.onnx faces.npy

`hmtl export RUN --to onnx --out DIR` writes model.onnx; faces.npy holds uint8 faces (n, height, width, channels).
"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["hmtl"])
faces = np.load(sys.argv[2])
answers = dict(zip(about["answers"], session.run(None, {"faces": faces}), strict=True))
for i in range(len(faces)):
    for task, names in about["answers"].items():
        numbers = answers[task][i]
        best = [f"{names[numbers.argmax()]}:"] if task in about["classes"] else []
        print(i, task, *best, *(f"{name} {number:.3f}" for name, number in zip(names, numbers, strict=True)))
