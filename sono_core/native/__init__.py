"""The inner loops over payload bytes, and the choice between C and pure Python."""

from .kernels import Utf8Validator, apply_mask, pure_apply_mask
from .path import accelerator, pure_wanted

__all__ = ["Utf8Validator", "accelerator", "apply_mask", "pure_apply_mask", "pure_wanted"]
