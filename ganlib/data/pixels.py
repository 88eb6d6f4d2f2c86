"""Pictures in: file bytes to opaque 8-bit images."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganlib.data.sources.base import BadRecordError

# Pillow knows more, and starts Ghostscript for one of them.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
_TOO_LARGE = "more pixels than Pillow's limit against decompression bombs"


def decode(data: bytes) -> Image.Image:
    """The (first) picture in an image file's bytes: upright by its EXIF orientation, transparency on white, 8 bits.

    Returns mode "L" for a grey picture, else "RGB". Raises BadRecordError.
    """
    if not data:
        raise BadRecordError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise BadRecordError(_TOO_LARGE)
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            return _opaque(image)
    except UnidentifiedImageError as error:
        # Pillow's own text holds the address of an object in memory.
        raise BadRecordError("not a JPEG, PNG, BMP, WebP or GIF image") from error
    except Image.DecompressionBombError as error:
        raise BadRecordError(_TOO_LARGE) from error
    except BadRecordError:
        raise
    # Broken files make Pillow's parsers raise nearly anything: OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        raise BadRecordError(f"broken or cut short ({error})") from error


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16 bits to 8 instead of scaling them.
        return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)
