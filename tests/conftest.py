"""What all tests share."""

import os

from hypothesis import settings

# On a busy machine an example's time says nothing, and CI must not fail on a seed that nobody can repeat.
settings.register_profile("holdfast", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("holdfast")
