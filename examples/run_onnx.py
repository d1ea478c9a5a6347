"""Which emotion does a face show? python run_onnx.py fer2013-small.onnx face.png [another.jpg ...]

A picture is one upright face, cut closely. Needs onnxruntime, pillow and numpy, and nothing of the explorer.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
height, width = json.loads(facts["image_size"])
for name in sys.argv[2:]:
    face = Image.open(name).convert("L").resize((width, height))
    [[probabilities]] = session.run(["probabilities"], {"faces": np.asarray(face)[None]})
    told = sorted(zip(probabilities, json.loads(facts["classes"]), strict=True), reverse=True)
    print(name, *(f"{emotion} {share:.1%}" for share, emotion in told), sep="  ")
