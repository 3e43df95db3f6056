"""A forward pass of MiniLM in numpy and double precision, written apart from the graph: what a model's files must agree
with. `effective` weights come from `bert.Graph`, so that a packed model is compared with what its own numbers say."""
import json
import math

import numpy as np
from scipy.special import erf

TEXTS = [
    "Creating container 100",
    "Destroying container 100",
    "Starting virtual machine 204 on node pve2",
    "This is an example sentence",
    "Each sentence is converted",
    "user root logged in from 10.0.0.7 via ssh",
    "apt-get upgrade finished: 14 packages upgraded, 0 newly installed",
    "Backup of VM 101 failed: no space left on device /mnt/pve/backup; retrying in 300 seconds with lower compression",
    "ERROR: zfs pool rpool is DEGRADED, scrub repaired 0B in 00:12:31 with 3 errors",
    "ümläut naïve 日本語 text",
    "x",
    "",
    "The unit nginx.service entered the failed state. " * 20,
]


class Reference:
    def __init__(self, weights, tokenizer, max_tokens):
        self.w = {key: np.asarray(value, np.float64) for key, value in weights.items()}
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def norm(self, x, key):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-12)
        return scaled * self.w[key + ".weight"] + self.w[key + ".bias"]

    def linear(self, x, key):
        return x @ self.w[key + ".weight"].T + self.w[key + ".bias"]

    def embed(self, text):
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)
        ids = self.tokenizer.encode(text).ids
        x = self.w["embeddings.word_embeddings.weight"][ids] + self.w["position"][: len(ids)]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(6):
            key = f"encoder.layer.{layer}."
            heads = (self.linear(x, key + f"attention.self.{name}").reshape(len(ids), 12, 32).transpose(1, 0, 2)
                     for name in ("query", "key", "value"))
            query, keys, values = heads
            scores = query @ keys.transpose(0, 2, 1) / math.sqrt(32)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            mixed = (scores @ values).transpose(1, 0, 2).reshape(len(ids), 384)
            x = self.norm(self.linear(mixed, key + "attention.output.dense") + x, key + "attention.output.LayerNorm")
            up = self.linear(x, key + "intermediate.dense")
            up = up * 0.5 * (1 + erf(up / math.sqrt(2)))
            x = self.norm(self.linear(up, key + "output.dense") + x, key + "output.LayerNorm")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)

    def write(self, path):
        rows = [{"text": text, "vector": [round(float(v), 6) for v in self.embed(text)]} for text in TEXTS]
        with open(path, "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
