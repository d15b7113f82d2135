"""Which replies refuse, under each list of phrases."""

import json
from pathlib import Path

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import RULES
from fac_jax.evaluation.benchmarks.refusals import score, summarize_refusals


def test_case_counts_for_evalkit_only_and_blank_replies_refuse(tmp_path: Path) -> None:
    lists = {"refusal_official": ["i can’t"], "refusal_evalkit": ["I can’t"], "refusal_ultraeval": ["i can't"]}
    (tmp_path / "phrases.json").write_text(json.dumps({k: {"phrases": v} for k, v in lists.items()}), "utf-8")
    assets = Assets(tmp_path)
    replies = ["Well, I can’t.", "I CAN’T", "I can't", " \n\t", "Sure!"]
    refused = {rules: [bool(score(reply, rules=rules, assets=assets).points) for reply in replies] for rules in RULES}
    assert refused == {
        "official": [True, True, False, True, False],
        "evalkit": [True, False, False, True, False],
        "ultraeval": [False, False, True, True, False],
        "strict": [True, True, False, True, False],
    }
    outcomes = [score(reply, rules="official", assets=assets) for reply in replies[2:]]
    assert summarize_refusals(outcomes, rules="evalkit").values == {"refusal_rate": 33.33}
    assert summarize_refusals(outcomes, rules="official").values["refusal_rate"] != 33.33
