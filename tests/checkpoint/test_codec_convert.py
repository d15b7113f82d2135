"""The released voice into a codec of ours, and the codec as the rest of the project uses it."""

import collections
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from golden_codec import FOLDER, models, speaker
from released_voice import TINY, Storage, Tensor, save_torch, sizes, tensors
from safetensors.numpy import load_file

from fac_jax.checkpoint.voice.convert import convert_codec, read_speakers
from fac_jax.checkpoint.voice.onnx_tokenizer import read_tokenizer
from fac_jax.checkpoint.voice.release import from_torch
from fac_jax.checkpoint.voice.torch_file import read_torch
from fac_jax.codec.base import load_codec, refer
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.types import InputError


@pytest.fixture(scope="module")
def codec(voice_folder) -> CosyVoice3:
    found = load_codec(voice_folder)
    assert isinstance(found, CosyVoice3)
    return found


def test_conversion_loses_nothing(released, codec, tmp_path):
    folder = tmp_path / "codec"
    made = convert_codec(released, folder, sizes=sizes())
    assert made.speaker == "中文女" and made.speakers == ("中文女", "other") and not made.published
    assert made.counts["flow"] == sum(tensor.size for tensor in tensors("flow").values()) - 32
    for part, recorded in (("tokenizer", "s3tokenizer"), ("flow", "flow"), ("vocoder", "hift")):
        expected = flatten_dict(from_torch(part, tensors(recorded), sizes()[part]), sep=".")
        found = load_file(folder / f"{part}.safetensors")
        assert set(found) == set(expected)
        for name, leaf in expected.items():
            np.testing.assert_array_equal(found[name], leaf)
    assert codec.description.sizes["tokenizer"].attention_norm_eps == 1e-6
    assert codec.description.sizes["tokenizer"].mlp_norm_eps == 1e-5
    assert codec.description.sizes["vocoder"] == sizes()["vocoder"]


def test_there_and_back(codec):
    assert (codec.heard_rate, codec.rate, codec.units) == (16000, 24000, 128)
    waves = [np.random.default_rng(i).standard_normal(n).astype(np.float32) * 0.1 for i, n in enumerate((9000, 16777))]
    alone, together = [codec.encode(wave) for wave in waves], codec.encode_batch(waves)
    assert [len(ids) for ids in alone] == [14, 26] and alone[0].dtype == np.int32
    for one, same in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, same)
    wave = codec.decode(np.arange(9))
    assert wave.dtype == np.float32 and wave.shape == (9 * 960,) and np.abs(wave).max() > 1e-3
    with pytest.raises(InputError, match="speech id 128 is outside"):
        codec.decode(np.array([128]))
    with pytest.raises(InputError, match="speech 0 of the batch has 639 samples; one id takes 640"):
        codec.encode(np.zeros(639, np.float32))


SHARED = """
import sys, jax, numpy as np
from fac_jax.codec.base import load_codec
assert len(jax.devices()) == 4
waves = np.load(sys.argv[2])
np.savez(sys.argv[3], *load_codec(sys.argv[1]).encode_batch([waves[name] for name in waves.files]))
"""


@pytest.mark.slow
def test_devices_share_a_batch(codec, voice_folder, tmp_path):
    lengths = (9000, 16777, 640, 12345, 16000, 90_000)
    waves = [np.random.default_rng(i).standard_normal(n).astype(np.float32) * 0.1 for i, n in enumerate(lengths)]
    np.savez(tmp_path / "waves.npz", *waves)
    files = [str(voice_folder), str(tmp_path / "waves.npz"), str(tmp_path / "ids.npz")]
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    subprocess.run([sys.executable, "-c", SHARED, *files], env=os.environ | {"XLA_FLAGS": flags}, check=True)
    with np.load(tmp_path / "ids.npz") as found:
        for name, ids in zip(found.files, codec.encode_batch(waves), strict=True):
            np.testing.assert_array_equal(found[name], ids)


def test_long_audio_is_cut_as_the_release_cuts_it(codec):
    wave = np.random.default_rng(5).standard_normal(480_000 + 15_000).astype(np.float32) * 0.1
    half = len(wave) // 2
    expected = np.concatenate([codec.encode(wave[:half]), codec.encode(wave[half:])])
    np.testing.assert_array_equal(codec.encode(wave), expected)


def test_a_model_refers_to_its_codec(codec, tmp_path):
    codec.save(tmp_path / "model")
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["codec.json"]
    again = load_codec(tmp_path / "model")
    np.testing.assert_array_equal(again.decode(np.arange(5)), codec.decode(np.arange(5)))
    refer(tmp_path / "model", tmp_path / "gone")
    with pytest.raises(InputError, match=f"model/codec.json refers to the codec in {tmp_path}/gone, where codec.json"):
        load_codec(tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "origin"),
    [
        ("tokenizer", "speech_tokenizer_v3.onnx of FunAudioLLM/Fun-CosyVoice3-0.5B-2512"),
        ("flow", "flow.pt of FunAudioLLM/Fun-CosyVoice3-0.5B-2512"),
        ("vocoder", "hift.pt of"),
        ("speakers", "utils/new_spk2info.pt of the Fun-Audio-Chat repository"),
    ],
)
def test_absent_weights_are_named_with_their_origin(part, origin, voice_folder, tmp_path):
    for file in voice_folder.iterdir():
        if file.stem != part:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(InputError, match=f"missing: {tmp_path}/{part}.safetensors; it is made from {origin}") as raised:
        load_codec(tmp_path).encode(np.zeros(16000, np.float32))
    assert "\n" not in str(raised.value)


