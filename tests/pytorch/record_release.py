"""Records what the release's own PyTorch classes compute, for `python -m experiments.convert verify`.

    python tests/pytorch/record_release.py CHECKPOINT io.npz --code=DIR [--adapter=DIR]

CHECKPOINT is a folder of the release's layout: a released checkpoint, or what `experiments.convert jax-to-hf` wrote.
DIR is a clone of the release's repository (github.com/FunAudioLLM/Fun-Audio-Chat). The script needs torch,
transformers 4.52.3, librosa and peft, which `make .venv-release/.installed` installs, and nothing of this repository.

io.npz holds, in float32 and with the names that `fac_jax/evaluation/parity/model.py` reads:

    text/     a prompt without audio, and the text logits on it
    in/       a training batch: the question, and a reply of random text and speech ids
    encoder/  encoder frames of the question
    train/    hidden states, logits and losses on the training batch; with --gradients, the norm of every gradient
    s2t/      the prompt and the greedy reply in text
    s2s/      the prompt and the greedy reply in text and speech; s2s_default/ with the repetition penalty 1.2 on
              speech, s2s_rep/ on text and speech
    prompt/   the wave of the question (16 kHz), and the texts of both prompts
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, AutoProcessor

RATE = 16_000
PENALTY = 1.2
IGNORE = -100
REPLY_GROUPS = 6  # LLM positions of the reply in the training batch
RUNS: dict[str, dict[str, Any]] = {  # switches of the release's `generate`
    "s2s": {"text_greedy": True, "penalty": 1.0},
    "s2s_default": {"text_greedy": True, "penalty": PENALTY},
    "s2s_rep": {"text_greedy": False, "penalty": PENALTY},
}
Arrays = dict[str, np.ndarray]


def example_wave() -> np.ndarray:
    """Returns 0.91 seconds of a rising tone with noise, float32 `[N]` at 16 kHz."""
    rng = np.random.default_rng(0)
    seconds = np.arange(int(0.91 * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * seconds) * seconds)
    return (tone + 0.03 * rng.standard_normal(len(seconds))).astype(np.float32)


def numpy_of(inputs: Any) -> Arrays:
    """Copies a processor's tensors to numpy; mel frames that every mask hides are cut off."""
    arrays = {name: tensor.cpu().numpy().copy() for name, tensor in inputs.items()}
    frames = int(arrays["feature_attention_mask"].sum(axis=1).max())
    arrays["input_features"] = arrays["input_features"][..., :frames]
    arrays["feature_attention_mask"] = arrays["feature_attention_mask"][..., :frames].astype(np.int64)
    return arrays


def training_batch(question: Arrays, config: Any, seed: int = 0) -> Arrays:
    """Returns the question with a reply of random text and speech ids, as the release's data loader builds it."""
    rng = np.random.default_rng(seed)
    text, audio = config.text_config, config.audio_config
    group = audio.group_size
    reply = rng.integers(0, audio.bos_token_id, REPLY_GROUPS * group - 1)  # the last group is not full
    reply[: 2 * group] = audio.bos_token_id
    spoken = [text.audio_bos_index, *[config.audio_token_index] * REPLY_GROUPS, text.audio_eos_index, text.eos_token_id]
    asked = question["input_ids"][0].tolist()
    length = max(question["speech_ids"].shape[1], REPLY_GROUPS * group)
    speech = np.full((2, length), audio.pad_token_id, np.int64)
    mask = np.zeros((2, length), np.int64)
    for row, ids in enumerate((question["speech_ids"][0, : int(question["speech_attention_mask"].sum())], reply)):
        speech[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    words = np.full((2, REPLY_GROUPS - 2), text.pad_token_id, np.int64)
    words[1] = rng.integers(10, 100, words.shape[1])
    return {
        "input_ids": np.array([asked + spoken], np.int64),
        "attention_mask": np.ones((1, len(asked) + len(spoken)), np.int64),
        "labels": np.array([[IGNORE] * len(asked) + spoken], np.int64),
        "speech_ids": speech,
        "speech_attention_mask": mask,
        "text_ids": words,
        "text_attention_mask": np.array([False, True]),
        "feature_exist_mask": np.array([True, False]),
        "input_features": question["input_features"],
        "feature_attention_mask": question["feature_attention_mask"],
    }


def record_training(model: Any, batch: Arrays, gradients: bool) -> Arrays:
    """Runs a training batch; the names are those of io.npz."""
    encoded: list[torch.Tensor] = []
    hook = model.continuous_audio_tower.register_forward_hook(
        lambda module, inputs, output: encoded.append(output.last_hidden_state)
    )
    with torch.set_grad_enabled(gradients):
        # The release writes into labels and text_ids: it gets copies.
        output = model(**{name: torch.from_numpy(array.copy()).to(model.device) for name, array in batch.items()})
    hook.remove()
    frames = torch.from_numpy(batch["feature_attention_mask"].sum(axis=1))
    lengths = model.continuous_audio_tower._get_feat_extract_output_lengths(frames)[1]
    found = {
        "encoder/features": encoded[0],
        "encoder/lengths": lengths,
        "train/text_logits": output.text_logits,
        "train/speech_logits": output.speech_logits,
        "train/last_hidden": output.hidden_states[-1],
        "train/loss": output.loss,
        "train/text_loss": output.text_loss,
        "train/speech_loss": output.speech_loss,
        **({"train/aux_loss": output.aux_loss} if output.aux_loss is not None else {}),
    }
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}
    if gradients:
        output.loss.backward()
        norms = {name: p.grad.double().norm().item() for name, p in model.named_parameters() if p.grad is not None}
        arrays["train/grad_names"] = np.array(list(norms))
        arrays["train/grad_norms"] = np.array(list(norms.values()))
        model.zero_grad()
    return arrays | {f"in/{name}": array for name, array in batch.items()}


