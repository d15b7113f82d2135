"""IFEval: instructions whose following a program can check (https://arxiv.org/abs/2311.07911).

The rules are those of Google's checks in the form that VoiceBench and Kimi-Audio-Evalkit use (docs/evaluation.md).
"""
