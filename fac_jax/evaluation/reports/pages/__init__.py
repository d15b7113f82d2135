"""HTML pages: a common template, with figures and sounds inside the page."""
