"""Users' rows prepared once for training: checked, tokenised, encoded and written as array_record shards."""
