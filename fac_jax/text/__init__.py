"""Text: tokenizer, chat template, special ids."""