def reply_to(model: Any, inputs: Any, steps: int, penalty: float, **switches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the greedy reply: text ids `[1, <= steps]` and speech ids `[1, T]`."""
    model.sp_gen_kwargs.update(only_crq_sampling=True, force_text_abos=not switches["disable_speech"], **switches)
    ids, speech = model.generate(**inputs, max_new_tokens=steps, do_sample=False, repetition_penalty=penalty)
    return ids[:, inputs["input_ids"].shape[1] :].cpu().numpy(), speech.cpu().numpy()


def record(
    folder: str, wave: np.ndarray, steps: int, gradients: bool, device: str, adapter: str | None = None
) -> Arrays:
    """Runs a checkpoint, or an adapter on it, through the release's Auto classes; returns the arrays of io.npz."""
    from utils.constant import AUDIO_TEMPLATE, DEFAULT_S2M_PROMPT, DEFAULT_S2T_PROMPT

    processor = AutoProcessor.from_pretrained(folder)
    # "eager" computes another encoder in the release: docs/checkpoints.md.
    model, loaded = AutoModelForSeq2SeqLM.from_pretrained(
        folder, torch_dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
    )
    if loaded["missing_keys"] or loaded["unexpected_keys"] or loaded["mismatched_keys"]:
        sys.exit(f"{folder}: its tensors are not those of its config.json: {loaded}")
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).get_base_model()  # its modules have the adapter in them
    model = model.to(device).eval()

    def prompt(system: str) -> tuple[str, Any]:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": AUDIO_TEMPLATE}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=text, audio=[wave], return_tensors="pt", return_token_type_ids=False)
        return text, inputs.to(device)

    asked_text, asked = prompt(DEFAULT_S2T_PROMPT)
    spoken_text, spoken = prompt(DEFAULT_S2M_PROMPT)
    arrays = record_training(model, training_batch(numpy_of(spoken), model.config), gradients)
    system = [{"role": "system", "content": DEFAULT_S2T_PROMPT}]
    ids = processor.tokenizer(
        processor.apply_chat_template(system, add_generation_prompt=True, tokenize=False), return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        logits = model.language_model(input_ids=ids.to(device)).logits
        runs = {"s2t": reply_to(model, asked, steps, 1.0, text_greedy=True, disable_speech=True)}
        for name, switches in RUNS.items():
            runs[name] = reply_to(model, spoken, steps, disable_speech=False, **switches)
    arrays |= {"text/input_ids": ids.numpy(), "text/logits": logits.cpu().numpy()}
    for name, (text_ids, speech_ids) in runs.items():
        arrays |= {f"{name}/text_ids": text_ids, f"{name}/speech_ids": speech_ids}
        inputs = numpy_of(asked if name == "s2t" else spoken)
        arrays |= {f"{name}/in/{key}": array for key, array in inputs.items()}
        print(f"{name}: {processor.decode(text_ids[0], skip_special_tokens=True)!r}, {speech_ids.shape[1]} speech ids")
    return arrays | {"prompt/wave": wave, "prompt/texts": np.array([asked_text, spoken_text])}


def main() -> None:
    """Parses the command line and writes io.npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder of the release's layout")
    parser.add_argument("npz", type=Path, help="file to write")
    parser.add_argument("--code", required=True, help="clone of the release's repository")
    parser.add_argument("--audio", help="question to ask (an audio file); a tone with noise if not given")
    parser.add_argument("--steps", type=int, default=24, help="LLM steps of a reply (default 24)")
    parser.add_argument("--gradients", action="store_true", help="record the norm of every gradient too")
    parser.add_argument("--device", default="cpu", help='"cpu" (default) or "cuda"')
    parser.add_argument("--adapter", help="adapter in PEFT's format to put on the checkpoint")
    given = parser.parse_args()
    if given.adapter and given.gradients:
        parser.error("--gradients are those of a model without an adapter: record_adapter.py has those of an adapter")
    if not (Path(given.code) / "funaudiochat").is_dir():
        parser.error(f"--code={given.code}: holds no folder funaudiochat; give a clone of the release's repository")
    if not (Path(given.checkpoint) / "config.json").is_file():
        parser.error(f"{given.checkpoint}: holds no config.json")
    sys.path.insert(0, given.code)
    from funaudiochat.register import register_funaudiochat

    register_funaudiochat()
    wave = librosa.load(given.audio, sr=RATE)[0] if given.audio else example_wave()
    arrays = record(given.checkpoint, wave, given.steps, given.gradients, given.device, given.adapter)
    np.savez_compressed(given.npz, **arrays)
    print(f"{given.npz}: {len(arrays)} arrays")


if __name__ == "__main__":
    main()
