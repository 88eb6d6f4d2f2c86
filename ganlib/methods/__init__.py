"""The methods, by the name (`kind`) that a recipe gives them. Adding one is adding its file and its name here."""

from ganlib.methods.base import Loss, Method, SampleRequest
from ganlib.methods.noise_to_image import NoiseToImageConfig

AnyMethod = NoiseToImageConfig

__all__ = ["AnyMethod", "Loss", "Method", "SampleRequest"]
