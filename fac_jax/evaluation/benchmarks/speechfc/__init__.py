"""Scorers of SpeechFC-Eval, function calls asked for by speech: two checkers, `bfcl` and `ace` (docs/evaluation.md)."""
