"""The row schema of every data set, its validation, and rejected rows."""
