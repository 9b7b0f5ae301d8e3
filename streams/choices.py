"""Words that a person chooses between: the command line lists them without loading what they choose."""

from typing import Final, Literal, get_args

Scenario = Literal["errors", "latency", "cpu", "silent"]
"""What a change does to a simulated fleet."""

Size = Literal["small", "usual"]
"""How large the fleet of an incident is."""

Form = Literal["arrow", "json", "json-grouped", "otlp", "prometheus"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
"""How a frame of samples is written."""
