"""From a checkpoint and data sets in official layouts to a report: every step, and what a stopped run leaves."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_rows import sample_rows, sample_waves
from benchmark_sets import LAYOUTS, write_lines, write_set
from judge_server import Answer, JudgeServer
from launchers import called
from record_run import write_initial

from experiments.scoring import answering
from fac_jax.types import InputError

FAMILIES = ("voicebench", "ultraeval", "asr", "mmsu")
COUNTED = "voicebench/commoneval"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that knows nothing, and two rows of some benchmarks."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_initial(folder / "initial", codec=True)
    for name in ("voicebench/ifeval", COUNTED, "ultraeval/llama-questions", "asr/librispeech-test-clean", "mmsu/test"):
        family = name.split("/")[0]
        rows = sample_rows(name)
        write_set(folder / "sets" / family, name, rows, sample_waves(len(rows)), next(iter(LAYOUTS[family])))
    return folder


def launch(name: str, *words: str) -> None:
    """Calls a launcher in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *words])  # where the flag of a config looks for changes of keys
        called(name, *words)


def evaluate(home: Path, out: Path, names: str, *options: str) -> None:
    common = (f"--data={home / 'sets'}", f"--checkpoint={home / 'initial' / 'model'}", "--max_steps=4", "--rows=2")
    launch("experiments.evaluate", f"--benchmark={names}", f"--out={out}", *common, *options)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n") if line]


@pytest.fixture(scope="module")
def evaluated(home: Path) -> Path:
    out = home / "scores"
    evaluate(home, out, ",".join(FAMILIES))
    return out


def test_every_benchmark_has_answers_scores_and_a_place_in_the_report(evaluated: Path) -> None:
    report = json.loads((evaluated / "report.json").read_text())
    assert report["results"].keys() == {
        "voicebench/ifeval",
        COUNTED,
        "ultraeval/llama-questions",
        "asr/librispeech-test-clean",
        "mmsu/test",
    }
    for name, result in report["results"].items():
        answers, scores = lines(evaluated / name / "predictions.jsonl"), lines(evaluated / name / "scores.jsonl")
        assert [row["id"] for row in answers] == [row["id"] for row in scores] and len(answers) == result["rows"] == 2
        assert result["scored"] + sum(result["unscored"].values()) == 2
    assert report["results"][COUNTED]["unscored"] == {"no judge": 2}
    assert report["results"]["ultraeval/llama-questions"]["unscored"] == {"no recogniser": 2}
    assert report["results"]["asr/librispeech-test-clean"]["value"] is not None
    page = (evaluated / "report.html").read_text()
    assert "IFEval" in page and "MiMo-\u200bAudio, printed" in page and "78.52" in page


def test_spoken_answers_are_kept_as_sound(evaluated: Path) -> None:
    folder = evaluated / "ultraeval" / "llama-questions"
    spoken = [row["audio"] for row in lines(folder / "predictions.jsonl") if "audio" in row]
    assert all((folder / file).is_file() for file in spoken)
    assert not any("audio" in row for row in lines(evaluated / "voicebench" / "ifeval" / "predictions.jsonl"))


def test_a_stopped_run_answers_what_is_missing_and_nothing_else(
    home: Path, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(evaluated, tmp_path / "scores"))
    folder = out / "mmsu" / "test"
    before = (folder / "predictions.jsonl").read_text()
    first, second, _ = before.split("\n")
    (folder / "predictions.jsonl").write_text(f"{first}\n{second[:20]}")  # killed in the second line
    asked: list[str] = []
    known = answering.conversation

    def counted(*given: Any) -> Any:
        asked.append(given[1].id)
        return known(*given)

    monkeypatch.setattr(answering, "conversation", counted)
    evaluate(home, out, ",".join(FAMILIES))
    assert asked == [json.loads(second)["id"]] and (folder / "predictions.jsonl").read_text() == before


def test_fewer_rows_lose_no_answers(home: Path, evaluated: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(evaluated, tmp_path / "scores"))
    file = out / "mmsu" / "test" / "predictions.jsonl"
    before = file.read_text()
    evaluate(home, out, "mmsu", "--most=1")
    result = json.loads(file.with_name("result.json").read_text())
    assert result["rows"] == 1 and result["notes"] == ["1 rows of the file are left out: beyond --most"]
    evaluate(home, out, "mmsu")
    assert file.read_text() == before and len(lines(file.with_name("scores.jsonl"))) == 2


def test_answers_that_were_made_otherwise_are_not_mixed(home: Path, evaluated: Path) -> None:
    with pytest.raises(InputError, match="mmsu/test: holds answers that were made with another seed; name another"):
        evaluate(home, evaluated, "mmsu", "--seed=1")


def test_what_is_missing_is_said_before_any_work(home: Path, tmp_path: Path) -> None:
    def refused(match: str, names: str, *options: str) -> None:
        with pytest.raises(InputError, match=match):
            evaluate(home, tmp_path / "out", names, *options)
        assert not (tmp_path / "out").exists()

    refused(r"mmau: .*mmau-test-mini.json not found; download .* there, or score a file of predictions", "mmau")
    refused(r"no benchmark 'voicebench/ifval'; did you mean voicebench/ifeval\?", "voicebench/ifval")
    refused(
        "voicebench/ifeval has no rules 'ultraeval'; known: evalkit, official, strict",
        "voicebench/ifeval",
        "--rules=ultraeval",
    )
    refused("judge.model is missing", COUNTED, "--scoring.judge.kind=endpoint")
    judge = ("--scoring.judge.kind=endpoint", "--scoring.judge.model=m", "--scoring.judge.key_variable=NO_SUCH_KEY")
    refused("the environment variable NO_SUCH_KEY holds no key", COUNTED, *judge)