def test_absent_released_files_are_named_with_their_origin(released, tmp_path):
    partial = tmp_path / "src"
    partial.mkdir()
    for name in ("speech_tokenizer_v3.onnx", "flow.pt", "hift.pt"):
        with pytest.raises(InputError, match=f"{name}: no such file; it is {name} of FunAudioLLM"):
            convert_codec(partial, tmp_path / "dst", sizes=sizes())
        (partial / name).symlink_to(released / name)
    with pytest.raises(InputError, match="holds no speakers .* give utils/new_spk2info.pt of"):
        convert_codec(partial, tmp_path / "dst", sizes=sizes())
    with pytest.raises(InputError, match="no speaker 'nobody'; there are 中文女, other"):
        convert_codec(released, tmp_path / "dst", speaker="nobody", sizes=sizes())
    with pytest.raises(InputError, match="exists already"):
        convert_codec(released, released, sizes=sizes())
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_another_model_is_refused_and_leaves_nothing(released, tmp_path):
    with pytest.raises(InputError, match=r"flow.pt: \d+ problems in the tensors of the flow: .* by the configuration"):
        convert_codec(released, tmp_path / "dst", sizes=sizes() | {"flow": type(models()[0][0])()})
    with pytest.raises(InputError, match="speech_tokenizer_v3.onnx: no S3 tokenizer of 12 blocks"):
        convert_codec(released, tmp_path / "dst", sizes=sizes() | {"tokenizer": type(TINY)()})
    assert not list(tmp_path.iterdir())


def test_speakers_of_both_kinds(released, tmp_path):
    np.savez(tmp_path / "a.npz", **{"anna v1.2": speaker()})
    assert list(read_speakers(tmp_path / "a.npz")) == ["anna v1.2"]
    convert_codec(released, tmp_path / "codec", tmp_path / "a.npz", sizes=sizes())
    made = load_codec(tmp_path / "codec")
    assert isinstance(made, CosyVoice3)
    np.testing.assert_array_equal(made.speaker, speaker())
    np.testing.assert_array_equal(read_speakers(released / "new_spk2info.pt")["other"], speaker())
    save_torch(tmp_path / "b.pt", {"anna": {"speech_token": np.arange(3)}})
    with pytest.raises(InputError, match="speaker anna has no embedding"):
        read_speakers(tmp_path / "b.pt")
    np.savez(tmp_path / "c.npz", anna=np.zeros(256, np.float32))
    with pytest.raises(InputError, match=r"c.npz: speaker anna is \[256\], the flow takes \[192\]"):
        convert_codec(released, tmp_path / "other", tmp_path / "c.npz", sizes=sizes())


def test_torch_files_are_read_as_they_are_laid_out(tmp_path):
    storage = Storage("0", np.arange(12, dtype=np.float32))
    views = {"t": Tensor(storage, 1, (2, 3), (1, 4)), "h": np.ones((2, 2), np.float16), "n": 3}
    save_torch(tmp_path / "a.pt", views)
    found = read_torch(tmp_path / "a.pt")
    assert isinstance(found, collections.OrderedDict) and found["n"] == 3 and found["h"].dtype == np.float16
    np.testing.assert_array_equal(found["t"], [[1, 5, 9], [2, 6, 10]])
    save_torch(tmp_path / "b.pt", {"t": Tensor(storage, 1, (4, 3), (3, 1))})
    with pytest.raises(InputError, match="lies outside its storage"):
        read_torch(tmp_path / "b.pt")


def test_a_pickle_cannot_change_what_it_names(tmp_path):
    attack = b"ctorch\nBFloat16Storage\n(N}(U\x05dtypeU\x06poisonutb."  # sets an attribute of the named object
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", attack)
    with pytest.raises(InputError, match="no file of torch.save that holds only tensors"):
        read_torch(tmp_path / "a.pt")


def test_a_file_that_pytorch_wrote_is_read():
    found = read_torch(FOLDER / "saved_by_torch.pt")  # torch.save of PyTorch 2.13
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {
        "weight": base,
        "view": base[1:3, ::2],
        "turned": base.T,
        "half": np.full(3, 0.5, np.float16),
        "ids": np.arange(5),
        "parameter": np.array([3], np.float32),
        "empty": np.zeros((0, 2), np.float32),
        "scalar": np.float32(7),
    }
    assert str(found["brain"].dtype) == "bfloat16" and found.pop("brain").astype(float).tolist() == [1.5, -2.0]
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("run",)


def test_torch_files_that_do_more_are_refused(tmp_path, capsys):
    file = tmp_path / "a.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    with pytest.raises(InputError, match="a.pt is truncated, or no file of torch.save .*it names builtins.print"):
        read_torch(file)
    assert not capsys.readouterr().out
    for content in (b"", b"PK\x03\x04 cut", pickle.dumps({})):
        file.write_bytes(content)
        with pytest.raises(InputError, match="a.pt is truncated, or no file of torch.save"):
            read_torch(file)
    with pytest.raises(InputError, match="gone.pt: no such file"):
        read_torch(tmp_path / "gone.pt")


def test_onnx_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="a.onnx"):
        read_tokenizer(tmp_path / "a.onnx", TINY)


def test_codec_json_is_read_strictly(voice_folder, tmp_path):
    for file in voice_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    values = json.loads((voice_folder / "codec.json").read_text())
    values["flow"]["wings"] = 2
    (tmp_path / "codec.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="unknown config key .*codec.json.wings"):
        load_codec(tmp_path)
    del values["flow"]
    (tmp_path / "codec.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="codec.json does not say 'flow'; convert the codec again"):
        load_codec(tmp_path)
    values = json.loads((voice_folder / "codec.json").read_text()) | {"speaker": "nobody"}
    (tmp_path / "codec.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="codec.json names the speaker 'nobody'; there are other, 中文女"):
        load_codec(tmp_path).decode(np.arange(3))
