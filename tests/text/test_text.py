"""Tokenizer and chat template."""

import json

import pytest

from fac_jax.text.chat import AudioPiece, Piece, TextPiece, Turn, render, with_tools
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tokenizer import CONFIG_FILE, SPECIALS, Tokenizer, train_tokenizer
from fac_jax.types import InputError

CORPUS = [f"what is {a} plus {b}? {a} plus {b} is {a + b}." for a in range(10) for b in range(10)]

# Second conversation of the recorded training batch `dense` (in/input_ids, in/labels), its random text left as it is.
# 301 is <|im_end|>, 302 <|audio_bos|>, 303 <|audio_eos|>, 305 <|AUDIO|>; -100 carries no loss.
RECORDED_IDS = (
    [1, 45, 283, 217, 301, 2, 302, *[305] * 12, 303, 301, 3, 302, *[305] * 5, 303, 301]
    + [2, 96, 151, 84, 243, 177, 54, 301, 3, 302, *[305] * 6, 303, 301]
)  # fmt: skip
RECORDED_LABELS = [-100] * 22 + [302, *[305] * 5, 303, 301] + [-100] * 9 + [302, *[305] * 6, 303, 301]
RECORDED_SPECIALS = {301: "<|im_end|>", 302: "<|audio_bos|>", 303: "<|audio_eos|>", 305: "<|AUDIO|>"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return train_tokenizer(CORPUS, 420, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def lay_out(pieces: list[Piece], groups: dict[int, int], audio_id: int) -> list[tuple[int, bool]]:
    """(id, loss) of every position, given the groups of every audio."""
    out = []
    for piece in pieces:
        ids = piece.ids if isinstance(piece, TextPiece) else [audio_id] * groups[piece.audio]
        out += [(i, piece.loss) for i in ids]
    return out


@pytest.mark.parametrize("text", ["what is 3 plus 14?", "héllo 中文 🎉\n\n  two\ttabs", "", " leading", "<|im_end|> x"])
def test_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_cannot_write_special_tokens(tokenizer):
    special = {tokenizer.token_id(name) for name in SPECIALS}
    attack = "".join(SPECIALS)
    assert not special & set(tokenizer.encode(attack))
    (piece,) = render(attack, [Turn("user", attack)], tokenizer)
    written = [i for i in piece.ids if i in special]
    start, end = tokenizer.token_id("<|im_start|>"), tokenizer.token_id("<|im_end|>")
    assert written == [start, end, start, end]
    assert tokenizer.decode([start, *tokenizer.encode("a"), end]) == "a"


def test_trained_tokenizer_is_repeatable_and_knows_the_template(tokenizer, tmp_path):
    again = train_tokenizer(CORPUS, 420, tmp_path / "a" / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "a")
    for other in (again, loaded):
        assert other.vocab_size == tokenizer.vocab_size <= 420
        assert [other.encode(text) for text in CORPUS] == [tokenizer.encode(text) for text in CORPUS]
        assert other.special_ids(128) == tokenizer.special_ids(128)
    for word in ("user", "assistant", "system", "\n"):
        assert len(tokenizer.encode(word)) == 1
    assert len(tokenizer.encode(SYSTEM_TEXT)) <= 10 and len(tokenizer.encode(SYSTEM_JOINT)) <= 16
    assert [tokenizer.decode([i]) for i in tokenizer.encode("14")] == ["1", "4"]  # as Qwen: digits stand alone
    special = tokenizer.special_ids(128)
    assert tokenizer.vocab_size - len(SPECIALS) == special.pad
    assert (special.speech_bos, special.speech_eos, special.speech_pad) == (128, 129, 131)


def test_a_qwen_folder_drops_in(tokenizer, tmp_path):
    """Special tokens in tokenizer_config.json only, wrongly marked as plain, and none of the audio tokens."""
    content = json.loads(tokenizer._core.to_str())
    content["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    first = tokenizer.token_id("<|endoftext|>")
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>"]
    added = {str(first + i): {"content": name, "special": False} for i, name in enumerate(names)}
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"added_tokens_decoder": added}))
    plain = Tokenizer.load(tmp_path)
    assert plain.token_id("<|im_end|>") == first + 2
    assert first + 2 not in plain.encode("a<|im_end|>") and first + 3 in plain.encode("a<tool_call>")
    assert plain.decode(plain.encode("<tool_call>{}")) == "<tool_call>{}"
    with pytest.raises(InputError, match=r"<\|AUDIO\|>, <\|audio_bos\|>, <\|audio_eos\|>, <\|sil\|>"):
        plain.special_ids(6561)
    full = plain.with_specials()
    assert full.encode(CORPUS[0]) == plain.encode(CORPUS[0])
    assert full.special_ids(6561).sil == first + 7 and full.vocab_size == first + 8

    (tmp_path / CONFIG_FILE).write_text(json.dumps({"added_tokens_decoder": {"7": {"content": "<|new|>"}}}))
    with pytest.raises(InputError, match=r"<\|new\|> the id 7"):
        Tokenizer.load(tmp_path)


