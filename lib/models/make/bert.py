"""all-MiniLM-L6-v2 as an ONNX graph of standard operators: tokens in, a vector of each out; their mean is the text's.

Weights are written as they are (bits=32), as 8-bit integers with a scale per column, or as 4-bit integers with a scale
per group; the graph unpacks them, which a runtime does once when it opens the file. What a weight is after unpacking is
kept in `Graph.effective`, so that a reference forward pass can compute with the same numbers.

token_type_ids is always 0 for one sentence and is folded into the positions.
"""
import math

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as H
from onnx import numpy_helper as NH

HIDDEN, HEADS, LAYERS = 384, 12, 6
EPSILON = 1e-12


class Graph:
    def __init__(self, weights, bits, group=64, positions=512, rows=None):
        self.w, self.bits, self.group, self.positions = weights, bits, group, positions
        self.rows = rows if rows is not None else np.arange(len(weights["embeddings.word_embeddings.weight"]))
        self.nodes, self.initializers, self.effective = [], {}, {}
        self.count = 0

    # ---- writing nodes
    def init(self, name, array):
        if name not in self.initializers:
            self.initializers[name] = NH.from_array(np.ascontiguousarray(array), name)
        return name

    def const(self, name, value, kind=np.int64):
        return self.init(name, np.array(value, kind))

    def op(self, kind, inputs, **attributes):
        self.count += 1
        name = f"{kind}_{self.count}"
        self.nodes.append(H.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def f32(self, name):
        return self.op("Cast", [name], to=T.FLOAT)

    # ---- weights
    def small(self, name, key, array=None):
        """Norms, biases and positions: half precision in packed models."""
        array = self.w[key] if array is None else array
        if self.bits == 32:
            self.effective[key] = array
            return self.init(name, array)
        half = array.astype(np.float16)
        self.effective[key] = half.astype(np.float32)
        return self.f32(self.init(name, half))

    def nibbles(self, packed):
        """Bytes to the two numbers in each, from -8 to 7."""
        value = self.f32(packed)
        high = self.op("Floor", [self.op("Div", [value, self.const("sixteen", 16.0, np.float32)])])
        low = self.op("Sub", [value, self.op("Mul", [high, "sixteen"])])
        eight = self.const("eight", 8.0, np.float32)
        return self.op("Sub", [low, eight]), self.op("Sub", [high, eight])

    def matrix(self, name, key):
        """A weight of a MatMul, [inputs, outputs]."""
        value = self.w[key].T
        if self.bits == 32:
            self.effective[key] = self.w[key]
            return self.init(name, value)
        if self.bits == 8:
            scale = np.abs(value).max(0, keepdims=True) / 127
            whole = np.round(value / scale).astype(np.int8)
            self.effective[key] = (whole.astype(np.float32) * scale.astype(np.float32)).T
            return self.op("Mul", [self.f32(self.init(name, whole)), self.init(name + ".s", scale.astype(np.float32))])
        inputs, outputs = value.shape
        grouped = value.reshape(inputs // self.group, self.group, outputs)
        scale = best_scale(grouped, 1)
        whole = np.clip(np.round(grouped / scale), -8, 7)
        self.effective[key] = (whole * scale).reshape(inputs, outputs).T.astype(np.float32)
        codes, half = (whole + 8).astype(np.uint8), self.group // 2
        self.init(name, codes[:, :half] | (codes[:, half:] << 4))
        low, high = self.nibbles(name)
        scales = self.f32(self.init(name + ".s", scale.astype(np.float16)))
        unpacked = self.op("Mul", [self.op("Concat", [low, high], axis=1), scales])
        return self.op("Reshape", [unpacked, self.const(name + ".shape", [inputs, outputs])])

    def words(self):
        """The vectors of the tokens of the input."""
        key = "embeddings.word_embeddings.weight"
        value = self.w[key][self.rows]
        take = lambda table: self.op("Gather", [table, "input_ids"], axis=0)
        if self.bits == 32:
            self.effective[key] = value
            return take(self.init("word", value))
        if self.bits == 8:
            scale = np.abs(value).max(1, keepdims=True) / 127
            whole = np.round(value / scale).astype(np.int8)
            self.effective[key] = whole.astype(np.float32) * scale.astype(np.float32)
            self.init("word", whole)
            self.init("word.s", scale.astype(np.float32))
            return self.op("Mul", [self.f32(take("word")), take("word.s")])
        grouped = value.reshape(len(value), HIDDEN // self.group, self.group)
        scale = best_scale(grouped, 2)
        whole = np.clip(np.round(grouped / scale), -8, 7)
        self.effective[key] = (whole * scale).reshape(len(value), HIDDEN).astype(np.float32)
        codes, half = (whole + 8).astype(np.uint8), self.group // 2
        self.init("word", codes[:, :, :half] | (codes[:, :, half:] << 4))
        self.init("word.s", scale.astype(np.float16))
        low, high = self.nibbles(take("word"))
        unpacked = self.op("Mul", [self.op("Concat", [low, high], axis=3), self.f32(take("word.s"))])
        return self.op("Reshape", [unpacked, self.const("word.shape", [0, 0, HIDDEN])])

    # ---- layers
    def norm(self, x, key):
        weight, bias = (self.small(key + part, key + part) for part in (".weight", ".bias"))
        return self.op("LayerNormalization", [x, weight, bias], axis=-1, epsilon=EPSILON)

    def linear(self, x, key):
        product = self.op("MatMul", [x, self.matrix(key + ".weight", key + ".weight")])
        return self.op("Add", [product, self.small(key + ".bias", key + ".bias")])

    def attention(self, x, mask, key):
        split, back = self.const("heads", [0, 0, HEADS, HIDDEN // HEADS]), self.const("back", [0, 0, HIDDEN])
        part = lambda name, order: self.op(
            "Transpose", [self.op("Reshape", [self.linear(x, f"{key}self.{name}"), split])], perm=order)
        query, keys, values = part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), part("value", [0, 2, 1, 3])
        root = self.const("root", math.sqrt(HIDDEN // HEADS), np.float32)
        scores = self.op("Add", [self.op("Div", [self.op("MatMul", [query, keys]), root]), mask])
        mixed = self.op("MatMul", [self.op("Softmax", [scores], axis=-1), values])
        joined = self.op("Reshape", [self.op("Transpose", [mixed], perm=[0, 2, 1, 3]), back])
        return self.norm(self.op("Add", [self.linear(joined, key + "output.dense"), x]), key + "output.LayerNorm")

    def feed_forward(self, x, key):
        up = self.linear(x, key + "intermediate.dense")
        scaled = self.op("Erf", [self.op("Div", [up, self.const("sqrt2", math.sqrt(2), np.float32)])])
        gate = self.op("Add", [scaled, self.const("one", 1.0, np.float32)])
        active = self.op("Mul", [self.op("Mul", [up, gate]), self.const("half", 0.5, np.float32)])
        return self.norm(self.op("Add", [self.linear(active, key + "output.dense"), x]), key + "output.LayerNorm")

    def model(self):
        positions = (self.w["embeddings.position_embeddings.weight"]
                     + self.w["embeddings.token_type_embeddings.weight"][0])[: self.positions]
        zero, one = self.const("i0", [0]), self.const("i1", [1])
        length = self.op("Slice", [self.op("Shape", ["input_ids"]), one, self.const("i2", [2]), zero])
        there = self.op("Slice", [self.small("position", "position", positions), zero, length, zero])
        x = self.norm(self.op("Add", [self.words(), there]), "embeddings.LayerNorm")
        mask = self.f32("attention_mask")
        away = self.op("Sub", [self.op("Unsqueeze", [mask, self.const("i12", [1, 2])]), self.const("one", 1.0, np.float32)])
        away = self.op("Mul", [away, self.const("far", 1e4, np.float32)])
        for layer in range(LAYERS):
            key = f"encoder.layer.{layer}."
            x = self.feed_forward(self.attention(x, away, key + "attention."), key)
        # The mean over tokens is left to the caller: runtimes add in another order for a batch than for one text, and a
        # text's vector would differ in its last digits with what it is computed with.
        self.nodes[-1].output[0] = "last_hidden_state"
        tokens = lambda name: H.make_tensor_value_info(name, T.INT64, ["batch", "seq"])
        graph = H.make_graph(
            self.nodes, "all-MiniLM-L6-v2", [tokens("input_ids"), tokens("attention_mask")],
            [H.make_tensor_value_info("last_hidden_state", T.FLOAT, ["batch", "seq", HIDDEN])],
            list(self.initializers.values()))
        made = H.make_model(graph, opset_imports=[H.make_opsetid("", 17)], ir_version=8, producer_name="op-dbus")
        onnx.checker.check_model(made)
        return made


def best_scale(grouped, axis):
    """The scale of each group with the least squared error among candidates around its largest value."""
    size = np.abs(grouped).max(axis, keepdims=True)
    peak = np.take_along_axis(grouped, np.abs(grouped).argmax(axis, keepdims=True), axis)
    best_error, best = None, None
    for factor in np.linspace(0.7, 1.05, 15):
        for base in (size / 7, -peak / 8):  # symmetric; and signed, so that the largest value uses the code -8 exactly
            scale = (base * factor).astype(np.float16).astype(np.float32)
            scale = np.where(scale == 0, 1e-6, scale)
            error = ((np.clip(np.round(grouped / scale), -8, 7) * scale - grouped) ** 2).sum(axis, keepdims=True)
            if best is None:
                best_error, best = error, scale
            else:
                best_error, best = np.minimum(best_error, error), np.where(error < best_error, scale, best)
    return best
