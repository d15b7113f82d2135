"""Users' data to records, a file for each format; `registry.read` knows them all, and no reader dies on a row."""
