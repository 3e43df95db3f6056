#!/usr/bin/env python3
"""How well models find what is meant, on texts that had no part in making them: of each application in AppStream metadata
(what Debian's archive says in dep11), the description of a whole paragraph is to be found by the summary of a line.

  evaluate.py COMPONENTS.yml[.gz] MODEL...      prints mean reciprocal rank, and how often the right one is the first, or
                                                among the first ten; BM25, which knows words and no meaning, beside them
Needs: numpy onnxruntime tokenizers pyyaml.
"""
import gzip
import math
import pathlib
import re
import sys
from collections import Counter

import numpy as np
import onnxruntime
import yaml
from tokenizers import Tokenizer

COUNT = 1000


def pairs(path):
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    found = {}
    with opened as file:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for component in yaml.load_all(file, Loader=loader):
            summary = (component.get("Summary") or {}).get("C", "")
            description = re.sub(r"<[^>]+>|\s+", " ", (component.get("Description") or {}).get("C", "")).strip()
            if len(summary) > 20 and len(description) > 100:
                found.setdefault(summary, description)
    chosen = sorted(found.items(), key=lambda pair: hash_of(pair[0]))[:COUNT]
    return [summary for summary, _ in chosen], [description for _, description in chosen]


def hash_of(text):
    return sum(ord(c) * 31 ** (i % 7) for i, c in enumerate(text)) % 1_000_003


def embed(folder, texts):
    folder = pathlib.Path(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    vectors = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        mean = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0].mean(0)
        vectors.append(mean / np.linalg.norm(mean))
    return np.stack(vectors)


def bm25(queries, documents):
    words = lambda text: re.findall(r"[a-z]+|\d+", text.lower())
    counted = [Counter(words(text)) for text in documents]
    spread = Counter(word for count in counted for word in count)
    mean = np.mean([sum(count.values()) for count in counted])
    idf = lambda word: math.log(1 + (len(documents) - spread[word] + 0.5) / (spread[word] + 0.5))
    return np.array([[sum(idf(w) * c[w] * 2.2 / (c[w] + 1.2 * (0.25 + 0.75 * sum(c.values()) / mean))
                          for w in words(q) if w in c) for c in counted] for q in queries])


def report(name, scores):
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    rank = (scores > own[:, None]).sum(1) + 1
    error = (1 / rank).std() / math.sqrt(len(rank))
    print(f"{name:24} MRR {np.mean(1 / rank):.3f} +- {error:.3f}   first {np.mean(rank == 1):.3f}   ten {np.mean(rank <= 10):.3f}")


queries, documents = pairs(sys.argv[1])
print(f"{len(queries)} summaries and descriptions")
report("BM25", bm25(queries, documents))
reference = None
for folder in sys.argv[2:]:
    q, d = embed(folder, queries), embed(folder, documents)
    report(pathlib.Path(folder).name, q @ d.T)
    if reference is None:
        reference = np.concatenate([q, d])
    else:
        cosine = (np.concatenate([q, d]) * reference).sum(1)
        print(f"{'':24} cosine to the first model: mean {cosine.mean():.3f}, lowest {cosine.min():.3f}")
