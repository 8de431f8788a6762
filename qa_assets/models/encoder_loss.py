"""The loss of an encoder with a classification head, as a module: what `training` optimises."""

from typing import TYPE_CHECKING

# only training imports this module
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EncoderLoss(nn.Module):  # type: ignore[misc]
    """Cross-entropy of labels, summed over examples."""

    def __init__(self, model: "PreTrainedModel", label_smoothing: float, several: bool) -> None:
        """Compute with a model.

        Args:
            model: with a classification head.
            label_smoothing: share of the probability that is spread over the labels.
            several: an example may have several labels, or none: binary cross-entropy, averaged
                over the labels.
        """
        super().__init__()
        self.model, self.label_smoothing, self.several = model, label_smoothing, several

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """The loss in fp32: a scalar.

        Args:
            input_ids: of shape [examples, tokens].
            attention_mask: of that shape, 0 where there is padding.
            labels: ids, of shape [examples, most labels], -100 where there is padding.
        """
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        if not self.several:
            return functional.cross_entropy(
                logits, labels[:, 0], label_smoothing=self.label_smoothing, reduction="sum"
            )
        real = labels >= 0
        targets = torch.zeros_like(logits)
        targets[real.nonzero()[:, 0], labels[real]] = 1
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.mean(-1).sum()