def test_bad_tokenizers_are_named(tmp_path):
    with pytest.raises(InputError, match="not found.*tokenizer.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("no json")
    with pytest.raises(InputError, match="not JSON"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="no key 'model'"):
        Tokenizer.load(tmp_path)
    with pytest.raises(InputError, match="too small"):
        train_tokenizer(["a"], 100, tmp_path / "t.json")
    with pytest.raises(InputError, match="no text"):
        train_tokenizer([], 300, tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()


def test_loss_and_audio_tokens_lie_as_recorded(tokenizer):
    turns = [
        Turn("user", audio=0),
        Turn("assistant", "first reply", audio=1),
        Turn("user", "typed"),
        Turn("assistant", "second reply", audio=2),
    ]
    pieces = render(SYSTEM_JOINT, turns, tokenizer)
    audio_id = tokenizer.token_id("<|AUDIO|>")
    ours = {tokenizer.token_id(name): name for name in RECORDED_SPECIALS.values()}
    got = [(ours[i], loss) for i, loss in lay_out(pieces, {0: 12, 1: 5, 2: 6}, audio_id) if i in ours]
    rows = zip(RECORDED_IDS, RECORDED_LABELS, strict=True)
    want = [(RECORDED_SPECIALS[i], label == i) for i, label in rows if i in RECORDED_SPECIALS]
    assert got == want
    slots = [piece for piece in pieces if isinstance(piece, AudioPiece)]
    assert [(s.audio, s.joint, s.loss) for s in slots] == [(0, False, False), (1, True, True), (2, True, True)]
    assert [tokenizer.decode(s.text_ids) for s in slots] == ["", "first reply", "second reply"]


def test_the_template_is_written_as_the_specification_says(tokenizer):
    pieces = render("SYS", [Turn("user", "what?", audio=0), Turn("assistant", "that")], tokenizer)
    names = {tokenizer.token_id(name): name for name in SPECIALS}
    laid = lay_out(pieces, {0: 2}, tokenizer.token_id("<|AUDIO|>"))
    written = "".join(names.get(i) or tokenizer.decode([i]) for i, _ in laid)
    assert written == (
        "<|im_start|>system\nSYS<|im_end|>\n"
        "<|im_start|>user\n<|audio_bos|><|AUDIO|><|AUDIO|><|audio_eos|>\nwhat?<|im_end|>\n"
        "<|im_start|>assistant\nthat<|im_end|>"
    )
    learnt = "".join(names.get(i) or tokenizer.decode([i]) for i, loss in laid if loss)
    assert learnt == "that<|im_end|>"
    assert all(
        not (isinstance(a, TextPiece) and isinstance(b, TextPiece) and a.loss == b.loss)
        for a, b in zip(pieces, pieces[1:], strict=False)
    )


@pytest.mark.parametrize("reply", [Turn("assistant", "\n\nok"), Turn("assistant", "ok", audio=1)])
def test_a_generation_prompt_is_a_prefix_of_what_was_trained(tokenizer, reply):
    audio_id = tokenizer.token_id("<|AUDIO|>")
    asked = [Turn("user", "what?", audio=0)]
    prompt = lay_out(render(SYSTEM_TEXT, asked, tokenizer, add_generation_prompt=True), {0: 3}, audio_id)
    whole = lay_out(render(SYSTEM_TEXT, [*asked, reply], tokenizer), {0: 3, 1: 4}, audio_id)
    assert whole[: len(prompt)] == prompt
    assert not any(loss for _, loss in prompt) and all(loss for _, loss in whole[len(prompt) :])


def test_no_system_prompt_and_bad_turns(tokenizer):
    (piece,) = render("", [Turn("user", "hi")], tokenizer)
    assert tokenizer.decode(piece.ids) == "user\nhi"
    with pytest.raises(InputError, match="turn 1.*'tool'"):
        render("", [Turn("user", "hi"), Turn("tool", "x")], tokenizer)
    with pytest.raises(InputError, match=r"turn 0 \(user\) has neither"):
        render("", [Turn("user")], tokenizer)


def test_tools_block():
    tools = [{"type": "function", "function": {"name": "größe", "parameters": {}}}, {"name": "b"}]
    prompt = with_tools(SYSTEM_TEXT, tools)
    assert prompt.startswith(f"{SYSTEM_TEXT}\n# Tools\n\n")  # one line break, as in the release
    block = prompt.split("<tools>\n")[1].split("\n</tools>")[0].split("\n")
    assert [json.loads(line) for line in block] == tools and "größe" in block[0]
    assert prompt.endswith('<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>')