def graded(body: dict[str, Any], number: int) -> Answer:
    """A judge that is busy at first, then answers nonsense, and then gives a grade."""
    return (Answer(status=429), Answer(replies=("perhaps",)), Answer(replies=("4",)))[min(number, 2)]


def judged_by(url: str) -> list[str]:
    values = {"kind": "endpoint", "model": "m", "base_url": url, "key_variable": "", "threads": 1, "backoff_s": 0.01}
    return [f"--scoring.judge.{key}={value}" for key, value in values.items()]


def test_a_judge_is_asked_again_until_it_can_be_read_and_never_twice(
    home: Path, evaluated: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(evaluated, tmp_path / "scores"))
    with JudgeServer(graded) as server:
        evaluate(home, out, COUNTED, *judged_by(server.url))
        asked = len(server.asked)
        result = json.loads((out / COUNTED / "result.json").read_text())
        assert result["value"] == 4.0 and result["scored"] == 2 and asked == 2 + len(set(server.texts()))
        assert "own wording" in result["models"]["judge, evalkit_open"]
        evaluate(home, out, COUNTED, *judged_by(server.url))
        assert len(server.asked) == asked


def test_a_judge_that_never_answers_leaves_rows_unscored(home: Path, evaluated: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(evaluated, tmp_path / "scores"))
    with JudgeServer(lambda body, number: Answer(status=429)) as server:
        evaluate(home, out, COUNTED, *judged_by(server.url), "--scoring.judge.retries=1")
    result = json.loads((out / COUNTED / "result.json").read_text())
    assert result["value"] is None and result["unscored"] == {"HTTP 429": 2}


def test_a_stand_in_is_never_in_the_papers_column(home: Path, evaluated: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(evaluated, tmp_path / "scores"))
    shout = tmp_path / "shout.py"
    answer = "{'id': json.loads(line)['id'], 'text': 'Paris'}"
    shout.write_text(f"import json, sys\nfor line in sys.stdin:\n    print(json.dumps({answer}))\n")
    command = f"--scoring.recogniser.command=('python', '{shout}')"
    evaluate(home, out, "ultraeval/llama-questions", command)
    result = json.loads((out / "ultraeval/llama-questions/result.json").read_text())
    assert result["stand_in"] == ["recogniser: python"] and result["scored"] == 2
    page = (out / "report.html").read_text()
    assert "With a stand-in, not comparable" in page
    assert json.loads((out / "report.json").read_text())["overall"]["UltraEval-Audio, spoken replies"] is None


def test_two_hosts_share_the_rows(home: Path, evaluated: Path, tmp_path: Path) -> None:
    items = [answering.Item(str(n), None, {"n": n}) for n in range(5)]
    for host in range(2):
        shard = answering.HostShard(host, 2)
        mine = [answering.prediction_row(item, f"reply {item.id}") for item in items[host::2]]
        write_lines(answering.file_of(tmp_path, shard), mine)
    answering.join(items, tmp_path, 2)
    assert [row["prediction"] for row in lines(tmp_path / "predictions.jsonl")] == [f"reply {n}" for n in range(5)]
    write_lines(answering.file_of(tmp_path, answering.HostShard(1, 2)), [])
    (tmp_path / "predictions.jsonl").unlink()
    with pytest.raises(InputError, match="2 rows have no answer, the first is 1"):
        answering.join(items, tmp_path, 2)


def test_models_are_compared_on_shared_rows(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refs = [f"word {n} {n} {n}" for n in range(30)]
    for name, wrong in (("a", 0), ("b", 10)):
        said = [ref if n >= wrong else "nothing" for n, ref in enumerate(refs)]
        rows = [
            {"id": f"r{n}", "ref": ref, "language": "en", "prediction": p}
            for n, (ref, p) in enumerate(zip(refs, said, strict=True))
        ]
        file = write_lines(tmp_path / f"{name}.jsonl", rows)
        launch("experiments.score", str(file), "--benchmark=asr/librispeech-test-clean", f"--out={tmp_path / name}")
    capsys.readouterr()
    launch("experiments.compare", str(tmp_path / "a"), str(tmp_path / "b"), f"--out={tmp_path / 'page'}")
    assert "LibriSpeech test-clean" in capsys.readouterr().out
    gain = json.loads((tmp_path / "page" / "report.json").read_text())["figures"][1]
    assert gain["gain"] == pytest.approx(100 * 10 / 30) and 0 < gain["gain_low"] < gain["gain"] < gain["gain_high"]
    assert np.isclose(gain["mean"], 100 * 10 / 30)


def test_predictions_that_cannot_be_scored_are_one_line(tmp_path: Path) -> None:
    def refused(match: str, rows: list[dict[str, Any]], *options: str) -> None:
        file = write_lines(tmp_path / "p.jsonl", rows)
        with pytest.raises(InputError, match=match):
            launch("experiments.score", str(file), f"--out={tmp_path / 'out'}", *options)
        assert not (tmp_path / "out").exists()

    asr = "--benchmark=asr/librispeech-test-clean"
    refused(r"p.jsonl, line 1: no column prediction", [{"ref": "a"}], asr)
    refused(r"p.jsonl, line 2: no column ref", [{"ref": "a", "prediction": "a"}, {"prediction": "a"}], asr)
    refused(
        "a file of predictions is of one of voicebench/", [{"prompt": "a", "prediction": "a"}], "--benchmark=voicebench"
    )
    letters = [{"prompt": "a", "reference": "A", "prediction": "A"}]
    refused("phrases.json is needed", letters, "--benchmark=voicebench/openbookqa", "--rules=official")
