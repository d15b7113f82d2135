"""Content of the data sets that are synthesized here."""
