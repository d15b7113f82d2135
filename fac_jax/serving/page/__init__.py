"""The page to talk on: files of the package, which routes serve as they are."""
