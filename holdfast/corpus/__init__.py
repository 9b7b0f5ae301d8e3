"""A corpus: recordings whose truth is known, judged by policies and scored against that truth."""
