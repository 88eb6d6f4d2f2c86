"""The methods, by the name (`kind`) that a recipe gives them. Adding one is adding its file and its name here."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ganlib.methods.base import Loss, Method, SampleRequest
from ganlib.methods.cyclegan import CycleGANConfig
from ganlib.methods.encoder import EncoderConfig
from ganlib.methods.gan_cls import GanClsConfig
from ganlib.methods.gawwn import GawwnConfig
from ganlib.methods.noise_to_image import NoiseToImageConfig
from ganlib.methods.pix2pix import Pix2PixConfig
from ganlib.methods.stargan import StarGANConfig


def _with_kind(values: Any) -> Any:
    """Most recipes make images from noise: those need not say so."""
    return {"kind": "noise-to-image", **values} if isinstance(values, dict) else values


AnyMethod = Annotated[
    Annotated[
        NoiseToImageConfig
        | EncoderConfig
        | Pix2PixConfig
        | CycleGANConfig
        | StarGANConfig
        | GanClsConfig
        | GawwnConfig,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_with_kind),
]

__all__ = ["AnyMethod", "Loss", "Method", "SampleRequest"]
