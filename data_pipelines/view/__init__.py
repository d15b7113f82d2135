"""A page that shows and plays the rows of a data set."""
