#!/usr/bin/env python3
"""Compares a model's folder, computed by ONNX Runtime, with its reference vectors: check.py MODEL...
Needs: numpy onnxruntime tokenizers."""
import json
import pathlib
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

for folder in map(pathlib.Path, sys.argv[1:]):
    text = (folder / "model.toml").read_text()
    max_tokens = int(text.split("max_tokens = ")[1].split()[0])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    worst = 1.0
    for row in json.loads((folder / "reference.json").read_text()):
        ids = np.array([tokenizer.encode(row["text"]).ids], np.int64)
        vector = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0].mean(0)
        expected = np.array(row["vector"])
        worst = min(worst, float(vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected)))
    print(f"{folder}: lowest cosine to the reference {worst:.7f}")
    if worst < 0.9999:
        sys.exit(1)
