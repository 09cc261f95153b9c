"""The ground every section of a run's configuration stands on."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen, typed, and closed: a key that is not a field is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )
