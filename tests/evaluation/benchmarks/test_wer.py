"""Tests of the error rates by the rules of the public tools; the recorded outcomes are in test_recorded.py."""

import pytest

from fac_jax.evaluation.benchmarks.wer import compute_wer, evalkit, ultraeval
from fac_jax.evaluation.benchmarks.wer.chinese import normalize as normalize_chinese
from fac_jax.evaluation.benchmarks.wer.chinese_numbers import read_out_numbers
from fac_jax.evaluation.benchmarks.wer.edits import compare, corpus_error_rate, edit_distance
from fac_jax.evaluation.benchmarks.wer.normalizers import normalize
from fac_jax.evaluation.benchmarks.wer.sacrebleu_tokens import tokenize_13a, tokenize_zh
from fac_jax.evaluation.benchmarks.wer.tools import TOOLS, Tool, compute_wer_tokenizer, score, tokenizer


def test_distance_counts_tokens_not_characters():
    assert edit_distance(["ab", "c"], ["a", "b", "c"]) == 2
    assert edit_distance(["hello"], ["hallo"]) == 1


def test_corpus_rate_is_not_the_mean_of_rows():
    rate = corpus_error_rate([compare("a b c d", "a b c d", str.split), compare("a", "x y z", str.split)])
    assert (rate.errors, rate.reference_tokens, rate.sentence_errors, rate.sentences) == (3, 5, 1, 2)
    assert rate.percent == pytest.approx(60)


def test_empty_reference_adds_insertions_but_no_sentence_error():
    rate = corpus_error_rate([compare("", "a b", str.split), compare("a", "a", str.split)])
    assert (rate.errors, rate.sentence_errors, rate.sentences, rate.percent) == (2, 0, 2, 200)


def test_rate_without_reference_tokens_is_undefined():
    assert corpus_error_rate([compare("", "a", str.split)]).percent is None
    assert corpus_error_rate([]).percent is None


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("$1234.56", ["$1234.56"], ["$", "1234", ".", "56"]),
        ("Café naïve", ["CAF", "É", "NA", "ÏVE"], ["CAFÉ", "NAÏVE"]),
        ("a<unk>b <noise>", ["AB"], ["A", "<", "UNK", ">", "B", "<", "NOISE", ">"]),
        ("<no end 你好", ["<NO", "END", "你", "好"], ["<", "NO", "END", "你", "好"]),
        ("'n' don't", ["'N'", "DON'T"], ["'", "N'", "DON'T"]),
        ("ไฟ \u3000アー", ["ไ", "ฟ", "ア", "ー"], ["ไ", "ฟ", "ア", "ー"]),
        ("한국어", ["한", "국", "어"], ["한국어"]),
    ],
)
def test_versions_of_compute_wer_split_differently(text, old, new):
    assert compute_wer.tokenize(text, "0.2.3") == old
    assert compute_wer.tokenize(text, "0.2.5") == new


def test_ignored_punctuation_still_ends_a_word():
    assert compute_wer.tokenize("3.5-x ！", "0.2.5", ignore_punctuation=True) == ["3", "5", "X"]


def test_to_char_leaves_punctuation_in_its_run_before_version_0_2_5():
    assert compute_wer.tokenize("at 8:30", "0.2.3", to_char=True) == ["A", "T", "8", ":30"]
    assert compute_wer.tokenize("at 8:30", "0.2.5", to_char=True) == ["A", "T", "8", ":", "3", "0"]


def test_13a_splits_a_last_stop_even_after_a_digit():
    assert tokenize_13a("1,234.5 &lt;ok&gt; 7-up costs 5.") == "1,234.5 < ok > 7 - up costs 5 .".split()


def test_zh_splits_chinese_characters_and_quotation_marks_but_not_kana():
    assert tokenize_zh("他说“it's”ありがとう") == ["他", "说", "“", "it's", "”", "ありがとう"]


def test_evalkit_joins_words_of_chinese_text_and_drops_punctuation():
    assert evalkit.tokenize("<|zh|>The end，结束 。", "zh") == ["theend", "结", "束"]
    assert evalkit.tokenize("<|en|>It cost £20 , ok", "en") == ["it", "cost", "20", "ok"]


def test_evalkit_leaves_out_rows_without_prediction():
    assert evalkit.is_left_out(None) and evalkit.is_left_out("null")
    assert not evalkit.is_left_out("") and not evalkit.is_left_out("a null value")


def test_ultraeval_applies_english_rules_to_chinese():
    assert ultraeval.tokenize("OK，we're 三 twenty", "zh") == ["ok", "we", "are", "三", "二", "十"]
    assert ultraeval.tokenize("Twenty percent, ok.", "en") == ["20", "%", "ok"]


def test_full_width_stop_is_the_only_mark_that_stays():
    assert normalize_chinese("好，好。好．《好》·!") == "好 好 好． 好   "


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2021年5月13日", "二零二一年五月十三日"),
        ("86年10月", "八六年十月"),
        ("202年", "两百零二年"),
        ("共2022元", "共两千零二十二元"),
        ("2222.2万", "两千两百二十二点二万"),
        ("120050个", "十二万零五十个"),
        ("100000000个", "一亿个"),
        ("20000多只", "两万多只"),
        ("+86 13800138000", "八六一三八零零一三八零零零"),
        ("010-62345678", "零一零六二三四五六七八"),
        ("1/12", "十二分之一"),
        ("0.5％和100%", "百分之零点五和百分之一百"),
        ("1998-2003个", "一九九八-两千零三个"),
        ("007和10", "零七和十"),
        ("２０２", "两百零十二"),
        ("B2B和2", "B2B和二"),
        ("没有", "没有"),
    ],
)
def test_numbers_are_read_out(text, read):
    assert read_out_numbers(text) == read


def test_first_same_digits_are_replaced_even_within_a_longer_number():
    assert read_out_numbers("15和5个") == "一五和五个"


def test_normalizers_differ_by_name():
    assert normalize("Twenty-one Cafés", "english") == "21 cafes"
    assert normalize("Twenty-one Cafés", "basic") == "twenty one cafés"
    assert normalize("Twenty-one Cafés", "basic_remove_diacritics") == "twenty one cafes"
    assert normalize("Hi é", "basic_split_letters") == "h i é"
    assert normalize("Hi!", "none") == "Hi!"


def test_default_tool_normalizes_by_language():
    rows, rate = score([("twenty colours", "20 colors!"), ("a b", "a")], TOOLS["official"], "en")
    assert [row.errors for row in rows] == [0, 1]
    assert (rate.errors, rate.reference_tokens) == (1, 4)
    assert tokenizer("compute_wer_0.2.3", "zh")("二十，twenty") == ["二", "十", "TWENTY"]


def test_each_tool_has_its_own_tokens():
    tools: set[Tool] = {*TOOLS.values(), "compute_wer_0.2.5"}
    assert len({tuple(tokenizer(tool, "en")("it cost $5.50")) for tool in tools}) == len(tools) == 4
    assert compute_wer_tokenizer("compute_wer_0.2.5_ignore_punctuation", "none")("a.") == ["A"]
