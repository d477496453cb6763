"""Wire formats spoken by more than one door, as pure functions and pydantic models."""
