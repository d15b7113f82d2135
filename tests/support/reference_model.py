"""The released model in plain numpy and float64, row by row, written from its description (sections of docs/model.md).

Slow and simple on purpose: no batches, no padding, no masks. Its arithmetic shares nothing with ours.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
IGNORE = -100
LLM, HEAD, ENCODER = "language_model.model.", "audio_invert_tower.", "continuous_audio_tower."
erf = np.vectorize(math.erf)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def cross_entropy(logits: np.ndarray, label: int) -> float:
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])


class Tensors:
    """Tensors below a prefix; a matrix is `[out, in]`."""

    def __init__(self, tensors: Arrays, prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def below(self, prefix: str) -> "Tensors":
        return Tensors(self.tensors, self.prefix + prefix)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[self.prefix + name]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        bias = self.tensors.get(f"{self.prefix}{name}.bias", 0)
        return x @ self[f"{name}.weight"].T + bias

    def layer_norm(self, name: str, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * self[f"{name}.weight"] + self[f"{name}.bias"]

    def rms_norm(self, name: str, x: np.ndarray, eps: float) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self[f"{name}.weight"]

    def swiglu(self, x: np.ndarray) -> np.ndarray:
        return self.linear("down_proj", silu(self.linear("gate_proj", x)) * self.linear("up_proj", x))


class Decoder:
    """A Qwen3 stack that reads one row, some positions at a time, and remembers it (section 5)."""

    def __init__(self, tensors: Tensors, config: Mapping[str, Any]) -> None:
        self.t, self.c = tensors, config
        self.past: list[tuple[np.ndarray, np.ndarray]] = []
        self.routed: list[tuple[np.ndarray, np.ndarray]] = []  # picks and probabilities `[T, E]` of every sparse layer
        self.read = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`[T, D] -> [T, D]`, after the final norm."""
        eps = self.c["rms_norm_eps"]
        for layer in range(self.c["num_hidden_layers"]):
            t = self.t.below(f"layers.{layer}.")
            x = x + self.attention(layer, t.below("self_attn."), t.rms_norm("input_layernorm", x, eps))
            x = x + self.mlp(layer, t.below("mlp."), t.rms_norm("post_attention_layernorm", x, eps))
        self.read += len(x)
        return self.t.rms_norm("norm", x, eps)

    def attention(self, layer: int, t: Tensors, x: np.ndarray) -> np.ndarray:
        c, eps, width = self.c, self.c["rms_norm_eps"], self.c["head_dim"]
        heads, shared = c["num_attention_heads"], c["num_attention_heads"] // c["num_key_value_heads"]
        q, k, v = (t.linear(f"{name}_proj", x).reshape(len(x), -1, width) for name in "qkv")
        q, k = self.rotate(t.rms_norm("q_norm", q, eps)), self.rotate(t.rms_norm("k_norm", k, eps))
        if layer == len(self.past):
            self.past.append((k, v))
        else:
            past = self.past[layer]
            self.past[layer] = (np.concatenate([past[0], k]), np.concatenate([past[1], v]))
        k, v = (np.repeat(each, shared, axis=1) for each in self.past[layer])
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(width)
        seen = np.arange(len(k)) <= self.read + np.arange(len(x))[:, None]
        mixed = np.einsum("hts,shd->thd", softmax(np.where(seen, scores, -np.inf)), v)
        return t.linear("o_proj", mixed.reshape(len(x), heads * width))

    def rotate(self, x: np.ndarray) -> np.ndarray:
        half = x.shape[-1] // 2
        angle = np.outer(self.read + np.arange(len(x)), self.c["rope_theta"] ** (-np.arange(half) / half))[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=-1)

    def mlp(self, layer: int, t: Tensors, x: np.ndarray) -> np.ndarray:
        c = self.c
        experts = c.get("num_experts") or 0
        if not experts or layer in c["mlp_only_layers"] or (layer + 1) % c["decoder_sparse_step"]:
            return t.swiglu(x)
        probs = softmax(t.linear("gate", x))
        picks, out = np.zeros_like(probs), np.zeros_like(x)
        for row, prob in enumerate(probs):
            picked = np.argsort(-prob)[: c["num_experts_per_tok"]]
            picks[row, picked] = 1
            share = prob[picked] / (prob[picked].sum() if c["norm_topk_prob"] else 1)
            out[row] = sum(s * t.below(f"experts.{e}.").swiglu(x[row]) for s, e in zip(share, picked, strict=True))
        self.routed.append((picks, probs))
        return out


class Reference:
    """The whole model, from a config.json and tensors of the release."""

    def __init__(self, config: Mapping[str, Any], tensors: Arrays) -> None:
        self.t = Tensors({name: tensor.astype(np.float64) for name, tensor in tensors.items()})
        self.c, self.text, self.audio = config, config["text_config"], config["audio_config"]
        self.group_size: int = self.audio["group_size"]
        self.words, self.sounds = self.t[f"{LLM}embed_tokens.weight"], self.t["audio_tower.embed_tokens.weight"]
        self.unembed = self.words if self.text["tie_word_embeddings"] else self.t["language_model.lm_head.weight"]

    def decoder(self) -> Decoder:
        return Decoder(self.t.below(LLM), self.text)

    def head(self) -> Callable[[np.ndarray], np.ndarray]:
        """Fine inputs `[P, H]`, before the input matrix -> speech logits `[P, C]` (section 6)."""
        t = self.t.below(HEAD)
        stack = Decoder(t.below("crq_transformer."), self.audio["crq_transformer_config"])
        return lambda x: t.linear("output_matching", stack(t.linear("input_matching", x))) @ self.sounds.T

    def condition(self, hidden: np.ndarray, text: np.ndarray) -> np.ndarray:
        """`[S, H]` twice -> `[S * G, H]`."""
        return self.t.below(HEAD).linear("pre_matching", hidden + text).reshape(-1, hidden.shape[-1])

    def encode(self, mel: np.ndarray) -> np.ndarray:
        """Log-mel `[128, M]` -> `[L2, H]` (section 2)."""
        t, size = self.t.below(ENCODER), 2 * self.audio["n_window"]
        x = np.concatenate([self.window(t, mel[:, at : at + size]) for at in range(0, mel.shape[1], size)])
        if len(x) > 1:
            x = x[: len(x) // 2 * 2].reshape(len(x) // 2, 2, -1).mean(1)
        return t.linear("proj", t.layer_norm("ln_post", x))

    def window(self, t: Tensors, mel: np.ndarray) -> np.ndarray:
        x = mel.T
        for name, stride in (("conv1", 1), ("conv2", 2)):
            padded = np.pad(x, ((1, 1), (0, 0)))
            cuts = [padded[at : at + 3] for at in range(0, len(x), stride)]
            x = gelu(np.einsum("oik,tki->to", t[f"{name}.weight"], np.array(cuts)) + t[f"{name}.bias"])
        half, heads = x.shape[1] // 2, self.audio["encoder_attention_heads"]
        angle = np.outer(np.arange(len(x)), 10000.0 ** (-np.arange(half) / (half - 1)))
        x = x + np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
        for layer in range(self.audio["encoder_layers"]):
            p = t.below(f"layers.{layer}.")
            normed = p.layer_norm("self_attn_layer_norm", x)
            q, k, v = (p.linear(f"self_attn.{n}_proj", normed).reshape(len(x), heads, -1) for n in "qkv")
            weights = softmax(np.einsum("thd,shd->hts", q, k) / math.sqrt(q.shape[-1]))
            x = x + p.linear("self_attn.out_proj", np.einsum("hts,shd->thd", weights, v).reshape(x.shape))
            x = x + p.linear("fc2", gelu(p.linear("fc1", p.layer_norm("final_layer_norm", x))))
        return x

    def discrete(self, ids: np.ndarray) -> np.ndarray:
        """Speech ids `[n * G]` -> groups `[n, H]` (section 3)."""
        mean = self.sounds[ids].reshape(-1, self.group_size, self.sounds.shape[1]).mean(1)
        return self.t.linear("audio_tower.output_matching", mean)

    def groups(self, arrays: Arrays) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Groups of every audio, and what is recorded of the encoder."""
        length, features, lengths, out = arrays["speech_ids"].shape[1], [], [], []
        heard = iter(zip(arrays.get("input_features", ()), arrays.get("feature_attention_mask", ()), strict=True))
        audios = zip(arrays["speech_ids"], arrays["speech_attention_mask"], arrays["feature_exist_mask"], strict=True)
        for ids, mask, exists in audios:
            rows = self.discrete(ids)
            if exists:
                mel, valid = next(heard)
                frames = self.encode(mel[:, : valid.sum()].astype(np.float64))
                lengths.append(len(frames))
                features.append(np.zeros((length, frames.shape[1])))
                features[-1][: len(frames)] = frames[:length]
                mean = features[-1].reshape(-1, self.group_size, frames.shape[1]).mean(1)
                soft = self.t.linear("audio_tower.continual_output_matching", mean)
                rows = soft if self.audio["continuous_features_mode"] == "replace" else rows + soft
            out.append(rows[: -(-mask.sum() // self.group_size)])
        return out, {"encoder/features": np.array(features), "encoder/lengths": np.array(lengths, np.int64)}
