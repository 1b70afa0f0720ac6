"""Training that has gone astray."""

import math
from typing import Any

from holoprop.training._state import TrainState

# So many looks on end, and by so much more than at first.
_PATIENCE = 3
_WORSE = 1000.0

# What helps, in the words of the library.
_REMEDIES = (
    "use a smaller learning rate, a smaller radius or nudge, smaller weights, a higher temperature "
    "of a soft pooling, more steps or a looser tolerance."
)


class DivergedError(RuntimeError):
    """Training was stopped because it led nowhere; the message says why, and what helps.

    Example:
        >>> issubclass(DivergedError, RuntimeError)
        True
    """


def check_progress(
    state: TrainState, seen: list[dict[str, Any]], *, batch_size: int, max_unsettled: float
) -> None:
    """Look at what some batches reported, and count looks that find training astray.

    Arguments:
        state: Where training stands; its counts are brought up to date.
        seen: What the batches since the last look reported, on the host.
        batch_size: Examples in a batch.
        max_unsettled: Share of examples that may be left out because they do not settle.

    Raises:
        DivergedError: If no example of a batch settles, the loss is not finite, or for three looks
            on end too few examples settle or the loss is a thousand times that of the first look.
    """
    unsettled = [int(batch["unsettled"]) for batch in seen]
    if batch_size in unsettled:
        raise DivergedError(
            f"no example settled in every phase of a batch of epoch {state.epoch}, so there is no "
            f"gradient: {_REMEDIES}"
        )
    loss = mean_loss(seen)
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is {loss} in epoch {state.epoch}: {_REMEDIES}")
    if state.first_loss is None:
        # A loss that begins at zero or below has no multiples.
        state.first_loss = max(loss, 1.0)
    share = sum(unsettled) / (batch_size * len(seen))
    settles, descends = share <= max_unsettled, loss <= _WORSE * state.first_loss
    state.bad_looks = 0 if settles and descends else state.bad_looks + 1
    if state.bad_looks < _PATIENCE:
        return
    if settles:
        reason = f"the loss has grown to {loss:.1e}, from {state.first_loss:.1e} or less at first"
    else:
        reason = f"{100 * share:.0f} % of the examples do not settle"
    raise DivergedError(
        f"{reason}, in epoch {state.epoch} and for {_PATIENCE} looks on end: {_REMEDIES}"
    )


def mean_loss(seen: list[dict[str, Any]]) -> float:
    """Mean over the examples of some batches, of which some may have fewer than others."""
    counts = [int(batch["in_loss"]) for batch in seen]
    losses = zip((float(batch["loss"]) for batch in seen), counts, strict=True)
    return sum(loss * count for loss, count in losses) / sum(counts)
