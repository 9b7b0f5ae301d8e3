"""Where the embedded store is kept unless somebody names another place."""

from pathlib import Path
from typing import Final

DEFAULT_FOLDER: Final = Path("holdfast-data")
