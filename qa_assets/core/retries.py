"""How often, and after which pauses, something that came to nothing is tried again."""

from pydantic import BaseModel, Field

_DOUBLINGS = 30  # more would exceed any pause


class RetryPolicy(BaseModel, extra="forbid", frozen=True):
    """Pauses that double from try to try, up to a longest one, and the number of tries."""

    tries: int = Field(10, ge=1, description="After so many tries that changed nothing, none more.")
    pause_s: float = Field(
        60, gt=0, description="Seconds between the end of the first try and the second; then twice "
        "as long from try to try."
    )  # fmt: skip
    max_pause_s: float = Field(3600, gt=0, description="The longest pause in seconds.")

    def pause_after(self, tries: int) -> float:
        """Seconds to wait after so many tries."""
        return float(min(self.pause_s * 2.0 ** min(tries - 1, _DOUBLINGS), self.max_pause_s))
