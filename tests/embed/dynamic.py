#!/usr/bin/env python3
"""dynamic.py MODEL OUT: the model as ONNX Runtime's tool quantises it, which is how most int8 models are made. Such a graph
scales a whole batch by its largest value: what a text's vector is depends on its neighbours."""
import hashlib
import pathlib
import re
import shutil
import sys

from onnxruntime.quantization import QuantType, quantize_dynamic

source, out = map(pathlib.Path, sys.argv[1:3])
out.mkdir(parents=True)
quantize_dynamic(source / "model.onnx", out / "model.onnx", weight_type=QuantType.QInt8, per_channel=True)
shutil.copy(source / "tokenizer.json", out)
content = (out / "model.onnx").read_bytes()
text = (source / "model.toml").read_text().replace("minilm-l6-f32", "minilm-l6-dynamic").split("\n[reference]")[0]
section = f'[onnx]\nfile = "model.onnx"\nsize_bytes = {len(content)}\ndigest = "sha256:{hashlib.sha256(content).hexdigest()}"'
(out / "model.toml").write_text(re.sub(r'\[onnx\]\n.*\n.*\n.*', section, text) + "\n")
