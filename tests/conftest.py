"""What all tests share."""

import os
import signal

from hypothesis import settings

# On a busy machine an example's time says nothing, and CI must not fail on a seed that nobody can repeat.
settings.register_profile("holdfast", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("holdfast")

# In the background of a shell Ctrl-C is ignored, and every process that the tests start would be deaf to it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
